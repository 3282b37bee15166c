"""Measures at other sizes and with zeros, compared with plain computations of one example at a time."""

import dataclasses
import types

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from tiny_experiment import CONV, GAP, make_normed_runner

from fcnjax import lab
from fcnjax.data.sources.resized import resample
from fcnjax.padded import Padded


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> lab.TrainedRun:
    return make_normed_runner(tmp_path_factory.mktemp("sizes"), GAP, CONV).trained("gap", 0, 1)


def logits_of(run: lab.TrainedRun, values: np.ndarray) -> np.ndarray:
    """Returns the logits of one image, alone and without padding."""
    return np.asarray(run.model(Padded.stack([np.asarray(values, np.float32)])))[0].astype(np.float64)


def test_accuracy_at_another_size_is_that_of_each_scaled_image_alone(run):
    measured = lab.AtSizes(((9, 12), (16, 20)))(run)
    assert measured is not None
    assert measured.values.keys() == {"accuracy, scaled to 9x12", "accuracy, scaled to 16x20"}
    for index in range(len(run.labels)):
        for size in ((9, 12), (16, 20)):
            logits = logits_of(run, resample(run.sources["test"][index].values, size))
            name = f"accuracy, scaled to {size[0]}x{size[1]}"
            assert measured.values[name][index] == (logits.argmax() == run.labels[index])


def test_cropped_images_lose_their_margins(run):
    measured = lab.AtSizes(((6, 6),), how="cropped")(run)
    assert measured is not None
    for index in range(len(run.labels)):
        values = run.sources["test"][index].values
        top, left = ((extent - 6) // 2 for extent in values.shape[:2])
        logits = logits_of(run, values[top : top + 6, left : left + 6])
        assert measured.values["accuracy, cropped to 6x6"][index] == (logits.argmax() == run.labels[index])


def test_statistics_of_a_size_are_measured_on_training_images_of_that_size(run, monkeypatch):
    seen = []

    def noted(trainer, state):
        seen.append({name: source.sizes.tolist() for name, source in trainer.sources.items()})
        return {name: array + 5.0 for name, array in state.statistics.items()}

    monkeypatch.setattr("fcnjax.lab.measures.other_sizes.reestimated_statistics", noted)
    measured = lab.AtSizes(((9, 8),), reestimated=True)(run)
    assert measured is not None
    assert all(size == [9, 8] for size in seen[0]["train"])
    state = dataclasses.replace(run.state, statistics={n: a + 5.0 for n, a in run.state.statistics.items()})
    moved = dataclasses.replace(run, state=state)
    plain = lab.AtSizes(((9, 8),))(moved)
    assert plain is not None
    (found,), (expected,) = measured.values.values(), plain.values.values()
    np.testing.assert_array_equal(found, expected)
    assert list(measured.values) == ["accuracy, scaled to 9x8, statistics of that size"]


def test_arms_that_are_not_named_are_left_out(run):
    assert lab.AtSizes(((9, 8),), arms=("conv",))(run) is None
    assert lab.ZeroPadding(arms=("conv",))(run) is None


def test_zeros_are_part_of_the_image_and_slopes_are_least_squares(run):
    measured = lab.ZeroPadding((0.5, 2.0))(run)
    assert measured is not None
    for index in range(0, len(run.labels), 3):
        values, label = run.sources["test"][index].values, run.labels[index]
        found = {}
        for share in (0.0, 0.5, 2.0):
            height, width = np.ceil(np.array(values.shape[:2]) * np.sqrt(1 + share)).astype(int)
            grown = np.zeros((height, width, 1))
            grown[: values.shape[0], : values.shape[1]] = values
            found[share] = logits_of(run, grown)
        losses = [-log_softmax(logits)[label] for logits in found.values()]
        briers = [np.sum((softmax(logits) - np.eye(3)[label]) ** 2) for logits in found.values()]
        for which, share in enumerate(found):
            expected = {
                "log loss": losses[which],
                "Brier score": briers[which],
                "logit shift": np.abs(found[share] - found[0.0]).max(),
                "accuracy": float(found[share].argmax() == label),
            }
            for name, value in expected.items():
                assert measured.values[f"{name}, {share:g} of zeros"][index] == pytest.approx(value, rel=1e-3, abs=1e-4)
        number = measured.numbers["logits differ, not masked"]
        assert number == measured.values["logit shift, 2 of zeros"].max() / np.abs(run.scores()).max()
        for name, curve in (("log loss", losses), ("Brier score", briers)):
            slope = np.polyfit([0.0, 0.5, 2.0], curve, 1)[0]
            assert measured.values[f"{name} slope"][index] == pytest.approx(slope, rel=1e-3, abs=1e-4)


def test_images_alone_and_in_a_padded_batch_differ_only_if_masks_are_broken(run, monkeypatch):
    measured = lab.ZeroPadding(())(run)
    assert measured is not None
    assert 0 <= measured.numbers["logits differ, masked"] < 1e-6
    batches = lab.TrainedRun.batches

    def unmasked(self, source=None):
        for rows, inputs, labels in batches(self, source):
            whole = np.where(np.asarray(inputs.sizes) > 0, inputs.values.shape[1:-1], 0)
            examples = inputs.unstack()
            broken = inputs.replace(inputs.values, whole.astype(np.int32))
            object.__setattr__(broken, "unstack", lambda examples=examples: examples)
            yield rows, broken, labels

    monkeypatch.setattr(lab.TrainedRun, "batches", unmasked)
    broken = lab.ZeroPadding(())(run)
    assert broken is not None
    assert broken.numbers["logits differ, masked"] > 1e-3


def test_logits_that_are_not_numbers_decide_nothing(run, monkeypatch):
    monkeypatch.setattr(lab.TrainedRun, "compiled", lambda self, make, recipe: not_a_number)
    measured = lab.ZeroPadding(())(run)
    assert measured is not None
    assert np.isnan(measured.numbers["logits differ, masked"])


def not_a_number(weights, statistics, inputs, labels):
    """An evaluation step whose logits in a batch of one are not numbers."""
    logits = np.ones((len(labels), 3))
    return types.SimpleNamespace(logits=logits * np.nan if len(labels) == 1 else logits)
