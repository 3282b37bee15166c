"""Mixed batching: with all randomness switched on, the training does not depend on the buckets."""

import itertools

import jax
import numpy as np
import pytest
from compilations import counted_compilations
from synthetic_data import COUNTS, Damaged, make_recipe, relative

from fcnjax.padded import Padded
from fcnjax.training import Trainer
from fcnjax.training.compile.programs import parts_of
from fcnjax.training.step.step import Targets, make_gradient, make_train_step

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
    [(planned, parts)] = trainer.batches(1, 0, 1)
    ours, _ = trainer.step(trainer.initial_state(1), 1, planned, parts)
    recipe = trainer.recipe
    plan = trainer.plan(1)
    step = plan.step(0)
    rows = np.concatenate([part.rows for part in step.micro_batches])
    examples = [sources["train"][index] for index in rows[rows >= 0]]
    batch = Padded.stack([example.values for example in examples], (18, 20))
    targets = Targets(np.array([e.label for e in examples], np.int32), np.array([e.id for e in examples], np.int32))
    state = trainer.initial_state(1)
    train_step = jax.jit(make_train_step(make_gradient(trainer.graphdef, augment=recipe.augment), trainer.optimizer))
    after, loss = train_step(state, batch, targets, np.array([1, 0], np.uint32))
    assert losses[0] == pytest.approx(float(loss), rel=1e-5)
    for name, array in after.weights.items():
        moved, expected = (np.asarray(each) - np.asarray(state.weights[name]) for each in (ours.weights[name], array))
        np.testing.assert_allclose(moved, expected, atol=1e-4 * np.abs(expected).max(), err_msg=name)


def test_each_bucket_is_compiled_once(sources, one_bucket):
    trainer, _, _ = one_bucket
    state = trainer.initial_state(2)
    with counted_compilations() as compiled:
        for done, _ in zip(trainer.fit(state, 2), range(6), strict=False):
            state = done.state
    assert not compiled


def test_an_interrupted_step_leaves_nothing_in_the_sums_of_the_next(one_bucket, monkeypatch):
    """Ctrl-C between the parts of a step; the trainer then serves another run, as in a notebook."""
    trainer, _, _ = one_bucket
    parts = list(itertools.islice(trainer.batches(1, 0, 3), 3))
    plans, batches = zip(*parts, strict=True)
    assert min(len(plan.micro_batches) for plan in plans) > 1

    def first_steps() -> list[tuple[float, dict[str, np.ndarray]]]:
        state, results = trainer.initial_state(1), []
        for plan, batch in zip(plans, batches, strict=True):
            state, loss = trainer.step(state, 1, plan, batch)
            results.append((float(loss), {name: np.array(array) for name, array in state.weights.items()}))
        return results

    expected = first_steps()
    accumulate, calls = trainer.programs.accumulate_step, itertools.count()

    def interrupted(*arguments):
        if next(calls) == 1:
            raise KeyboardInterrupt
        return accumulate(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.programs, "accumulate_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trainer.step(trainer.initial_state(1), 1, plans[0], batches[0])
    jax.tree.map(np.testing.assert_array_equal, first_steps(), expected)


@pytest.mark.parametrize("batching", ["bucket", "mixed"])
def test_examples_that_cannot_be_decoded_count_in_no_step(sources, batching):
    """Not in the number of examples, nor in the divisor of the loss, nor among the positions."""
    lost = (2, 3, 9, 16)
    model = {"channels": [8], "norm": "group", "activation": "gelu"}
    recipe = make_recipe(batching=batching, batch_size=7, epochs=1, model=model, data={"on_error": "mask"})
    train = sources["train"]
    trainer = Trainer(recipe, sources | {"train": Damaged(train, lost)})
    gradient = jax.jit(make_gradient(trainer.graphdef))
    state, examples, unreadable, positions = trainer.initial_state(1), 0, 0, 0
    arrays = jax.tree.map(np.array, (state.weights, state.statistics))
    for number, done in enumerate(trainer.fit(state, 1)):
        parts = parts_of(trainer.plan(1).step(number))
        rows = np.concatenate([part.rows for part in parts])
        rows = [index for index in rows[rows >= 0].tolist() if index not in lost]
        assert (done.examples, done.work.examples) == (len(rows), len(rows))
        kept = [train[index] for index in rows]
        batch = Padded.stack([example.values for example in kept], (18, 20), 7)
        labels, ids = np.zeros(7, np.int32), np.full(7, -1, np.int32)
        labels[: len(kept)], ids[: len(kept)] = [e.label for e in kept], [e.id for e in kept]
        loss, *_ = gradient(*arrays, batch, Targets(labels, ids), np.array([1, 0], np.uint32))
        assert float(done.loss) == pytest.approx(float(loss), rel=1e-5)
        arrays = jax.tree.map(np.array, (done.state.weights, done.state.statistics))
        examples, unreadable = examples + done.examples, unreadable + done.unreadable
        positions += done.work.real
    assert (examples, unreadable) == (COUNTS["train"] - len(lost), len(lost))
    assert positions == sum(size.prod() for index, size in enumerate(train.sizes) if index not in lost)
