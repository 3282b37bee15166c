"""Compares batch norm in training, on batches sharded over 1, 2 and 4 devices, with PyTorch's over valid positions.

Prints the relative errors as JSON. It is a separate program, run by `test_batch_norm_devices.py`, since the number of
devices is fixed once JAX has started.
"""

import json
import re

import contract
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fcnjax import Padded, layers

CHANNELS, DEVICES = 3, (1, 2, 4)
# Eight rows each: two on each of four devices. A size of 0 is a filler row, without valid positions.
CASES = {
    "signals": [(50,), (3,), (1,), (0,), (7,), (20,), (2,), (0,)],
    "images, the third device has none": [(9, 7), (5, 3), (1, 1), (2, 6), (0, 0), (0, 0), (3, 3), (8, 1)],
    "images, all on the last device": [(0, 0)] * 6 + [(4, 5), (3, 1)],
    "volumes, all on the first device": [(3, 4, 2), (1, 2, 5)] + [(0, 0, 0)] * 6,
    "volumes": [(3, 4, 2), (1, 1, 1), (0, 0, 0), (2, 2, 2), (5, 1, 1), (1, 4, 3), (0, 0, 0), (2, 1, 1)],
    "images far from the running mean": [(9, 7), (5, 3), (1, 1), (2, 6), (0, 0), (0, 0), (3, 3), (8, 1)],
}
SHIFTS = {"images far from the running mean": 100.0}  # of the values, whose deviation is 2; elsewhere 0.5


def draw(sizes, dtype, seed: int, scale: float = 1.0, shift: float = 0.0) -> Padded:
    rng = np.random.default_rng(seed)
    values = np.zeros((len(sizes), *np.max(sizes, axis=0), CHANNELS), dtype)
    for row, size in zip(values, sizes, strict=True):
        row[tuple(slice(n) for n in size)] = scale * rng.normal(size=(*size, CHANNELS)) + shift
    return Padded(jnp.asarray(values), jnp.asarray(sizes, jnp.int32))


def valid(values, sizes) -> np.ndarray:
    """Returns the concatenated valid positions of all examples, [N, C]."""
    return np.concatenate([example.reshape(-1, CHANNELS) for example in Padded(values, sizes).unstack()])


def on_devices(norm, batch: Padded, cotangent: jax.Array, devices: int) -> dict[str, np.ndarray]:
    mesh = Mesh(np.array(jax.devices()[:devices]), ("batch",))
    rows, everywhere = (NamedSharding(mesh, spec) for spec in (PartitionSpec("batch"), PartitionSpec()))
    graphdef, *states = nnx.split(norm, nnx.Param, nnx.BatchStat)
    states = [nnx.to_pure_dict(state) for state in states]  # as arrays: variables may not change inside a gradient

    @jax.jit
    def step(weights, statistics, batch, cotangent):
        def functional(weights, values):
            module = nnx.merge(graphdef, weights, statistics)
            out = module(Padded(values, batch.sizes), train=True).values
            return jnp.sum(out * cotangent), (out, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat)))

        (_, (out, moved)), gradients = jax.value_and_grad(functional, (0, 1), has_aux=True)(weights, batch.values)
        return out, moved, *gradients

    sharded, cotangent = jax.device_put((batch, cotangent), rows)
    arguments = (*jax.device_put(states, everywhere), sharded, cotangent)
    program = step.lower(*arguments).compile()
    if devices > 1:
        check_collectives(program.as_text())
    out, moved, weight_gradients, input_gradient = program(*arguments)
    if len(out.sharding.device_set) != devices:
        raise RuntimeError(f"devices={devices}: the step ran on {len(out.sharding.device_set)} instead.")
    return {
        "outputs": valid(out, batch.sizes),
        "input gradient": valid(input_gradient, batch.sizes),
        "scale gradient": np.asarray(weight_gradients["scale"]),
        "bias gradient": np.asarray(weight_gradients["bias"]),
        "running mean": np.asarray(moved["mean"]),
        "running variance": np.asarray(moved["variance"]),
    }


def check_collectives(program: str):
    """Raises RuntimeError unless the devices exchange sums twice: of the statistics, and of the gradients."""
    found = re.findall(r"= .*? (all-reduce|all-gather|all-to-all|collective-permute)\(", program)
    if found != ["all-reduce"] * 2:
        raise RuntimeError(f"collectives={found}: must be one all-reduce forward and one backward.")


def in_torch(norm, batch: Padded, cotangent: jax.Array) -> dict[str, np.ndarray]:
    import torch  # imported here: pytest collects doctests of this file even without PyTorch

    dtype = batch.values.dtype
    values, upstream = (torch.tensor(valid(array, batch.sizes)) for array in (batch.values, cotangent))
    scale, bias, mean, variance = (
        torch.tensor(np.array(v[...], dtype)) for v in (norm.scale, norm.bias, norm.mean, norm.variance)
    )
    for tensor in (values, scale, bias):
        tensor.requires_grad_()
    arguments = {"training": True, "momentum": 1 - norm.momentum, "eps": norm.epsilon}
    out = torch.nn.functional.batch_norm(values, mean, variance, scale, bias, **arguments)
    out.backward(upstream)
    return {
        "outputs": out.detach().numpy(),
        "input gradient": values.grad.numpy(),
        "scale gradient": scale.grad.numpy(),
        "bias gradient": bias.grad.numpy(),
        "running mean": mean.numpy(),
        "running variance": variance.numpy(),
    }


def errors(sizes, dtype, shift: float) -> dict[int, dict[str, float]]:
    """Returns the largest relative error of each quantity, by number of devices."""
    norm = contract.randomize(layers.BatchNorm(CHANNELS, momentum=0.8), seed=1)
    state = jax.tree.map(lambda x: x.astype(dtype), nnx.state(norm))
    nnx.update(norm, state)
    batch, cotangent = draw(sizes, dtype, seed=2, scale=2.0, shift=shift), draw(sizes, dtype, seed=3).values
    expected = in_torch(norm, batch, cotangent)
    found = {devices: on_devices(norm, batch, cotangent, devices) for devices in DEVICES}
    return {
        devices: {
            what: float(np.abs(actual[what] - array).max() / np.abs(array).max()) for what, array in expected.items()
        }
        for devices, actual in found.items()
    }


def main():
    jax.config.update("jax_num_cpu_devices", max(DEVICES))
    found = {}
    for dtype in ("float32", "float64"):
        with jax.enable_x64(dtype == "float64"):
            found[dtype] = {name: errors(sizes, dtype, SHIFTS.get(name, 0.5)) for name, sizes in CASES.items()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
