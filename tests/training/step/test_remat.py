"""Recomputed activations: the same gradients and statistics, with less memory."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from synthetic_data import make_examples, make_recipe, relative

from fcnjax import models
from fcnjax.padded import Padded
from fcnjax.training import Trainer, jit
from fcnjax.training.compile.compilation import CompileSettings
from fcnjax.training.compile.memory_fit import compiled_bytes
from fcnjax.training.step.step import Arrays, Targets, make_gradient, split


def gradients_of(remat: bool, batch: Padded, targets: Targets, name: str, options: dict[str, Any]) -> tuple[Any, ...]:
    """Loss, statistics and gradients of a network with random biases and statistics, and the statistics before."""
    model = models.create(name, classes=3, in_channels=1, rngs=nnx.Rngs(0), **options)
    model.remat = remat
    graphdef, weights, statistics = split(model)
    rng = np.random.default_rng(0)

    def shaken(arrays: Arrays) -> Arrays:
        return {key: array + 0.1 * rng.random(array.shape).astype(np.float32) for key, array in arrays.items()}

    weights, statistics = shaken(weights), shaken(statistics)
    gradient = jit(make_gradient(graphdef), settings=CompileSettings(remat=remat))
    loss, moved, gradients, _ = gradient(weights, statistics, batch, targets, np.zeros(2, np.uint32))
    return loss, moved, gradients, statistics


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fcn", {"channels": (4, 6), "norm": "batch", "dropout": 0.3}),
        ("resnet_cifar", {"depth": 8, "width": 4}),
        ("fcn", {"channels": (4, 6), "norm": "batch", "dtype": "bfloat16"}),
    ],
)
def test_gradients_and_statistics_are_the_same(name, options):
    examples, labels = make_examples(4, seed=1)
    batch = Padded.stack(examples, (16, 18), 5)
    targets = Targets(np.array([*labels, 0], np.int32), np.array([0, 1, 2, 3, -1], np.int32))
    plain, remat = (gradients_of(remat, batch, targets, name, options) for remat in (False, True))
    tolerance = 1e-6 if "dtype" not in options else 1e-2
    assert float(remat[0]) == pytest.approx(float(plain[0]), rel=tolerance)
    for wanted, found in zip(plain[1:3], remat[1:3], strict=True):
        assert wanted.keys() == found.keys()
        largest = max(float(jnp.abs(array).max()) for array in wanted.values())
        for key, array in wanted.items():
            np.testing.assert_allclose(found[key], array, rtol=tolerance, atol=tolerance * largest, err_msg=key)
    assert all(relative(found, plain[3][key]) > 1e-4 for key, found in remat[1].items())  # the statistics did change


@pytest.mark.slow
def test_a_deep_network_takes_clearly_less_memory():
    def step_bytes(remat: bool) -> int:
        model = nnx.eval_shape(
            lambda: models.create("resnet_cifar", classes=3, in_channels=1, depth=14, width=4, rngs=nnx.Rngs(0))
        )
        model.remat = remat
        graphdef, weights, statistics = split(model)
        rows: Any = jax.ShapeDtypeStruct((16,), jnp.int32)
        values: Any = jax.ShapeDtypeStruct((16, 32, 32, 1), jnp.float32)
        sizes: Any = jax.ShapeDtypeStruct((16, 2), jnp.int32)
        seed_and_epoch = jax.ShapeDtypeStruct((2,), jnp.uint32)
        gradient = jit(make_gradient(graphdef), settings=CompileSettings(remat=remat))
        lowered = gradient.lower(weights, statistics, Padded(values, sizes), Targets(rows, rows), seed_and_epoch)
        return compiled_bytes(lowered.compile())

    assert step_bytes(remat=True) < 0.6 * step_bytes(remat=False)


@pytest.mark.parametrize("batching", ["bucket", "mixed"])
def test_a_run_in_bfloat16_learns_with_everything_it_keeps_in_float32(sources, batching):
    changes = {"remat": True, "batching": batching, "epochs": 16, "ema_decay": 0.9, "batch_size": 12}
    recipe = make_recipe(model={"dtype": "bfloat16"}, optimizer={"learning_rate": 0.03}, **changes)
    trainer = Trainer(recipe, sources)
    state, losses = trainer.initial_state(0), []
    for done in trainer.fit(state, 0):
        losses.append(float(done.loss))
        state = done.state
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])
    kept = [array for array in jax.tree.leaves(state) if jnp.issubdtype(array.dtype, jnp.floating)]
    assert {array.dtype for array in kept} == {jnp.dtype("float32")}
    result = trainer.evaluate(state, "test")
    assert np.isfinite(result.logits).all()
    assert result.logits.dtype == np.float32
