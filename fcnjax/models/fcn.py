"""FCN: a plain stack of convolutions that each halve the size."""

from collections.abc import Mapping, Sequence
from typing import Any

from flax import nnx

from fcnjax.heads import make_head
from fcnjax.layers import ChannelDropout, Convolution, Layer
from fcnjax.layers.normalization import norm_layers
from fcnjax.layers.pointwise import activation_layer
from fcnjax.models.classifier import Block, Classifier


def fcn(
    *,
    classes: int,
    in_channels: int,
    rank: int = 2,
    kernel: int = 4,
    channels: Sequence[int] = (32, 64, 128),
    norm: str = "batch",
    activation: str = "relu",
    dropout: float = 0.0,
    border: str = "zero",
    head: Mapping[str, Any] | None = None,
    rngs: nnx.Rngs,
) -> Classifier:
    """Returns the FCN: 28 -> 14 -> 7 -> 3 positions, 1 -> 32 -> 64 -> 128 channels, then the head.

    Each block is a convolution of stride 2 (kernel 4, padding 1), a norm, an activation and optional dropout.

    Args:
        classes: number of classes K.
        in_channels: number of channels of the inputs.
        rank: number of spatial axes: 1 for signals [L, C], 2 for images, 3 for volumes.
        kernel: taps of each convolution along every axis; the padding is (kernel - 1) // 2 on either side.
        channels: output channels of each block, one or more; every block halves the size.
        norm: "batch", "group" (8 groups), "layer" or "none".
        activation: "relu", "gelu", "silu" or "tanh".
        dropout: rate of channel dropout after each block, in [0, 1).
        border: what convolutions see beyond the edge of an example, any border of `Convolution`; "valid" adds no pads.
        head: arguments of `fcnjax.Head`; default: linear, conv-first.
        rngs: source of the initial weights.

    Raises:
        ValueError: if `channels` is empty, the norm, the activation, the border or a head option is unknown, or a layer
            rejects an argument.
    """
    if not channels:
        raise ValueError(
            "channels=() of the fcn: must have at least one entry; give one per block, such as (32, 64, 128)."
        )
    blocks, width = [], in_channels
    for index, wider in enumerate(channels):
        shape = {"rank": rank, "stride": 2, "padding": (kernel - 1) // 2, "bias": norm == "none", "border": border}
        convolution = Convolution(width, wider, kernel, rngs=rngs, **shape)
        layers: list[Layer] = [convolution, *norm_layers(norm, wider), activation_layer(activation)]
        if dropout:
            layers.append(ChannelDropout(dropout, stream=index))
        blocks.append(Block(f"conv{index + 1}", layers))
        width = wider
    made = make_head(width, classes, head, rank=rank, rngs=rngs, border=border)
    return Classifier(blocks, made, in_channels=in_channels, rank=rank)
