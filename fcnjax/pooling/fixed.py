"""Global pools without weights: frozen dataclasses, compared and hashed by their options.

Each docstring states how the expected score depends on the number of positions (the area), for values of one fixed
distribution: it stays constant, grows to a limit set by the distribution, or grows without limit.

Axes: B batch, S spatial, C channels.
"""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from fcnjax.arguments import check_arguments
from fcnjax.layers.layer import at_least_float32
from fcnjax.padded import Padded
from fcnjax.pooling import monoid
from fcnjax.pooling.monoid import Statistics


@dataclasses.dataclass(frozen=True)
class Mean:
    """Mean over the valid positions: global average pooling. The expected score does not depend on the area.

    Source: Lin, Chen and Yan, "Network in Network", 2014.
    """

    commutes_with_affine: ClassVar[bool] = True

    def lift(self, batch: Padded) -> Statistics:
        return {"sum": monoid.valid_sum(batch, at_least_float32(batch.raw_values)), "count": monoid.count(batch)}

    def combine(self, left: Statistics, right: Statistics) -> Statistics:
        return jax.tree.map(jnp.add, left, right)

    def finish(self, statistics: Statistics) -> jax.Array:
        return statistics["sum"] / jnp.maximum(statistics["count"], 1)


@dataclasses.dataclass(frozen=True)
class Max:
    """Largest valid value of each channel.

    The expected score grows with the area without limit: more positions give a higher maximum.
    """

    commutes_with_affine: ClassVar[bool] = False

    def lift(self, batch: Padded) -> Statistics:
        values = jnp.where(batch.mask, at_least_float32(batch.raw_values), -jnp.inf)
        return {"max": jnp.max(values, batch.spatial_axes)}

    def combine(self, left: Statistics, right: Statistics) -> Statistics:
        return jax.tree.map(jnp.maximum, left, right)

    def finish(self, statistics: Statistics) -> jax.Array:
        return monoid.finite(statistics["max"])


@dataclasses.dataclass(frozen=True)
class TopKMean:
    """Mean of the k largest valid values of each channel: a maximum that is robust to single outliers.

    If an example has fewer than k valid positions, the mean is over all of them. The expected score grows with the area
    without limit, as for the maximum: k is fixed while the number of positions grows.

    Args:
        k: number of values, at least 1; k = 1 is `Max`.

    Raises:
        ValueError: if k is not a whole number or is below 1.

    Source: Li and Vasconcelos, "Multiple Instance Learning for Soft Bags via Top Instances", 2015.
    """

    commutes_with_affine: ClassVar[bool] = False

    k: int = 5

    def __post_init__(self):
        check_arguments("top-k pooling", type(self).__init__, vars(self))
        if self.k < 1:
            raise ValueError(f"k={self.k} of top-k pooling: must be a whole number, at least 1.")

    def lift(self, batch: Padded) -> Statistics:
        values = jnp.where(batch.mask, at_least_float32(batch.raw_values), -jnp.inf)
        return {"top": self._largest(values.reshape(batch.batch_size, math.prod(batch.spatial_shape), batch.channels))}

    def combine(self, left: Statistics, right: Statistics) -> Statistics:
        return {"top": self._largest(jnp.concatenate([left["top"], right["top"]], axis=1))}

    def finish(self, statistics: Statistics) -> jax.Array:
        top = statistics["top"]
        valid = ~jnp.isneginf(top)
        return jnp.sum(jnp.where(valid, top, 0.0), axis=1) / jnp.maximum(jnp.sum(valid, axis=1), 1)

    def _largest(self, values: jax.Array) -> jax.Array:
        """Returns the k largest of values [B, N, C], as [B, k, C]; filled up with -inf if N < k."""
        count = values.shape[1]  # a symbolic dimension of `jax.export` is at least 1, and not known to be k
        missing = max(self.k - count, 0) if isinstance(count, int) else self.k - 1
        values = jnp.pad(values, ((0, 0), (0, missing), (0, 0)), constant_values=-jnp.inf)
        return jax.lax.top_k(values.swapaxes(1, 2), self.k)[0].swapaxes(1, 2)


@dataclasses.dataclass(frozen=True)
class LogSumExp(monoid.ExponentialMean):
    """Smooth maximum `log(mean(exp(r x))) / r`: the mean as r goes to 0, the maximum as r grows.

    The sum is divided by the number of valid positions, so the expected score grows with the area to a limit; the limit
    is higher and reached later for a larger r. With r = 1 on log-probabilities it is the log of the mean probability.

    Args:
        r: sharpness, greater than 0.

    Raises:
        ValueError: if r is not greater than 0.

    Source: Pinheiro and Collobert, "From Image-level to Pixel-level Labeling with Convolutional Networks", 2015.
    """

    r: float = 5.0

    def __post_init__(self):
        check_arguments("log-sum-exp pooling", type(self).__init__, vars(self))
        monoid.check_sharpness(self.r)


@dataclasses.dataclass(frozen=True)
class GeM:
    """Generalized mean `mean(max(x, epsilon)^p)^(1/p)`: the mean at p = 1, the maximum as p grows.

    For nonnegative features, such as those after a ReLU: values below `epsilon` count as `epsilon`. The expected score
    grows with the area to a limit for p > 1, stays constant for p = 1, and falls to a limit for p < 1.

    Args:
        p: exponent, greater than 0 and finite.
        epsilon: lower bound of the values, greater than 0 and finite.

    Raises:
        ValueError: if p or epsilon is out of range.

    Source: Radenovic, Tolias and Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", 2018.
    """

    commutes_with_affine: ClassVar[bool] = False

    p: float = 3.0
    epsilon: float = 1e-6

    def __post_init__(self):
        check_arguments("GeM pooling", type(self).__init__, vars(self))
        if not (0 < self.p < math.inf and 0 < self.epsilon < math.inf):
            raise ValueError(
                f"p={self.p}, epsilon={self.epsilon} of GeM pooling: both must be greater than 0 and finite."
            )

    def lift(self, batch: Padded) -> Statistics:
        floored = jnp.maximum(at_least_float32(batch.values), self.epsilon)
        # Relative to the largest value: powers of small values would underflow, those of large ones overflow.
        highest = monoid.highest_valid(batch, jnp.where(batch.mask, floored, self.epsilon))
        shares = (floored / monoid.per_position(batch, highest)) ** self.p
        return {"max": highest, "sum": monoid.valid_sum(batch, shares), "count": monoid.count(batch)}

    def combine(self, left: Statistics, right: Statistics) -> Statistics:
        highest = jnp.maximum(left["max"], right["max"])
        first, second = (part["sum"] * (part["max"] / highest) ** self.p for part in (left, right))
        return {"max": highest, "sum": first + second, "count": left["count"] + right["count"]}

    def finish(self, statistics: Statistics) -> jax.Array:
        empty = statistics["count"] == 0
        mean = jnp.where(empty, 1.0, statistics["sum"]) / jnp.maximum(statistics["count"], 1)
        return jnp.where(empty, 0.0, statistics["max"] * mean ** (1 / self.p))
