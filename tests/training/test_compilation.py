"""As many programs as there are rectangles, and none after the first epoch."""

import jax
import jax.numpy as jnp
import pytest
from compilations import counted_compilations
from synthetic_data import make_recipe

from fcnjax.training import CompiledByShape, Trainer, train


def test_the_counter_sees_a_compilation_and_only_the_first():
    function = jax.jit(lambda x: jnp.sin(x) * 3.25)
    argument = jnp.ones(7)
    with counted_compilations() as seen:
        function(argument)
        assert len(seen) == 1
        function(argument)
        assert len(seen) == 1


def test_one_program_for_each_shape_kept_and_called_again():
    def double(x):
        return 2 * x

    compiled = CompiledByShape(double)
    short, long = jnp.arange(3), jnp.arange(5)
    with counted_compilations() as seen:
        for array in (short, long, short, long):
            assert compiled(array.shape, array).tolist() == [2 * n for n in range(len(array))]
        assert len(seen) == 2
    assert set(compiled.programs) == {(3,), (5,)}
    assert compiled.seconds > 0


def test_a_run_compiles_one_program_per_rectangle_and_a_second_epoch_none(sources, tmp_path, monkeypatch):
    """A whole run through the loop, checkpoints and validation included."""
    recipe = make_recipe(epochs=3, batch_size=4)
    trainer = Trainer(recipe, sources)
    evaluate, at_validation = trainer.evaluate, []

    def watched(state, name):
        result = evaluate(state, name)
        if name == "validation":
            at_validation.append(len(seen))
        return result

    monkeypatch.setattr(trainer, "evaluate", watched)
    with counted_compilations() as seen:
        train(recipe, tmp_path / "run", trainer=trainer, progress=False)
    shapes = {(10, 10), (16, 18)}
    assert {tuple(shape) for shape in trainer.buckets.shapes.tolist()} == shapes
    assert set(trainer.programs.train_step.programs) == shapes
    assert set(trainer.programs.evaluation_step.programs) == shapes
    assert seen.count("jit(step)") == 4
    assert len(at_validation) == 3
    assert len(set(at_validation)) == 1, f"compiled after the first epoch: {seen[at_validation[0] :]}"


def test_what_will_be_compiled_is_told_before(sources):
    trainer = Trainer(make_recipe(), sources)
    told = trainer.describe()
    assert "programs to compile: 2 for training, 2 for evaluation" in told
    assert "21 train, 9 validation, 11 test examples in 3 classes" in told
    assert "rectangles 10x10, 16x18" in told
    assert "3 epochs of 3 steps, up to 8 examples each" in told


def test_another_seed_compiles_nothing(trainer):
    """Runs of one recipe share a trainer."""
    for _ in trainer.fit(trainer.initial_state(0), 0):
        pass
    state = trainer.initial_state(1)
    with counted_compilations() as seen:
        for _ in trainer.fit(state, 1):
            pass
    assert not seen


def test_data_below_the_minimum_size_is_refused_before_anything_compiles(sources):
    recipe = make_recipe(model={"channels": (4,) * 4})
    with pytest.raises(
        ValueError, match="^synthetic, train split: example 0 of size 8x10, and 17 more: below .* minimum"
    ):
        Trainer(recipe, sources)
