"""Winograd's minimal filtering F(2, 2), for windows that are two positions wide.

Two neighbouring outputs of a filter with two taps take three products instead of four:

    y0 = a0 w0 + a1 w1 = (a0 - a1) w0 + a1 (w0 + w1)
    y1 = a1 w0 + a2 w1 = (a2 - a1) w1 + a1 (w0 + w1)

Along each axis in turn, that is 9 instead of 16 products for windows of 2x2, and so for their gradients. Nothing is
scaled: the only rounding it adds is that of one sum or difference for each axis.

Source: Winograd, "Arithmetic Complexity of Computations", 1980; for convolutions Lavin and Gray, "Fast Algorithms for
Convolutional Neural Networks", 2015.
Axes: B batch, S spatial, D input channels, K output channels.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata

from fcnjax.layers.products import channel_product


def correlate_pairs(values: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the cross-correlation [B, *S', K] of values [B, *S, D] with a kernel [*taps, D, K], at stride 1.

    There are one or two taps along each axis. Where there are two, S must be even and S' is S - 2: one output less than
    the windows that fit. Where there is one, S' is S.
    """
    paired = [axis for axis, taps in enumerate(kernel.shape[:-2], start=1) if taps == 2]
    parts, kernels = [values], [kernel]
    for axis in paired:
        parts = [part for whole in parts for part in _differences(whole, axis)]
        kernels = [part for whole in kernels for part in _sums(whole, axis - 1)]
    outputs = [
        channel_product(part, matrix.reshape(matrix.shape[-2:])) for part, matrix in zip(parts, kernels, strict=True)
    ]
    for axis in reversed(paired):
        outputs = [_pair(outputs[first : first + 3], axis) for first in range(0, len(outputs), 3)]
    return outputs[0]


def apart(function: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """Returns the same function, and so its derivatives, as one that XLA does not fuse with what comes before or after.

    XLA's CPU compiler writes a transposition anew into everything that reads it, and is slow where it does; it takes
    no notice of `lax.optimization_barrier`.
    """

    def call(values: jax.Array) -> jax.Array:
        with set_xla_metadata(inlineable="false"):
            return jax.jit(function)(values)

    return call


def _differences(values: jax.Array, axis: int) -> tuple[jax.Array, ...]:
    """Returns a0 - a1, a1 and a2 - a1 of each pair of outputs, half as many along the axis, less one."""
    pairs = values.reshape(*values.shape[:axis], -1, 2, *values.shape[axis + 1 :])
    even, odd = (lax.index_in_dim(pairs, index, axis + 1, keepdims=False) for index in (0, 1))
    count = even.shape[axis] - 1
    a0, a1, a2 = (
        lax.slice_in_dim(each, first, first + count, axis=axis) for each, first in ((even, 0), (odd, 0), (even, 1))
    )
    return a0 - a1, a1, a2 - a1


def _sums(kernel: jax.Array, axis: int) -> tuple[jax.Array, ...]:
    """Returns w0, w0 + w1 and w1."""
    w0, w1 = (lax.slice_in_dim(kernel, tap, tap + 1, axis=axis) for tap in (0, 1))
    return w0, w0 + w1, w1


def _pair(products: Sequence[jax.Array], axis: int) -> jax.Array:
    """Returns y0 and y1 by turns."""
    first, shared, last = products
    pairs = jnp.stack([first + shared, shared + last], axis + 1)
    return pairs.reshape(*first.shape[:axis], -1, *first.shape[axis + 1 :])
