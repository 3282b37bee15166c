"""Mixed batching: with all randomness switched on, the training does not depend on the buckets."""

import jax
import numpy as np
import pytest
from compilations import counted_compilations
from synthetic_data import make_recipe, relative

from fcnjax.padded import Padded
from fcnjax.training import Trainer
from fcnjax.training.step.step import Targets, make_gradient

STEPS = 20


def run(sources, **changes) -> tuple[Trainer, list[float], dict[str, np.ndarray]]:
    """Losses of the first steps, and the weights after them."""
    recipe = make_recipe(
        batching="mixed",
        batch_size=7,
        epochs=20,
        model={"channels": [8], "norm": "group", "dropout": 0.3, "activation": "gelu"},
        augment={"rotation": 10.0, "scale": 0.1, "shift": 0.1, "flip": 0.5},
        optimizer={"name": "sgd", "learning_rate": 0.02, "warmup": 0.0},
        **changes,
    )
    trainer = Trainer(recipe, sources)
    losses, weights = [], {}
    for done, _ in zip(trainer.fit(trainer.initial_state(1), 1), range(STEPS), strict=False):
        losses.append(float(done.loss))
        weights = {name: np.asarray(array) for name, array in done.state.weights.items()}
    return trainer, losses, weights


@pytest.fixture(scope="module")
def one_bucket(sources):
    return run(sources, max_buckets=1)


CROP = {"crop": {"area": (0.5, 1.0), "aspect": (0.8, 1.25)}}


@pytest.mark.parametrize(("buckets", "change"), [(4, {}), (16, {}), (4, CROP)])
def test_the_buckets_change_neither_losses_nor_weights(sources, one_bucket, buckets, change):
    trainer, losses, weights = run(sources, max_buckets=1, **change) if change else one_bucket
    others, other_losses, other_weights = run(sources, max_buckets=buckets, **change)
    assert len(trainer.buckets.shapes) == 1 < 3 <= len(others.buckets.shapes)
    assert len(others.programs.accumulate_step.programs) > 2
    assert np.abs(np.array(losses) / np.array(other_losses) - 1).max() <= 1e-4
    initial = trainer.initial_state(1).weights
    for name, array in weights.items():
        assert relative(other_weights[name], array) <= 1e-4, name
        assert relative(np.asarray(initial[name]) + 1e-9, array + 1e-9) > 1e-3, name  # the array has changed


def test_a_step_is_the_step_of_one_large_batch(sources, one_bucket):
    """The same examples in one batch of one bucket, with the step that bucket batching uses."""
    trainer, losses, _ = one_bucket
    recipe = trainer.recipe
    plan = trainer.plan(1)
    step = plan.step(0)
    rows = np.concatenate([part.rows for part in step.micro_batches])
    examples = [sources["train"][index] for index in rows[rows >= 0]]
    batch = Padded.stack([example.values for example in examples], (18, 20))
    targets = Targets(np.array([e.label for e in examples], np.int32), np.array([e.id for e in examples], np.int32))
    state = trainer.initial_state(1)
    gradient = jax.jit(make_gradient(trainer.graphdef, augment=recipe.augment))
    loss, *_ = gradient(state.weights, state.statistics, batch, targets, np.array([1, 0], np.uint32))
    assert losses[0] == pytest.approx(float(loss), rel=1e-5)


def test_each_bucket_is_compiled_once(sources, one_bucket):
    trainer, _, _ = one_bucket
    state = trainer.initial_state(2)
    with counted_compilations() as compiled:
        for done, _ in zip(trainer.fit(state, 2), range(6), strict=False):
            state = done.state
    assert not compiled
