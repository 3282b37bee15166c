"""Global pools with weights of their own: NNX modules, trained with the network.

Axes: B batch, S spatial, C channels, H heads. The weights start where the pool is a known one (the mean, or
log-sum-exp at its usual sharpness), so that what training makes of them can be read against it.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from fcnjax.layers.convolution.dispatch import channel_product
from fcnjax.layers.layer import at_least_float32, per_channel, require_positive
from fcnjax.layers.linear import check_channels
from fcnjax.padded import Padded
from fcnjax.pooling import monoid
from fcnjax.pooling.monoid import Statistics


class LearnableLogSumExp(monoid.ExponentialMean, nnx.Module):
    """`LogSumExp` whose sharpness is learned, one for all channels.

    The expected score grows with the area to a limit, later and higher for a sharper r.

    Args:
        r: initial sharpness, greater than 0.

    Attributes:
        log_r: parameter [], the logarithm of the sharpness, which is so always greater than 0.

    Raises:
        ValueError: if r is not greater than 0.

    Source: Yao et al., "Weakly Supervised Medical Diagnosis and Localization from Multiple Resolutions", 2018, with a
    learned sharpness bounded from below; the logarithm instead of the bound is ours.
    """

    def __init__(self, r: float = 5.0):
        monoid.check_sharpness(r)
        self.log_r = nnx.Param(jnp.asarray(math.log(r), jnp.float32))

    @property
    def r(self) -> jax.Array:
        """The sharpness, float32 []."""
        return jnp.exp(self.log_r[...])


class Attention(monoid.WeightedMean, nnx.Module):
    """Mean weighed by the softmax, over the valid positions, of a learned linear score of the features.

    At the start all scores are 0 and it is the mean, whose expected score does not move with the area. Learned weights
    that go with the values make it grow with the area to a limit, the mean under the weighted distribution.

    Args:
        channels: C.
        heads: H, at least 1, divides C. The h-th group of C / H consecutive channels is pooled with its own score;
            every score sees all channels. As many heads as channels pool each channel with its own.
        kernel_init: initial scores; with anything but zeros it does not start as the mean.
        rngs: source of the initial weights.

    Attributes:
        kernel: parameter [C, H]. There is no bias: the softmax would cancel it.

    Raises:
        ValueError: if channels is below 1 or heads does not divide it; in use, for another number of channels.

    Source: Ilse, Tomczak and Welling, "Attention-based Deep Multiple Instance Learning", 2018, section 2.4, with a
    linear score; the groups as heads are ours.

    >>> batch = Padded.stack([jnp.array([[1.0], [3.0]])])
    >>> monoid.pool(batch, Attention(1, rngs=nnx.Rngs(0))).values.tolist()
    [[[2.0]]]
    """

    def __init__(
        self,
        channels: int,
        heads: int = 1,
        *,
        kernel_init: nnx.Initializer = nnx.initializers.zeros,
        rngs: nnx.Rngs,
    ):
        require_positive("attention pooling", channels=channels)
        if heads < 1 or channels % heads:
            raise ValueError(f"heads={heads} of attention pooling: must be at least 1 and divide channels={channels}.")
        self.kernel = nnx.Param(kernel_init(rngs.params(), (channels, heads), jnp.float32))

    def lift(self, batch: Padded) -> Statistics:
        check_channels(batch, self.kernel.shape[0])
        return monoid.lift_weighted(batch, channel_product(at_least_float32(batch.values), self.kernel[...]))


class AutoPool(monoid.WeightedMean, nnx.Module):
    """`sum(x softmax(alpha x))` with one learned alpha per channel: the mean at 0, the maximum as alpha grows.

    A negative alpha goes towards the minimum. The expected score does not move with the area where alpha = 0, as at
    the start; with alpha > 0 it grows to a limit, later and higher for a larger alpha.

    Args:
        channels: C.
        alpha: initial value of every channel.

    Attributes:
        alpha: parameter [C].

    Raises:
        ValueError: if channels is below 1; in use, for another number of channels.

    Source: McFee, Salamon and Bello, "Adaptive Pooling Operators for Weakly Labeled Sound Event Detection", 2018.
    """

    def __init__(self, channels: int, alpha: float = 0.0):
        require_positive("auto pooling", channels=channels)
        self.alpha = nnx.Param(jnp.full(channels, alpha, jnp.float32))

    def lift(self, batch: Padded) -> Statistics:
        check_channels(batch, self.alpha.shape[0])
        values = at_least_float32(batch.values)
        return monoid.lift_weighted(batch, per_channel(self.alpha[...], values) * values)
