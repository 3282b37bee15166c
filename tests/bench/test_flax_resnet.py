"""The step written with flax alone does what ours does without masks: the same losses from the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from fcnjax.bench.flax_resnet import make_flax_step
from fcnjax.bench.jax_step import OPTIMIZER, JaxStep, step_inputs
from fcnjax.bench.unmasked import UnmaskedBatch
from fcnjax.bench.workload import image_workload
from fcnjax.training.step.step import make_gradient, make_train_step, split


def ours_in_flax(arrays):
    """Returns arrays that `fcnjax.models.resnet` names, nested under flax's names."""
    parts = {name: name.split(".") for name in arrays}
    blocks = sorted({(int(part[1]), int(part[3])) for part in parts.values() if "branches" in part})
    nested = {}
    for name, array in arrays.items():
        part, last = parts[name], {"variance": "var"}.get(parts[name][-1], parts[name][-1])
        leaf = ("conv" if last == "kernel" else "norm", last)
        if part[0] == "head":
            path = ("classifier", last)
        elif "branches" not in part:
            path = ("stem", *leaf)
        else:  # blocks.STAGE.layers.BLOCK.branches.0 or 1 (the shortcut).layers.LAYER; activations are layers too
            unit = ("shortcut",) if part[5] == "1" else ("units", int(part[7]) // 3)
            path = ("blocks", blocks.index((int(part[1]), int(part[3]))), *unit, *leaf)
        assert path not in nested, f"{name}: its place is taken"
        nested[path] = jnp.asarray(array)
    return traverse_util.unflatten_dict(nested)


@pytest.mark.parametrize("network", ["resnet18", pytest.param("resnet50", marks=pytest.mark.long)])
def test_flax_and_ours_have_the_same_losses(network):
    work = image_workload(None, image=(64, 48), rows=4, fields={"network": network, "classes": 10})
    shape = {"classes": work.classes, "in_channels": work.in_channels, "dtype": work.dtype}
    step, shapes = make_flax_step(network, optimizer=OPTIMIZER, **shape)
    weights, statistics = (ours_in_flax(arrays) for arrays in work.arrays)
    assert jax.tree.map(jnp.shape, (weights, statistics)) == jax.tree.map(jnp.shape, shapes)
    images, labels = map(jnp.asarray, work.draw(work.stretches["dense"].steps[0]))
    flax = JaxStep((weights, statistics, OPTIMIZER.init(weights)), [(jax.jit(step), (images, labels))])
    ours = make_train_step(make_gradient(split(work.model)[0]), OPTIMIZER)
    ours = JaxStep(work.state(), [(jax.jit(ours), step_inputs(UnmaskedBatch.of(images), labels))])
    losses = [[float(each()) for _ in range(2)] for each in (flax, ours)]
    assert abs(losses[0][0] - losses[0][1]) > 1e-3
    np.testing.assert_allclose(losses[0][0], losses[1][0], rtol=5e-5)  # flax subtracts squares of means in float32
    np.testing.assert_allclose(losses[0][1], losses[1][1], rtol=0.02)  # batch norm of 16 positions magnifies rounding
