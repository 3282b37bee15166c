"""FCN: a plain stack of convolutions that each halve the size, or keep it."""

from collections.abc import Mapping, Sequence
from typing import Any

from flax import nnx

from fcnjax.heads import make_head
from fcnjax.layers import ChannelDropout, Convolution, Layer, MaxPool
from fcnjax.layers.normalization import norm_layers
from fcnjax.layers.pointwise import activation_layer
from fcnjax.models.classifier import Block, Classifier
from fcnjax.naming import check_name

DOWNSAMPLINGS = ("stride", "max_pool", "dilation", "none")


def fcn(
    *,
    classes: int,
    in_channels: int,
    rank: int = 2,
    kernel: int = 4,
    channels: Sequence[int] = (32, 64, 128),
    downsampling: str = "stride",
    norm: str = "batch",
    activation: str = "relu",
    dropout: float = 0.0,
    border: str = "zero",
    head: Mapping[str, Any] | None = None,
    rngs: nnx.Rngs,
) -> Classifier:
    """Returns the FCN: 28 -> 14 -> 7 -> 3 positions, 1 -> 32 -> 64 -> 128 channels, then the head.

    Each block is a convolution of stride 2 (kernel 4, padding 1), a norm, an activation and optional dropout; see
    `downsampling` for others.

    Args:
        classes: number of classes K.
        in_channels: number of channels of the inputs.
        rank: number of spatial axes: 1 for signals [L, C], 2 for images, 3 for volumes.
        kernel: taps of each convolution along every axis.
        channels: output channels of each block, one or more.
        downsampling: how each block halves the size: "stride", a convolution of stride 2 and padding (kernel - 1) // 2;
            or "max_pool", a pool of 2 positions before the dropout. Or each block keeps it: "dilation" doubles the
            dilation from block to block, so that the features of "stride" appear at every position (the algorithme a
            trous); "none" does not. All have the same number of weights. Without a stride, pads keep the size.
        norm: "batch", "group" (8 groups), "layer" or "none".
        activation: "relu", "gelu", "silu" or "tanh".
        dropout: rate of channel dropout after each block, in [0, 1).
        border: what convolutions see beyond the edge of an example, any border of `Convolution`; "valid" adds no pads.
        head: arguments of `fcnjax.Head`; default: linear, conv-first.
        rngs: source of the initial weights.

    Raises:
        ValueError: if `channels` is empty, `downsampling`, the norm, the activation, the border or a head option is
            unknown, or a layer rejects an argument.

    Source: derived here; the four ways after Springenberg et al., "Striving for Simplicity: The All Convolutional Net",
    2015, and Yu and Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions", 2016.
    """
    if not channels:
        raise ValueError(
            "channels=() of the fcn: must have at least one entry; give one per block, such as (32, 64, 128)."
        )
    check_name("downsampling", downsampling, DOWNSAMPLINGS)
    shared = {"rank": rank, "bias": norm == "none", "border": border, "rngs": rngs}
    blocks, width = [], in_channels
    for index, wider in enumerate(channels):
        convolution = Convolution(width, wider, kernel, **_window(rank, kernel, downsampling, index), **shared)
        layers: list[Layer] = [convolution, *norm_layers(norm, wider), activation_layer(activation)]
        if downsampling == "max_pool":
            layers.append(MaxPool(2, rank=rank))
        if dropout:
            layers.append(ChannelDropout(dropout, stream=index))
        blocks.append(Block(f"conv{index + 1}", layers))
        width = wider
    made = make_head(width, classes, head, rank=rank, rngs=rngs, border=border)
    return Classifier(blocks, made, in_channels=in_channels, rank=rank)


def _window(rank: int, kernel: int, downsampling: str, index: int) -> dict[str, Any]:
    """Returns the arguments of a block's convolution that describe its windows."""
    if downsampling == "stride":
        return {"stride": 2, "padding": (kernel - 1) // 2}
    dilation = 2**index if downsampling == "dilation" else 1
    before = (kernel - 1) // 2
    return {"dilation": dilation, "padding": [(dilation * before, dilation * (kernel - 1 - before))] * rank}
