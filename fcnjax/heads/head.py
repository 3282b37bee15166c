"""Head: pointwise layers with a global pool somewhere in between.

A pool yields a 1x1 `Padded`, on which a pointwise layer (a 1x1 convolution) is a dense layer. So pooling first,
classifying first, and every order in between differ in one integer, `pool_at`, and share one parameter tree.

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
from fcnjax.geometry import AnyWindow, Padding
from fcnjax.layers import BatchNorm, ChannelDropout, Convolution, Layer, LogSoftmax, Pointwise
from fcnjax.layers.normalization import norm_layers
from fcnjax.layers.pointwise import activation_layer
from fcnjax.naming import joined
from fcnjax.padded import Padded

MakePool = Callable[[int, nnx.Rngs], pooling.Pool]
HOMOGENEOUS = (pooling.Mean, pooling.Max, pooling.TopKMean, pooling.LinearSoftmax)  # pool(a x) = a pool(x) for a >= 0
RISING = ("relu", "tanh")  # never falling, so that the largest value stays the largest


class Conversion(NamedTuple):
    """A head in another order, and what the change of order means.

    Attributes:
        head: the head with its pool elsewhere; it shares the layers, and so the weights, with the one it was made from.
        same_function: whether the two compute the same logits, in training too, up to rounding.
        reason: why, in one sentence.
    """

    head: "Head"
    same_function: bool
    reason: str


class Head(nnx.Module):
    """Turns features [B, *S, C] into logits [B, K].

    The layers are, in order: a norm if asked for; for each hidden width a linear layer and its activation; dropout if
    asked for; the classifier; and an activation or log-softmax of the scores if asked for. The pool stands before layer
    `pool_at`; their number (the default) means after all of them. The layers' weights drawn from `rngs` depend neither
    on `pool_at` nor on the pool, whose own weights, if it has any, are drawn last.

    With the mean as pool, orders that differ only in the pool's place relative to affine layers (or dropout of whole
    channels) are one function; a pool before or after the activation or the softmax makes two (see `convert`).

    Args:
        in_channels: C.
        classes: K.
        hidden: widths of the hidden layers.
        activation: "relu", "gelu", "silu" or "tanh", after each hidden layer.
        norm: "batch", "group" (8 groups), "layer" or "none", before all other layers.
        dropout: rate of channel dropout before the classifier, in [0, 1).
        score_activation: one of the activations, after the classifier, or None. Network-in-Network and All-CNN-C have
            "relu" there.
        log_softmax: whether class maps are log-probabilities. With `pool=pooling.LogSumExp(1.0)` after it, the head
            averages probabilities over positions.
        kernel: taps of the first linear layer, one int or one per spatial axis; with more than one it is a convolution,
            and the pool must come after it.
        padding: of that convolution (see `Convolution`): "same" keeps the size, "valid" takes whole windows only.
        pool: a global pool, the name of one (a key of `pooling.POOLS`), or a function `(channels, rngs) -> pool` that
            is called with the number of channels where the pool stands, wherever `pool_at` puts it.
        pool_at: index into `layers` before which the pool stands: 0 is GAP-first, `len(layers)` conv-first.
        rank: number of spatial axes; only a `kernel` needs it.
        rngs: source of the initial weights.

    Attributes:
        layers: the layers.
        labels: one name per layer, such as "linear 10" or "relu".

    Raises:
        ValueError: for `pool_at` outside 0 .. len(layers), listing the positions, or before a `kernel` of several taps,
            an unknown norm or activation, or a `pool` that is neither a pool nor a function that returns one.

    Source: derived here; GAP-first as in He et al. 2016, conv-first as in Lin, Chen and Yan 2014.

    >>> head = Head(128, 10, hidden=(64,), pool_at=2, rngs=nnx.Rngs(0))
    >>> head.describe()
    'linear 64 -> relu -> mean pool -> linear 10'
    >>> head.convert("conv_first").same_function
    True
    """

    feature_extent: ClassVar[None] = None  # features of any extent are taken (compare `FlattenDenseHead`)

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
        pool: pooling.Pool | MakePool | str = "mean",
        pool_at: int | None = None,
        rank: int = 2,
        rngs: nnx.Rngs,
    ):
        layers: list[tuple[str, Layer]] = [(f"{norm} norm", layer) for layer in norm_layers(norm, in_channels)]
        activate = (activation, activation_layer(activation))
        first = len(layers)  # of the linear layers, whose kernel may have more than one tap
        widths = (in_channels, *hidden)
        for index, (inner, width) in enumerate(itertools.pairwise((*widths, classes))):
            if index == len(hidden) and dropout:
                layers += [("dropout", ChannelDropout(dropout, stream=random_streams.HEAD_DROPOUT))]
                first += not index
            layers += [_linear(inner, width, 1 if index else kernel, padding, rank, rngs)]
            layers += [activate] if index < len(hidden) else []
        if score_activation is not None:
            layers += [(score_activation, activation_layer(score_activation))]
        if log_softmax:
            layers += [("log_softmax", LogSoftmax())]
        self.layer_names = tuple(label for label, _ in layers)
        self.layers = nnx.List([layer for _, layer in layers])
        self.pool_at = self._checked(pool_at)
        if isinstance(self.layers[first], Convolution) and self.pool_at <= first:
            raise ValueError(
                f"pool_at={pool_at} with kernel={kernel} of the head: after the pool there is one position, where "
                f"{self.layer_names[first]!r} has a use for one tap only; put the pool behind it, at {first + 1} or "
                "later."
            )
        self.pool = self._make_pool(pool, in_channels, rngs)

    def __call__(self, features: Padded, *, train: bool = False, keys: jax.Array | None = None) -> jax.Array:
        """Returns logits [B, K] (log-probabilities with `log_softmax`), at least float32; 0 in filler rows.

        Args:
            features: values [B, *S, C].
            train: whether dropout is active and batch statistics are taken.
            keys: one PRNG key per example [B], needed by dropout in training.
        """
        features = self._apply(features, 0, self.pool_at, train, keys)
        features = self._apply(pooling.pool(features, self.pool), self.pool_at, len(self.layers), train, keys)
        return features.values.reshape(features.batch_size, -1)

    def class_maps(self, features: Padded) -> Padded:
        """Returns the score of every class at every position: maps whose pool gives the logits.

        A head that classifies first has them as its last values before the pool. They also exist when the pool comes
        first and commutes with all layers after it, as the mean does with affine layers (class activation maps).

        Returns:
            `Padded` with values [B, *S, K].

        Raises:
            ValueError: if no such maps exist, naming the layer that stands in the way.

        Source: Zhou et al., "Learning Deep Features for Discriminative Localization", 2016.
        """
        obstacle = self.class_maps_obstacle()
        if obstacle:
            raise ValueError(obstacle)
        return self._apply(features, 0, len(self.layers), False, None)

    def class_maps_obstacle(self) -> str:
        """Returns why this order has no class maps, or an empty string if it has them."""
        label = self._obstacle(self.pool_at, len(self.layers), train=False)
        return label and (
            f"head '{self.describe()}': its logits are no pool of class maps, because {label!r} comes after "
            f"the {self.pool_name} pool and does not commute with it. Move the pool behind it."
        )

    def convert(self, order: int | str) -> Conversion:
        """Returns this head in another order, with the same weights, and whether and why the function is the same.

        Args:
            order: where the pool is to stand: "gap_first", "conv_first", or an index as `pool_at`.

        Raises:
            ValueError: for an unknown order, one in which the pool would precede a `kernel` of several taps, or one in
                which a pool with weights for each channel would meet another number of channels.
        """
        named: dict[int | str, int] = {"gap_first": 0, "conv_first": len(self.layers)}
        to = self._checked(named.get(order, order))
        self._check_order(order, to)
        start, stop = min(to, self.pool_at), max(to, self.pool_at)
        obstacle = self._obstacle(start, stop, train=True)
        in_training = obstacle and not self._obstacle(start, stop, train=False)
        reason = "the pool stands where it stood"
        if start < stop:
            what = f"does not commute with {obstacle!r}, which" if obstacle else "commutes with all that"
            what = f"commutes with {obstacle!r} in evaluation, but not in training, which" if in_training else what
            between = "" if obstacle else f": {', '.join(self.layer_names[start:stop])}"
            reason = f"the {self.pool_name} pool {what} stands between its two places{between}"
        head = copy.copy(self)
        head.pool_at = to
        return Conversion(head, not obstacle, reason)

    def _check_order(self, order: int | str, to: int):
        for index in range(to, self.pool_at):
            if isinstance(self.layers[index], Convolution):
                raise ValueError(
                    f"order={order!r}: the pool cannot come before {self.layer_names[index]!r} (see `kernel`)."
                )
        between = range(min(to, self.pool_at), max(to, self.pool_at))
        linear = any(isinstance(self.layers[index], Pointwise | Convolution) for index in between)
        if linear and isinstance(self.pool, pooling.Attention | pooling.AutoPool):
            names = ", ".join(repr(self.layer_names[index]) for index in between)
            raise ValueError(
                f"order={order!r}: the {self.pool_name} pool has weights for the channels where it stands, and other "
                f"channels stand beyond {names}; train a head of "
                "that order instead."
            )

    @property
    def pool_name(self) -> str:
        """The registered name of the pool, or its class name."""
        return next((name for name, kind in pooling.POOLS.items() if type(self.pool) is kind), type(self.pool).__name__)

    @property
    def ends_in_log_softmax(self) -> bool:
        """Whether the class maps are log-probabilities."""
        return isinstance(self.layers[-1], LogSoftmax)

    def describe(self) -> str:
        """Returns the head as a pipeline in words."""
        return " -> ".join(
            (*self.layer_names[: self.pool_at], f"{self.pool_name} pool", *self.layer_names[self.pool_at :])
        )

    def windows(self, rank: int) -> list[tuple[AnyWindow, ...]]:
        """Returns the windows before the pool: what they need, the smallest input of a network must give."""
        return [windows for layer in list(self.layers)[: self.pool_at] for windows in layer.windows(rank)]

    def multiply_adds(self, size: Sequence[int], channels: int) -> int:
        """Returns the multiply-adds per example: those of the layers and of the pool.

        Args:
            size: extent of the feature map per spatial axis.
            channels: C.
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
        """Yields the layers and the pool in the order of this head, each with its name."""
        for index, (label, layer) in enumerate(zip(self.layer_names, self.layers, strict=True)):
            if index == self.pool_at:
                yield f"{self.pool_name} pool", self.pool
            yield label, layer
        if self.pool_at == len(self.layers):
            yield f"{self.pool_name} pool", self.pool

    def _checked(self, pool_at: int | str | None) -> int:
        count = len(self.layers)
        pool_at = count if pool_at is None else pool_at
        if not isinstance(pool_at, int) or not 0 <= pool_at <= count:
            places = ", ".join(f"{i} before {label}" for i, label in enumerate(self.layer_names))
            raise ValueError(f"pool_at={pool_at} of the head: allowed are {places}, {count} after all layers.")
        return pool_at

    def _make_pool(self, pool: Any, channels: int, rngs: nnx.Rngs) -> pooling.Pool:
        for layer in list(self.layers)[: self.pool_at]:
            channels = layer.out_channels(channels)
        if isinstance(pool, str):
            return pooling.create(pool, channels=channels, rngs=rngs)
        is_function = callable(pool) and not hasattr(pool, "lift")  # a class of pools has `lift` too
        made = pool(channels, rngs) if is_function else pool
        if isinstance(made, type) or not hasattr(made, "lift"):
            raise ValueError(
                f"pool={made!r} of the head: must be a pool, such as pooling.Max(), its name, such as 'max', or a "
                "function (channels, rngs) -> pool."
            )
        return cast(pooling.Pool, made)

    def _obstacle(self, start: int, stop: int, *, train: bool) -> str:
        """Returns the label of the first layer in a range that does not commute with the pool, or an empty string."""
        for label, layer in list(zip(self.layer_names, self.layers, strict=True))[start:stop]:
            if not self._commutes(label, layer, train):
                return label
        return ""

    def _commutes(self, label: str, layer: Layer, train: bool) -> bool:
        """Whether the pool may stand on either side of a layer."""
        if isinstance(layer, ChannelDropout):  # outside training the identity; in it a factor for each channel
            return not train or isinstance(self.pool, HOMOGENEOUS)
        if isinstance(layer, Pointwise | BatchNorm):
            # Of a batch norm's training statistics there are two: over all positions, and over pooled vectors.
            return self.pool.commutes_with_affine and not (train and isinstance(layer, BatchNorm))
        one_value = isinstance(self.pool, pooling.Max) or (isinstance(self.pool, pooling.TopKMean) and self.pool.k == 1)
        clips = isinstance(self.pool, pooling.LinearSoftmax) and label == "relu"  # as the pool itself does
        return (one_value and label in RISING) or clips

    def _apply(self, batch: Padded, start: int, stop: int, train: bool, keys: jax.Array | None) -> Padded:
        for layer in list(self.layers)[start:stop]:
            batch = layer(batch, train=train, keys=keys)
        return batch


def _linear(
    inner: int, width: int, kernel: int | Sequence[int], padding: Padding, rank: int, rngs: nnx.Rngs
) -> tuple[str, Layer]:
    taps = (kernel,) * rank if isinstance(kernel, int) else tuple(kernel)
    if all(n == 1 for n in taps):
        return f"linear {width}", Pointwise(inner, width, rngs=rngs)
    layer = Convolution(inner, width, kernel, rank=rank, padding=padding, rngs=rngs)
    return f"conv {joined(taps)} {width}", layer
