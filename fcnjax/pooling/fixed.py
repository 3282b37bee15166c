"""Global pools without weights: frozen values, compared and hashed by their options.

Axes: B batch, S spatial, C channels. How the expected score moves with the area, other things equal, is said of each:
it stays, it grows to a limit that the distribution of the values sets, or it grows without limit.
"""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from fcnjax.layers.layer import at_least_float32
from fcnjax.padded import Padded
from fcnjax.pooling import monoid
from fcnjax.pooling.monoid import Statistics


@dataclasses.dataclass(frozen=True)
class Mean:
    """Mean over the valid positions: global average pooling. The expected score does not move with the area.

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

    The expected score grows with the area without limit: more positions, higher maximum.
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
    """Mean of the k largest valid values of each channel, of all where fewer are valid: a maximum that forgives.

    The expected score grows with the area without limit, as the maximum does, for k stays while the positions
    become more.

    Args:
        k: number of values, at least 1; 1 is the maximum.

    Raises:
        ValueError: if k is no whole number of at least 1.

    Source: Li and Vasconcelos, "Multiple Instance Learning for Soft Bags via Top Instances", 2015.
    """

    commutes_with_affine: ClassVar[bool] = False

    k: int = 5

    def __post_init__(self):
        if self.k < 1 or self.k != int(self.k):
            raise ValueError(f"k={self.k} of top-k pooling: must be a whole number, at least 1.")

    def lift(self, batch: Padded) -> Statistics:
        values = jnp.where(batch.mask, at_least_float32(batch.raw_values), -jnp.inf)
        return {"top": self._largest(values.reshape(batch.batch_size, -1, batch.channels))}

    def combine(self, left: Statistics, right: Statistics) -> Statistics:
        return {"top": self._largest(jnp.concatenate([left["top"], right["top"]], axis=1))}

    def finish(self, statistics: Statistics) -> jax.Array:
        top = statistics["top"]
        valid = ~jnp.isneginf(top)
        return jnp.sum(jnp.where(valid, top, 0.0), axis=1) / jnp.maximum(jnp.sum(valid, axis=1), 1)

    def _largest(self, values: jax.Array) -> jax.Array:
        """Returns the k largest [B, k, C] of values [B, N, C], -inf for those that N lacks."""
        missing = max(self.k - values.shape[1], 0)
        values = jnp.pad(values, ((0, 0), (0, missing), (0, 0)), constant_values=-jnp.inf)
        return jax.lax.top_k(values.swapaxes(1, 2), self.k)[0].swapaxes(1, 2)


@dataclasses.dataclass(frozen=True)
class LogSumExp(monoid.ExponentialMean):
    """Smooth maximum `log(mean(exp(r x))) / r`: the mean as r goes to 0, the maximum as r grows.

    Divided by the number of valid positions, so the expected score grows with the area to a limit only, later and
    higher for a sharper r. With r = 1 on log-probabilities it is the logarithm of the mean probability.

    Args:
        r: sharpness, greater than 0.

    Raises:
        ValueError: if r is not greater than 0.

    Source: Pinheiro and Collobert, "From Image-level to Pixel-level Labeling with Convolutional Networks", 2015.
    """

    r: float = 5.0

    def __post_init__(self):
        monoid.check_sharpness(self.r)


@dataclasses.dataclass(frozen=True)
class GeM:
    """Generalized mean `mean(max(x, epsilon)^p)^(1/p)`: the mean at p = 1, towards the maximum as p grows.

    Meant for features that are not negative (after a ReLU): values below `epsilon` count as `epsilon`. The expected
    score grows with the area to a limit where p > 1, stays where p = 1, and falls to a limit where p < 1.

    Args:
        p: exponent, greater than 0.
        epsilon: floor of the values, greater than 0.

    Raises:
        ValueError: if p or epsilon is not greater than 0, and finite.

    Source: Radenovic, Tolias and Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", 2018.
    """

    commutes_with_affine: ClassVar[bool] = False

    p: float = 3.0
    epsilon: float = 1e-6

    def __post_init__(self):
        if not (0 < self.p < math.inf and 0 < self.epsilon < math.inf):
            raise ValueError(
                f"p={self.p}, epsilon={self.epsilon} of GeM pooling: both must be greater than 0, and finite."
            )

    def lift(self, batch: Padded) -> Statistics:
        floored = jnp.maximum(at_least_float32(batch.values), self.epsilon)
        # Relative to the largest: powers of small values would underflow, and of large ones overflow.
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
