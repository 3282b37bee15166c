"""The fixed-size baseline: a dense layer on flattened features, and its conversion into a convolution.

A dense layer on flattened features has one weight per position and channel, so it takes features of one extent only.
The same weights are a convolution with a window of that extent, which slides over larger features.

Axes: B batch, S spatial, C feature channels, K classes.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.core import Tracer

from fcnjax import random_streams
from fcnjax.geometry import AnyWindow, Window
from fcnjax.heads.head import Head
from fcnjax.layers import ChannelDropout, Convolution, Layer, Pointwise, Sequential
from fcnjax.layers.layer import Module, mode
from fcnjax.layers.pointwise import activation_layer
from fcnjax.naming import joined
from fcnjax.padded import Padded


class Flatten(Layer):
    """Moves all positions into the channels of a single position, in row-major order.

    Args:
        extent: required extent of the features, per spatial axis.
    """

    def __init__(self, extent: Sequence[int]):
        self.extent = tuple(extent)

    def window(self, rank: int) -> tuple[AnyWindow, ...]:
        del rank
        return tuple(Window(n) for n in self.extent)

    def out_channels(self, channels: int) -> int:
        return channels * math.prod(self.extent)

    def transform(self, batch: Padded) -> Padded:
        """Returns values [B, 1, .., 1, C * prod(extent)].

        Raises:
            ValueError: if the padded shape is smaller than the extent, or an example has another extent (inside `jit`,
                such an example becomes a filler row instead).
        """
        sizes = None if isinstance(batch.sizes, Tracer) else np.asarray(batch.sizes)
        other = () if sizes is None else [size for size in sizes.tolist() if any(size) and tuple(size) != self.extent]
        if other or any(n < wanted for n, wanted in zip(batch.spatial_shape, self.extent, strict=True)):
            raise ValueError(why_not(self.extent, joined(other[0] if other else batch.spatial_shape)))
        fits = (batch.sizes == np.array([self.extent])).all(-1, keepdims=True)
        values = batch.values[(slice(None), *(slice(n) for n in self.extent))]
        flat = values.reshape(batch.batch_size, *(1,) * batch.rank, self.out_channels(batch.channels))
        return batch.replace(flat, np.ones((1, batch.rank), np.int32) * fits)


def why_not(extent: Sequence[int], found: str) -> str:
    """Returns the message for features that a flatten-dense head does not take.

    Args:
        extent: the extent that the head takes.
        found: the extent of the features, such as "8x8".
    """
    wanted = joined(extent)
    return (
        f"features of {found} positions, but a flatten-dense head made for {wanted} has one weight for each of its "
        f"{math.prod(extent)} positions and each channel, and cannot take other extents; resize the input, pool before "
        "the dense layer (fcnjax.Head), or turn the head into a convolution (fcnjax.heads.convolutionalize)."
    )


class FlattenDenseHead(Module):
    """Turns features of one fixed extent into logits [B, K] by dense layers, as networks did before global pooling.

    Args:
        in_channels: channels of the features C.
        classes: number of classes K.
        extent: required extent of the features, per spatial axis, such as (7, 7).
        hidden: widths of the hidden dense layers.
        activation: "relu", "gelu", "silu" or "tanh", after each hidden layer.
        dropout: rate of channel dropout before the classifier, in [0, 1).
        rngs: source of the initial weights.

    Attributes:
        stack: `Flatten`, then pointwise layers on one position, which are dense layers.
        layer_names: one name per layer.
        feature_extent: the required extent.

    Raises:
        ValueError: if the activation is unknown, or an extent is below 1.

    Source: Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep CNNs", 2012; Simonyan and Zisserman,
    "Very Deep Convolutional Networks", 2015.

    >>> FlattenDenseHead(128, 10, (3, 2), rngs=nnx.Rngs(0)).describe()
    'flatten 3x2 -> linear 10'
    """

    ends_in_log_softmax = False

    def __init__(
        self,
        in_channels: int,
        classes: int,
        extent: Sequence[int],
        *,
        hidden: Sequence[int] = (),
        activation: str = "relu",
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ):
        if not extent or min(extent) < 1:
            raise ValueError(
                f"extent={tuple(extent)} of the flatten-dense head: must be one or more positive ints, such as (7, 7)."
            )
        flatten = Flatten(extent)
        layers: list[tuple[str, Layer]] = [(f"flatten {joined(extent)}", flatten)]
        for inner, width in itertools.pairwise((flatten.out_channels(in_channels), *hidden)):
            layers += [
                (f"linear {width}", Pointwise(inner, width, rngs=rngs)),
                (activation, activation_layer(activation)),
            ]
        if dropout:
            layers += [("dropout", ChannelDropout(dropout, stream=random_streams.HEAD_DROPOUT))]
        last = hidden[-1] if hidden else flatten.out_channels(in_channels)
        layers += [(f"linear {classes}", Pointwise(last, classes, rngs=rngs))]
        self.layer_names = tuple(name for name, _ in layers)
        self.stack = Sequential([layer for _, layer in layers])
        self.feature_extent = tuple(extent)

    def __call__(self, features: Padded, *, train: bool = False, keys: jax.Array | None = None) -> jax.Array:
        """Returns logits [B, K]; 0 in filler rows.

        Args:
            features: values [B, *S, C]; each example has the extent `feature_extent`.
            train: whether dropout is active.
            keys: one PRNG key per example [B], needed by dropout in training.

        Raises:
            ValueError: if an example has another extent (see `Flatten.transform`).
        """
        scores = self.stack(features, **mode(train, keys))
        return scores.values.reshape(scores.batch_size, scores.channels)

    @property
    def layers(self) -> list[Layer]:
        """The layers in order."""
        return list(self.stack.layers)

    def class_maps(self, features: Padded) -> Padded:
        """Raises ValueError: this head has no scores per position (see `convolutionalize`)."""
        del features
        raise ValueError(self.class_maps_obstacle())

    def class_maps_obstacle(self) -> str:
        """Returns why this head has no class maps."""
        return f"head '{self.describe()}': has no class maps, as it mixes all positions at once; convolutionalize it."

    def describe(self) -> str:
        """Returns the layers in order, such as "flatten 3x2 -> linear 10"."""
        return " -> ".join(self.layer_names)

    def windows(self, rank: int) -> list[tuple[AnyWindow, ...]]:
        """Returns the windows of the layers."""
        return self.stack.windows(rank)

    def parts(self) -> Iterator[tuple[str, Any]]:
        """Yields the name of each layer and the layer itself."""
        yield from zip(self.layer_names, self.layers, strict=True)

    def multiply_adds(self, size: Sequence[int], channels: int) -> int:
        """Returns the multiply-adds per example (see `Head.multiply_adds`)."""
        return self.stack.multiply_adds(size, channels)


def convolutionalize(head: FlattenDenseHead, training_size: Sequence[int] | None = None) -> Head:
    """Returns a convolutional head with the same weights: equal at the training size, defined at larger ones.

    The first dense layer becomes a convolution without padding, with a window of the training size; the others become
    1x1 convolutions. At larger sizes the logits are the mean over the map of scores. If the backbone does not pad
    either, each position of `class_maps` is the score of one crop of the input; neighboring crops are `stride` apart.

    Args:
        head: the flatten-dense head.
        training_size: must equal `head.feature_extent`; give it to have that checked. Default: not checked.

    Raises:
        TypeError: if `head` is not a `FlattenDenseHead`; other heads take any size already.
        ValueError: if `training_size` is not `head.feature_extent`.

    Source: Sermanet et al., "OverFeat", 2014, section 3.5; Long, Shelhamer and Darrell, "Fully Convolutional Networks
    for Semantic Segmentation", 2015, section 3.1.
    """
    if not isinstance(head, FlattenDenseHead):
        raise TypeError(f"head of type {type(head).__name__}: must be a FlattenDenseHead; others take any size.")
    extent = head.feature_extent
    if training_size is not None and tuple(training_size) != extent:
        raise ValueError(
            f"training_size={tuple(training_size)}: must be {extent}, the extent that the head was made for."
        )
    dense: list[Any] = [layer for layer in head.layers if isinstance(layer, Pointwise)]
    widths = [layer.kernel.shape[-1] for layer in dense]
    dropout = next((layer.rate for layer in head.layers if isinstance(layer, ChannelDropout)), 0.0)
    activation = head.layer_names[2] if len(dense) > 1 else "relu"
    channels = dense[0].kernel.shape[0] // math.prod(extent)
    options: dict[str, Any] = {"hidden": widths[:-1], "activation": activation, "dropout": dropout, "rank": len(extent)}
    # The weights drawn here are replaced below.
    made = Head(channels, widths[-1], kernel=extent, padding="valid", rngs=nnx.Rngs(0), **options)
    linear: list[Any] = [layer for layer in made.layers if isinstance(layer, Pointwise | Convolution)]
    for ours, theirs in zip(linear, dense, strict=True):
        ours.kernel[...] = theirs.kernel[...].reshape(ours.kernel.shape)
        ours.bias[...] = theirs.bias[...]
    return made
