"""Global pools with weights: NNX modules, trained with the network.

Each pool starts as a known one (the mean, or log-sum-exp at its default sharpness), which shows what training changes.

Axes: B batch, S spatial, C channels, H heads.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from fcnjax.layers.convolution.dispatch import channel_product
from fcnjax.layers.layer import Module, at_least_float32, per_channel, require_positive
from fcnjax.layers.linear import check_channels
from fcnjax.padded import Padded
from fcnjax.pooling import monoid
from fcnjax.pooling.monoid import Statistics


class LearnableLogSumExp(monoid.ExponentialMean, Module):
    """`LogSumExp` with a learned sharpness, shared by all channels.

    The expected score grows with the area to a limit; the limit is higher and reached later for a larger r.

    Args:
        r: initial sharpness, greater than 0.

    Attributes:
        log_r: parameter float32 [], the logarithm of the sharpness, which keeps the sharpness greater than 0.

    Raises:
        ValueError: if r is not greater than 0.

    Source: Yao et al., "Weakly Supervised Medical Diagnosis and Localization from Multiple Resolutions", 2018, with a
    learned sharpness bounded from below; using the logarithm instead of the bound is derived here.
    """

    def __init__(self, r: float = 5.0):
        monoid.check_sharpness(r)
        self.log_r = nnx.Param(jnp.asarray(math.log(r), jnp.float32))

    @property
    def r(self) -> jax.Array:
        """The sharpness, float32 []."""
        return jnp.exp(self.log_r[...])


class Attention(monoid.WeightedMean, Module):
    """Weighted mean; the weights are the softmax over the valid positions of a learned linear score.

    All initial scores are 0, so the pool is the mean: the expected score does not depend on the area. Learned scores
    that correlate with the values make it grow with the area to a limit, the mean under the weighted distribution.

    Args:
        channels: channels C of the features, at least 1.
        heads: number of scores H, at least 1, a divisor of C. The h-th group of C / H consecutive channels is pooled
            with the h-th score; every score sees all channels. With H = C each channel has its own score.
        kernel_init: initializer of the kernel; zeros (the default) make the initial pool the mean.
        rngs: source of the initial weights.

    Attributes:
        kernel: parameter float32 [C, H]. A bias would cancel in the softmax.

    Raises:
        ValueError: if channels is below 1 or heads does not divide it; when called, if the features have another number
            of channels.

    Source: Ilse, Tomczak and Welling, "Attention-based Deep Multiple Instance Learning", 2018, section 2.4, with a
    linear score; the heads are derived here.

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


class AutoPool(monoid.WeightedMean, Module):
    """`sum(x softmax(alpha x))` with one learned alpha per channel: the mean at 0, the maximum as alpha grows.

    A negative alpha approaches the minimum. At alpha = 0 the expected score does not depend on the area; for alpha > 0
    it grows with the area to a limit, which is higher and reached later for a larger alpha.

    Args:
        channels: channels C of the features, at least 1.
        alpha: initial value for every channel.

    Attributes:
        alpha: parameter float32 [C].

    Raises:
        ValueError: if channels is below 1; when called, if the features have another number of channels.

    Source: McFee, Salamon and Bello, "Adaptive Pooling Operators for Weakly Labeled Sound Event Detection", 2018.
    """

    def __init__(self, channels: int, alpha: float = 0.0):
        require_positive("auto pooling", channels=channels)
        self.alpha = nnx.Param(jnp.full(channels, alpha, jnp.float32))

    def lift(self, batch: Padded) -> Statistics:
        check_channels(batch, self.alpha.shape[0])
        values = at_least_float32(batch.values)
        return monoid.lift_weighted(batch, per_channel(self.alpha[...], values) * values)
