"""Convolution over any number of spatial axes.

Axes: B batch, S spatial, C input channels, K output channels.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from fcnjax import geometry
from fcnjax.geometry import Padding
from fcnjax.layers.layer import WindowedLayer, per_channel
from fcnjax.layers.lowering import convolve
from fcnjax.layers.pointwise import KERNEL_INIT, check_channels
from fcnjax.padded import Padded


class Convolution(WindowedLayer):
    """Convolution with explicit pads: each example sees zeros beyond its own edge, whatever rectangle it lies in.

    Args:
      in_channels: C.
      channels: K.
      kernel: taps, one int or one per spatial axis.
      rank: number of spatial axes, 1 to 3.
      stride: one int or one per axis.
      dilation: one int or one per axis.
      padding: `'same'` (symmetric, odd extents), `'valid'`, an int, or ints or (before, after) pairs per axis.
      groups: number of channel groups; must divide C and K.
      bias: whether to add a learnt constant per output channel.
      rngs: source of the initial weights (He uniform; zero bias).

    Attributes:
      kernel: parameter [*kernel, C / groups, K].
      bias: parameter [K], or None.

    Raises:
      ValueError: for a padding that is not exact (`'SAME'` with a stride), groups that do not divide.

    Source: the cross-correlation of `jax.lax.conv_general_dilated`; `fcnjax.layers.lowering` says how it is computed.

    >>> conv = Convolution(1, 8, 4, stride=2, padding=1, rngs=nnx.Rngs(0))
    >>> conv(Padded.stack([jnp.ones((28, 16, 1))])).sizes.tolist()
    [[14, 8]]
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: int | Sequence[int],
        *,
        rank: int = 2,
        stride: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
        padding: Padding = 0,
        groups: int = 1,
        bias: bool = True,
        rngs: nnx.Rngs,
    ):
        if groups < 1 or in_channels % groups or channels % groups:
            raise ValueError(f"groups={groups}: must divide in_channels={in_channels} and channels={channels}.")
        super().__init__(geometry.windows(rank, kernel, stride, dilation, padding))
        self.groups = groups
        shape = (*(window.kernel for window in self._windows), in_channels // groups, channels)
        self.kernel = nnx.Param(KERNEL_INIT(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros(channels)) if bias else None

    def out_channels(self, channels: int) -> int:
        del channels
        return self.kernel.shape[-1]

    def multiply_adds(self, positions: int, channels: int) -> int:
        del channels
        return positions * math.prod(self.kernel.shape)

    def __call__(self, batch: Padded, *, train: bool = False, keys: jax.Array | None = None) -> Padded:
        del train, keys
        sizes = self.out_sizes(batch)
        check_channels(batch, self.kernel.shape[-2] * self.groups)
        values = convolve(batch.values, self.kernel[...].astype(batch.values.dtype), self._windows, self.groups)
        if self.bias is not None:
            values = values + per_channel(self.bias[...], values)
        return batch.replace(values, sizes)
