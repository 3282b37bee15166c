"""Head: pointwise layers with a global pool before, between or after them.

A pool yields a 1x1 `Padded`, on which a pointwise layer (a 1x1 convolution) is a dense layer. So pooling first,
classifying first, and every order in between differ only in the integer `pool_at` and share one parameter tree.

Axes: B batch, S spatial, C feature channels, K classes.
"""

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple, cast

import jax
from flax import nnx

from fcnjax import pooling, random_streams
from fcnjax.geometry import AnyWindow, Padding, per_axis
from fcnjax.layers import BatchNorm, ChannelDropout, Convolution, Layer, LogSoftmax, Pointwise
from fcnjax.layers.convolution.borders import BORDERS
from fcnjax.layers.layer import Module, mode
from fcnjax.layers.normalization import norm_layers
from fcnjax.layers.pointwise import activation_layer
from fcnjax.naming import check_name, joined
from fcnjax.padded import Padded

MakePool = Callable[[int, nnx.Rngs], pooling.Pool]
HOMOGENEOUS = (pooling.Mean, pooling.Max, pooling.TopKMean, pooling.LinearSoftmax)  # pool(a x) = a pool(x) for a >= 0
MONOTONE = ("relu", "tanh")  # nondecreasing, so they commute with the maximum


class Conversion(NamedTuple):
    """A head in another order, and whether it is the same function.

    Attributes:
        head: the head with its pool moved; it shares its layers, and so its weights, with the original.
        same_function: whether both compute the same logits up to rounding, in training too.
        reason: why they do or do not, in one sentence.
    """

    head: "Head"
    same_function: bool
    reason: str


