"""The protocol of global pools, and the monoids that several pools share: exponential means and weighted means.

A pool is three functions: `lift` turns features into partial statistics, `combine` merges the statistics of two sets of
positions, and `finish` turns statistics into one vector per example. `combine` is associative and commutative; its
identity is the statistics of an empty set. One definition therefore serves the masked pool of a `Padded`, exact pooling
of an image in tiles, and pooling of an image that is sharded over devices. Statistics are at least float32, whatever
the dtype of the features.

Axes: B batch, S spatial, C channels, H heads (groups of channels that share a score).
"""

from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp

from fcnjax.layers.layer import at_least_float32
from fcnjax.padded import Padded

Statistics = dict[str, jax.Array]  # each entry is [B, C], [B, H] or [B, 1]; [B, k, C] for the k largest values


class Pool(Protocol):
    """Protocol of global pools; `pool` applies one to a batch.

    Attributes:
        commutes_with_affine: whether pooling before and pooling after an affine layer are the same function.
    """

    commutes_with_affine: ClassVar[bool]

    def lift(self, batch: Padded) -> Statistics:
        """Returns the statistics of the valid positions of values [B, *S, C]."""
        ...

    def combine(self, left: Statistics, right: Statistics) -> Statistics:
        """Returns the statistics of the union of two disjoint sets of positions."""
        ...

    def finish(self, statistics: Statistics) -> jax.Array:
        """Returns the pooled features [B, C], at least float32; 0 for an example without valid positions."""
        ...


def pool(batch: Padded, how: Pool) -> Padded:
    """Returns every example pooled to a single position.

    Args:
        batch: values [B, *S, C], zero outside each example.
        how: the pool.

    Returns:
        `Padded` with values [B, 1, .., 1, C], at least float32; a `Pointwise` layer on them is a dense layer. Filler
        rows stay filler rows.
    """
    pooled = how.finish(how.lift(batch))
    return batch.replace(per_position(batch, pooled), jnp.minimum(batch.sizes, 1))


class ExponentialMean:
    """Base of the pools `log(mean(exp(r x))) / r`.

    Statistics: the largest `r x`, the sum of `exp(r x - largest)`, and the number of valid positions.

    Attributes:
        r: sharpness, greater than 0; subclasses define it.
    """

    commutes_with_affine: ClassVar[bool] = False

    r: Any  # a float, or float32 []

    def lift(self, batch: Padded) -> Statistics:
        scaled = jnp.where(batch.mask, self.r * at_least_float32(batch.raw_values), -jnp.inf)
        highest = highest_valid(batch, scaled)
        terms = jnp.exp(scaled - per_position(batch, finite(highest)))  # exp(-inf) = 0 in the padding
        return {"max": highest, "sum": jnp.sum(terms, batch.spatial_axes), "count": count(batch)}

    def combine(self, left: Statistics, right: Statistics) -> Statistics:
        return _add_rescaled(left, right, ("sum",)) | {"count": left["count"] + right["count"]}

    def finish(self, statistics: Statistics) -> jax.Array:
        empty = statistics["count"] == 0
        total, positions = (jnp.where(empty, 1.0, statistics[name]) for name in ("sum", "count"))
        return (jnp.log(total / positions) + finite(statistics["max"])) / self.r


class WeightedMean:
    """Base of the pools `sum(exp(score) x) / sum(exp(score))`; subclasses lift with `lift_weighted`."""

    commutes_with_affine: ClassVar[bool] = False

    def combine(self, left: Statistics, right: Statistics) -> Statistics:
        return _add_rescaled(left, right, ("sum", "weighted"))

    def finish(self, statistics: Statistics) -> jax.Array:
        total = jnp.where(statistics["sum"] == 0, 1.0, statistics["sum"])
        return statistics["weighted"] / _as_channels(total, statistics["weighted"])


def lift_weighted(batch: Padded, scores: jax.Array) -> Statistics:
    """Returns the statistics of a `WeightedMean`: the largest score, and sums relative to its exponential.

    "sum" is the sum of the weights `exp(score - largest)`, "weighted" the weighted sum of the values.

    Args:
        batch: values [B, *S, C], zero outside each example.
        scores: float32 [B, *S, H], H a divisor of C; head h weights the h-th group of C / H consecutive channels.
    """
    scores = jnp.where(batch.mask, scores, -jnp.inf)
    highest = highest_valid(batch, scores)
    weights = jnp.exp(scores - per_position(batch, finite(highest)))
    weighted = jnp.repeat(weights, batch.channels // scores.shape[-1], axis=-1) * at_least_float32(batch.values)
    axes = batch.spatial_axes
    return {"max": highest, "sum": jnp.sum(weights, axes), "weighted": jnp.sum(weighted, axes)}


def check_sharpness(r: float):
    """Raises ValueError unless `r` is greater than 0."""
    if r <= 0:
        raise ValueError(f"r={r} of log-sum-exp pooling: must be greater than 0; use Mean(), its limit, for 0.")


def highest_valid(batch: Padded, values: jax.Array) -> jax.Array:
    """Returns the largest value per channel [B, C] of values [B, *S, C], without a gradient.

    It serves as a shift that cancels in the result, so no gradient needs to pass through it.

    Args:
        batch: the batch of the values.
        values: [B, *S, C], -inf (or a lower bound of the valid values) in the padding; that bound is the result for an
            example without valid positions.
    """
    return jax.lax.stop_gradient(jnp.max(values, batch.spatial_axes))


def per_position(batch: Padded, vectors: jax.Array) -> jax.Array:
    """Returns vectors [B, C] reshaped to the rank of the batch's values, [B, 1, .., 1, C]."""
    return vectors.reshape(batch.batch_size, *(1,) * batch.rank, vectors.shape[-1])


def valid_sum(batch: Padded, values: jax.Array) -> jax.Array:
    """Returns the sum over the valid positions of values [B, *S, C], as [B, C]."""
    return jnp.sum(batch.replace(values).values, batch.spatial_axes)


def count(batch: Padded) -> jax.Array:
    """Returns the number of valid positions [B, 1], in the dtype of the statistics."""
    return batch.counts[:, None].astype(jnp.promote_types(batch.dtype, jnp.float32))


def finite(values: jax.Array) -> jax.Array:
    """Returns maxima with the -inf of an empty set replaced by 0, in the value and in the gradient."""
    return jnp.where(jnp.isneginf(values), 0.0, values)


def _add_rescaled(left: Statistics, right: Statistics, names: tuple[str, ...]) -> Statistics:
    highest = jnp.maximum(left["max"], right["max"])
    first, second = (jnp.exp(part["max"] - finite(highest)) for part in (left, right))  # 0 for an empty part

    def add(name: str) -> jax.Array:
        a, b = left[name], right[name]
        return a * _as_channels(first, a) + b * _as_channels(second, b)

    return {"max": highest, **{name: add(name) for name in names}}


def _as_channels(heads: jax.Array, like: jax.Array) -> jax.Array:
    return jnp.repeat(heads, like.shape[-1] // heads.shape[-1], axis=-1)  # [B, H] -> [B, C]
