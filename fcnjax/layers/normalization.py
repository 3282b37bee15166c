"""Normalization by statistics of the valid positions only.

Axes: B batch, S spatial, C channels. Statistics are in float32 (float64 for float64 values). Batch statistics are
plain sums over the batch axis (`moments.py`). Under `jit` with sharded arrays they are therefore global sums, exact for
any number of valid positions on each device.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from fcnjax.layers.layer import (
    ExampleWideLayer,
    Layer,
    at_least_float32,
    per_channel,
    per_example,
    require_positive,
)
from fcnjax.layers.linear import check_channels
from fcnjax.layers.moments import middle_values, moments, normalize
from fcnjax.naming import check_name
from fcnjax.padded import Padded


class _Norm(Layer):
    """Base of the norms: an epsilon and, optionally, a learned scale and bias per channel.

    Raises:
        ValueError: if `channels` is below 1, or `epsilon` is not greater than 0 and finite.
    """

    scale: nnx.Param | None
    bias: nnx.Param | None

    def __init__(self, channels: int, epsilon: float, *, scale: bool = True, bias: bool = True):
        require_positive(type(self).__name__, channels=channels)
        if not 0 < epsilon < float("inf"):
            raise ValueError(f"epsilon={epsilon} of {type(self).__name__}: must be greater than 0 and finite.")
        self.channels, self.epsilon = channels, epsilon
        self.scale = nnx.Param(jnp.ones(channels)) if scale else None
        self.bias = nnx.Param(jnp.zeros(channels)) if bias else None

    def _values(self, batch: Padded) -> jax.Array:
        """Returns the raw values [B, *S, C] in the dtype of the statistics."""
        check_channels(batch, self.channels)
        return at_least_float32(batch.raw_values)

    def _rescaled(
        self, batch: Padded, normed: jax.Array, *, factor: jax.Array | float = 1.0, skip: jax.Array | None = None
    ) -> Padded:
        """Returns `normed` [B, *S, C], scaled and shifted, plus `skip`, in the dtype of the batch's values.

        A `factor` [C] multiplies the scale: the gradients of the two then need one sum over the positions, not two.
        """
        if self.scale is not None:
            normed = normed * per_channel(self.scale[...] * factor, normed)
        if self.bias is not None:
            normed = normed + per_channel(self.bias[...], normed)
        if skip is not None:
            normed = normed + skip
        return batch.replace(normed.astype(batch.dtype))


class BatchNorm(_Norm):
    """Normalizes each channel by the mean and variance over all valid positions of the batch.

    In training, the batch's statistics (with biased variance) normalize, and the running ones (with unbiased variance,
    as in PyTorch) move toward them. In evaluation, the running statistics normalize, and the output of an example does
    not depend on its batch mates. A batch without valid positions leaves the running statistics unchanged. After
    `measure`, the running statistics are cumulative.

    Args:
        channels: C.
        momentum: share of the running statistics that one training step keeps, in [0, 1]; 1 minus PyTorch's momentum.
        epsilon: added to the variance, greater than 0.

    Attributes:
        scale, bias: parameters [C].
        mean, variance: running statistics [C], float32.
        count: float32 [], number of valid positions that `measure` has pooled, or None before it is called.
        frozen: whether the running statistics normalize in training too, and stay as they are.

    Raises:
        ValueError: if `channels` is below 1, `momentum` is outside [0, 1], or `epsilon` is not greater than 0.

    Source: Ioffe and Szegedy, "Batch Normalization", 2015, with masked sums.
    """

    def __init__(self, channels: int, *, momentum: float = 0.9, epsilon: float = 1e-5):
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum={momentum} of BatchNorm: must be in [0, 1].")
        super().__init__(channels, epsilon)
        self.momentum, self.frozen = momentum, False
        self.mean, self.variance = nnx.BatchStat(jnp.zeros(channels)), nnx.BatchStat(jnp.ones(channels))
        self.count: nnx.BatchStat | None = nnx.data(None)  # declared as data, as it may become an array

    def measure(self):
        """Starts pooling the statistics of all later batches; each batch is normalized by its own, even in evaluation.

        The running statistics are then the mean and unbiased variance over all valid positions since this call, as if
        all were in one batch. PyTorch's momentum None averages the variances of batches instead, without the variance
        between their means.
        """
        self.count = nnx.BatchStat(jnp.zeros(()))

    def apply(self, batch: Padded, *, train: bool, keys: jax.Array | None) -> Padded:
        del keys
        values = self._values(batch)
        if (train and not self.frozen) or self.count is not None:
            return self._by_batch_statistics(batch, values)
        inverse = lax.rsqrt(self.variance[...].astype(values.dtype) + self.epsilon)
        return self._rescaled(batch, values - per_channel(self.mean[...], values), factor=inverse)

    def _by_batch_statistics(self, batch: Padded, values: jax.Array) -> Padded:
        assert self.scale is not None
        assert self.bias is not None
        middles = lax.stop_gradient(middle_values(values, batch.sizes))
        centered = batch.replace(values - middles).values
        mean, variance = self._batch_statistics(batch, centered, middles)
        factor = self.scale[...] * lax.rsqrt(variance + self.epsilon)
        normed = normalize(values, centered, middles, mean, factor, self.bias[...])
        return batch.replace(normed.astype(batch.dtype))

    def _batch_statistics(self, batch: Padded, centered: jax.Array, middles: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns mean and biased variance [C] of the valid positions, and updates the running statistics."""
        count, mean, variance = moments(centered, middles, batch.sizes)
        old_mean, old_variance = self.mean[...].astype(mean.dtype), self.variance[...].astype(mean.dtype)
        mean, variance = jnp.where(count > 0, mean, old_mean), jnp.where(count > 0, variance, old_variance)
        if self.count is not None:
            self._pool(self.count, count, mean, variance)
            return mean, variance
        unbiased = variance * jnp.where(count > 0, count / jnp.maximum(count - 1, 1), 1.0)
        self._move(self.mean, mean)
        self._move(self.variance, unbiased)
        return mean, variance

    def _move(self, running: nnx.BatchStat, new: jax.Array):
        moved = self.momentum * running[...].astype(new.dtype) + (1 - self.momentum) * new
        # A running statistic is data, not a function of the weights: no gradient may flow into the next step.
        running[...] = lax.stop_gradient(moved).astype(running.dtype)

    def _pool(self, seen: nnx.BatchStat, count: jax.Array, mean: jax.Array, variance: jax.Array):
        """Pools the running statistics of `seen` positions with those of `count` more (Chan et al., 1979)."""
        before = seen[...].astype(count.dtype)
        total = before + count
        share = count / jnp.maximum(total, 1)  # 0 for an empty batch: its mean and variance are the running ones
        shift = mean - self.mean[...]
        squares = jnp.maximum(before - 1, 0) * self.variance[...] + count * variance
        squares = squares + jnp.square(shift) * before * share
        unbiased = jnp.where(total > 0, squares / jnp.maximum(total - 1, 1), self.variance[...])
        for running, new in ((self.mean, self.mean[...] + share * shift), (self.variance, unbiased), (seen, total)):
            running[...] = lax.stop_gradient(new).astype(running.dtype)