class Head(Module):
    """Turns features [B, *S, C] into logits [B, K].

    The layers are, in order: the norm; a linear layer and an activation for each hidden width; dropout; the classifier;
    and an activation or log-softmax of the scores. All but the classifier are optional. The pool comes before layer
    `pool_at`. The initial weights of the layers depend neither on `pool_at` nor on the pool: a pool's own weights are
    drawn last.

    With the mean as the pool, moving the pool across affine layers or channel dropout leaves the function unchanged;
    moving it across an activation or a softmax changes it (see `convert`).

    Args:
        in_channels: channels of the features C.
        classes: number of classes K.
        hidden: widths of the hidden layers.
        activation: "relu", "gelu", "silu" or "tanh", after each hidden layer.
        norm: "batch", "group" (8 groups), "layer" or "none", before all other layers.
        dropout: rate of channel dropout before the classifier, in [0, 1).
        score_activation: "relu", "gelu", "silu", "tanh" or None, after the classifier. Network-in-Network and All-CNN-C
            use "relu".
        log_softmax: whether class maps are log-probabilities. With `pool=pooling.LogSumExp(1.0)` after it, the head
            averages probabilities over positions.
        kernel: taps of the first linear layer, an int or one int per spatial axis. With more than one tap the layer is
            a convolution, and the pool must come after it.
        padding: padding of that convolution (see `Convolution`): "same" keeps the size, "valid" adds no padding.
        border: border of that convolution (see `Convolution`); a network gives its own.
        pool: a global pool, a key of `pooling.POOLS`, or a function `(channels, rngs) -> pool`, called with the number
            of channels at `pool_at`.
        pool_at: index into `layers` of the layer after the pool, 0 to len(layers): 0 is GAP-first, `len(layers)` (the
            default) conv-first.
        rank: number of spatial axes, 1 to 3; used only for a `kernel` of several taps.
        rngs: source of the initial weights.

    Attributes:
        layers: the layers.
        layer_names: one name per layer, such as "linear 10" or "relu".

    Raises:
        ValueError: if `pool_at` is outside 0 to len(layers) (the message lists the positions) or precedes a `kernel` of
            several taps, the norm, the border or an activation is unknown, or `pool` is not a pool, the name of a pool,
            or a function that returns a pool.

    Source: derived here; GAP-first as in He et al. 2016, conv-first as in Lin, Chen and Yan 2014.

    >>> head = Head(128, 10, hidden=(64,), pool_at=2, rngs=nnx.Rngs(0))
    >>> head.describe()
    'linear 64 -> relu -> mean pool -> linear 10'
    >>> head.convert("conv_first").same_function
    True
    """

    feature_extent: ClassVar[None] = None  # any extent; `FlattenDenseHead` has a fixed one

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        hidden: Sequence[int] = (),
        activation: str = "relu",
        norm: str = "none",
        dropout: float = 0.0,
        score_activation: str | None = None,
        log_softmax: bool = False,
        kernel: int | Sequence[int] = 1,
        padding: Padding = "same",
        border: str = "zero",
        pool: pooling.Pool | MakePool | str = "mean",
        pool_at: int | None = None,
        rank: int = 2,
        rngs: nnx.Rngs,
    ):
        check_name("border", border, BORDERS)
        layers: list[tuple[str, Layer]] = [(f"{norm} norm", layer) for layer in norm_layers(norm, in_channels)]
        activate = (activation, activation_layer(activation))
        first = len(layers)  # index of the first linear layer, the one with `kernel`
        widths, shape = (in_channels, *hidden), {"rank": rank, "padding": padding, "border": border}
        for index, (inner, width) in enumerate(itertools.pairwise((*widths, classes))):
            if index == len(hidden) and dropout:
                layers += [("dropout", ChannelDropout(dropout, stream=random_streams.HEAD_DROPOUT))]
                first += not index
            layers += [_linear(inner, width, 1 if index else kernel, shape, rngs)]
            layers += [activate] if index < len(hidden) else []
        if score_activation is not None:
            layers += [(score_activation, activation_layer(score_activation))]
        if log_softmax:
            layers += [("log_softmax", LogSoftmax())]
        self.layer_names = tuple(name for name, _ in layers)
        self.layers = nnx.List([layer for _, layer in layers])
        self.pool_at = self._checked(pool_at)
        if isinstance(self.layers[first], Convolution) and self.pool_at <= first:
            raise ValueError(
                f"pool_at={pool_at} with kernel={kernel} of the head: must be after {self.layer_names[first]!r}, which "
                f"would see a single position behind the pool; give {first + 1} or more, or kernel=1."
            )
        self.pool = self._make_pool(pool, in_channels, rngs)

    def __call__(self, features: Padded, *, train: bool = False, keys: jax.Array | None = None) -> jax.Array:
        """Returns logits [B, K] (log-probabilities with `log_softmax`), at least float32; 0 in filler rows.

        Args:
            features: values [B, *S, C].
            train: whether dropout is active and batch norms use batch statistics.
            keys: one PRNG key per example [B], needed by dropout in training.
        """
        features = self.apply_layers(features, 0, self.pool_at, train=train, keys=keys)
        pooled = pooling.pool(features, self.pool)
        features = self.apply_layers(pooled, self.pool_at, len(self.layers), train=train, keys=keys)
        return features.values.reshape(features.batch_size, features.channels)

    def class_maps(self, features: Padded) -> Padded:
        """Returns the score of every class at every position; the pool of these maps is the logits.

        A conv-first head computes them right before its pool. They also exist if the pool commutes with all layers
        after it, as the mean does with affine layers (class activation maps).

        Args:
            features: values [B, *S, C].

        Returns:
            `Padded` with values [B, *S, K].

        Raises:
            ValueError: if no such maps exist; the message names the layer that does not commute with the pool.

        Source: Zhou et al., "Learning Deep Features for Discriminative Localization", 2016.
        """
        obstacle = self.class_maps_obstacle()
        if obstacle:
            raise ValueError(obstacle)
        return self.apply_layers(features, 0, len(self.layers))

    def class_maps_obstacle(self) -> str:
        """Returns why this head has no class maps, or an empty string if it has them."""
        name = self._obstacle(self.pool_at, len(self.layers), train=False)
        return name and (
            f"head '{self.describe()}': has no class maps, because {name!r} comes after the {self.pool_name} pool and "
            "does not commute with it; move the pool behind it."
        )

    def apply_layers(
        self, batch: Padded, start: int, stop: int, *, train: bool = False, keys: jax.Array | None = None
    ) -> Padded:
        """Returns a batch after the layers from index `start` to before `stop`, without the pool."""
        for layer in list(self.layers)[start:stop]:
            batch = layer(batch, **mode(train, keys))
        return batch

    def convert(self, order: int | str) -> Conversion:
        """Returns this head in another order with the same weights, and whether and why the function stays the same.

        Args:
            order: "gap_first", "conv_first", or a new `pool_at`.

        Raises:
            ValueError: if the order is unknown, the pool would precede a `kernel` of several taps, or a linear layer
                lies between the old and the new place of a pool with weights per channel.
        """
        named: dict[int | str, int] = {"gap_first": 0, "conv_first": len(self.layers)}
        to = self._checked(named.get(order, order))
        self._check_order(order, to)
        start, stop = min(to, self.pool_at), max(to, self.pool_at)
        pool, obstacle = f"the {self.pool_name} pool", self._obstacle(start, stop, train=True)
        if start == stop:
            reason = "the pool does not move"
        elif not obstacle:
            reason = f"{pool} commutes with all layers between the places: {', '.join(self.layer_names[start:stop])}"
        elif self._obstacle(start, stop, train=False):
            reason = f"{pool} does not commute with {obstacle!r}, which stands between its two places"
        else:
            reason = f"{pool} commutes with {obstacle!r} in evaluation, but not in training"
        head = copy.copy(self)
        head.pool_at = to
        return Conversion(head, not obstacle, reason)

    def _check_order(self, order: int | str, to: int):
        for index in range(to, self.pool_at):
            if isinstance(self.layers[index], Convolution):
                raise ValueError(
                    f"order={order!r} of the head: the pool must come after {self.layer_names[index]!r} (see `kernel`)."
                )
        between = range(min(to, self.pool_at), max(to, self.pool_at))
        linear = any(isinstance(self.layers[index], Pointwise | Convolution) for index in between)
        if linear and isinstance(self.pool, pooling.Attention | pooling.AutoPool):
            names = ", ".join(repr(self.layer_names[index]) for index in between)
            raise ValueError(
                f"order={order!r} of the head: the {self.pool_name} pool has weights for the channels at its present "
                f"place, and the channels beyond {names} differ; train a head of that order instead."
            )

    @property
    def pool_name(self) -> str:
        """The name of the pool in `pooling.POOLS`, or the name of its class."""
        return next((name for name, kind in pooling.POOLS.items() if type(self.pool) is kind), type(self.pool).__name__)

    @property
    def ends_in_log_softmax(self) -> bool:
        """Whether the class maps are log-probabilities."""
        return isinstance(self.layers[-1], LogSoftmax)

    def describe(self) -> str:
        """Returns the layers and the pool in order, such as "linear 64 -> relu -> mean pool -> linear 10"."""
        return " -> ".join(
            (*self.layer_names[: self.pool_at], f"{self.pool_name} pool", *self.layer_names[self.pool_at :])
        )

    def windows(self, rank: int) -> list[tuple[AnyWindow, ...]]:
        """Returns the windows of the layers before the pool, which decide the smallest input of a network."""
        return [windows for layer in list(self.layers)[: self.pool_at] for windows in layer.windows(rank)]

    def multiply_adds(self, size: Sequence[int], channels: int) -> int:
        """Returns the multiply-adds per example of the layers and the pool.

        Args:
            size: extent of the features per spatial axis.
            channels: channels of the features C.
        """
        total = 0
        for _, part in self.parts():
            if isinstance(part, Layer):
                total += part.multiply_adds(size, channels)
                size, channels = part.out_extent(size), part.out_channels(channels)
            else:
                total, size = total + pooling.multiply_adds(part, math.prod(size), channels), (1,) * len(size)
        return total

    def parts(self) -> Iterator[tuple[str, Layer | pooling.Pool]]:
        """Yields the name of each layer and of the pool, and the layer or pool itself, in the order of this head."""
        for index, (name, layer) in enumerate(zip(self.layer_names, self.layers, strict=True)):
            if index == self.pool_at:
                yield f"{self.pool_name} pool", self.pool
            yield name, layer
        if self.pool_at == len(self.layers):
            yield f"{self.pool_name} pool", self.pool

    def _checked(self, pool_at: int | str | None) -> int:
        count = len(self.layers)
        pool_at = count if pool_at is None else pool_at
        if not isinstance(pool_at, int) or not 0 <= pool_at <= count:
            places = ", ".join(f"{i} before {name}" for i, name in enumerate(self.layer_names))
            raise ValueError(f"pool_at={pool_at} of the head: allowed are {places}, {count} after all layers.")
        return pool_at

    def _make_pool(self, pool: Any, channels: int, rngs: nnx.Rngs) -> pooling.Pool:
        for layer in list(self.layers)[: self.pool_at]:
            channels = layer.out_channels(channels)
        if isinstance(pool, str):
            return pooling.create(pool, channels=channels, rngs=rngs)
        is_function = callable(pool) and not hasattr(pool, "lift")  # the class of a pool is callable and has `lift` too
        made = pool(channels, rngs) if is_function else pool
        if isinstance(made, type) or not hasattr(made, "lift"):
            raise ValueError(
                f"pool={made!r} of the head: must be a pool, such as pooling.Max(), its name, such as 'max', or a "
                "function (channels, rngs) -> pool."
            )
        return cast(pooling.Pool, made)

    def _obstacle(self, start: int, stop: int, *, train: bool) -> str:
        """Returns the name of the first layer in a range that does not commute with the pool, or an empty string."""
        for name, layer in list(zip(self.layer_names, self.layers, strict=True))[start:stop]:
            if not self._commutes(name, layer, train):
                return name
        return ""

    def _commutes(self, name: str, layer: Layer, train: bool) -> bool:
        """Returns whether moving the pool across a layer leaves the function unchanged."""
        if isinstance(layer, ChannelDropout):  # the identity in evaluation, one factor per channel in training
            return not train or isinstance(self.pool, HOMOGENEOUS)
        if isinstance(layer, Pointwise | BatchNorm):
            # In training a batch norm takes its statistics over all positions or over pooled vectors: they differ.
            return self.pool.commutes_with_affine and not (train and isinstance(layer, BatchNorm))
        one_value = isinstance(self.pool, pooling.Max) or (isinstance(self.pool, pooling.TopKMean) and self.pool.k == 1)
        clips = isinstance(self.pool, pooling.LinearSoftmax) and name == "relu"  # the pool itself applies a ReLU
        return (one_value and name in MONOTONE) or clips


def _linear(
    inner: int, width: int, kernel: int | Sequence[int], shape: dict[str, Any], rngs: nnx.Rngs
) -> tuple[str, Layer]:
    taps = per_axis("kernel", kernel, shape["rank"])
    if all(n == 1 for n in taps):
        return f"linear {width}", Pointwise(inner, width, rngs=rngs)
    layer = Convolution(inner, width, kernel, rngs=rngs, **shape)
    return f"conv {joined(taps)} {width}", layer
