"""Evaluation against a plain Python loop over one unpadded example at a time."""

import dataclasses

import jax
import numpy as np
import pytest
from synthetic_data import COUNTS, Damaged, make_recipe, randomized

from fcnjax.data import ArraySource
from fcnjax.padded import Padded
from fcnjax.training import Trainer
from fcnjax.training.evaluation.evaluation_result import EvaluationResult, collected
from fcnjax.training.evaluation.metrics import measure
from fcnjax.training.step.step import Evaluation


@pytest.fixture(scope="module")
def by_hand(sources):
    """Mean loss, number correct and logits of the test split, from one example at a time, in float64."""
    trainer = Trainer(make_recipe(), sources)
    model = trainer.model(randomized(trainer.initial_state(0)))
    call = jax.jit(lambda batch: model(batch))
    logits, losses, correct = [], [], 0
    for index in range(len(sources["test"])):
        example = sources["test"][index]
        scores = np.asarray(call(Padded.stack([example.values])), np.float64)[0]
        logits.append(scores)
        losses.append(np.log(np.exp(scores).sum()) - scores[example.label])
        correct += int(scores.argmax() == example.label)
    return np.mean(losses), correct, np.array(logits)


@pytest.mark.parametrize(("batch_size", "buckets"), [(1, 2), (7, 1), (7, 2), (64, 1), (64, 2)])
def test_every_example_counts_once_whatever_the_batches(sources, by_hand, batch_size, buckets):
    trainer = Trainer(make_recipe(batch_size=batch_size, max_buckets=buckets), sources)
    result = trainer.evaluate(randomized(trainer.initial_state(0)), "test")
    loss, correct, logits = by_hand
    assert (result.correct, result.count) == (correct, COUNTS["test"])
    assert 0 < correct < COUNTS["test"]
    assert result.accuracy == correct / COUNTS["test"]
    assert result.loss == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(result.logits, logits, atol=1e-5 * np.abs(logits).max())


def test_evaluation_changes_nothing_and_draws_nothing(trainer):
    """Two evaluations of a network with dropout return the same figures and do not change its statistics."""
    state = trainer.initial_state(0)
    before = jax.tree.map(np.array, (state.weights, state.statistics))
    first, second = trainer.evaluate(state, "validation"), trainer.evaluate(state, "validation")
    np.testing.assert_array_equal(first.logits, second.logits)
    assert (first.loss, first.correct, first.count) == (second.loss, second.correct, COUNTS["validation"])
    jax.tree.map(np.testing.assert_array_equal, before, (state.weights, state.statistics))


@pytest.mark.parametrize(("batch_size", "buckets"), [(1, 2), (7, 1), (64, 2)])
def test_labels_come_in_the_order_of_the_source_and_the_figures_agree(sources, by_hand, batch_size, buckets):
    trainer = Trainer(make_recipe(batch_size=batch_size, max_buckets=buckets), sources)
    result, source = trainer.evaluate(randomized(trainer.initial_state(0)), "test"), sources["test"]
    labels = [source[index].label for index in range(len(source))]
    assert result.labels.dtype == np.int32
    np.testing.assert_array_equal(result.labels, labels)
    np.testing.assert_array_equal(result.sizes, source.sizes)
    metrics = result.metrics
    assert (metrics.correct(), metrics.count, metrics.left_out) == (result.correct, result.count, 0)
    assert metrics.loss == pytest.approx(result.loss, rel=1e-5)
    alone = measure(by_hand[2], np.array(labels), source.sizes)
    np.testing.assert_array_equal(metrics.confusion, alone.confusion)
    assert metrics.by_size() == alone.by_size()
    assert len(metrics.by_size()) == 4


def test_what_cannot_be_decoded_has_no_label_and_is_in_no_figure(sources):
    damaged = sources | {"test": Damaged(sources["test"], (2, 7))}
    trainer = Trainer(make_recipe(data={"on_error": "mask"}), damaged)
    result = trainer.evaluate(randomized(trainer.initial_state(0)), "test")
    assert np.flatnonzero(result.labels == -1).tolist() == [2, 7]
    assert (result.metrics.count, result.metrics.left_out) == (COUNTS["test"] - 2, 2)
    assert result.metrics.correct() == result.correct
    assert result.reasons.keys() == {damaged["test"].name_of(index) for index in (2, 7)}
    broken = dataclasses.replace(result, logits=np.full_like(result.logits, np.nan))
    with pytest.raises(FloatingPointError, match="logits: are NaN for 9 of 9 examples that were decoded"):
        broken.metrics  # noqa: B018


def test_a_result_without_examples_that_could_not_be_decoded_needs_no_number_of_them(trainer):
    result = trainer.evaluate(trainer.initial_state(0), "test")
    fields = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    assert fields.pop("unreadable") == 0
    assert EvaluationResult(**fields).metrics.count == COUNTS["test"]


def test_a_split_of_one_example_has_its_loss_and_accuracy():
    source = ArraySource([np.ones((3, 4, 1), np.float32)], [1], ("a", "b"))
    logits, real = np.array([[1.0, 3.0], [0.0, 0.0]], np.float32), np.array([True, False])
    out = Evaluation(np.float32(0.25), np.int32(1), np.int32(1), logits, real, np.array([1, 0], np.int32))
    result = collected(source, [(np.array([0, -1]), out)], 0)
    assert (result.loss, result.accuracy, result.count) == (0.25, 1.0, 1)
    np.testing.assert_array_equal(result.logits, logits[:1])
    assert dataclasses.replace(result, correct=0, count=0).accuracy == 0
