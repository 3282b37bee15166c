"""Network in Network: 1x1 convolutions after each convolution; the network that introduced global average pooling."""

import itertools
from collections.abc import Mapping
from typing import Any

from flax import nnx

from fcnjax.heads import make_head
from fcnjax.layers import AveragePool, Layer, MaxPool, Pointwise
from fcnjax.layers.pointwise import activation_layer
from fcnjax.models.classifier import Block, Classifier
from fcnjax.models.parts import conv_relu, dropped


def nin(
    *,
    classes: int,
    in_channels: int,
    rank: int = 2,
    width: int = 192,
    dropout: float = 0.5,
    border: str = "zero",
    head: Mapping[str, Any] | None = None,
    rngs: nnx.Rngs,
) -> Classifier:
    """Returns the network for CIFAR: three blocks, each a convolution and 1x1 convolutions with ReLUs.

    The last 1x1 convolution, to one map per class with a ReLU, is the head; the mean of a map is the score. Pooling
    between blocks halves the size, rounded up.

    Args:
        classes: number of classes K.
        in_channels: number of channels of the inputs.
        rank: number of spatial axes, 1 to 3.
        width: channels of the widest layers, at least 2.
        dropout: rate of channel dropout between blocks, in [0, 1); the paper drops single values.
        border: what convolutions see beyond the edge of an example, any border of `Convolution`; "valid" adds no pads.
        head: arguments of `fcnjax.Head`; default: linear with a ReLU on the scores, conv-first, as in the paper.
        rngs: source of the initial weights.

    Raises:
        ValueError: if the border or a head option is unknown, or a layer rejects an argument.

    Source: Lin, Chen and Yan, "Network In Network", 2014; widths and pools of the authors' CIFAR-10 model.
    """

    def block(name: str, inner: int, widths: tuple[int, ...], taps: int, after: list[Layer]) -> Block:
        layers = conv_relu(inner, widths[0], taps, rank=rank, border=border, rngs=rngs)
        for before, wider in itertools.pairwise(widths):
            layers += [Pointwise(before, wider, rngs=rngs), activation_layer("relu")]
        return Block(name, [*layers, *after])

    halved = {"kernel": 3, "stride": 2, "rank": rank, "ceil": True}
    narrow = width // 2
    blocks = [
        block("mlpconv1", in_channels, (width, 5 * width // 6, narrow), 5, [MaxPool(**halved), *dropped(dropout, 0)]),
        block("mlpconv2", narrow, (width, width, width), 5, [AveragePool(**halved), *dropped(dropout, 1)]),
        block("mlpconv3", width, (width, width), 3, []),
    ]
    made = make_head(width, classes, head, rank=rank, rngs=rngs, border=border, score_activation="relu")
    return Classifier(blocks, made, in_channels=in_channels, rank=rank)
