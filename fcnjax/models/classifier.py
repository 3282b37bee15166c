"""Classifier: a stack of layers and a head, with its shapes known before anything runs."""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer

from fcnjax import geometry, pooling
from fcnjax.geometry import AnyWindow
from fcnjax.heads import FlattenDenseHead, Head
from fcnjax.heads.flatten_dense import why_not
from fcnjax.layers import Layer, Sequential
from fcnjax.layers.composition import cut_to
from fcnjax.layers.layer import parameter_count
from fcnjax.layers.rematerialization import recomputed
from fcnjax.naming import joined, unknown_name
from fcnjax.padded import Padded, check_padded, check_within

CUT = "cut to input"  # what `trace` and `intermediates` call the features of a network with `cut_to_input`


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
        cut_to_input: whether features that reach beyond the input are cut off, for backbones that come up to its size
            again (down-sampling rounds up).

    Attributes:
        dtype: what is computed in: "float32", "bfloat16", or None for the dtype of the inputs. Weights, statistics,
            pooled features and logits are float32 in any case (float64 for float64 inputs).
        remat: whether training computes activations within blocks anew in the backward pass (see
            `fcnjax.layers.rematerialization`).
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        head: Head | FlattenDenseHead,
        *,
        in_channels: int,
        rank: int,
        cut_to_input: bool = False,
    ):
        names = [block.name for block in blocks]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"blocks={names}: must be one or more, each with a name of its own.")
        self.blocks, self.head = nnx.List(blocks), head
        self.in_channels, self.rank, self.cut_to_input = in_channels, rank, cut_to_input
        self.dtype: str | None = None
        self.remat = False
        self.front_blocks = 0  # those that `put_before` added

    def put_before(self, block: Block, in_channels: int):
        """Puts a front end before all blocks, which computes in the dtype of the inputs whatever the network's is.

        Raises:
            ValueError: if the network cuts its features to its input, whose positions a front end does not keep.
        """
        if self.cut_to_input:
            raise ValueError(
                f"front end {block.name!r}: cannot stand before a network whose class maps are as large as its input; "
                "take another network."
            )
        self.blocks, self.in_channels = nnx.List([block, *self.blocks]), in_channels
        self.front_blocks += 1

    def __call__(self, batch: Padded, *, train: bool = False, keys: jax.Array | None = None) -> jax.Array:
        """Returns logits [B, K]; 0 in filler rows.

        Args:
            batch: values [B, *S, C], integer or floating; padding (NaN included) is never read.
            train: whether batch norms use batch statistics (and update the running ones) and dropout is active.
            keys: one PRNG key per example [B], needed by dropout in training.

        Raises:
            TypeError: if `batch` is not a `Padded`.
            ValueError: if the rank or the number of channels differs from the network's, the padded shape is below
                `min_size`, or, outside `jit`, an example is below `min_size` or exceeds the padded shape.
        """
        features = self.features(batch, train=train, keys=keys)
        with jax.named_scope("head"):
            return self.head(features, train=train, keys=keys)

    def features(
        self, batch: Padded, until: str | None = None, *, train: bool = False, keys: jax.Array | None = None
    ) -> Padded:
        """Returns the features after a named block, values [B, *S', C']; later blocks do not run.

        Args:
            batch: as for `__call__`.
            until: name of the block, as in `trace`; None for the features that the head receives.
            train: as for `__call__`.
            keys: as for `__call__`.

        Raises:
            TypeError: as `__call__`.
            ValueError: as `__call__`, or if no block is called `until`.

        >>> from fcnjax.models import create
        >>> model = create("fcn", classes=10, in_channels=1, rngs=nnx.Rngs(0))
        >>> batch = Padded.stack([np.ones((28, 28, 1)), np.ones((28, 16, 1))])
        >>> model.features(batch, until="conv2").sizes.tolist()
        [[7, 7], [7, 4]]
        """
        names = [*(block.name for block in self.blocks), *([CUT] if self.cut_to_input else [])]
        if until is not None and until not in names:
            raise ValueError(unknown_name("block", until, names))
        last = names[-1] if until is None else until
        return next(features for name, features in self._features_by_name(batch, train, keys) if name == last)

    def intermediates(self, batch: Padded, *, train: bool = False, keys: jax.Array | None = None) -> dict[str, Padded]:
        """Returns the features after every block by name, in order; the last ones are those that the head receives.

        Args:
            batch: as for `__call__`.
            train: as for `__call__`.
            keys: as for `__call__`.

        Raises:
            TypeError: as `__call__`.
            ValueError: as `__call__`.

        >>> from fcnjax.models import create
        >>> model = create("fcn", classes=10, in_channels=1, rngs=nnx.Rngs(0))
        >>> batch = Padded.stack([np.ones((28, 28, 1)), np.ones((28, 16, 1))])
        >>> {name: features.values.shape for name, features in model.intermediates(batch).items()}
        {'conv1': (2, 14, 14, 32), 'conv2': (2, 7, 7, 64), 'conv3': (2, 3, 3, 128)}
        """
        return dict(self._features_by_name(batch, train, keys))

    def _features_by_name(self, batch: Padded, train: bool, keys: jax.Array | None) -> Iterator[tuple[str, Padded]]:
        """Yields the name and output of each block, and at the end the features cut to the input, if they are."""
        self.check_input(batch)
        own = batch.dtype if jnp.issubdtype(batch.dtype, jnp.floating) else jnp.float32
        dtype = self.dtype or own
        features = batch.replace(batch.raw_values.astype(own if self.front_blocks else dtype)).with_zero_padding()
        for index, block in enumerate(self.blocks):
            if 0 < self.front_blocks == index:
                features = features.replace(features.raw_values.astype(dtype))
            with jax.named_scope(block.name):
                if self.remat and train:
                    features = recomputed(block.layers, features, train=train, keys=keys)
                else:
                    features = block(features, train=train, keys=keys)
            yield block.name, features
        if self.cut_to_input:
            yield CUT, cut_to(features, batch)

    def class_maps(self, batch: Padded) -> Padded:
        """Returns the score of every class at every position, values [B, *S', K] (see `Head.class_maps`)."""
        features = self.features(batch)
        with jax.named_scope("head"):
            return self.head.class_maps(features)

    def check_input(self, batch: Padded):
        """Raises ValueError for inputs that this network cannot take (sizes only where they are known, outside jit)."""
        check_padded(batch, "this network takes")
        if batch.rank != self.rank or batch.channels != self.in_channels:
            first = (
                "" if isinstance(batch.sizes, Tracer) else f"example 0 of size {joined(np.asarray(batch.sizes)[0])}, "
            )
            raise ValueError(
                f"{first}values of shape {tuple(batch.raw_values.shape)}: this network takes [batch, *spatial, "
                f"channels] with {self.rank} spatial axes and {self.in_channels} channels, of at least "
                f"{joined(self.min_size)}."
            )
        shape, least = batch.spatial_shape, self.min_size
        if not isinstance(batch.sizes, Tracer):
            sizes = np.asarray(batch.sizes)
            check_within(sizes, shape)
            self.check_sizes(sizes)
        elif any(isinstance(n, int) and n < m for n, m in zip(shape, least, strict=True)):
            raise ValueError(
                f"rectangle {joined(shape)}: below this network's minimum size {joined(least)}; no example in it "
                "can be used."
            )

    def check_sizes(self, sizes: np.ndarray):
        """Raises ValueError if an example, filler rows aside, has a size that this network cannot take.

        Args:
            sizes: integer [N, D].
        """
        if sizes.ndim != 2 or sizes.shape[1] != self.rank:
            raise ValueError(f"size {tuple(sizes[0].tolist())}: this network takes {self.rank} spatial axes.")
        self._check_feature_extent(sizes)
        real, least = (sizes > 0).all(1), self.min_size
        small = np.flatnonzero(((sizes < np.array(least)).any(1) & real) | ((sizes > 0).any(1) & ~real))
        if small.size:
            raise ValueError(
                f"{_first(small, sizes)}: below this network's minimum size {joined(least)}. "
                "Enlarge it, leave it out, or use a network with fewer strides."
            )

    def _check_feature_extent(self, sizes: np.ndarray):
        """Raises ValueError for examples whose features a flatten-dense head cannot take."""
        wanted = self.head.feature_extent
        if wanted is None:
            return
        features = {size: self.feature_size(size) for size in set(map(tuple, sizes.tolist()))}
        other = np.flatnonzero([any(size) and features[tuple(size)] != wanted for size in sizes.tolist()])
        if other.size:
            found = features[tuple(sizes[other[0]].tolist())]
            raise ValueError(f"{_first(other, sizes)}: gives {why_not(wanted, joined(found))}")

    def _path(self) -> list[tuple[AnyWindow, ...]]:
        """The windows of the backbone in order, one for each spatial axis."""
        return [windows for block in self.blocks for windows in block.windows(self.rank)]

    @property
    def min_size(self) -> tuple[int, ...]:
        """The smallest input, per spatial axis, that gives a score."""
        path = [*self._path(), *self.head.windows(self.rank)]
        return tuple(geometry.min_size(windows[axis] for windows in path) for axis in range(self.rank))

    @property
    def stride(self) -> tuple[int | Fraction, ...]:
        """Input positions per feature position (down-sampling), per spatial axis; a fraction after up-sampling."""
        return tuple(field.stride for field in _receptive_fields(self._path(), self.rank))

    @property
    def receptive_field(self) -> tuple[int | float, ...]:
        """Input positions that one feature position sees, per spatial axis; infinite if it always sees all of them."""
        return tuple(field.size for field in _receptive_fields(self._path(), self.rank))

    def feature_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Returns the extent of the feature map for an input of `size`, without a check of `size`."""
        extent = size
        for block in self.blocks:
            extent = block.out_extent(extent)
        return tuple(map(min, extent, size)) if self.cut_to_input else tuple(extent)

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
            raise ValueError(f"size {joined(size)}: every extent must be at least 1.")
        self.check_sizes(np.asarray([size]))
        rows, seen = [TraceRow("input", tuple(size), self.in_channels, (1,) * self.rank, 0, 0)], []
        parts: list[tuple[str, Any]] = [(block.name, block) for block in self.blocks]
        parts += [(CUT, Sequential())] if self.cut_to_input else []
        for name, part in [*parts, *self.head.parts()]:
            _, extent, channels, fields, *_ = rows[-1]
            extent = self.feature_size(size) if name == CUT else extent
            seen += part.windows(self.rank) if isinstance(part, Layer) else []
            one = _receptive_fields(seen, self.rank)
            if isinstance(part, Layer):
                products = part.multiply_adds(extent, channels)
                after, channels = part.out_extent(extent), part.out_channels(channels)
                reached = [field.size for field in one]
            else:  # after a pool one position sees all that the positions before it saw
                products, after = pooling.multiply_adds(part, math.prod(extent), channels), (1,) * self.rank
                reached = [f + (n - 1) * field.stride for f, n, field in zip(fields, extent, one, strict=True)]
            infinite = [field.size == math.inf for field in one]
            now = [n if whole else math.ceil(f) for f, n, whole in zip(reached, size, infinite, strict=True)]
            fields = tuple(map(max, fields, now))
            weights = parameter_count(part) if isinstance(part, nnx.Module) else 0
            rows.append(TraceRow(name, after, channels, fields, weights, products))
        return [*rows, TraceRow("scores", (), rows[-1].channels, rows[-1].receptive_field, 0, 0)]


def _receptive_fields(path: Sequence[tuple[AnyWindow, ...]], rank: int) -> list[geometry.ReceptiveField]:
    """Returns one receptive field per spatial axis of windows applied one after another."""
    return [geometry.receptive_field(windows[axis] for windows in path) for axis in range(rank)]


def _first(indices: np.ndarray, sizes: np.ndarray) -> str:
    also = f", and {indices.size - 1} more" if indices.size > 1 else ""
    return f"example {int(indices[0])} of size {joined(sizes[indices[0]])}{also}"
