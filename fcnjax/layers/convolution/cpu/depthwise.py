"""Depthwise convolutions on a CPU: a sum of shifted slices, each times its tap of the kernel.

XLA's CPU compiler computes a convolution of many groups group by group; the slices become one loop over all channels.
Milliseconds of a 3x3 kernel on 8 examples of 64x64x96 (2 cores): 1.7 for the output, 1.1 and 9 for the gradients of
the values and of the kernel; the library's convolution takes 62 and over 100 each.

Axes: B batch, S spatial, C channels.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fcnjax.geometry import Window
from fcnjax.layers.convolution.cpu.strided import padded_for_windows
from fcnjax.layers.convolution.product_rule import product_rule
from fcnjax.xla import fusion_boundary

MAX_TAPS = 64  # of a kernel; more would make long programs
MAX_COVERED = 2**25  # bytes of values at the taps of all windows
_padded_in_one_pass = fusion_boundary(padded_for_windows, static_argnums=(1, 2))


def suits_slices(kernel: jax.Array, groups: int) -> bool:
    """Returns whether a kernel [*taps, C / groups, K] is depthwise, without a multiplier, and small enough."""
    *taps, channels, outputs = kernel.shape
    return channels == 1 and outputs == groups > 1 and math.prod(taps) <= MAX_TAPS


def correlate_depthwise(
    values: jax.Array, kernel: jax.Array, windows: Sequence[Window], sizes: jax.Array | None
) -> jax.Array:
    """Returns the cross-correlation [B, *S', C] of values [B, *S, C] with a kernel [*taps, 1, C].

    Args:
        values: [B, *S, C].
        kernel: [*taps, 1, C].
        windows: one per spatial axis, with at least one output.
        sizes: int32 [B, len(S)]; values outside these sizes are read as zero. None: all values are read as they are.
    """
    strides, dilation = (tuple(getattr(window, name) for window in windows) for name in ("stride", "dilation"))
    extents = [
        (window.out_size(size) - 1) * window.stride + (window.kernel - 1) * window.dilation + 1
        for window, size in zip(windows, values.shape[1:-1], strict=True)
    ]
    wide = jnp.promote_types(values.dtype, jnp.float32)  # half precision would round each of the sums
    padded = _padded(values.astype(wide), sizes, tuple(windows), tuple(extents))
    return _correlate(padded, kernel[..., 0, :].astype(wide), strides, dilation).astype(values.dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _padded(
    values: jax.Array, sizes: jax.Array | None, windows: tuple[Window, ...], extents: tuple[int, ...]
) -> jax.Array:
    """Pads and clears values in a pass of its own: inside the sum of slices, it would be done once per tap.

    The gradient is free to join the sum before it.
    """
    return _padded_in_one_pass(values, windows, extents, sizes)


@_padded.defjvp
def _padded_jvp(
    windows: tuple[Window, ...], extents: tuple[int, ...], primals: tuple[Any, Any], tangents: tuple[Any, Any]
) -> tuple[jax.Array, jax.Array]:
    values, sizes = primals
    return _padded(values, sizes, windows, extents), padded_for_windows(tangents[0], windows, extents, sizes)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _correlate(values: jax.Array, kernel: jax.Array, strides: tuple[int, ...], dilation: tuple[int, ...]) -> jax.Array:
    """Returns the cross-correlation of values [B, *S, C] with a kernel [*taps, C], at every whole window.

    The gradient of the kernel multiplies the output's gradient with the values at each tap, which are as many times
    the values as the kernel has taps. If they take more than `MAX_COVERED` bytes, the examples are taken one by one,
    and if those of one example do, the taps.
    """
    return _sum_of_slices(values, kernel, strides, dilation)


@functools.partial(_correlate.defjvp, symbolic_zeros=True)
def _correlate_jvp(
    strides: tuple[int, ...],
    dilation: tuple[int, ...],
    primals: tuple[jax.Array, jax.Array],
    tangents: tuple[Any, Any],
) -> tuple[jax.Array, Any]:
    (values, kernel), (values_dot, kernel_dot) = primals, tangents
    taps, rank = kernel.shape[:-1], kernel.ndim - 1

    def by_values(values_dot: jax.Array) -> jax.Array:
        if max(strides) > 1:
            return _correlate(values_dot, kernel, strides, dilation)
        return _whole(_spread(values_dot, kernel, dilation), taps, dilation)

    def by_kernel(kernel_dot: jax.Array) -> jax.Array:
        @functools.partial(jax.checkpoint, prevent_cse=False)  # saves the values, not what `_covered` returns
        def of_example(values: jax.Array) -> jax.Array:
            weights = lax.expand_dims(kernel_dot, range(rank, 2 * rank))
            return jnp.sum(_covered(values, taps, strides, dilation) * weights, range(rank))

        covered = values.nbytes * math.prod(taps)
        if covered <= MAX_COVERED:
            return jax.vmap(of_example)(values)
        if covered <= MAX_COVERED * len(values):
            return lax.map(of_example, values)
        return _sum_of_slices(values, kernel_dot, strides, dilation)

    out = _correlate(values, kernel, strides, dilation)
    return product_rule(out, (values_dot, by_values), (kernel_dot, by_kernel))


@functools.partial(fusion_boundary, static_argnums=(2,))
@functools.partial(jax.checkpoint, static_argnums=(2,), prevent_cse=False)
def _spread(values: jax.Array, kernel: jax.Array, dilation: tuple[int, ...]) -> jax.Array:
    """Returns the sum of windows [B, *S, C] that each add their value times a kernel [*taps, C] where they stand."""
    spans = _spans(kernel.shape[:-1], dilation)
    zero, ends = np.zeros((), values.dtype), (0, 0, 0)

    def term(tap: tuple[int, ...]) -> jax.Array:
        starts = [index * each for index, each in zip(tap, dilation, strict=True)]
        pads = [(span - start, start, 0) for span, start in zip(spans, starts, strict=True)]
        return lax.pad(lax.mul(values, _at_tap(kernel, tap, values.shape)), zero, [ends, *pads, ends])

    return functools.reduce(lax.add, map(term, itertools.product(*map(range, kernel.shape[:-1]))))


@functools.partial(fusion_boundary, static_argnums=(1, 2))
def _whole(values: jax.Array, taps: tuple[int, ...], dilation: tuple[int, ...]) -> jax.Array:
    """Returns the positions of `_spread`'s output at which whole windows stood, [B, *S', C]."""
    spans = (0, *_spans(taps, dilation), 0)
    limits = [size - span for size, span in zip(values.shape, spans, strict=True)]
    return lax.slice(values, spans, limits)


@functools.partial(fusion_boundary, static_argnums=(1, 2, 3))
def _covered(
    values: jax.Array, taps: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...]
) -> jax.Array:
    """Returns the values of an example [*S, C] at each tap of each window, [*taps, *S', C].

    They are gathered in one operation. A slice per tap is as fast, but compiles seven times as long for 49 taps.
    """
    rank = len(taps)
    sizes = zip(values.shape[:-1], _spans(taps, dilation), strides, strict=True)
    grid = (*taps, *((size - 1 - span) // stride + 1 for size, span, stride in sizes))
    collapsed = tuple(range(rank))
    dimensions = lax.GatherDimensionNumbers((2 * rank,), collapsed, collapsed)

    index = [lax.broadcasted_iota(jnp.int32, grid, axis) for axis in range(2 * rank)]
    places = [dilation[axis] * index[axis] + strides[axis] * index[rank + axis] for axis in range(rank)]
    shape, within = (*(1,) * rank, values.shape[-1]), lax.GatherScatterMode.PROMISE_IN_BOUNDS
    return lax.gather(values, jnp.stack(places, -1), dimensions, shape, mode=within)


@functools.partial(fusion_boundary, static_argnums=(2, 3))
@functools.partial(jax.checkpoint, static_argnums=(2, 3), prevent_cse=False)
def _sum_of_slices(
    values: jax.Array, kernel: jax.Array, strides: tuple[int, ...], dilation: tuple[int, ...]
) -> jax.Array:
    taps = kernel.shape[:-1]
    ends = [size - 1 - span for size, span in zip(values.shape[1:-1], _spans(taps, dilation), strict=True)]
    extents = [end // stride + 1 for end, stride in zip(ends, strides, strict=True)]
    shape = (values.shape[0], *extents, values.shape[-1])

    def term(tap: tuple[int, ...]) -> jax.Array:
        starts = [index * each for index, each in zip(tap, dilation, strict=True)]
        limits = [start + end + 1 for start, end in zip(starts, ends, strict=True)]
        cut = lax.slice(values, (0, *starts, 0), (shape[0], *limits, shape[-1]), (1, *strides, 1))
        return lax.mul(cut, _at_tap(kernel, tap, shape))

    return functools.reduce(lax.add, map(term, itertools.product(*map(range, taps))))


def _at_tap(kernel: jax.Array, tap: tuple[int, ...], shape: tuple[int, ...]) -> jax.Array:
    """Returns one tap of a kernel [*taps, C], repeated to a shape [B, *S, C]."""
    limits = (*(index + 1 for index in tap), shape[-1])
    return lax.broadcast_in_dim(lax.slice(kernel, (*tap, 0), limits).reshape(-1), shape, (len(shape) - 1,))


def _spans(taps: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """Returns the distance from the first tap to the last one, along each axis."""
    return [(tap - 1) * each for tap, each in zip(taps, dilation, strict=True)]
