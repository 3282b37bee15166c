"""Transposed convolution: a learned up-sampling.

Axes: B batch, S spatial, C input channels, K output channels.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fcnjax import geometry
from fcnjax.geometry import Expansion
from fcnjax.layers.convolution.dispatch import convolve_transposed
from fcnjax.layers.layer import WindowedLayer
from fcnjax.layers.linear import LinearLayer
from fcnjax.padded import Padded


class TransposedConvolution(WindowedLayer, LinearLayer):
    """Every input position adds a multiple of the kernel to the output: the gradient of a `Convolution`.

    Input i reaches the outputs from `i * stride - padding` up to, but not including, `i * stride - padding + kernel`.
    An example of n positions therefore has `(n - 1) * stride + kernel - 2 * padding` outputs. A kernel of `2 * stride`
    with padding `stride / 2` enlarges by exactly `stride`.

    Args:
        in_channels: C.
        channels: K.
        kernel: taps, one int or one per spatial axis.
        stride: one int or one per axis.
        padding: number of outputs cut off at each edge: an int, or ints or (before, after) pairs per axis.
        groups: number of channel groups; must divide C and K.
        rank: number of spatial axes, 1 to 3.
        bias: whether to add a learned constant per output channel.
        bilinear: whether the kernel starts as bilinear interpolation of each channel instead of random; requires C = K,
            one group, and a kernel of `2 * stride` or `2 * stride - 1`.
        rngs: source of the initial weights (He uniform; zero bias).

    Attributes:
        kernel: parameter [*kernel, C / groups, K].
        bias: parameter [K], or None.

    Raises:
        ValueError: if a number of channels is below 1, `groups` does not divide the channels, `rank` is not 1 to 3,
            `padding` is a name, or `bilinear` does not fit the other arguments.

    Source: PyTorch's `ConvTranspose2d`; Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic
    Segmentation", 2015, section 3.3.

    >>> TransposedConvolution(3, 8, 4, stride=2, padding=1, rngs=nnx.Rngs(0)).out_extent((7, 3))
    (14, 6)
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: int | Sequence[int],
        *,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | Sequence[tuple[int, int]] = 0,
        groups: int = 1,
        rank: int = 2,
        bias: bool = True,
        bilinear: bool = False,
        rngs: nnx.Rngs,
    ):
        if isinstance(padding, str):
            raise ValueError(f"padding={padding!r} of TransposedConvolution: must be numbers; give the pads per axis.")
        windows = geometry.windows(rank, kernel, stride, 1, padding)
        super().__init__([Expansion(window.kernel, window.stride, window.padding) for window in windows])
        taps = [window.kernel for window in windows]
        initial = _bilinear_kernel((*taps, in_channels // groups, channels), windows) if bilinear else None
        self._make_weights(taps, in_channels, channels, groups=groups, bias=bias, rngs=rngs, initial=initial)

    def multiply_adds(self, size: Sequence[int], channels: int) -> int:
        del channels
        return math.prod(size) * math.prod(self.kernel.shape)

    def transform(self, batch: Padded) -> Padded:
        sizes = self.out_sizes(batch)
        values = convolve_transposed(batch.values, self._kernel_for(batch), self._windows, self.groups)
        return batch.replace(self._with_bias(values), sizes)


def _bilinear_kernel(shape: tuple[int, ...], windows: Sequence[geometry.Window]) -> jax.Array:
    channels, outputs = shape[-2:]
    fits = all(window.kernel in (2 * window.stride - 1, 2 * window.stride) for window in windows)
    if channels != outputs or not fits:
        raise ValueError(
            f"bilinear=True of TransposedConvolution with a kernel of shape {shape}: must have as many output as input "
            "channels, one group, and a kernel of twice the stride or one less; change them or leave bilinear out."
        )
    kernel = np.ones(())
    for window in windows:
        center = (window.kernel - 1) / 2
        taps = 1 - np.abs(np.arange(window.kernel) - center) / window.stride
        kernel = np.multiply.outer(kernel, taps)
    return jnp.asarray(kernel[..., None, None] * np.eye(channels), jnp.float32)
