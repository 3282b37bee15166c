"""EfficientNet: stages of inverted bottlenecks, each with a depthwise convolution and squeeze-and-excite.

Padding is symmetric, as in torchvision and timm; the padding of TensorFlow depends on the size of the input.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
from flax import nnx

from fcnjax.heads import make_head
from fcnjax.layers import (
    Activation,
    BatchNorm,
    Convolution,
    Layer,
    Pointwise,
    Residual,
    Sequential,
    SqueezeExcite,
    StochasticDepth,
)
from fcnjax.models.classifier import Block, Classifier
from fcnjax.models.parts import check_border_keeps_size


class _Stage(NamedTuple):
    expansion: int
    channels: int
    stride: int
    kernel: int


STEM = 32
B0 = (
    _Stage(1, 16, 1, 3),
    _Stage(6, 24, 2, 3),
    _Stage(6, 40, 2, 5),
    _Stage(6, 80, 2, 3),
    _Stage(6, 112, 1, 5),
    _Stage(6, 192, 2, 5),
    _Stage(6, 320, 1, 3),
)


def efficientnet_b0(
    *,
    classes: int,
    in_channels: int,
    rank: int = 2,
    width: float = 1.0,
    depths: Sequence[int] = (1, 2, 2, 3, 3, 4, 1),
    stochastic_depth: float = 0.2,
    border: str = "zero",
    head: Mapping[str, Any] | None = None,
    rngs: nnx.Rngs,
) -> Classifier:
    """Returns EfficientNet-B0: a strided stem, seven stages of inverted bottlenecks, a wide 1x1 convolution, a head.

    Args:
        classes: number of classes K.
        in_channels: number of channels of the inputs.
        rank: number of spatial axes, 1 to 3.
        width: factor on all channels, greater than 0; the products are rounded to multiples of 8.
        depths: number of blocks of each of the seven stages, at least 1 each.
        stochastic_depth: rate in [0, 1) at which an example skips a residual block in training; the rate grows
            linearly from 0 for the first block toward `stochastic_depth`.
        border: what convolutions see beyond the edge of an example, any border of `Convolution` but "valid".
        head: arguments of `fcnjax.Head`; default: GAP-first, dropout 0.2, linear, as in the paper.
        rngs: source of the initial weights.

    Raises:
        ValueError: if the width is not greater than 0, `depths` is not seven numbers of at least 1, the border changes
            sizes or is unknown, a head option is unknown, or a layer rejects an argument.

    Source: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019, table 1;
    details as in torchvision's `efficientnet_b0`.
    """
    if width <= 0:
        raise ValueError(f"width={width} of the EfficientNet: must be greater than 0.")
    if len(depths) != len(B0) or min(depths) < 1:
        raise ValueError(f"depths={tuple(depths)} of the EfficientNet: must be {len(B0)} numbers of at least 1.")
    check_border_keeps_size("the EfficientNet", border)
    channels = _rounded(width * STEM)
    convolve = partial(Convolution, rank=rank, border=border, bias=False, rngs=rngs)
    stem = convolve(in_channels, channels, 3, stride=2, padding=1)
    blocks, index = [Block("stem", _unit(stem))], 0
    for number, (stage, depth) in enumerate(zip(B0, depths, strict=True), 1):
        layers: list[Layer] = []
        for repeat in range(depth):
            wider, stride = _rounded(width * stage.channels), 1 if repeat else stage.stride
            branch = _inverted_bottleneck(channels, wider, stage, stride, convolve, rngs)
            if stride == 1 and channels == wider:
                rate = stochastic_depth * index / sum(depths)
                layers.append(Residual([*branch, StochasticDepth(rate, stream=index)]))
            else:
                layers.append(Sequential(branch))
            channels, index = wider, index + 1
        blocks.append(Block(f"stage{number}", layers))
    blocks.append(Block("widening", _unit(Pointwise(channels, 4 * channels, bias=False, rngs=rngs))))
    made = make_head(4 * channels, classes, head, rank=rank, rngs=rngs, border=border, pool_at=0, dropout=0.2)
    return Classifier(blocks, made, in_channels=in_channels, rank=rank)


def _inverted_bottleneck(
    channels: int, outputs: int, stage: _Stage, stride: int, convolve: Callable[..., Convolution], rngs: nnx.Rngs
) -> list[Layer]:
    """Returns the layers of an inverted bottleneck: expansion, depthwise convolution, gate, projection."""
    inner, taps = channels * stage.expansion, stage.kernel
    layers = _unit(Pointwise(channels, inner, bias=False, rngs=rngs)) if stage.expansion > 1 else []
    layers += _unit(convolve(inner, inner, taps, stride=stride, padding=taps // 2, groups=inner))
    reduced = max(1, channels // 4)  # a quarter of the block's input channels, not of the expanded ones
    layers.append(SqueezeExcite(inner, reduced, activation=jax.nn.silu, rngs=rngs))
    return [*layers, Pointwise(inner, outputs, bias=False, rngs=rngs), BatchNorm(outputs)]


def _unit(linear: Convolution | Pointwise) -> list[Layer]:
    return [linear, BatchNorm(linear.kernel.shape[-1]), Activation(jax.nn.silu)]


def _rounded(channels: float) -> int:
    """Returns the nearest multiple of 8, or the next one if the nearest is more than a tenth smaller."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest
