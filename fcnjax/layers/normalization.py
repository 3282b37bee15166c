"""Normalisation by statistics of the valid positions only.

Axes: B batch, S spatial, C channels. Statistics are taken in float32 whatever the dtype of the values. They are plain
sums over the batch axis, so that under `jit` with sharded arrays they are global sums, exact for any valid counts.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from fcnjax.layers.layer import Layer, per_channel
from fcnjax.padded import Padded


class BatchNorm(Layer):
    """Normalises each channel by the mean and variance over all valid positions of the batch.

    In training the batch's statistics are used (biased variance) and move the running ones (unbiased variance, as in
    PyTorch); otherwise the running ones are used, and the answer for an example does not depend on its batch mates.
    A batch without any valid position leaves the running statistics as they are.

    Args:
      channels: C.
      momentum: share of the old running statistics that one training step keeps, in [0, 1]; PyTorch's is 1 minus this.
      epsilon: added to the variance, greater than 0.

    Attributes:
      scale, bias: parameters [C].
      mean, variance: running statistics [C], float32.

    Source: Ioffe and Szegedy, "Batch Normalization", 2015, with masked sums.
    """

    def __init__(self, channels: int, *, momentum: float = 0.9, epsilon: float = 1e-5):
        if not 0 <= momentum <= 1 or epsilon <= 0:
            raise ValueError(f"momentum={momentum}, epsilon={epsilon}: needs 0 <= momentum <= 1 and epsilon > 0.")
        self.momentum, self.epsilon = momentum, epsilon
        self.scale, self.bias = nnx.Param(jnp.ones(channels)), nnx.Param(jnp.zeros(channels))
        self.mean, self.variance = nnx.BatchStat(jnp.zeros(channels)), nnx.BatchStat(jnp.ones(channels))

    def __call__(self, batch: Padded, *, train: bool = False, keys: jax.Array | None = None) -> Padded:
        del keys
        mean, variance = self._batch_statistics(batch) if train else (self.mean[...], self.variance[...])
        scale = self.scale[...] * lax.rsqrt(variance + self.epsilon)
        values = batch.values.astype(jnp.float32)
        values = (values - per_channel(mean, values)) * per_channel(scale, values) + per_channel(self.bias[...], values)
        return batch.replace(values.astype(batch.values.dtype))

    def _batch_statistics(self, batch: Padded) -> tuple[jax.Array, jax.Array]:
        """Returns mean and biased variance [C] of the valid positions, and moves the running statistics.

        One pass over the values: both sums are of values less the running mean, which keeps the difference of squares
        from cancelling when the mean is far from zero.
        """
        axes = (0, *batch.spatial_axes)
        count = jnp.sum(batch.counts).astype(jnp.float32)
        shift = self.mean[...]
        values = batch.values.astype(jnp.float32)
        centred = jnp.where(batch.mask, values - per_channel(shift, values), 0.0)
        first = jnp.sum(centred, axes) / jnp.maximum(count, 1)
        second = jnp.sum(jnp.square(centred), axes) / jnp.maximum(count, 1)
        mean = jnp.where(count > 0, first + shift, self.mean[...])
        variance = jnp.where(count > 0, jnp.maximum(second - jnp.square(first), 0.0), self.variance[...])
        unbiased = variance * jnp.where(count > 0, count / jnp.maximum(count - 1, 1), 1.0)
        # A running statistic is data, not a function of the weights: no gradient may flow into the next step.
        self.mean[...] = lax.stop_gradient(_moved(self.mean[...], mean, self.momentum))
        self.variance[...] = lax.stop_gradient(_moved(self.variance[...], unbiased, self.momentum))
        return mean, variance


class GroupNorm(Layer):
    """Normalises each example by its own mean and variance over groups of channels and its valid positions.

    The same in training and evaluation, and never a matter of batch mates. `groups=1` is PyTorch's layer norm over
    [C, *S] without its elementwise parameters; `groups=channels` is instance norm.

    Args:
      channels: C.
      groups: number of groups; must divide C.
      epsilon: added to the variance, greater than 0.

    Attributes:
      scale, bias: parameters [C].

    Source: Wu and He, "Group Normalization", 2018, with masked sums.
    """

    def __init__(self, channels: int, groups: int, *, epsilon: float = 1e-5):
        if groups < 1 or channels % groups:
            raise ValueError(f"groups={groups}: must divide channels={channels}.")
        self.groups, self.epsilon = groups, epsilon
        self.scale, self.bias = nnx.Param(jnp.ones(channels)), nnx.Param(jnp.zeros(channels))

    def __call__(self, batch: Padded, *, train: bool = False, keys: jax.Array | None = None) -> Padded:
        del train, keys
        values = batch.values.astype(jnp.float32)
        grouped = values.reshape(*values.shape[:-1], self.groups, -1)  # [B, *S, G, C / G]
        axes = (*batch.spatial_axes, grouped.ndim - 1)
        valid = batch.mask[..., None]
        count = jnp.maximum(batch.counts * grouped.shape[-1], 1).astype(jnp.float32)
        count = count.reshape((-1,) + (1,) * (grouped.ndim - 1))
        mean = jnp.sum(grouped, axes, keepdims=True, where=valid) / count
        variance = jnp.sum(jnp.square(grouped - mean), axes, keepdims=True, where=valid) / count
        normed = ((grouped - mean) * lax.rsqrt(variance + self.epsilon)).reshape(values.shape)
        normed = normed * per_channel(self.scale[...], normed) + per_channel(self.bias[...], normed)
        return batch.replace(normed.astype(batch.values.dtype))


class LayerNorm(Layer):
    """Normalises the channels at each position by their own mean and variance (ConvNeXt's layer norm).

    Args:
      channels: C.
      epsilon: added to the variance, greater than 0.

    Attributes:
      scale, bias: parameters [C].

    Source: Ba, Kiros and Hinton, "Layer Normalization", 2016, over channels only.
    """

    def __init__(self, channels: int, *, epsilon: float = 1e-6):
        self.epsilon = epsilon
        self.scale, self.bias = nnx.Param(jnp.ones(channels)), nnx.Param(jnp.zeros(channels))

    def __call__(self, batch: Padded, *, train: bool = False, keys: jax.Array | None = None) -> Padded:
        del train, keys
        values = batch.values.astype(jnp.float32)
        centred = values - jnp.mean(values, -1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), -1, keepdims=True)
        normed = centred * lax.rsqrt(variance + self.epsilon)
        normed = normed * per_channel(self.scale[...], normed) + per_channel(self.bias[...], normed)
        return batch.replace(normed.astype(batch.values.dtype))


def _moved(old: jax.Array, new: jax.Array, momentum: float) -> jax.Array:
    return momentum * old + (1 - momentum) * new
