"""Strided convolutions on a CPU: the values that each window covers, times the kernel, as products of matrices.

XLA's CPU convolutions are slow, and vary in speed, in the gradients of strided windows. With one product of the
windows' values and a matrix instead, a train step is faster: 1.7 times for 3x3 taps, stride 2, 3-32-64-128 channels and
64 examples of 48x48, 1.08 times for 4x4 taps, 1-32-64-128 channels and 16 examples of 40x40 (2 cores, side by side). A
window as wide as a multiple of its stride is a convolution of blocks at stride 1; windows of two blocks are computed in
pairs by Winograd's algorithm if that saves enough multiplications.

Axes: B batch, S spatial, C input channels, K output channels; D the channels of a block, C times its positions.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from fcnjax.geometry import Window
from fcnjax.layers.convolution.cpu.products import channel_product_on_cpu
from fcnjax.layers.convolution.cpu.winograd import correlate_pairs
from fcnjax.layers.convolution.library import library_convolution
from fcnjax.layers.convolution.product_rule import product_rule
from fcnjax.padded import mask
from fcnjax.xla import fusion_boundary

MIN_SAVED = 5e7  # multiplications that Winograd's algorithm must save


def correlate_strided(
    values: jax.Array, kernel: jax.Array, windows: Sequence[Window], sizes: jax.Array | None
) -> jax.Array:
    """Returns the cross-correlation [B, *S', K] of values [B, *S, C] with a kernel [*taps, C, K].

    The positions are cut into blocks of one stride. A window covers some of these blocks (the last one perhaps only in
    part) and moves by one block.

    Args:
        values: [B, *S, C].
        kernel: [*taps, C, K].
        windows: one per spatial axis, without dilation, with at least one output.
        sizes: int32 [B, len(S)]; values outside these sizes are read as zero. None: all values are read as they are.
    """
    strides = tuple(window.stride for window in windows)
    extents = [window.out_size(size) for window, size in zip(windows, values.shape[1:-1], strict=True)]
    blocks = [-(-window.kernel // window.stride) for window in windows]
    whole = max(strides) > 1 < max(blocks) and all(window.kernel % window.stride == 0 for window in windows)
    if whole:
        kernel = _in_channels_of_blocks(kernel, blocks, strides)
    in_pairs = whole and _pays_in_pairs(len(values), extents, kernel)
    counts = [
        extent + 2 - extent % 2 if in_pairs and block == 2 else extent - 1 + block
        for extent, block in zip(extents, blocks, strict=True)
    ]
    ends = [count * stride for count, stride in zip(counts, strides, strict=True)]
    values = padded_for_windows(values, windows, ends, sizes)
    if not whole:
        return _product(values, kernel, strides)

    def merged(values: jax.Array) -> jax.Array:
        return _in_blocks(values, strides).reshape(len(values), *counts, -1)

    if not in_pairs:
        return _block_product(merged(values), kernel)
    return correlate_pairs(fusion_boundary(merged)(values), kernel, extents)


def _in_channels_of_blocks(kernel: jax.Array, blocks: Sequence[int], strides: Sequence[int]) -> jax.Array:
    """Returns a kernel [*taps, C, K] as [*blocks, D, K]: the taps within a block become channels."""
    kernel = kernel.reshape(*_interleaved(blocks, strides), *kernel.shape[-2:])
    return _blocks_first(kernel, 0, len(blocks)).reshape(*blocks, -1, kernel.shape[-1])


def _product(values: jax.Array, kernel: jax.Array, strides: tuple[int, ...]) -> jax.Array:
    """Returns [B, *S', K] of values [B, *(count * stride), C], as one product with a row of values per window."""
    covered = _covered(values, kernel.shape[:-2], strides)
    matrix = kernel.reshape(-1, kernel.shape[-1])
    return channel_product_on_cpu(covered.reshape(*covered.shape[: 1 + len(strides)], len(matrix)), matrix)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _covered(values: jax.Array, taps: tuple[int, ...], strides: tuple[int, ...]) -> jax.Array:
    """Returns the values that each window covers, [B, *S', *taps, C], of values [B, *(count * stride), C].

    A gather writes them in one pass; slices would be written one by one and a second time when they are concatenated.
    The gather makes a train step with 3x3 taps, stride 2, 3-32-64-128 channels and 64 examples of 48x48 1.1 times as
    fast (2 cores, side by side). Fusion is blocked: XLA would recompute the producer once per window, and a reshape of
    axes as the consumer would cost divisions to find the position of each element.
    """
    rank, shape = len(taps), (1, *taps, values.shape[-1])
    extents = _extents(values, taps, strides)
    dimensions = lax.GatherDimensionNumbers(
        offset_dims=tuple(range(1 + rank, 2 + 2 * rank)),
        collapsed_slice_dims=(),
        start_index_map=tuple(range(1, 1 + rank)),
        operand_batching_dims=(0,),
        start_indices_batching_dims=(0,),
    )

    def gather(values: jax.Array) -> jax.Array:
        grid = (len(values), *extents)
        starts = [stride * lax.broadcasted_iota(jnp.int32, grid, 1 + axis) for axis, stride in enumerate(strides)]
        within = lax.GatherScatterMode.PROMISE_IN_BOUNDS
        return lax.gather(values, jnp.stack(starts, -1), dimensions, shape, mode=within)

    return fusion_boundary(gather)(values)


@_covered.defjvp
def _covered_jvp(
    taps: tuple[int, ...], strides: tuple[int, ...], primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Returns the tangent as slices of blocks.

    The gradient then sums few, unstrided terms; the gradient of a gather adds element by element.
    """
    (values,), (values_dot,) = primals, tangents
    extents = _extents(values, taps, strides)
    in_blocks = _in_blocks(values_dot, strides)

    def joined(offset: tuple[int, ...]) -> jax.Array:
        axis = len(offset)
        if axis == len(taps):
            ends = [min(stride, tap - o * stride) for o, tap, stride in zip(offset, taps, strides, strict=True)]
            within = (slice(o, o + extent) for o, extent in zip(offset, extents, strict=True))
            return in_blocks[(slice(None), *within, *map(slice, ends))]
        blocks = range(-(-taps[axis] // strides[axis]))
        return jnp.concatenate([joined((*offset, block)) for block in blocks], 1 + len(taps) + axis)

    return _covered(values, taps, strides), joined(())


def _extents(values: jax.Array, taps: Sequence[int], strides: Sequence[int]) -> list[int]:
    """Returns the number of windows along each axis of values [B, *(count * stride), C]."""
    return [n // stride + 1 + -tap // stride for n, tap, stride in zip(values.shape[1:-1], taps, strides, strict=True)]


def _pays_in_pairs(rows: int, extents: Sequence[int], kernel: jax.Array) -> bool:
    """Returns whether Winograd's algorithm is faster for outputs [rows, *extents, K] and a kernel [*blocks, D, K].

    It makes a train step with 4x4 taps, stride 2 and 3-32-64-128 channels 1.2 times as fast if its layers save
    `MIN_SAVED` multiplications, and 0.9 times as fast if they save a third of that, since its products are small (2
    cores, side by side). A single convolution with its gradients is 1.09 times as fast in one dimension, 1.3 to 1.4
    times in two, 1.7 to 1.9 times in three. It is not used in half precision: it would round both the sums and the
    products, while a product of whole windows adds its terms in float32.
    """
    *blocks, channels, outputs = kernel.shape
    if max(blocks) > 2 or channels < outputs or kernel.dtype.itemsize < 4:
        return False
    paired = [extent if block == 1 else extent - (-extent // 2) for extent, block in zip(extents, blocks, strict=True)]
    saved = math.prod(extents) * math.prod(blocks) - math.prod(paired)
    return rows * saved * channels * outputs >= MIN_SAVED


def padded_for_windows(
    values: jax.Array, windows: Sequence[Window], extents: Sequence[int], sizes: jax.Array | None
) -> jax.Array:
    """Returns values [B, *extents, C] that begin where the first window does, zero outside the sizes.

    They are cleared after the pad: on a CPU, XLA takes three times as long for a selection inside a pad as for one
    outside (0.69 and 0.24 ms for 64 examples of 24x24x32).
    """
    pads = [  # the pad after the input is negative if no window reaches its end
        (window.padding[0], extent - size - window.padding[0])
        for window, extent, size in zip(windows, extents, values.shape[1:-1], strict=True)
    ]
    zero = jnp.zeros((), values.dtype)
    padded = lax.pad(values, zero, [(0, 0, 0), *((*pad, 0) for pad in pads), (0, 0, 0)])
    if sizes is None:
        return padded
    ends = sizes + jnp.array([[before for before, _ in pads]], sizes.dtype)
    return jnp.where(mask(ends, padded.shape[1:-1]), padded, zero)


def _in_blocks(values: jax.Array, strides: Sequence[int]) -> jax.Array:
    """Returns values [B, *(count * stride), C] as [B, *counts, *strides, C]."""
    counts = [size // stride for size, stride in zip(values.shape[1:-1], strides, strict=True)]
    return _blocks_first(values.reshape(len(values), *_interleaved(counts, strides), -1), 1, len(strides))


def _blocks_first(array: jax.Array, start: int, rank: int) -> jax.Array:
    """Returns [.., block, within, block, within, ..] (from the axis `start` on) as [.., *blocks, *within, ..]."""
    end = start + 2 * rank
    return array.transpose(*range(start), *range(start, end, 2), *range(start + 1, end, 2), *range(end, array.ndim))


@jax.custom_jvp
def _block_product(values: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the cross-correlation of values [B, *S, D], which are whole blocks, with a kernel [*blocks, D, K].

    The output is a product. The gradient of the values is the library's convolution at stride 1, since a product would
    have to scatter rows as long as a window. This makes a train step with 4x4 taps, stride 2 and 3-32-64-128 channels
    1.1 times as fast (batches of 2**17 and of 2**19 positions, 2 cores, side by side). With 3x3 taps, stride 2, that
    convolution would multiply zeros: 0.92 times as fast.
    """
    return _product(values, kernel, (1,) * (kernel.ndim - 2))


@functools.partial(_block_product.defjvp, symbolic_zeros=True)
def _block_product_jvp(primals: tuple[jax.Array, jax.Array], tangents: tuple[Any, Any]) -> tuple[jax.Array, Any]:
    (values, kernel), (values_dot, kernel_dot) = primals, tangents
    return product_rule(
        _block_product(values, kernel),
        (values_dot, lambda values_dot: library_convolution(values_dot, kernel, (1,) * (kernel.ndim - 2), "VALID")),
        (kernel_dot, lambda kernel_dot: _block_product(values, kernel_dot)),
    )


def _interleaved(outer: Sequence[int], inner: Sequence[int]) -> list[int]:
    return [extent for pair in zip(outer, inner, strict=True) for extent in pair]
