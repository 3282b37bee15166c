"""Normalization by statistics of the valid positions only.

Axes: B batch, S spatial, C channels. Statistics are taken in float32 whatever the dtype of the values, in float64 for
float64. Those of a batch are plain sums over the batch axis, so that under `jit` with sharded arrays they are global
sums, exact for any valid counts on each device.
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
from fcnjax.naming import unknown_name
from fcnjax.padded import Padded


class _Norm(Layer):
    """What the norms share: an epsilon, and at the end a learned scale and constant per channel, where they have them.

    Raises:
        ValueError: if epsilon is not greater than 0.
    """

    scale: nnx.Param | None
    bias: nnx.Param | None

    def __init__(self, channels: int, epsilon: float, *, scale: bool = True, bias: bool = True):
        require_positive(type(self).__name__, channels=channels)
        if not 0 < epsilon < float("inf"):
            raise ValueError(f"epsilon={epsilon} of {type(self).__name__}: must be greater than 0, and finite.")
        self.channels, self.epsilon = channels, epsilon
        self.scale = nnx.Param(jnp.ones(channels)) if scale else None
        self.bias = nnx.Param(jnp.zeros(channels)) if bias else None

    def _values(self, batch: Padded) -> jax.Array:
        """Returns the values [B, *S, C], raw_values, in the dtype of the statistics."""
        check_channels(batch, self.channels)
        return at_least_float32(batch.raw_values)

    def _rescaled(
        self, batch: Padded, normed: jax.Array, *, factor: jax.Array | float = 1.0, skip: jax.Array | None = None
    ) -> Padded:
        """Returns `normed` [B, *S, C], scaled and shifted, plus `skip`, in the dtype that the batch's values had.

        A `factor` [C] goes into the scale: its gradient and the scale's then need one sum over the positions, not two.
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

    In training the batch's statistics are used (biased variance) and move the running ones (unbiased variance, as in
    PyTorch); otherwise the running ones are used, and the answer for an example does not depend on its batch mates.
    A batch without any valid position leaves the running statistics as they are. `measure` makes them cumulative.

    Args:
        channels: C.
        momentum: share of the old running statistics that one training step keeps, in [0, 1]; PyTorch's is 1 minus
            this.
        epsilon: added to the variance, greater than 0.

    Attributes:
        scale, bias: parameters [C].
        mean, variance: running statistics [C], float32.
        count: float32 [], valid positions that they are of while they are being measured (see `measure`), else None.

    Source: Ioffe and Szegedy, "Batch Normalization", 2015, with masked sums.
    """

    def __init__(self, channels: int, *, momentum: float = 0.9, epsilon: float = 1e-5):
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum={momentum} of BatchNorm: must be in [0, 1].")
        super().__init__(channels, epsilon)
        self.momentum = momentum
        self.mean, self.variance = nnx.BatchStat(jnp.zeros(channels)), nnx.BatchStat(jnp.ones(channels))
        self.count: nnx.BatchStat | None = nnx.data(None)  # data: it may become an array

    def measure(self):
        """From now on, in training or not, takes the batch's statistics and pools them with all since this call.

        The running ones are then the mean and unbiased variance over all valid positions seen, as if in one batch.
        PyTorch's momentum None averages the variances of batches, and so leaves out what lies between their means.
        """
        self.count = nnx.BatchStat(jnp.zeros(()))

    def apply(self, batch: Padded, *, train: bool, keys: jax.Array | None) -> Padded:
        del keys
        values = self._values(batch)
        if train or self.count is not None:
            return self._by_batch_statistics(batch, values)
        inverse = lax.rsqrt(self.variance[...].astype(values.dtype) + self.epsilon)
        return self._rescaled(batch, values - per_channel(self.mean[...], values), factor=inverse)

    def _by_batch_statistics(self, batch: Padded, values: jax.Array) -> Padded:
        assert self.scale is not None
        assert self.bias is not None
        old_mean = self.mean[...].astype(values.dtype)
        centerd = batch.replace(values - per_channel(old_mean, values)).values
        mean, variance = self._batch_statistics(batch, centerd)
        factor = self.scale[...] * lax.rsqrt(variance + self.epsilon)
        normed = _normalize(values, centerd, old_mean, mean, factor, self.bias[...])
        return batch.replace(normed.astype(batch.dtype))

    def _batch_statistics(self, batch: Padded, centerd: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns mean and biased variance [C] of the valid positions, and moves the running statistics.

        One pass: both sums are of values less the running mean, `centerd` [B, *S, C], which keeps the difference of
        squares from cancelling when the mean is far from zero.
        """
        axes = (0, *batch.spatial_axes)
        count = jnp.sum(batch.counts).astype(centerd.dtype)
        old_mean, old_variance = self.mean[...].astype(centerd.dtype), self.variance[...].astype(centerd.dtype)
        first = jnp.sum(centerd, axes) / jnp.maximum(count, 1)
        second = jnp.sum(jnp.square(centerd), axes) / jnp.maximum(count, 1)
        mean = jnp.where(count > 0, first + old_mean, old_mean)
        variance = jnp.where(count > 0, jnp.maximum(second - jnp.square(first), 0.0), old_variance)
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
        """Pools the running statistics, of `seen` positions, with those of `count` more (Chan et al., 1979)."""
        before = seen[...].astype(count.dtype)
        total = before + count
        share = count / jnp.maximum(total, 1)  # 0 for an empty batch, whose mean and variance are the running ones
        apart = mean - self.mean[...]
        squares = jnp.maximum(before - 1, 0) * self.variance[...] + count * variance
        squares = squares + jnp.square(apart) * before * share
        unbiased = jnp.where(total > 0, squares / jnp.maximum(total - 1, 1), self.variance[...])
        for running, new in ((self.mean, self.mean[...] + share * apart), (self.variance, unbiased), (seen, total)):
            running[...] = lax.stop_gradient(new).astype(running.dtype)


