"""Winograd's algorithm F(2, 2), for kernels of two taps along an axis at stride 1.

Two neighboring outputs of a filter with two taps need three products instead of four:

    y0 = a0 w0 + a1 w1 = (a0 - a1) w0 + a1 (w0 + w1)
    y1 = a1 w0 + a2 w1 = (a2 - a1) w1 + a1 (w0 + w1)

Applied along both axes, a 2x2 kernel needs 9 instead of 16 products, and so do its gradients. Nothing is scaled: the
additional rounding per axis comes from one sum or difference of two numbers before the products and one after them.

Source: Winograd, "Arithmetic Complexity of Computations", 1980; for convolutions Lavin and Gray, "Fast Algorithms for
Convolutional Neural Networks", 2015.
Axes: B batch, S spatial, D input channels, K output channels.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from fcnjax.layers.convolution.cpu.products import channel_product_on_cpu


def correlate_pairs(values: jax.Array, kernel: jax.Array, extents: Sequence[int]) -> jax.Array:
    """Returns the cross-correlation [B, *extents, K] of values [B, *S, D] with a kernel [*taps, D, K], at stride 1.

    Args:
        values: [B, *S, D]; along an axis with two taps, S is the extent plus 1, rounded up to an even number; along an
            axis with one tap, S is the extent.
        kernel: [*taps, D, K], one or two taps along each axis.
        extents: number of outputs along each axis; if it is odd, the last output needs two products.
    """
    paired = [axis for axis, taps in enumerate(kernel.shape[:-2], start=1) if taps == 2]
    parts, kernels = [values], [kernel]
    for axis in paired:
        parts = [part for whole in parts for part in _differences(whole, axis, extents[axis - 1])]
        kernels = [part for whole in kernels for part in _sums(whole, axis - 1)]
    matrices = [matrix.reshape(matrix.shape[-2:]) for matrix in kernels]
    outputs = [channel_product_on_cpu(part, matrix) for part, matrix in zip(parts, matrices, strict=True)]
    for axis in reversed(paired):
        thirds = [outputs[first : first + 3] for first in range(0, len(outputs), 3)]
        outputs = [_pair(products, axis, extents[axis - 1]) for products in thirds]
    return outputs[0]


def _differences(values: jax.Array, axis: int, extent: int) -> tuple[jax.Array, ...]:
    """Returns a0 - a1 and a1 for each pair of outputs and for a last single one, and a2 - a1 for each pair."""
    cut = values.reshape(*values.shape[:axis], values.shape[axis] // 2, 2, *values.shape[axis + 1 :])
    even, odd = (lax.index_in_dim(cut, index, axis + 1, keepdims=False) for index in (0, 1))
    count, pairs = -(-extent // 2), extent // 2
    a0, a1 = (_cut(each, axis, count) for each in (even, odd))
    return lax.sub(a0, a1), a1, lax.sub(lax.slice_in_dim(even, 1, 1 + pairs, axis=axis), _cut(odd, axis, pairs))


def _sums(kernel: jax.Array, axis: int) -> tuple[jax.Array, ...]:
    """Returns w0, w0 + w1 and w1."""
    w0, w1 = (lax.slice_in_dim(kernel, tap, tap + 1, axis=axis) for tap in (0, 1))
    return w0, lax.add(w0, w1), w1


def _pair(products: Sequence[jax.Array], axis: int, extent: int) -> jax.Array:
    """Interleaves y0 and y1, trimmed to `extent`."""
    first, shared, last = products
    missing = first.shape[axis] - last.shape[axis]
    if missing:
        pads = [(0, missing if index == axis else 0, 0) for index in range(last.ndim)]
        last = lax.pad(last, jnp.zeros((), last.dtype), pads)
    outputs = [lax.expand_dims(lax.add(shared, each), [axis + 1]) for each in (first, last)]
    interleaved = lax.concatenate(outputs, axis + 1)
    return _cut(interleaved.reshape(*first.shape[:axis], 2 * first.shape[axis], *first.shape[axis + 1 :]), axis, extent)


def _cut(values: jax.Array, axis: int, extent: int) -> jax.Array:
    return values if values.shape[axis] == extent else lax.slice_in_dim(values, 0, extent, axis=axis)
