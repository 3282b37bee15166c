"""ConvNeXt: stages of residual blocks, each with a 7x7 depthwise convolution, one layer norm and one GELU."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from flax import nnx

from fcnjax.heads import make_head
from fcnjax.layers import (
    Activation,
    Convolution,
    Layer,
    LayerNorm,
    LayerScale,
    Pointwise,
    Residual,
    StochasticDepth,
)
from fcnjax.models.classifier import Block, Classifier
from fcnjax.models.parts import check_border_keeps_size


def convnext(
    *,
    classes: int,
    in_channels: int,
    rank: int = 2,
    depths: Sequence[int],
    width: int,
    stochastic_depth: float = 0.1,
    border: str = "zero",
    head: Mapping[str, Any] | None = None,
    rngs: nnx.Rngs,
) -> Classifier:
    """Returns a ConvNeXt: a stem of 4x4 patches, a stage of blocks for each entry of `depths`, and the head.

    Each stage but the first halves the size and doubles the width. Extents are rounded down when they are divided:
    extents of 32 n to 32 n + 31 become n positions.

    Args:
        classes: number of classes K.
        in_channels: number of channels of the inputs.
        rank: number of spatial axes, 1 to 3.
        depths: number of blocks of each stage, at least 1 each.
        width: channels of the first stage.
        stochastic_depth: rate in [0, 1) at which an example skips the last block in training; the rate grows linearly
            from 0 for the first block.
        border: what convolutions see beyond the edge of an example, any border of `Convolution` but "valid".
        head: arguments of `fcnjax.Head`; default: GAP-first, layer norm, linear, as in the paper.
        rngs: source of the initial weights.

    Raises:
        ValueError: if `depths` is empty or has an entry below 1, the border changes sizes or is unknown, a head option
            is unknown, or a layer rejects an argument.

    Source: Liu et al., "A ConvNet for the 2020s", 2022; tiny, small and base are networks of the paper (figure 4),
    with the rates of torchvision's `convnext.py`; atto, femto, pico and nano are those of timm's `convnext.py`.
    """
    if not depths or min(depths) < 1:
        raise ValueError(f"depths={tuple(depths)} of the ConvNeXt: must be one or more numbers of at least 1.")
    check_border_keeps_size("the ConvNeXt", border)
    stem = [Convolution(in_channels, width, 4, rank=rank, stride=4, rngs=rngs), LayerNorm(width)]
    blocks, channels, index, last = [Block("stem", stem)], width, 0, max(1, sum(depths) - 1)
    for stage, depth in enumerate(depths):
        layers: list[Layer] = []
        if stage:
            layers += [LayerNorm(channels), Convolution(channels, 2 * channels, 2, rank=rank, stride=2, rngs=rngs)]
            channels *= 2
        for _ in range(depth):
            branch = _branch(channels, rank, border, rngs)
            layers.append(Residual([*branch, StochasticDepth(stochastic_depth * index / last, stream=index)]))
            index += 1
        blocks.append(Block(f"stage{stage + 1}", layers))
    made = make_head(channels, classes, head, rank=rank, rngs=rngs, border=border, norm="layer", pool_at=0)
    return Classifier(blocks, made, in_channels=in_channels, rank=rank)


def exact_gelu(values: jax.Array) -> jax.Array:
    """Returns x P(X < x) for a standard normal X; `jax.nn.gelu` approximates it by default."""
    return jax.nn.gelu(values, approximate=False)


def _branch(channels: int, rank: int, border: str, rngs: nnx.Rngs) -> list[Layer]:
    return [
        Convolution(channels, channels, 7, rank=rank, padding=3, groups=channels, border=border, rngs=rngs),
        LayerNorm(channels),
        Pointwise(channels, 4 * channels, rngs=rngs),
        Activation(exact_gelu),
        Pointwise(4 * channels, channels, rngs=rngs),
        LayerScale(channels),
    ]