class GroupNorm(_Norm, ExampleWideLayer):
    """Normalizes each example by its own mean and variance over groups of channels and its valid positions.

    It is the same in training and evaluation and does not depend on batch mates. `groups=1` is PyTorch's layer norm
    over [C, *S] without its elementwise parameters; `groups=channels` is `InstanceNorm`.

    Args:
        channels: C.
        groups: number of groups; must divide C.
        affine: whether to learn a scale and a bias per channel.
        epsilon: added to the variance, greater than 0.

    Attributes:
        scale, bias: parameters [C], or None.

    Raises:
        ValueError: if `groups` does not divide the channels, or `epsilon` is not greater than 0.

    Source: Wu and He, "Group Normalization", 2018, with masked sums.
    """

    def __init__(self, channels: int, groups: int, *, affine: bool = True, epsilon: float = 1e-5):
        if groups < 1 or channels % groups:
            raise ValueError(f"groups={groups}: must divide channels={channels}.")
        super().__init__(channels, epsilon, scale=affine, bias=affine)
        self.groups = groups

    def transform(self, batch: Padded) -> Padded:
        values = self._values(batch)
        grouped = values.reshape(*values.shape[:-1], self.groups, self.channels // self.groups)  # [B, *S, G, C / G]
        axes = (*batch.spatial_axes, grouped.ndim - 1)
        valid = batch.mask[..., None]
        count = per_example(jnp.maximum(batch.counts * grouped.shape[-1], 1), grouped)
        mean = jnp.sum(grouped, axes, keepdims=True, where=valid) / count
        variance = jnp.sum(jnp.square(grouped - mean), axes, keepdims=True, where=valid) / count
        normed = (grouped - mean) * lax.rsqrt(variance + self.epsilon)
        return self._rescaled(batch, normed.reshape(values.shape))


class InstanceNorm(GroupNorm):
    """Normalizes each channel of each example by its own mean and variance over the valid positions.

    It removes the contrast and the offset of every channel of an example, as in style transfer; an example of one
    position becomes the bias. `GroupNorm` keeps the differences between the channels of a group.

    Args:
        channels: C.
        affine: whether to learn a scale and a bias per channel (PyTorch's `InstanceNorm2d` does not by default).
        epsilon: added to the variance, greater than 0.

    Attributes:
        scale, bias: parameters [C], or None.

    Source: Ulyanov, Vedaldi and Lempitsky, "Instance Normalization", 2016, with masked sums.
    """

    def __init__(self, channels: int, *, affine: bool = True, epsilon: float = 1e-5):
        super().__init__(channels, channels, affine=affine, epsilon=epsilon)


class LayerNorm(_Norm):
    """Normalizes the channels at each position by their own mean and variance (ConvNeXt's layer norm).

    Args:
        channels: C.
        epsilon: added to the variance, greater than 0.

    Attributes:
        scale, bias: parameters [C].

    Source: Ba, Kiros and Hinton, "Layer Normalization", 2016, over channels only.
    """

    def __init__(self, channels: int, *, epsilon: float = 1e-6):
        super().__init__(channels, epsilon)

    def transform(self, batch: Padded) -> Padded:
        values = self._values(batch)
        centered = values - jnp.mean(values, -1, keepdims=True)
        variance = jnp.mean(jnp.square(centered), -1, keepdims=True)
        return self._rescaled(batch, centered * lax.rsqrt(variance + self.epsilon))


class RMSNorm(_Norm):
    """Divides the channels at each position by their root mean square: `LayerNorm` without its mean and bias.

    Args:
        channels: C.
        epsilon: added to the mean square, greater than 0; PyTorch's default is the dtype's machine epsilon.

    Attributes:
        scale: parameter [C].

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019, section 4, over channels only.
    """

    def __init__(self, channels: int, *, epsilon: float = 1e-6):
        super().__init__(channels, epsilon, bias=False)

    def transform(self, batch: Padded) -> Padded:
        values = self._values(batch)
        return self._rescaled(batch, values * lax.rsqrt(jnp.mean(jnp.square(values), -1, keepdims=True) + self.epsilon))


class GlobalResponseNorm(_Norm, ExampleWideLayer):
    """Scales each channel by its share of the example's response and adds the input: channels compete.

    With g_c the L2 norm of channel c over the valid positions, the output is
    `scale * x * g_c / (mean_c g_c + epsilon) + bias + x`. Scale and bias start at 0, so the layer starts as the
    identity. ConvNeXt V2 uses it after the activation of each block.

    Args:
        channels: C.
        epsilon: added to the mean response, greater than 0.

    Attributes:
        scale, bias: parameters [C].

    Source: Woo et al., "ConvNeXt V2", 2023, section 3 and algorithm 1, with masked sums.
    """

    def __init__(self, channels: int, *, epsilon: float = 1e-6):
        super().__init__(channels, epsilon)
        self.scale = nnx.Param(jnp.zeros(channels))

    def transform(self, batch: Padded) -> Padded:
        values = self._values(batch)
        energy = jnp.sum(jnp.square(values), batch.spatial_axes, keepdims=True, where=batch.mask)
        silent = energy == 0  # the gradient of the root is infinite there; like PyTorch, this uses 0
        response = jnp.where(silent, 0.0, jnp.sqrt(jnp.where(silent, 1.0, energy)))  # [B, 1, .., C]
        share = response / (jnp.mean(response, -1, keepdims=True) + self.epsilon)
        return self._rescaled(batch, values * share, skip=values)


NORMS: dict[str, Callable[[int], list[Layer]]] = {
    "none": lambda channels: [],
    "batch": lambda channels: [BatchNorm(channels)],
    "group": lambda channels: [GroupNorm(channels, groups=min(8, channels))],
    "layer": lambda channels: [LayerNorm(channels)],
}


def norm_layers(name: str, channels: int) -> list[Layer]:
    """Returns the layers of the norm called `name`, a key of `NORMS`: one layer, or an empty list for "none".

    Raises:
        ValueError: if the name is unknown.
    """
    check_name("norm", name, NORMS)
    return NORMS[name](channels)