@jax.custom_jvp
def _normalize(
    values: jax.Array, centerd: jax.Array, old_mean: jax.Array, mean: jax.Array, factor: jax.Array, bias: jax.Array
) -> jax.Array:
    """Returns `(values - mean) * factor + bias` for values [B, *S, C] and vectors [C].

    `centerd` is `values - old_mean` where a position is valid, 0 elsewhere: what the statistics were taken of. By it
    the gradients of all vectors need two sums over the positions, of values that are there already; differentiated as
    it stands there are three, of two arrays that are made for them.
    """
    del centerd, old_mean
    return (values - per_channel(mean, values)) * per_channel(factor, values) + per_channel(bias, values)


@_normalize.defjvp
def _normalize_jvp(primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
    values, centerd, old_mean, mean, factor, _ = primals
    values_dot, _, _, mean_dot, factor_dot, bias_dot = tangents
    shift_dot = bias_dot - factor * mean_dot - (mean - old_mean) * factor_dot
    scaled = values_dot * per_channel(factor, values) + centerd * per_channel(factor_dot, values)
    return _normalize(*primals), scaled + per_channel(shift_dot, values)


class GroupNorm(_Norm, ExampleWideLayer):
    """Normalizes each example by its own mean and variance over groups of channels and its valid positions.

    The same in training and evaluation, and never a matter of batch mates. `groups=1` is PyTorch's layer norm over
    [C, *S] without its elementwise parameters; `groups=channels` is `InstanceNorm`.

    Args:
        channels: C.
        groups: number of groups; must divide C.
        affine: whether to learn a scale and a constant per channel.
        epsilon: added to the variance, greater than 0.

    Attributes:
        scale, bias: parameters [C], or None.

    Raises:
        ValueError: for groups that do not divide the channels, or an epsilon that is not greater than 0.

    Source: Wu and He, "Group Normalization", 2018, with masked sums.
    """

    def __init__(self, channels: int, groups: int, *, affine: bool = True, epsilon: float = 1e-5):
        if groups < 1 or channels % groups:
            raise ValueError(f"groups={groups}: must divide channels={channels}.")
        super().__init__(channels, epsilon, scale=affine, bias=affine)
        self.groups = groups

    def transform(self, batch: Padded) -> Padded:
        values = self._values(batch)
        grouped = values.reshape(*values.shape[:-1], self.groups, -1)  # [B, *S, G, C / G]
        axes = (*batch.spatial_axes, grouped.ndim - 1)
        valid = batch.mask[..., None]
        count = per_example(jnp.maximum(batch.counts * grouped.shape[-1], 1), grouped)
        mean = jnp.sum(grouped, axes, keepdims=True, where=valid) / count
        variance = jnp.sum(jnp.square(grouped - mean), axes, keepdims=True, where=valid) / count
        normed = (grouped - mean) * lax.rsqrt(variance + self.epsilon)
        return self._rescaled(batch, normed.reshape(values.shape))


class InstanceNorm(GroupNorm):
    """Normalizes each channel of each example by its own mean and variance over the valid positions.

    It removes the contrast and the offset of every example, as style transfer wants; an example of one position becomes
    the bias alone. `GroupNorm` keeps what the channels of a group have in common.

    Args:
        channels: C.
        affine: whether to learn a scale and a constant per channel (PyTorch's `InstanceNorm2d` does not by default).
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
        centerd = values - jnp.mean(values, -1, keepdims=True)
        variance = jnp.mean(jnp.square(centerd), -1, keepdims=True)
        return self._rescaled(batch, centerd * lax.rsqrt(variance + self.epsilon))


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
    """Adds to each channel itself times its share of the example's response: channels compete over all positions.

    With g_c the L2 norm of channel c over the valid positions, `scale * x * g_c / (mean_c g_c + epsilon) + bias + x`.
    Scale and bias start at 0, where the layer is the identity. ConvNeXt V2 has it after the activation of each block.

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
        silent = energy == 0  # the root has no finite gradient there; PyTorch, too, takes 0 for the norm's
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
    """Returns the norm called `name` for a number of channels: one layer, or none for "none".

    Raises:
        ValueError: for an unknown name, with the nearest one.
    """
    if name not in NORMS:
        raise ValueError(unknown_name("norm", name, NORMS))
    return NORMS[name](channels)
