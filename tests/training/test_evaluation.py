"""Evaluation against a plain Python loop over one unpadded example at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthetic_data import COUNTS, make_recipe

from fcnjax.padded import Padded
from fcnjax.training import Trainer
from fcnjax.training.step import TrainState


def randomised(state: TrainState) -> TrainState:
    """Other weights, biases and running statistics: with fresh ones most mistakes are exactly 0."""
    rng = np.random.default_rng(0)

    def draw(name, array):
        drawn = jnp.asarray(rng.normal(size=array.shape).astype(np.float32))
        return jnp.abs(drawn) + 0.5 if name.endswith("variance") else drawn

    arrays = ({name: draw(name, array) for name, array in d.items()} for d in (state.weights, state.statistics))
    return TrainState(state.step, *arrays, state.optimizer)


@pytest.fixture(scope="module")
def by_hand(sources):
    """Mean loss, correct and logits of the test split, one example after another, in float64."""
    trainer = Trainer(make_recipe(), sources)
    model = trainer.model(randomised(trainer.initial_state(0)))
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
    result = trainer.evaluate(randomised(trainer.initial_state(0)), "test")
    loss, correct, logits = by_hand
    assert (result.correct, result.count) == (correct, COUNTS["test"])
    assert 0 < correct < COUNTS["test"]
    assert result.accuracy == correct / COUNTS["test"]
    assert result.loss == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(result.logits, logits, atol=1e-5 * np.abs(logits).max())


def test_evaluation_changes_nothing_and_draws_nothing(trainer):
    """Twice the same figures from a network with dropout, whose running statistics stay."""
    state = trainer.initial_state(0)
    before = jax.tree.map(np.array, (state.weights, state.statistics))
    first, second = trainer.evaluate(state, "validation"), trainer.evaluate(state, "validation")
    np.testing.assert_array_equal(first.logits, second.logits)
    assert (first.loss, first.correct, first.count) == (second.loss, second.correct, COUNTS["validation"])
    jax.tree.map(np.testing.assert_array_equal, before, (state.weights, state.statistics))
