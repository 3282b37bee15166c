"""Classifier: a backbone of named blocks and a head; shapes and costs are known before anything runs.

Axes: B batch, S spatial (S' after blocks), C channels (C' after blocks), K classes, N examples, D spatial axes.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer

from fcnjax import geometry, pooling
from fcnjax.arguments import fits, shown
from fcnjax.geometry import AnyWindow
from fcnjax.heads import FlattenDenseHead, Head
from fcnjax.heads.flatten_dense import why_not
from fcnjax.layers import Layer, Sequential
from fcnjax.layers.composition import cut_to
from fcnjax.layers.layer import Module, checked_keys, mode, parameter_count
from fcnjax.layers.rematerialization import recomputed
from fcnjax.models.trace_row import TraceRow
from fcnjax.naming import check_name, joined, printable
from fcnjax.padded import Padded, check_padded, check_within

CUT = "cut to input"  # name in `trace` and `intermediates` of the cut features, if `cut_to_input`


class Block(Sequential):
    """Layers applied one after another, under one name: a row of the trace and a scope of a profile.

    Args:
        name: name of the block, unique in its network.
        layers: one or more layers.
    """

    def __init__(self, name: str, layers: Sequence[Layer]):
        super().__init__(layers)
        self.name = name


class Classifier(Module):
    """A fully convolutional classifier: logits for inputs of any size from `min_size` up.

    Args:
        blocks: the backbone, one or more blocks with different names.
        head: head that turns the features of the backbone into logits.
        in_channels: number of channels C of the inputs.
        rank: number of spatial axes, 1 to 3.
        cut_to_input: whether features are cut to the size of the input, for backbones that up-sample to that size or
            beyond it (down-sampling rounds up).

    Attributes:
        dtype: dtype of the computation: "float32", "bfloat16", or None for the dtype of the inputs. Weights,
            statistics, pooled features and logits are always float32 (float64 for float64 inputs).
        remat: whether training recomputes the activations within blocks in the backward pass (see
            `fcnjax.layers.rematerialization`).

    Raises:
        ValueError: if there are no blocks, or two of them share a name.
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
            raise ValueError(f"blocks={names}: must be one or more blocks with different names.")
        self.blocks, self.head = nnx.List(blocks), head
        self.in_channels, self.rank, self.cut_to_input = in_channels, rank, cut_to_input
        self.dtype: str | None = None
        self.remat = False
        self.front_blocks = 0  # number of blocks that `put_before` added

    def put_before(self, block: Block, in_channels: int):
        """Inserts a front end before all blocks; it computes in the dtype of the inputs, not in the network's `dtype`.

        Args:
            block: the front end.
            in_channels: number of channels of the front end's inputs, which become the inputs of the network.

        Raises:
            ValueError: if the network has `cut_to_input`, because a front end does not keep the positions of the input.
        """
        if self.cut_to_input:
            raise ValueError(
                f"front end {block.name!r}: must not precede a network whose class maps have the size of its "
                "input; use another network."
            )
        self.blocks, self.in_channels = nnx.List([block, *self.blocks]), in_channels
        self.front_blocks += 1

    def __call__(self, batch: Padded, *, train: bool = False, keys: jax.Array | None = None) -> jax.Array:
        """Returns logits [B, K]; 0 in filler rows.

        Args:
            batch: values [B, *S, C], floating; padding (NaN included) is never read.
            train: whether batch norms use batch statistics (and update the running ones) and dropout is active.
            keys: one PRNG key per example [B], needed by dropout in training.

        Raises:
            TypeError: if `batch` is not a `Padded`, or its values are not floating.
            ValueError: if the rank or the number of channels differs from the network's, the padded shape is below
                `min_size`, or, outside `jit`, an example is below `min_size` or exceeds the padded shape.
        """
        features = self.features(batch, train=train, keys=keys)
        with jax.named_scope("head"):
            return self.head(features, **mode(train, keys))

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
        if until is not None:
            check_name("block", until, names)
        last = names[-1] if until is None else until
        return next(features for name, features in self._features_by_name(batch, train, keys) if name == last)

    def intermediates(self, batch: Padded, *, train: bool = False, keys: jax.Array | None = None) -> dict[str, Padded]:
        """Returns the features after every block by name, in order; the head receives the last features.

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
        """Yields the name and output of each block, then the cut features if `cut_to_input` is set."""
        self.check_input(batch)
        if keys is not None:
            checked_keys(keys, batch, "this network takes")
        dtype = self.dtype or batch.dtype
        features = (batch if self.front_blocks else batch.replace(batch.raw_values.astype(dtype))).with_zero_padding()
        for index, block in enumerate(self.blocks):
            if 0 < self.front_blocks == index:
                features = features.replace(features.raw_values.astype(dtype))
            with jax.named_scope(block.name):
                if self.remat and train:
                    features = recomputed(block.layers, features, train=train, keys=keys)
                else:
                    features = block(features, **mode(train, keys))
            yield block.name, features
        if self.cut_to_input:
            yield CUT, cut_to(features, batch)

    def class_maps(self, batch: Padded) -> Padded:
        """Returns the score of every class at every position, values [B, *S', K] (see `Head.class_maps`).

        Raises:
            TypeError: as `__call__`.
            ValueError: as `__call__`, or if the head has no class maps.
        """
        features = self.features(batch)
        with jax.named_scope("head"):
            return self.head.class_maps(features)

    def map_centers(self, extent: Sequence[int]) -> tuple[np.ndarray, ...]:
        """Returns where the scores of class maps of an extent lie along each axis, from the edge of the input.

        A score lies in the middle of its receptive field (see `geometry.centers`). With `cut_to_input`, each lies on
        the input position of its index.
        """
        windows = [] if self.cut_to_input else [*self._windows(), *self.head.windows(self.rank)]
        return tuple(geometry.centers((each[axis] for each in windows), n) for axis, n in enumerate(extent))

    def check_input(self, batch: Padded):
        """Raises TypeError or ValueError, as `__call__`, if this network cannot take a batch."""
        check_padded(batch, "this network takes")
        if not jnp.issubdtype(batch.dtype, jnp.floating):
            raise TypeError(f"values of dtype {batch.dtype}: must be floating; divide pixels of 0 to 255 by 255.")
        if batch.rank != self.rank or batch.channels != self.in_channels:
            known = not isinstance(batch.sizes, Tracer) and batch.batch_size
            first = f"example 0 of size {joined(np.asarray(batch.sizes)[0])}, " if known else ""
            raise ValueError(
                f"{first}values of shape {tuple(batch.raw_values.shape)}: this network takes [batch, *spatial, "
                f"channels] with {self.rank} spatial axes and {self.in_channels} channels, of at least "
                f"{joined(self.min_size)}."
            )
        shape, min_size = batch.spatial_shape, self.min_size
        if not isinstance(batch.sizes, Tracer):
            sizes = np.asarray(batch.sizes)
            check_within(sizes, shape)
            self.check_sizes(sizes)
        elif any(isinstance(n, int) and n < m for n, m in zip(shape, min_size, strict=True)):
            raise ValueError(
                f"padded shape {joined(shape)}: below this network's minimum size {joined(min_size)}; enlarge the "
                f"examples, or use a network with fewer strides{self._or_border()}."
            )

    def check_sizes(self, sizes: np.ndarray, name_of: Callable[[int], str] = "example {}".format):
        """Raises ValueError if an example is below `min_size`, or a flatten-dense head cannot take its features.

        Args:
            sizes: integer [N, D]; filler rows (all extents 0) pass.
            name_of: returns the name of the example at a position.
        """
        if sizes.ndim != 2 or sizes.shape[1] != self.rank:
            shown = f"size {tuple(sizes[0].tolist())}" if len(sizes) else f"sizes of shape {sizes.shape}"
            raise ValueError(f"{shown}: this network takes {self.rank} spatial axes.")
        self._check_feature_extent(sizes, name_of)
        real, min_size = (sizes > 0).all(1), self.min_size
        small = np.flatnonzero(((sizes < np.array(min_size)).any(1) & real) | ((sizes > 0).any(1) & ~real))
        if small.size:
            raise ValueError(
                f"{_first(small, sizes, name_of)}: below this network's minimum size {joined(min_size)}; "
                f"enlarge it, leave it out, or use a network with fewer strides{self._or_border()}."
            )

    def _or_border(self) -> str:
        """Returns how a message goes on if a border needs positions to read from."""
        needed = any(getattr(window, "smallest", 1) > 1 for windows in self._windows() for window in windows)
        return ", or another border such as 'zero'" if needed else ""

    def _check_feature_extent(self, sizes: np.ndarray, name_of: Callable[[int], str]):
        """Raises ValueError if a flatten-dense head cannot take the features of an example."""
        wanted = self.head.feature_extent
        if wanted is None:
            return
        features = {size: self.feature_size(size) for size in set(map(tuple, sizes.tolist()))}
        other = np.flatnonzero([any(size) and features[tuple(size)] != wanted for size in sizes.tolist()])
        if other.size:
            found = features[tuple(sizes[other[0]].tolist())]
            raise ValueError(f"{_first(other, sizes, name_of)}: has {why_not(wanted, joined(found))}")

    def _windows(self) -> list[tuple[AnyWindow, ...]]:
        """Returns the windows of the backbone in order, each with one entry per spatial axis."""
        return [windows for block in self.blocks for windows in block.windows(self.rank)]

    @property
    def min_size(self) -> tuple[int, ...]:
        """The smallest input extent that yields a score, per spatial axis."""
        windows = [*self._windows(), *self.head.windows(self.rank)]
        return tuple(geometry.min_size(window[axis] for window in windows) for axis in range(self.rank))

    @property
    def stride(self) -> tuple[int | Fraction, ...]:
        """Input positions per feature position, per spatial axis; a fraction if features are finer than the input."""
        return tuple(field.stride for field in _receptive_fields(self._windows(), self.rank))

    @property
    def receptive_field(self) -> tuple[int | float, ...]:
        """Number of input positions that a feature position sees, per spatial axis; infinite if it always sees all."""
        return tuple(field.size for field in _receptive_fields(self._windows(), self.rank))

    def feature_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Returns the extent of the features per spatial axis for an input of `size`; does not check `size`."""
        extent = size
        for block in self.blocks:
            extent = block.out_extent(extent)
        return tuple(map(min, extent, size)) if self.cut_to_input else tuple(extent)

    @property
    def feature_channels(self) -> int:
        """Number of channels of the features that the head receives."""
        channels = self.in_channels
        for block in self.blocks:
            channels = block.out_channels(channels)
        return channels

    def head_multiply_adds(self, size: Sequence[int]) -> int:
        """Returns the multiply-adds of the head for an input of `size` (see `Head.multiply_adds`)."""
        return self.head.multiply_adds(self.feature_size(size), self.feature_channels)

    def trace(self, size: Sequence[int]) -> list[TraceRow]:
        """Returns the shape table of the network for one input.

        Args:
            size: extent of the input per spatial axis.

        Returns:
            One row each for the input, every block, every layer of the head, its pool, and the scores.

        Raises:
            ValueError: if `size` has the wrong number of axes or an extent below 1, or is below `min_size`.
        """
        if not fits(size, Sequence[int]):
            raise ValueError(f"size={shown(size)}: must be one whole number per spatial axis, {self.rank} in all.")
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
            seen_fields = _receptive_fields(seen, self.rank)
            if isinstance(part, Layer):
                products = part.multiply_adds(extent, channels)
                after, channels = part.out_extent(extent), part.out_channels(channels)
                reached = [field.size for field in seen_fields]
            else:  # the position after a pool sees everything that the positions before it saw
                products, after = pooling.multiply_adds(part, math.prod(extent), channels), (1,) * self.rank
                reached = [f + (n - 1) * field.stride for f, n, field in zip(fields, extent, seen_fields, strict=True)]
            infinite = [field.size == math.inf for field in seen_fields]
            now = [n if whole else math.ceil(f) for f, n, whole in zip(reached, size, infinite, strict=True)]
            fields = tuple(map(max, fields, now))
            weights = parameter_count(part) if isinstance(part, nnx.Module) else 0
            rows.append(TraceRow(name, after, channels, fields, weights, products))
        return [*rows, TraceRow("scores", (), rows[-1].channels, rows[-1].receptive_field, 0, 0)]


def _receptive_fields(windows: Sequence[tuple[AnyWindow, ...]], rank: int) -> list[geometry.ReceptiveField]:
    """Returns the receptive field of consecutive windows, one per spatial axis."""
    return [geometry.receptive_field(window[axis] for window in windows) for axis in range(rank)]


def _first(indices: np.ndarray, sizes: np.ndarray, name_of: Callable[[int], str]) -> str:
    more = f", and {indices.size - 1} more" * (indices.size > 1)
    return f"{printable(name_of(int(indices[0])))} of size {joined(sizes[indices[0]])}{more}"
