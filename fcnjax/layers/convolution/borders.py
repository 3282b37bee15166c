"""Borders: what a window sees beyond the edge of an example, the same for every padded shape.

A library's padding modes act at the edge of the array, which is not the edge of a padded example. Here the values
beyond the edge are read from inside each example, at positions that follow from its size.

Axes: B batch, S spatial, E the extents S with the pads added, C input channels, K output channels.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from fcnjax.geometry import Window
from fcnjax.layers.convolution.dispatch import convolve
from fcnjax.naming import check_name
from fcnjax.padded import Padded

BORDERS = ("zero", "partial", "replicate", "reflect", "circular", "valid")


def with_border(windows: Sequence[Window], border: str) -> tuple[Window, ...]:
    """Returns the windows for a border: without pads for "valid", with the smallest input that others can read from.

    Args:
        windows: one per spatial axis.
        border: "zero", "partial" (zeros, and outputs scaled by the ratio of all taps to valid taps), "replicate" (the
            edge value), "reflect" (mirrored, without repeating the edge value), "circular" (values from the
            opposite edge) or "valid" (no window reaches beyond the edge; pads are ignored).

    Raises:
        ValueError: if the border is unknown.
    """
    check_name("border", border, BORDERS)
    if border == "valid":
        return tuple(dataclasses.replace(window, padding=(0, 0)) for window in windows)
    beyond_pads = {"reflect": 1, "circular": 0}
    if border not in beyond_pads:
        return tuple(windows)
    return tuple(dataclasses.replace(w, smallest=max(1, max(w.padding) + beyond_pads[border])) for w in windows)


def convolve_with_border(
    batch: Padded, kernel: jax.Array, windows: Sequence[Window], groups: int, border: str
) -> jax.Array:
    """Returns the cross-correlation [B, *S', K] of a batch with a kernel; not cleared outside the examples.

    Args:
        batch: values [B, *S, C].
        kernel: [*taps, C / groups, K].
        windows: one per spatial axis, from `with_border`.
        groups: number of channel groups.
        border: one of `BORDERS`, as for `with_border`.
    """
    sizes = None if batch.has_zero_padding else batch.sizes
    if border == "zero" or not any(sum(window.padding) for window in windows):
        return convolve(batch.raw_values, kernel, windows, groups, sizes)
    if border == "partial":
        outputs = convolve(batch.raw_values, kernel, windows, groups, sizes)
        return outputs * _partial_scale(batch, windows, outputs.shape[1:-1]).astype(outputs.dtype)
    without_pads = [dataclasses.replace(window, padding=(0, 0)) for window in windows]
    return convolve(_extended(batch, windows, border), kernel, without_pads, groups)


def _extended(batch: Padded, windows: Sequence[Window], border: str) -> jax.Array:
    """Returns values [B, *E, C]: each example surrounded by its border, at the origin."""
    values = batch.raw_values
    for axis, window in enumerate(windows):
        if not sum(window.padding):
            continue
        extent = batch.spatial_shape[axis]
        positions = jnp.arange(extent + sum(window.padding), dtype=batch.sizes.dtype) - window.padding[0]
        source = _SOURCES[border](positions[None], batch.sizes[:, axis, None])  # [B, E]
        values = read_along(values, axis, source)
    return values


def read_along(values: jax.Array, axis: int, positions: jax.Array) -> jax.Array:
    """Returns values [B, *S, C] read along spatial axis `axis` at positions [B, E], clipped to the padded shape."""
    within = jnp.clip(positions, 0, values.shape[axis + 1] - 1)
    return jnp.take_along_axis(values, along(within, axis, values.ndim), axis + 1, mode="promise_in_bounds")


def along(vectors: jax.Array, axis: int, rank: int) -> jax.Array:
    """Returns vectors [B, E] as an array of `rank` axes with E at spatial axis `axis` and 1 at the others."""
    return vectors.reshape([{0: vectors.shape[0], axis + 1: vectors.shape[1]}.get(i, 1) for i in range(rank)])


def _reflected(positions: jax.Array, sizes: jax.Array) -> jax.Array:
    period = jnp.maximum(2 * (sizes - 1), 1)
    within = positions % period
    return jnp.minimum(within, period - within)


# (positions [1, E], sizes [B, 1]) -> positions [B, E] inside the examples, from which to read
_SOURCES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "replicate": lambda positions, sizes: jnp.clip(positions, 0, sizes - 1),
    "reflect": _reflected,
    "circular": lambda positions, sizes: positions % jnp.maximum(sizes, 1),
}


def _partial_scale(batch: Padded, windows: Sequence[Window], outputs: Sequence[int]) -> jax.Array:
    """Returns float32 [B, *S', 1], the number of taps over the number of taps inside the example (at least 1)."""
    valid = jnp.ones((1,) * (batch.rank + 2))
    for axis, (window, extent) in enumerate(zip(windows, outputs, strict=True)):
        starts = jnp.arange(extent) * window.stride - window.padding[0]
        taps = (starts[:, None] + jnp.arange(window.kernel)[None] * window.dilation)[None]  # [1, S', taps]
        inside = (taps >= 0) & (taps < batch.sizes[:, axis, None, None])
        valid = valid * along(jnp.sum(inside, -1), axis, batch.rank + 2)
    return math.prod(window.kernel for window in windows) / jnp.maximum(valid, 1)
