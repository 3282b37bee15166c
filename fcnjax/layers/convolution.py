"""Convolution over any number of spatial axes.

Axes: B batch, S spatial, C input channels, K output channels.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from fcnjax import geometry
from fcnjax.geometry import Padding, Window
from fcnjax.layers.layer import Layer, per_channel
from fcnjax.layers.lowering import convolve
from fcnjax.layers.pointwise import KERNEL_INIT, check_channels
from fcnjax.padded import Padded


class Convolution(Layer):
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
        self.rank, self.groups = rank, groups
        self._windows = geometry.windows(rank, kernel, stride, dilation, padding)
        shape = (*(window.kernel for window in self._windows), in_channels // groups, channels)
        self.kernel = nnx.Param(KERNEL_INIT(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros(channels)) if bias else None

    def windows(self, rank: int) -> tuple[Window, ...]:
        if rank != self.rank:
            raise ValueError(
                f"a convolution over {self.rank} spatial axes: cannot act on {rank}; build it with rank={rank}."
            )
        return self._windows

    def out_channels(self, channels: int) -> int:
        del channels
        return self.kernel.shape[-1]

    def multiply_adds(self, positions: int, channels: int) -> int:
        del channels
        return positions * math.prod(self.kernel.shape)

    def __call__(self, batch: Padded, *, train: bool = False, keys: jax.Array | None = None) -> Padded:
        del train, keys
        windows = self.windows(batch.rank)
        check_channels(batch, self.kernel.shape[-2] * self.groups)
        values = convolve(batch.values, self.kernel[...].astype(batch.values.dtype), windows, self.groups)
        if self.bias is not None:
            values = values + per_channel(self.bias[...], values)
        return batch.replace(values, out_sizes(batch.sizes, windows))


def out_sizes(sizes: jax.Array, windows: Sequence[Window]) -> jax.Array:
    """Returns int32 [B, D], the sizes [B, D] after one window per axis.

    The barrier makes them an array: without it XLA computes them anew for every element that a mask clears.
    """
    return lax.optimization_barrier(
        jnp.stack([window.out_size(sizes[:, axis]) for axis, window in enumerate(windows)], axis=1)
    )
