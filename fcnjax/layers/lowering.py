"""How a convolution is computed: the one place that chooses, per platform and window.

XLA's CPU convolutions are slow in the gradients of strided windows, and erratically so; written as one product of the
windows' values and a matrix a train step is faster: 1.86 times for 3x3 taps, stride 2, 3-32-64-128 channels and 64
examples of 48x48, 1.48 times for 4x4 taps, 1-32-64-128 channels and 16 examples of 40x40 (2 cores, side by side).
Elsewhere than on CPUs, and without a stride, the library's is used.

Axes: B batch, S spatial, C input channels, K output channels.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from fcnjax.geometry import Expansion, Window
from fcnjax.padded import Padded

_DIMENSIONS = {1: ("NHC", "HIO", "NHC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}


def convolve(batch: Padded, kernel: jax.Array, windows: Sequence[Window], groups: int = 1) -> jax.Array:
    """Returns the cross-correlation [B, *S', K] of a batch [B, *S, C] with a kernel [*taps, C / groups, K]."""
    if not any(sum(window.padding) for window in windows):
        batch = Padded(batch.uncleared, batch.sizes)  # whole windows alone: none of them sees what stands outside
    extents = [window.out_size(size) for window, size in zip(windows, batch.spatial_shape, strict=True)]
    strided = any(window.stride > 1 for window in windows) and all(window.dilation == 1 for window in windows)
    if not strided or groups > 1 or 0 in extents:
        return _library(batch, kernel, windows, groups)
    return lax.platform_dependent(
        kernel,
        cpu=lambda kernel: _as_product(batch, kernel, windows, extents),
        default=lambda kernel: _library(batch, kernel, windows, groups),
    )


def convolve_transposed(
    values: jax.Array, kernel: jax.Array, windows: Sequence[Expansion], groups: int = 1
) -> jax.Array:
    """Returns the transposed convolution [B, *S', K] of values [B, *S, C] with a kernel [*taps, C / groups, K].

    As a convolution: zeros between the inputs, and the kernel turned round.
    """
    taps = range(len(windows))
    return lax.conv_general_dilated(
        values,
        jnp.flip(kernel, tuple(taps)),
        window_strides=[1 for _ in windows],
        padding=[(w.kernel - 1 - w.padding[0], w.kernel - 1 - w.padding[1]) for w in windows],
        lhs_dilation=[window.stride for window in windows],
        dimension_numbers=_DIMENSIONS[len(windows)],
        feature_group_count=groups,
    )


def channel_product(values: jax.Array, matrix: jax.Array) -> jax.Array:
    """Returns [B, *S, K], the channels of values [B, *S, C] times a matrix [C, K], as a product of two matrices.

    In the gradient, XLA's CPU compiler can transpose a matrix within the product. With more axes it computes all that
    leads to the gradient once more, transposed: 7.9 and 13.4 instead of 5.8 and 10.1 ms for a train step of the 4x4,
    stride 2 stack, 16 examples of 32x31 and 40x40.
    """
    channels, outputs = matrix.shape
    rows = values.reshape(-1, channels)
    product = lax.platform_dependent(rows, matrix, cpu=_cpu_product, default=jnp.matmul)
    return product.reshape(*values.shape[:-1], outputs)


def _cpu_product(rows: jax.Array, matrix: jax.Array) -> jax.Array:
    """Returns rows [N, C] times a matrix [C, K], laid out for its gradient, which is the slowest of the three products.

    A gradient [C, K] with more rows than columns takes XLA's CPU compiler twice as long as its transpose: 22 and 11 ms
    for C, K = 512, 64 and N = 9216. The barrier keeps the compiler from undoing the transposition.
    """
    channels, outputs = matrix.shape
    if channels < 2 * outputs:
        return rows @ matrix
    return lax.dot_general(rows, lax.optimization_barrier(matrix.T), (((1,), (1,)), ((), ())))


def _library(batch: Padded, kernel: jax.Array, windows: Sequence[Window], groups: int) -> jax.Array:
    return lax.conv_general_dilated(
        batch.values,
        kernel,
        window_strides=[window.stride for window in windows],
        padding=[window.padding for window in windows],
        rhs_dilation=[window.dilation for window in windows],
        dimension_numbers=_DIMENSIONS[len(windows)],
        feature_group_count=groups,
    )


def _as_product(batch: Padded, kernel: jax.Array, windows: Sequence[Window], extents: Sequence[int]) -> jax.Array:
    """The same as one matrix product.

    Positions are cut into blocks of one stride; a window covers `blocks` of them at stride 1, the last one in part.
    Gathering these parts for each window gives rows for the product, and in the gradient a sum of few, unstrided terms.
    """
    rank, (channels, outputs) = len(windows), kernel.shape[-2:]
    strides = [window.stride for window in windows]
    blocks = [-(-window.kernel // window.stride) for window in windows]
    counts = [extent - 1 + block for extent, block in zip(extents, blocks, strict=True)]
    pads = [  # the amount after the input is negative where no window reaches its end
        (window.padding[0], count * window.stride - size - window.padding[0])
        for window, count, size in zip(windows, counts, batch.spatial_shape, strict=True)
    ]
    values = batch.widened(pads)
    values = values.reshape(values.shape[0], *_interleaved(counts, strides), channels)
    values = values.transpose(0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1)
    if any(block > 1 for block in blocks) and all(window.kernel % window.stride == 0 for window in windows):
        kernel = kernel.reshape(*_interleaved(blocks, strides), channels, outputs)
        kernel = kernel.transpose(*range(0, 2 * rank, 2), *range(1, 2 * rank, 2), 2 * rank, 2 * rank + 1)
        return _block_product(values.reshape(*values.shape[: rank + 1], -1), kernel.reshape(*blocks, -1, outputs))
    rows, matrices = [], []
    for offset in itertools.product(*map(range, blocks)):
        ends = [min((o + 1) * w.stride, w.kernel) for o, w in zip(offset, windows, strict=True)]
        taps = [slice(o * w.stride, end) for o, w, end in zip(offset, windows, ends, strict=True)]
        covered = [slice(tap.stop - tap.start) for tap in taps]
        rows.append(values[(slice(None), *_within(offset, extents), *covered)].reshape(len(values), *extents, -1))
        matrices.append(kernel[tuple(taps)].reshape(-1, outputs))
    return channel_product(jnp.concatenate(rows, axis=-1), jnp.concatenate(matrices))


@jax.custom_jvp
def _block_product(values: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the cross-correlation of values [B, *S, D], which are whole blocks, with a kernel [*blocks, D, K].

    As a product; but the gradient of the values, whose own product would have a row as long as a window to scatter, is
    the library's convolution at stride 1: a train step with 4x4 taps, stride 2 and 3-32-64-128 channels is 1.1 times as
    fast for it (batches of 2**17 and of 2**19 positions, 2 cores, side by side). With 3x3 taps, stride 2, that
    convolution would multiply zeros: 0.92 times as fast.
    """
    blocks, outputs = kernel.shape[:-2], kernel.shape[-1]
    extents = [count + 1 - block for count, block in zip(values.shape[1:-1], blocks, strict=True)]
    offsets = itertools.product(*map(range, blocks))
    rows = [values[(slice(None), *_within(offset, extents))] for offset in offsets]
    return channel_product(jnp.concatenate(rows, axis=-1), kernel.reshape(-1, outputs))


@functools.partial(_block_product.defjvp, symbolic_zeros=True)
def _block_product_jvp(primals: tuple[jax.Array, jax.Array], tangents: tuple[Any, Any]) -> tuple[jax.Array, Any]:
    (values, kernel), (values_dot, kernel_dot) = primals, tangents
    out = _block_product(values, kernel)
    terms = []
    if not isinstance(values_dot, SymbolicZero):
        ones, dimensions = (1,) * (kernel.ndim - 2), _DIMENSIONS[kernel.ndim - 2]
        terms.append(lax.conv_general_dilated(values_dot, kernel, ones, "VALID", dimension_numbers=dimensions))
    if not isinstance(kernel_dot, SymbolicZero):
        terms.append(_block_product(values, kernel_dot))
    return out, functools.reduce(jnp.add, terms) if terms else jnp.zeros_like(out)


def _within(offset: Sequence[int], extents: Sequence[int]) -> list[slice]:
    return [slice(o, o + extent) for o, extent in zip(offset, extents, strict=True)]


def _interleaved(outer: Sequence[int], inner: Sequence[int]) -> list[int]:
    return [extent for pair in zip(outer, inner, strict=True) for extent in pair]
