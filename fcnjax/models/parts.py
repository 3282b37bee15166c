"""Parts that several networks share: a convolution with its ReLU, and optional dropout."""

from collections.abc import Sequence

from flax import nnx

from fcnjax.geometry import Padding
from fcnjax.layers import ChannelDropout, Convolution, Layer
from fcnjax.layers.pointwise import activation_layer


def conv_relu(
    inner: int,
    outer: int,
    taps: int | Sequence[int],
    *,
    rank: int,
    stride: int = 1,
    padding: Padding = "same",
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
        rngs: source of the initial weights.
    """
    return [
        Convolution(inner, outer, taps, rank=rank, stride=stride, padding=padding, rngs=rngs),
        activation_layer("relu"),
    ]


def dropped(rate: float, stream: int) -> list[Layer]:
    """Returns channel dropout of a rate in [0, 1) with its own random stream, or no layer if the rate is 0."""
    return [ChannelDropout(rate, stream=stream)] if rate else []
