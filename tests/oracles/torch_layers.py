"""Comparison of one unpadded example in PyTorch with the same example in a padded batch, for the oracle tests.

Axes: B batch, S spatial, C input channels, K output channels. PyTorch's order is [B, C, *S], ours [B, *S, C].
"""

from collections.abc import Callable, Sequence

import contract
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fcnjax import Padded

TOLERANCES = {np.float32: 2e-5, np.float64: 1e-9}


def to_torch(torch, example: np.ndarray):
    """Returns an example [*S, C] as a PyTorch leaf [1, C, *S]."""
    return torch.tensor(np.moveaxis(example, -1, 0)[None].copy(), requires_grad=True)


def from_torch(tensor) -> np.ndarray:
    """Returns a tensor [1, C, *S] as an array [*S, C]."""
    return np.moveaxis(tensor.detach().numpy()[0], 0, -1)


def kernel_to_torch(kernel: jax.Array) -> np.ndarray:
    """Returns a kernel [*taps, C, K] in PyTorch's order [K, C, *taps]."""
    return np.moveaxis(np.asarray(kernel), (-1, -2), (0, 1))


def assert_near(actual, expected, dtype, what: str):
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    scale = max(np.abs(expected).max(initial=0.0), contract.SMALLEST_SCALE)
    error = np.abs(actual - expected).max(initial=0.0) / scale
    assert error <= TOLERANCES[dtype], f"{what}: relative difference {error:.2e}"


def check_layer(
    torch,
    make: Callable[[], nnx.Module],
    reference: Callable,
    sizes: Sequence[tuple[int, ...]],
    channels: int,
    dtype: type,
):
    """Compares outputs, input and weight gradients of a layer with PyTorch's `reference(weights, input)`.

    The layer sees all examples in one batch with a larger padded shape and a filler row; PyTorch sees each example
    separately. `reference` takes a dictionary of leaf tensors, named as in the layer's state, and the input
    [1, C, *S].
    """
    with jax.enable_x64(dtype is np.float64):
        layer = contract.randomize(make())
        graphdef, state, rest = nnx.split(layer, nnx.Param, ...)
        state = jax.tree.map(lambda array: array.astype(dtype), state)
        rng = np.random.default_rng(3)
        examples = [rng.normal(size=(*size, channels)).astype(dtype) for size in sizes]
        shape = tuple(n + 3 for n in np.max(sizes, axis=0))
        batch = Padded.stack(examples, shape=shape, batch_size=len(examples) + 1)

        @jax.jit
        def total(state, values):
            out = nnx.merge(graphdef, state, rest)(Padded(values, batch.sizes))
            return jnp.sum(jnp.sin(out.values)), out  # 0 outside, where the values are 0

        (_, out), gradients = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(state, batch.values)
        outputs, inputs = out.unstack(), Padded(gradients[1], batch.sizes).unstack()
        ours = {name: np.asarray(value) for name, value in _named(gradients[0]).items()}
    leaves = {name: torch.tensor(np.asarray(v), requires_grad=True) for name, v in _named(state).items()}
    for index, example in enumerate(examples):
        x = to_torch(torch, example)
        y = reference(leaves, x)
        torch.sin(y).sum().backward()
        assert_near(outputs[index], from_torch(y), dtype, f"output of size {example.shape}")
        assert_near(inputs[index], from_torch(x.grad), dtype, f"input gradient of size {example.shape}")
    for name, leaf in leaves.items():
        assert_near(ours[name], leaf.grad.numpy(), dtype, f"gradient of {name}")


def _named(state) -> dict[str, jax.Array]:
    return {".".join(map(str, path)): leaf[...] for path, leaf in nnx.to_flat_state(state)}
