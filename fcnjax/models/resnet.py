"""ResNet: stages of residual blocks; v1.5 for large images, and the narrow network for CIFAR.

v1.5 strides in the 3x3 convolution of a bottleneck, as torchvision and timm do; v1 of the paper strides in the 1x1
convolution before it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
from flax import nnx

from fcnjax.heads import make_head
from fcnjax.layers import Activation, BatchNorm, Convolution, Layer, MaxPool, Residual
from fcnjax.layers.pointwise import relu_of_sum
from fcnjax.models.classifier import Block, Classifier
from fcnjax.models.parts import check_border_keeps_size

Convolve = Callable[..., Convolution]


def resnet(
    *,
    depths: Sequence[int],
    bottleneck: bool,
    classes: int,
    in_channels: int,
    rank: int = 2,
    width: int = 64,
    small: bool = False,
    border: str = "zero",
    head: Mapping[str, Any] | None = None,
    rngs: nnx.Rngs,
) -> Classifier:
    """Returns a ResNet: a stem, a stage of blocks for each entry of `depths`, and the head.

    Each stage but the first halves the size and doubles the width.

    Args:
        depths: number of blocks of each stage, at least 1 each.
        bottleneck: whether a block is a 1x1, a 3x3 and a four times wider 1x1 convolution, rather than two 3x3 ones.
        classes: number of classes K.
        in_channels: number of channels of the inputs.
        rank: number of spatial axes, 1 to 3.
        width: channels of the first stage.
        small: whether the stem is a 3x3 convolution of stride 1 (CIFAR), rather than 7x7 of stride 2 and a max pool.
        border: what convolutions see beyond the edge of an example, any border of `Convolution` but "valid".
        head: arguments of `fcnjax.Head`; default: linear, GAP-first, as in the paper.
        rngs: source of the initial weights.

    Raises:
        ValueError: if `depths` is empty or has an entry below 1, the border changes sizes or is unknown, a head option
            is unknown, or a layer rejects an argument.

    Source: He et al., "Deep Residual Learning for Image Recognition", 2016; v1.5 as in torchvision's `resnet50`.
    """
    if not depths or min(depths) < 1:
        raise ValueError(f"depths={tuple(depths)} of the ResNet: must be one or more numbers of at least 1.")
    check_border_keeps_size("the ResNet", border)
    convolve = partial(Convolution, rank=rank, border=border, bias=False, rngs=rngs)
    taps, stride = (3, 1) if small else (7, 2)
    stem = [*_unit(convolve, in_channels, width, taps, stride), Activation(jax.nn.relu)]
    blocks = [Block("stem", stem if small else [*stem, MaxPool(3, rank=rank, stride=2, padding=1)])]
    channels, expansion = width, 4 if bottleneck else 1
    for stage, depth in enumerate(depths):
        inner = width * 2**stage
        layers: list[Layer] = []
        for index in range(depth):
            stride = 2 if stage and not index else 1
            layers += _block(convolve, channels, inner, stride, bottleneck)
            channels = inner * expansion
        blocks.append(Block(f"stage{stage + 1}", layers))
    made = make_head(channels, classes, head, rank=rank, rngs=rngs, border=border, pool_at=0)
    return Classifier(blocks, made, in_channels=in_channels, rank=rank)


def resnet_cifar(
    *,
    classes: int,
    in_channels: int,
    depth: int = 20,
    rank: int = 2,
    width: int = 16,
    border: str = "zero",
    head: Mapping[str, Any] | None = None,
    rngs: nnx.Rngs,
) -> Classifier:
    """Returns the CIFAR ResNet: three stages of 16, 32 and 64 channels.

    The shortcut of a block that changes the shape is a 1x1 convolution (the paper's option B); the paper's CIFAR table
    uses option A.

    Args:
        classes: number of classes K.
        in_channels: number of channels of the inputs.
        depth: number of layers, 6 n + 2 with n at least 1, such as 20, 32, 44, 56 or 110.
        rank: number of spatial axes, 1 to 3.
        width: channels of the first stage.
        border: as in `resnet`.
        head: as in `resnet`.
        rngs: source of the initial weights.

    Raises:
        ValueError: if the depth is not 6 n + 2 with n at least 1, the border changes sizes or is unknown, a head option
            is unknown, or a layer rejects an argument.

    Source: He et al., "Deep Residual Learning for Image Recognition", 2016, section 4.2.
    """
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(f"depth={depth} of the CIFAR ResNet: must be 6 n + 2 with n at least 1, such as 20 or 56.")
    shape = {"classes": classes, "in_channels": in_channels, "rank": rank, "width": width, "border": border}
    return resnet(depths=[(depth - 2) // 6] * 3, bottleneck=False, small=True, head=head, rngs=rngs, **shape)


def _block(convolve: Convolve, channels: int, inner: int, stride: int, bottleneck: bool) -> list[Layer]:
    relu = Activation(jax.nn.relu)
    if bottleneck:
        outer = 4 * inner
        branch = [*_unit(convolve, channels, inner, 1, 1), relu, *_unit(convolve, inner, inner, 3, stride), relu]
        branch += _unit(convolve, inner, outer, 1, 1)
    else:
        outer = inner
        branch = [*_unit(convolve, channels, inner, 3, stride), relu, *_unit(convolve, inner, inner, 3, 1)]
    shortcut = _unit(convolve, channels, outer, 1, stride) if stride > 1 or channels != outer else []
    return [Residual(branch, shortcut), Activation(relu_of_sum)]


def _unit(convolve: Convolve, channels: int, outputs: int, taps: int, stride: int) -> list[Layer]:
    return [convolve(channels, outputs, taps, stride=stride, padding=taps // 2), BatchNorm(outputs)]
