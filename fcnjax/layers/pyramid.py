"""Spatial pyramid pooling: turns an example of any size into a vector of fixed length that keeps some of its layout.

Axes: B batch, S spatial, C channels, N bins along one axis.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from fcnjax.geometry import FullWindow
from fcnjax.layers.convolution.borders import along
from fcnjax.layers.layer import WindowedLayer
from fcnjax.naming import check_name
from fcnjax.padded import Padded

METHODS = ("max", "mean")


class SpatialPyramidPool(WindowedLayer):
    """Cuts each example into 1, 2, 4, .. bins along every axis and pools each bin to one value per channel.

    Bins follow the example's own size: bin i of n covers the positions from `floor(i * size / n)` up to, but not
    including, `ceil((i + 1) * size / n)`, as in PyTorch's adaptive pooling; in an example smaller than n they overlap.
    The output is one position of `out_channels(C)` channels: level by level, bins in row-major order, C channels each.

    Args:
        levels: number of bins along each axis, one int per level, each at least 1.
        method: "max" or "mean" of the positions of a bin.
        rank: number of spatial axes, 1 to 3.

    Raises:
        ValueError: if there are no levels, if one is below 1, or if the method is unknown.

    Source: He et al., "Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition", 2015.

    >>> SpatialPyramidPool((1, 2, 4)).out_channels(256)
    5376
    """

    def __init__(self, levels: Sequence[int] = (1, 2, 4), method: str = "max", *, rank: int = 2):
        if not levels or min(levels) < 1:
            raise ValueError(f"levels={tuple(levels)} of SpatialPyramidPool: must be one or more ints of at least 1.")
        check_name("method of SpatialPyramidPool", method, METHODS)
        super().__init__([FullWindow()] * rank)
        self.levels, self.method = tuple(levels), method

    def out_channels(self, channels: int) -> int:
        return channels * sum(level ** len(self._windows) for level in self.levels)

    def transform(self, batch: Padded) -> Padded:
        sizes = self.out_sizes(batch)
        position = (batch.batch_size, *(1,) * batch.rank)
        pooled = [
            self._level(batch, level).reshape(*position, level**batch.rank * batch.channels) for level in self.levels
        ]
        return batch.replace(jnp.concatenate(pooled, -1), sizes)

    def _level(self, batch: Padded, bins: int) -> jax.Array:
        """Returns values [B, N, .., N, C] of one level, reduced axis by axis."""
        values = batch.values if self.method == "mean" else jnp.where(batch.mask, batch.raw_values, -jnp.inf)
        for axis in range(batch.rank):
            reduce = functools.partial(self._bin, values, axis, batch.sizes[:, axis], bins)
            values = jnp.stack([reduce(index) for index in range(bins)], axis + 1)
        empty = (~batch.real).reshape(-1, *(1,) * (values.ndim - 1))  # the maximum of a filler row is -inf
        return jnp.where(empty, 0.0, values)

    def _bin(self, values: jax.Array, axis: int, sizes: jax.Array, bins: int, index: int) -> jax.Array:
        start, stop = _share(sizes, index, bins), sizes - _share(sizes, bins - index - 1, bins)
        positions = jnp.arange(values.shape[axis + 1], dtype=sizes.dtype)[None]
        inside = along((positions >= start[:, None]) & (positions < stop[:, None]), axis, values.ndim)
        if self.method == "max":
            return jnp.max(jnp.where(inside, values, -jnp.inf), axis + 1)
        count = jnp.maximum(stop - start, 1).astype(values.dtype).reshape(-1, *(1,) * (values.ndim - 2))
        return jnp.sum(values, axis + 1, where=inside) / count


def _share(sizes: jax.Array, part: int, whole: int) -> jax.Array:
    """Returns `floor(part * sizes / whole)` without the product, which may overflow."""
    return part * (sizes // whole) + part * (sizes % whole) // whole
