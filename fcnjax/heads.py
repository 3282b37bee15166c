"""Head: pointwise layers with a global pool somewhere in between.

A pool yields a 1x1 `Padded`, on which a pointwise layer (a 1x1 convolution) is a dense layer. So pooling first,
classifying first, and every order in between differ in one integer, `pool_at`, and share one parameter tree.

Axes: B batch, S spatial, C feature channels, K classes.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
from flax import nnx

from fcnjax import pooling
from fcnjax.layers import Activation, ChannelDropout, Layer, LayerNorm, LogSoftmax, Pointwise
from fcnjax.naming import unknown_name
from fcnjax.padded import Padded

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "tanh": jax.numpy.tanh,
}

MakePool = Callable[[int, nnx.Rngs], pooling.Pool]


class Head(nnx.Module):
    """Turns features [B, *S, C] into logits [B, K].

    The layers are, in order: for each hidden width a `Pointwise` layer and its activation, dropout if asked for, the
    classifier, and log-softmax if asked for. The pool stands before layer `pool_at`; their number (the default) means
    after all of them. The layers' weights drawn from `rngs` depend neither on `pool_at` nor on the pool, whose own
    weights, if it has any, are drawn last.

    With the mean as pool, orders that differ only in the pool's place relative to affine layers (or dropout of whole
    channels) are one function; a pool before or after the activation or the softmax makes two.

    Args:
      in_channels: C.
      classes: K.
      hidden: widths of the hidden layers.
      activation: "relu", "gelu", "silu" or "tanh", after each hidden layer.
      norm: "layer" or "none", before all other layers.
      dropout: rate of channel dropout before the classifier, in [0, 1).
      log_softmax: whether class maps are log-probabilities. With `pool=pooling.LogSumExp(1.0)` after it, the head
        averages probabilities over positions.
      pool: a global pool, the name of one (a key of `pooling.POOLS`), or a function `(channels, rngs) -> pool` that is
        called with the number of channels where the pool stands, wherever `pool_at` puts it.
      pool_at: index into `layers` before which the pool stands: 0 is GAP-first, `len(layers)` conv-first.
      rngs: source of the initial weights.

    Attributes:
      layers: the pointwise layers.
      labels: one name per layer, such as "linear 10" or "relu".

    Raises:
      ValueError: for `pool_at` outside 0 .. len(layers), listing the positions, an unknown activation, or a `pool`
        that is neither a pool nor a function that returns one.

    Source: derived here; GAP-first as in He et al. 2016, conv-first as in Lin, Chen and Yan 2014.

    >>> head = Head(128, 10, hidden=(64,), pool_at=2, rngs=nnx.Rngs(0))
    >>> head.describe()
    'linear 64 -> relu -> mean pool -> linear 10'
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        hidden: Sequence[int] = (),
        activation: str = "relu",
        norm: str = "none",
        dropout: float = 0.0,
        log_softmax: bool = False,
        pool: pooling.Pool | MakePool | str = "mean",
        pool_at: int | None = None,
        rngs: nnx.Rngs,
    ):
        if activation not in ACTIVATIONS:
            raise ValueError(unknown_name("activation", activation, ACTIVATIONS))
        if norm not in ("none", "layer"):
            raise ValueError(unknown_name("norm", norm, ("none", "layer")))
        layers: list[tuple[str, Layer]] = [("layer norm", LayerNorm(in_channels))] if norm == "layer" else []
        widths = (in_channels, *hidden)
        for inner, width in itertools.pairwise(widths):
            layers += [(f"linear {width}", Pointwise(inner, width, rngs=rngs))]
            layers += [(activation, Activation(ACTIVATIONS[activation]))]
        if dropout:
            layers += [("dropout", ChannelDropout(dropout, stream=HEAD_DROPOUT_STREAM))]
        layers += [(f"linear {classes}", Pointwise(widths[-1], classes, rngs=rngs))]
        if log_softmax:
            layers += [("log_softmax", LogSoftmax())]
        self.labels = tuple(label for label, _ in layers)
        self.layers = nnx.List([layer for _, layer in layers])
        self.pool_at = len(layers) if pool_at is None else pool_at
        if not 0 <= self.pool_at <= len(layers):
            places = ", ".join(f"{i} before {label}" for i, label in enumerate(self.labels))
            raise ValueError(f"pool_at={pool_at} of the head: allowed are {places}, {len(layers)} after all layers.")
        self.pool = self._make_pool(pool, in_channels, rngs)

    def __call__(self, features: Padded, *, train: bool = False, keys: jax.Array | None = None) -> jax.Array:
        """Returns logits [B, K] (log-probabilities with `log_softmax`); 0 in filler rows.

        Args:
          features: values [B, *S, C].
          train: whether dropout is active.
          keys: one PRNG key per example [B], needed by dropout in training.
        """
        features = self._apply(features, 0, self.pool_at, train, keys)
        features = self._apply(pooling.pool(features, self.pool), self.pool_at, len(self.layers), train, keys)
        return features.values.reshape(features.batch_size, -1)

    def class_maps(self, features: Padded) -> Padded:
        """Returns the score of every class at every position: maps whose pool gives the logits.

        A head that classifies first has them as its last values before the pool. With the mean as pool and nothing but
        affine layers after it, they also exist when the pool comes first (class activation maps).

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
        for label, layer in list(zip(self.labels, self.layers, strict=True))[self.pool_at :]:
            affine = isinstance(layer, Pointwise | ChannelDropout)
            if not (affine and self.pool.commutes_with_affine):
                return (
                    f"head '{self.describe()}': its logits are no pool of class maps, because {label!r} comes after "
                    f"the {self.pool_name} pool and does not commute with it. Move the pool behind it."
                )
        return ""

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
        return " -> ".join((*self.labels[: self.pool_at], f"{self.pool_name} pool", *self.labels[self.pool_at :]))

    def multiply_adds(self, size: Sequence[int], channels: int) -> int:
        """Returns the multiply-adds per example: those of the layers and of the pool.

        Args:
          size: extent of the feature map per spatial axis.
          channels: C.
        """
        total = 0
        for index, layer in enumerate(self.layers):
            if index == self.pool_at:
                pooled = pooling.multiply_adds(self.pool, math.prod(size), channels)
                total, size = total + pooled, (1,) * len(size)
            total += layer.multiply_adds(size, channels)
            channels = layer.out_channels(channels)
        at_the_end = self.pool_at == len(self.layers)
        return total + (pooling.multiply_adds(self.pool, math.prod(size), channels) if at_the_end else 0)

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

    def _apply(self, batch: Padded, start: int, stop: int, train: bool, keys: jax.Array | None) -> Padded:
        for layer in list(self.layers)[start:stop]:
            batch = layer(batch, train=train, keys=keys)
        return batch


HEAD_DROPOUT_STREAM = 1_000_000  # apart from the streams of a backbone, which count from 0
