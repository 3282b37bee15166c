"""Parts that several networks share: a convolution with its ReLU, optional dropout, and a check of their border."""

from collections.abc import Sequence

from flax import nnx

from fcnjax.geometry import Padding
from fcnjax.layers import ChannelDropout, Convolution, Layer
from fcnjax.layers.convolution.borders import BORDERS
from fcnjax.layers.pointwise import activation_layer
from fcnjax.naming import check_name


def conv_relu(
    inner: int,
    outer: int,
    taps: int | Sequence[int],
    *,
    rank: int,
    stride: int = 1,
    padding: Padding = "same",
    border: str = "zero",
    rngs: nnx.Rngs,
) -> list[Layer]:
    """Returns a convolution and a ReLU.

    Args:
        inner: number of input channels.
        outer: number of output channels.
        taps: kernel size, one int or one int per spatial axis.
        rank: number of spatial axes, 1 to 3.
        stride: stride along every axis, at least 1.
        padding: as for `Convolution`.
        border: as for `Convolution`.
        rngs: source of the initial weights.
    """
    return [
        Convolution(inner, outer, taps, rank=rank, stride=stride, padding=padding, border=border, rngs=rngs),
        activation_layer("relu"),
    ]


def dropped(rate: float, stream: int) -> list[Layer]:
    """Returns channel dropout of a rate in [0, 1) with its own random stream, or no layer if the rate is 0."""
    return [ChannelDropout(rate, stream=stream)] if rate else []


def check_border_keeps_size(network: str, border: str):
    """Raises ValueError if a border is unknown or takes the pads away, with which convolutions keep the size.

    Args:
        network: such as "the ResNet", which adds branches, or has class maps of the size of its input.
        border: as for `Convolution`.
    """
    check_name("border", border, BORDERS)
    if border == "valid":
        keeping = ", ".join(name for name in BORDERS if name != "valid")
        raise ValueError(
            f"border='valid' of {network}: must be one of {keeping}, because without pads the sizes of its branches "
            "would differ; choose one of these, or another network (fcn, nin or all_cnn_c)."
        )
