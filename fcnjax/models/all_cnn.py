"""All-CNN-C: a network of convolutions only; strides replace pooling."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from flax import nnx

from fcnjax.heads import make_head
from fcnjax.models.classifier import Block, Classifier
from fcnjax.models.parts import conv_relu, dropped


def all_cnn_c(
    *,
    classes: int,
    in_channels: int,
    rank: int = 2,
    width: int = 96,
    dropout: float = 0.5,
    border: str = "zero",
    head: Mapping[str, Any] | None = None,
    rngs: nnx.Rngs,
) -> Classifier:
    """Returns All-CNN-C: two blocks of three 3x3 convolutions (the third halves the size), a 3x3 and a 1x1 convolution.

    The head is a 1x1 convolution to one map per class with a ReLU; the mean of a map is the score.

    Args:
        classes: number of classes K.
        in_channels: number of channels of the inputs.
        rank: number of spatial axes, 1 to 3.
        width: channels of the first block; all later blocks have twice as many.
        dropout: rate of channel dropout after the halving convolutions, in [0, 1); the paper drops single values,
            and also 0.2 of the input.
        border: what convolutions see beyond the edge of an example, any border of `Convolution`; "valid" adds no pads.
        head: arguments of `fcnjax.Head`; default: linear with a ReLU on the scores, conv-first, as in the paper.
        rngs: source of the initial weights.

    Raises:
        ValueError: if the border or a head option is unknown, or a layer rejects an argument.

    Source: Springenberg et al., "Striving for Simplicity: The All Convolutional Net", 2015, table 1; as in the paper,
    the convolution after the second halving has no padding.
    """
    convolve = partial(conv_relu, rank=rank, border=border, rngs=rngs)

    def block(name: str, inner: int, outer: int, stream: int) -> Block:
        layers = [*convolve(inner, outer, 3), *convolve(outer, outer, 3), *convolve(outer, outer, 3, stride=2)]
        return Block(name, [*layers, *dropped(dropout, stream)])

    wide = 2 * width
    blocks = [
        block("conv1-3", in_channels, width, 0),
        block("conv4-6", width, wide, 1),
        Block("conv7", convolve(wide, wide, 3, padding="valid")),
        Block("conv8", convolve(wide, wide, 1)),
    ]
    made = make_head(wide, classes, head, rank=rank, rngs=rngs, border=border, score_activation="relu")
    return Classifier(blocks, made, in_channels=in_channels, rank=rank)
