"""FCN-8s and FCN-32s: a VGG encoder and a decoder that up-samples its features to one position per pixel.

`class_maps` has the size of the input; its pool is the score of the whole image. The paper computes class scores by 1x1
convolutions and up-samples them. Here the 1x1 convolutions compute `decoder` features, and the head classifies every
pixel after the up-sampling. Both are linear, so with `decoder` of at least K this network can represent the paper's.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from flax import nnx

from fcnjax.heads import make_head
from fcnjax.layers import Layer, MaxPool, Pointwise, SkipConnection, TransposedConvolution, Upsample
from fcnjax.models.classifier import Block, Classifier
from fcnjax.models.parts import check_border_keeps_size, conv_relu, dropped


def dense_fcn(
    finest: int,
    *,
    classes: int,
    in_channels: int,
    rank: int = 2,
    width: int = 64,
    depths: Sequence[int] = (2, 2, 3, 3, 3),
    hidden: int = 4096,
    decoder: int = 64,
    dropout: float = 0.5,
    border: str = "zero",
    head: Mapping[str, Any] | None = None,
    rngs: nnx.Rngs,
) -> Classifier:
    """Returns an FCN with dense class maps: FCN-32s for `finest=32`, FCN-16s for 16, FCN-8s for 8.

    Args:
        finest: stride of the finest features that the decoder uses, 2, 4, .. or 2 ** len(depths); bilinear up-sampling
            by this factor leads to the pixels.
        classes: number of classes K.
        in_channels: number of channels of the inputs.
        rank: number of spatial axes, 1 to 3.
        width: channels of the first stage; each further stage doubles them, up to 8 * width.
        depths: number of 3x3 convolutions of each stage; pooling after each stage halves the size, rounded up.
        hidden: channels of the two convolutions (7x7 and 1x1) after the stages.
        decoder: channels of the decoder.
        dropout: rate of channel dropout after each `hidden` convolution, in [0, 1).
        border: what convolutions see beyond the edge of an example, any border of `Convolution` but "valid".
        head: arguments of `fcnjax.Head`; default: linear, conv-first.
        rngs: source of the initial weights.

    Raises:
        ValueError: if `finest` is not the stride of a stage, the border changes sizes or is unknown, a head option is
            unknown, or a layer rejects an argument.

    Source: Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", 2015, with symmetric
    padding instead of 100 pixels at the first layer.
    """
    strides = [2 ** (stage + 1) for stage in range(len(depths))]
    if finest not in strides:
        raise ValueError(f"finest={finest} of the dense FCN: must be the stride of a stage, one of {strides}.")
    check_border_keeps_size("the dense FCN", border)
    widths = [min(width * 2**stage, 8 * width) for stage in range(len(depths))]
    convolve = partial(conv_relu, rank=rank, border=border, rngs=rngs)

    def stage(index: int) -> list[Layer]:
        inner = widths[index - 1] if index else in_channels
        layers = convolve(inner, widths[index], 3)
        for _ in range(1, depths[index]):
            layers += convolve(widths[index], widths[index], 3)
        return [*layers, MaxPool(2, rank=rank, ceil=True)]

    first = strides.index(finest)
    encoder = [Block(f"stage{index + 1}", stage(index)) for index in range(first + 1)]
    deep = convolve(widths[-1], hidden, 7) + dropped(dropout, 0) + convolve(hidden, hidden, 1) + dropped(dropout, 1)
    inside: list[Layer] = [*deep, Pointwise(hidden, decoder, rngs=rngs)]
    double = partial(
        TransposedConvolution, decoder, decoder, 4, stride=2, padding=1, rank=rank, bias=False, bilinear=True
    )
    for index in reversed(range(first + 1, len(depths))):
        lateral = Pointwise(widths[index - 1], decoder, rngs=rngs)
        inside = [SkipConnection([*stage(index), *inside, double(rngs=rngs)], [lateral])]
    inside += [Upsample(finest, "bilinear", rank=rank)]
    made = make_head(decoder, classes, head, rank=rank, rngs=rngs, border=border)
    blocks = [*encoder, Block("decoder", inside)]
    return Classifier(blocks, made, in_channels=in_channels, rank=rank, cut_to_input=True)
