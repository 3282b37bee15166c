"""What a global pool is, and the two monoids that several pools share: sums of exponentials, and weighted means.

Axes: B batch, S spatial, C channels, H heads (groups of channels that share a score). `combine` is associative and
commutative, and a part without any valid position is its identity.
"""

from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp

from fcnjax.layers.layer import at_least_float32
from fcnjax.padded import Padded

Statistics = dict[str, jax.Array]  # every entry [B, C], [B, H] or [B, 1]; of the top k [B, k, C]


class Pool(Protocol):
    """What a global pool defines; `pool` does the rest.

    Attributes:
        commutes_with_affine: whether pooling before or after an affine layer is the same function.
    """

    commutes_with_affine: ClassVar[bool]

    def lift(self, batch: Padded) -> Statistics:
        """Returns the statistics of the valid positions of values [B, *S, C]."""
        ...

    def combine(self, left: Statistics, right: Statistics) -> Statistics:
        """Returns the statistics of the union of two disjoint sets of positions."""
        ...

    def finish(self, statistics: Statistics) -> jax.Array:
        """Returns the pooled features [B, C] float32; 0 where nothing was valid."""
        ...


def pool(batch: Padded, how: Pool) -> Padded:
    """Pools every example to a single position.

    Args:
        batch: values [B, *S, C], zero outside each example.
        how: the pool.

    Returns:
        `Padded` with values [B, 1, .., 1, C], at least float32, on which a `Pointwise` layer is a dense layer; filler
        rows stay fillers.
    """
    pooled = how.finish(how.lift(batch)).reshape(batch.batch_size, *(1,) * batch.rank, -1)
    return batch.replace(pooled, jnp.minimum(batch.sizes, 1))


class ExponentialMean:
    """Base of the pools `log(mean(exp(r x))) / r`, whose sharpness `r` is an attribute.

    Statistics: the largest `r x`, the sum of `exp(r x)` relative to it, and the number of valid positions.
    """

    commutes_with_affine: ClassVar[bool] = False

    r: Any  # a float, or float32 []

    def lift(self, batch: Padded) -> Statistics:
        scaled = jnp.where(batch.mask, self.r * at_least_float32(batch.raw_values), -jnp.inf)
        highest = highest_valid(batch, scaled)
        terms = jnp.exp(scaled - per_position(batch, finite(highest)))  # exp(-inf) = 0 outside
        return {"max": highest, "sum": jnp.sum(terms, batch.spatial_axes), "count": count(batch)}

    def combine(self, left: Statistics, right: Statistics) -> Statistics:
        return _add_rescaled(left, right, ("sum",)) | {"count": left["count"] + right["count"]}

    def finish(self, statistics: Statistics) -> jax.Array:
        empty = statistics["count"] == 0
        total, positions = (jnp.where(empty, 1.0, statistics[name]) for name in ("sum", "count"))
        return (jnp.log(total / positions) + finite(statistics["max"])) / self.r


class WeightedMean:
    """Base of the pools that are means weighed by the exponentials of scores, which `lift` knows (`lift_weighted`)."""

    commutes_with_affine: ClassVar[bool] = False

    def combine(self, left: Statistics, right: Statistics) -> Statistics:
        return _add_rescaled(left, right, ("sum", "weighted"))

    def finish(self, statistics: Statistics) -> jax.Array:
        total = jnp.where(statistics["sum"] == 0, 1.0, statistics["sum"])
        return statistics["weighted"] / _as_channels(total, statistics["weighted"])


def lift_weighted(batch: Padded, scores: jax.Array) -> Statistics:
    """Returns the largest score, the sum of the weights `exp(score)` relative to it, and the weighted sum of values.

    Args:
        batch: values [B, *S, C], zero outside each example.
        scores: float32 [B, *S, H], where H divides C: head h weighs the h-th group of C / H consecutive channels.
    """
    scores = jnp.where(batch.mask, scores, -jnp.inf)
    highest = highest_valid(batch, scores)
    weights = jnp.exp(scores - per_position(batch, finite(highest)))
    weighted = jnp.repeat(weights, batch.channels // scores.shape[-1], axis=-1) * at_least_float32(batch.values)
    axes = batch.spatial_axes
    return {"max": highest, "sum": jnp.sum(weights, axes), "weighted": jnp.sum(weighted, axes)}


def check_sharpness(r: float):
    """Raises ValueError unless r is greater than 0."""
    if r <= 0:
        raise ValueError(f"r={r} of log-sum-exp pooling: must be greater than 0; Mean() is its limit at 0.")


def highest_valid(batch: Padded, values: jax.Array) -> jax.Array:
    """Returns the largest of values [B, *S, C] that are -inf outside; -inf where nothing is valid.

    For a shift that cancels in the result: no gradient passes through it.
    """
    return jax.lax.stop_gradient(jnp.max(values, batch.spatial_axes))


def per_position(batch: Padded, vectors: jax.Array) -> jax.Array:
    """Returns vectors [B, C] with the rank of the batch's values, [B, 1, .., 1, C]."""
    return vectors.reshape(batch.batch_size, *(1,) * batch.rank, -1)


def valid_sum(batch: Padded, values: jax.Array) -> jax.Array:
    """Returns the sum [B, C] of values [B, *S, C] over the valid positions."""
    return jnp.sum(batch.replace(values).values, batch.spatial_axes)


def count(batch: Padded) -> jax.Array:
    """Returns the number of valid positions, float32 [B, 1]."""
    return batch.counts[:, None].astype(jnp.float32)


def finite(values: jax.Array) -> jax.Array:
    """Replaces the -inf of an empty maximum by 0, value and gradient."""
    return jnp.where(jnp.isneginf(values), 0.0, values)


def _add_rescaled(left: Statistics, right: Statistics, names: tuple[str, ...]) -> Statistics:
    highest = jnp.maximum(left["max"], right["max"])
    first, second = (jnp.exp(part["max"] - finite(highest)) for part in (left, right))  # 0 of an empty part

    def add(name: str) -> jax.Array:
        a, b = left[name], right[name]
        return a * _as_channels(first, a) + b * _as_channels(second, b)

    return {"max": highest, **{name: add(name) for name in names}}


def _as_channels(heads: jax.Array, channels: jax.Array) -> jax.Array:
    return jnp.repeat(heads, channels.shape[-1] // heads.shape[-1], axis=-1)  # [B, H] -> [B, C]
