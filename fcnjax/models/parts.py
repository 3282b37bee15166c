"""What several networks are built from: a convolution and its ReLU, and dropout that may be absent."""

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
    """Returns a convolution from `inner` to `outer` channels, and a ReLU."""
    return [
        Convolution(inner, outer, taps, rank=rank, stride=stride, padding=padding, rngs=rngs),
        activation_layer("relu"),
    ]


def dropped(rate: float, stream: int) -> list[Layer]:
    """Returns channel dropout from its own stream of random numbers, or nothing at rate 0."""
    return [ChannelDropout(rate, stream=stream)] if rate else []
