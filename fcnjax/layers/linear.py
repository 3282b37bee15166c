"""The base class of the layers with a learned kernel and bias.

Axes: B batch, S spatial, C input channels, K output channels.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from fcnjax.layers.layer import Layer, check_floating, per_channel, require_positive
from fcnjax.padded import Padded

KERNEL_INIT = nnx.initializers.he_uniform()


class LinearLayer(Layer):
    """Base of the layers with a learned kernel and bias: creates and casts the kernel, adds the bias.

    Attributes:
        kernel: parameter [*taps, C / groups, K].
        bias: parameter [K], or None.
        groups: number of channel groups.
    """

    kernel: nnx.Param[jax.Array]
    bias: nnx.Param[jax.Array] | None
    groups: int

    def _make_weights(
        self,
        taps: Sequence[int],
        in_channels: int,
        channels: int,
        *,
        groups: int = 1,
        bias: bool,
        rngs: nnx.Rngs,
        initial: jax.Array | None = None,
    ):
        """Sets the attributes: the kernel is He uniform or `initial`, the bias 0.

        Raises:
            ValueError: if a number of channels is below 1, or `groups` does not divide both.
        """
        require_positive(type(self).__name__, in_channels=in_channels, channels=channels)
        if groups < 1 or in_channels % groups or channels % groups:
            raise ValueError(f"groups={groups}: must divide in_channels={in_channels} and channels={channels}.")
        shape = (*taps, in_channels // groups, channels)
        self.groups = groups
        self.kernel = nnx.Param(KERNEL_INIT(rngs.params(), shape) if initial is None else initial)
        self.bias = nnx.Param(jnp.zeros(channels)) if bias else None

    def _kernel_for(self, batch: Padded) -> jax.Array:
        """Returns the kernel in the batch's dtype, after `check_channels`."""
        check_channels(batch, self.kernel.shape[-2] * self.groups)
        return self.kernel[...].astype(batch.dtype)

    def _with_bias(self, values: jax.Array) -> jax.Array:
        return values if self.bias is None else values + per_channel(self.bias[...], values)

    def out_channels(self, channels: int) -> int:
        del channels
        return self.kernel.shape[-1]

    def multiply_adds(self, size: Sequence[int], channels: int) -> int:
        del channels
        return math.prod(self.out_extent(size)) * math.prod(self.kernel.shape)


def check_channels(batch: Padded, channels: int):
    """Raises ValueError unless a batch has `channels` channels, and TypeError if its values are not floating."""
    check_floating(batch)
    if batch.channels != channels:
        raise ValueError(f"values of shape {batch.raw_values.shape}: the last axis must hold {channels} channels.")
