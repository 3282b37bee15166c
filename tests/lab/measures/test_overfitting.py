"""The gap between training and test examples, against one example at a time."""

import dataclasses

import numpy as np
import pytest
from scipy.special import log_softmax
from tiny_experiment import GAP, make_normed_runner

from fcnjax import lab
from fcnjax.padded import Padded


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> lab.TrainedRun:
    return make_normed_runner(tmp_path_factory.mktemp("overfitting"), GAP).trained("gap", 0, 1)


def alone(run: lab.TrainedRun, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns correctness and log loss of the examples of a split, each alone, [N] and [N]."""
    correct, losses = [], []
    for index in range(len(run.sources[split])):
        example = run.sources[split][index]
        logits = np.asarray(run.model(Padded.stack([example.values])))[0].astype(np.float64)
        correct.append(logits.argmax() == example.label)
        losses.append(-log_softmax(logits)[example.label])
    return np.array(correct, float), np.array(losses)


def test_gaps_are_the_test_values_against_the_training_means(run):
    measured = lab.Overfitting()(run)
    (train_correct, train_losses), (test_correct, test_losses) = alone(run, "train"), alone(run, "test")
    assert train_correct.mean() != test_correct.mean()
    assert measured.numbers["training accuracy"] == pytest.approx(train_correct.mean())
    assert measured.numbers["training log loss"] == pytest.approx(train_losses.mean(), rel=1e-5)
    np.testing.assert_allclose(measured.values["accuracy gap"], train_correct.mean() - test_correct, atol=1e-12)
    np.testing.assert_allclose(measured.values["log loss gap"], test_losses - train_losses.mean(), atol=1e-5)
    assert 0 < measured.numbers["training accuracy"] < 1
    assert abs(measured.values["log loss gap"].mean()) > 1e-4


def test_examples_that_cannot_be_decoded_have_no_gap(run):
    labels = run.test.labels.copy()
    labels[3] = -1
    measured = lab.Overfitting()(dataclasses.replace(run, test=dataclasses.replace(run.test, labels=labels)))
    for values in measured.values.values():
        assert np.flatnonzero(np.isnan(values)).tolist() == [3]
