"""Classifier: a stack of layers and a head, with its shapes known before anything runs."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer

from fcnjax import geometry, pooling
from fcnjax.geometry import Window
from fcnjax.heads import Head
from fcnjax.layers import Layer, Sequential
from fcnjax.layers.layer import parameter_count
from fcnjax.padded import Padded, check_within


class Block(Sequential):
    """Layers applied one after another: one line of a trace.

    Args:
      name: what the trace calls it.
      layers: at least one layer.
    """

    def __init__(self, name: str, layers: Sequence[Layer]):
        super().__init__(layers)
        self.name = name


class TraceRow(NamedTuple):
    """One line of a shape table.

    Attributes:
      layer: name of the layer or block.
      size: output extent per spatial axis; empty for the scores.
      channels: output channels.
      receptive_field: input positions that one output sees, per spatial axis.
      parameters: trainable scalars.
      multiply_adds: products per example, elementwise work not counted.
    """

    layer: str
    size: tuple[int, ...]
    channels: int
    receptive_field: tuple[int, ...]
    parameters: int
    multiply_adds: int


class Classifier(nnx.Module):
    """A fully convolutional classifier: logits for inputs of any size from `min_size` up.

    Args:
      blocks: the backbone.
      head: from the backbone's features to logits.
      in_channels: C of the inputs.
      rank: number of spatial axes.
    """

    def __init__(self, blocks: Sequence[Block], head: Head, *, in_channels: int, rank: int):
        self.blocks, self.head = nnx.List(blocks), head
        self.in_channels, self.rank = in_channels, rank

    def __call__(self, batch: Padded, *, train: bool = False, keys: jax.Array | None = None) -> jax.Array:
        """Returns logits [B, K]; 0 in filler rows.

        Args:
          batch: values [B, *S, C]; what stands outside the sizes (NaN included) is never read.
          train: whether batch statistics are taken and dropout is active.
          keys: one PRNG key per example [B], needed by dropout in training.

        Raises:
          TypeError: for anything but a `Padded`.
          ValueError: for a wrong rank or channel count, a rectangle below `min_size`, and outside `jit` for an example
            below `min_size` or larger than the rectangle.
        """
        return self.head(self.features(batch, train=train, keys=keys), train=train, keys=keys)

    def features(self, batch: Padded, *, train: bool = False, keys: jax.Array | None = None) -> Padded:
        """Returns the backbone's features, values [B, *S', C']. Raises as `__call__`."""
        self.check_input(batch)
        floating = jnp.issubdtype(batch.values.dtype, jnp.floating)
        batch = batch.replace(batch.values if floating else batch.values.astype(jnp.float32))
        for block in self.blocks:
            batch = block(batch, train=train, keys=keys)
        return batch

    def class_maps(self, batch: Padded) -> Padded:
        """Returns the score of every class at every position, values [B, *S', K] (see `Head.class_maps`)."""
        return self.head.class_maps(self.features(batch))

    def check_input(self, batch: Padded):
        """Raises ValueError for inputs that this network cannot take (sizes only where they are known, outside jit)."""
        if not isinstance(batch, Padded):
            raise TypeError(
                f"{type(batch).__name__} as input: this network takes a fcnjax.Padded; make one of examples "
                "[*spatial, channels] with fcnjax.Padded.stack([example, ...])."
            )
        if batch.rank != self.rank or batch.channels != self.in_channels:
            first = "" if isinstance(batch.sizes, Tracer) else f"example 0 of size {_by(np.asarray(batch.sizes)[0])}, "
            raise ValueError(
                f"{first}values of shape {tuple(batch.values.shape)}: this network takes [batch, *spatial, channels] "
                f"with {self.rank} spatial axes and {self.in_channels} channels, of at least {_by(self.min_size)}."
            )
        shape, least = batch.spatial_shape, self.min_size
        if not isinstance(batch.sizes, Tracer):
            sizes = np.asarray(batch.sizes)
            check_within(sizes, shape)
            check_sizes(sizes, least)
        elif any(isinstance(n, int) and n < m for n, m in zip(shape, least, strict=True)):
            raise ValueError(
                f"rectangle {_by(shape)}: below this network's minimum size {_by(least)}; no example in it can be used."
            )

    def _windows(self) -> list[tuple[Window, ...]]:
        """The windows of the backbone, one tuple of layers per spatial axis."""
        return list(zip(*(windows for block in self.blocks for windows in block.path(self.rank)), strict=True))

    @property
    def min_size(self) -> tuple[int, ...]:
        """The smallest input, per spatial axis, that gives a feature map of one position."""
        return tuple(geometry.min_size(windows) for windows in self._windows())

    @property
    def stride(self) -> tuple[int, ...]:
        """Input positions per feature position (cumulative down-sampling), per spatial axis."""
        return tuple(geometry.receptive_field(windows).stride for windows in self._windows())

    @property
    def receptive_field(self) -> tuple[int, ...]:
        """Input positions that one feature position sees, per spatial axis."""
        return tuple(geometry.receptive_field(windows).size for windows in self._windows())

    def feature_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Returns the extent of the feature map for an input of `size`, without a check of `size`."""
        return tuple(geometry.out_size(w, int(n)) for w, n in zip(self._windows(), size, strict=True))

    @property
    def feature_channels(self) -> int:
        """Channels of the feature map that the head takes."""
        channels = self.in_channels
        for block in self.blocks:
            channels = block.out_channels(channels)
        return channels

    def head_multiply_adds(self, size: Sequence[int]) -> int:
        """Returns the multiply-adds of the head for an input of `size` (see `Head.multiply_adds`)."""
        return self.head.multiply_adds(self.feature_size(size), self.feature_channels)

    def trace(self, size: Sequence[int]) -> list[TraceRow]:
        """Returns the network's shape table for one input.

        Args:
          size: extent of the input per spatial axis.

        Returns:
          One row for the input, each block, each layer of the head and its pool, and the scores.

        Raises:
          ValueError: if `size` has another number of axes, an extent below 1, or is below `min_size`.
        """
        if any(extent < 1 for extent in size):
            raise ValueError(f"size {_by(size)}: every extent must be at least 1.")
        check_sizes(np.asarray([size]), self.min_size)
        rows = [TraceRow("input", tuple(size), self.in_channels, (1,) * self.rank, 0, 0)]
        seen: list[tuple[Window, ...]] = []
        for block in self.blocks:
            _, extent, channels, *_ = rows[-1]
            seen += block.path(self.rank)
            fields = tuple(geometry.receptive_field(windows).size for windows in zip(*seen, strict=True))
            products = block.multiply_adds(extent, channels)
            extent, channels = block.out_extent(extent), block.out_channels(channels)
            rows.append(TraceRow(block.name, extent, channels, fields, parameter_count(block), products))
        return rows + self._trace_head(rows[-1])

    def _trace_head(self, features: TraceRow) -> list[TraceRow]:
        rows = [features]
        whole = features.size  # after the pool, one position has seen the whole input

        def pool():
            _, extent, channels, fields, *_ = rows[-1]
            seen = tuple(f + (n - 1) * s for f, n, s in zip(fields, whole, self.stride, strict=True))
            name, one, how = f"{self.head.pool_name} pool", (1,) * self.rank, self.head.pool
            weights = parameter_count(how) if isinstance(how, nnx.Module) else 0
            products = pooling.multiply_adds(how, math.prod(extent), channels)
            rows.append(TraceRow(name, one, channels, seen, weights, products))

        for index, (label, layer) in enumerate(zip(self.head.labels, self.head.layers, strict=True)):
            if index == self.head.pool_at:
                pool()
            _, extent, channels, fields, *_ = rows[-1]
            products = layer.multiply_adds(extent, channels)
            rows.append(TraceRow(label, extent, layer.out_channels(channels), fields, parameter_count(layer), products))
        if self.head.pool_at == len(self.head.layers):
            pool()
        return [*rows[1:], TraceRow("scores", (), rows[-1].channels, rows[-1].receptive_field, 0, 0)]


def check_sizes(sizes: np.ndarray, minimum: Sequence[int]):
    """Raises ValueError if an example, filler rows aside, is below the minimum size.

    Args:
      sizes: integer [N, D].
      minimum: the smallest extent per spatial axis, D entries.
    """
    if sizes.ndim != 2 or sizes.shape[1] != len(minimum):
        raise ValueError(f"size {tuple(sizes[0].tolist())}: this network takes {len(minimum)} spatial axes.")
    real = (sizes > 0).all(1)
    small = np.flatnonzero(((sizes < np.array(minimum)).any(1) & real) | ((sizes > 0).any(1) & ~real))
    if small.size:
        index = int(small[0])
        also = f" ({small.size} such examples)" if small.size > 1 else ""
        raise ValueError(
            f"example {index} of size {_by(sizes[index])}: below this network's minimum size "
            f"{_by(minimum)}{also}. Enlarge it, leave it out, or use a network with fewer strides."
        )


def _by(size: Iterable[int]) -> str:
    return "x".join(map(str, size))
