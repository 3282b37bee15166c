"""Trainers of other divisions of one data set share buckets and compiled steps, and train as if made for them."""

import jax
import numpy as np
import pytest
from compilations import counted_compilations
from synthetic_data import make_recipe, make_sources

from fcnjax.data import ArraySource, PartialSource, host_bytes
from fcnjax.training import Trainer


def divisions() -> list[dict[str, PartialSource]]:
    """Returns two divisions of the same 21 examples, 16 of them for training, of equally many small ones."""
    source = make_sources()["train"]
    divided = []
    for first in (0, 4):
        kept = (np.arange(21) < first) | (np.arange(21) >= first + 4)
        test = PartialSource(source, np.flatnonzero(~kept), {})
        divided.append({"train": PartialSource(source, np.flatnonzero(kept), {}), "validation": test, "test": test})
    return divided


def trained(trainer: Trainer, seed: int):
    state = trainer.initial_state(seed)
    for done in trainer.fit(state, seed):
        state = done.state
    return state


def test_another_division_compiles_nothing_and_trains_as_a_trainer_of_its_own():
    first, second = divisions()
    recipe = make_recipe(loss={"label_smoothing": 0.1})
    whole = Trainer(recipe, make_sources())
    trained(whole.on(first), 1)
    whole.on(first).evaluate(whole.on(first).initial_state(1), "test")
    with counted_compilations() as seen:
        other = whole.on(second)
        state = trained(other, 2)
        result = other.evaluate(state, "test")
    assert not seen
    own = Trainer(recipe, second)
    np.testing.assert_array_equal(own.buckets.shapes, whole.buckets.shapes)
    for a, b in zip(jax.tree.leaves(trained(own, 2)), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(own.evaluate(state, "test").logits, result.logits)
    assert whole.sources["train"] is not other.sources["train"]


def test_steps_are_not_shared_where_schedule_or_class_weights_differ():
    first, second = divisions()
    whole = Trainer(make_recipe(), make_sources())
    assert whole.on(first).programs is whole.on(second).programs
    few = {**first, "train": PartialSource(make_sources()["train"], np.arange(6), {})}
    assert whole.on(few).programs is not whole.on(first).programs
    assert whole.on(few).steps < whole.on(first).steps
    balanced = Trainer(make_recipe(loss={"class_weights": "balanced"}), make_sources())
    assert balanced.on(first).programs is not balanced.on(second).programs


def test_other_examples_are_refused_unless_they_fit():
    whole = Trainer(make_recipe(), make_sources())
    values = [np.ones((40, 9, 1), np.float32)] * 3
    with pytest.raises(ValueError, match="must fit one of the"):
        whole.on({**whole.sources, "test": ArraySource(values, [0, 1, 2], ("a", "b", "c"))})
    with pytest.raises(ValueError, match=r"sources\['test'\]: must have the channels and classes"):
        whole.on({**whole.sources, "test": ArraySource(values, [0, 1, 2], ("a", "b", "d"))})


def test_any_examples_are_evaluated_also_beyond_the_buckets():
    whole = Trainer(make_recipe(), make_sources())
    state = whole.initial_state(0)
    np.testing.assert_array_equal(
        whole.evaluate(state, make_sources()["test"]).logits, whole.evaluate(state, "test").logits
    )
    rng = np.random.default_rng(0)
    large = ArraySource(rng.normal(size=(3, 40, 9, 1)).astype(np.float32), [0, 1, 2], ("a", "b", "c"))
    logits = whole.evaluate(state, large).logits
    alone = Trainer(make_recipe(), dict.fromkeys(("train", "validation", "test"), large))
    np.testing.assert_allclose(logits, alone.evaluate(state, "test").logits, rtol=1e-5, atol=1e-6)


def test_the_bound_of_memory_counts_the_batches_of_the_loader_and_one_in_transfer():
    sources = make_sources()
    trainer = Trainer(make_recipe(loader={"threads": 3, "prefetch": 5}), sources)
    plan, rows = trainer.plan(0), trainer.mesh.size
    wanted = host_bytes(plan, sources["train"].channels, threads=3, prefetch=5 + 1, rows_multiple_of=rows)
    assert trainer.feed.host_bytes(plan) == wanted
