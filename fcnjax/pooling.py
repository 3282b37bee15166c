"""Global pools as monoids: `lift` features to partial statistics, `combine` them, `finish` to one vector per example.

Axes: B batch, S spatial, C channels. From the one definition follow the masked pool of a `Padded`, exact pooling of an
image in tiles, and pooling of an image whose tiles lie on different devices. Statistics are float32, whatever the
dtype of the features; `combine` is associative and commutative, and a part without any valid position is its identity.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp

from fcnjax.naming import check_options, unknown_name
from fcnjax.padded import Padded

Statistics = dict[str, jax.Array]  # every entry [B, C] or [B, 1]


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
        """Returns the pooled features [B, C] float32; finite, if meaningless, where nothing was valid."""
        ...


def pool(batch: Padded, how: Pool) -> Padded:
    """Pools every example to a single position.

    Args:
      batch: values [B, *S, C], zero outside each example.
      how: the pool.

    Returns:
      `Padded` with values [B, 1, .., 1, C], on which a `Pointwise` layer is a dense layer; filler rows stay fillers.
    """
    pooled = how.finish(how.lift(batch)).astype(batch.values.dtype)
    pooled = pooled.reshape(batch.batch_size, *(1,) * batch.rank, -1)
    return batch.replace(pooled, jnp.minimum(batch.sizes, 1))


@dataclasses.dataclass(frozen=True)
class Mean:
    """Mean over the valid positions: global average pooling. The expected score does not move with the area.

    Source: Lin, Chen and Yan, "Network in Network", 2014.
    """

    commutes_with_affine: ClassVar[bool] = True

    def lift(self, batch: Padded) -> Statistics:
        return {"sum": _sum(batch, batch.values.astype(jnp.float32)), "count": _count(batch)}

    def combine(self, left: Statistics, right: Statistics) -> Statistics:
        return jax.tree.map(jnp.add, left, right)

    def finish(self, statistics: Statistics) -> jax.Array:
        return statistics["sum"] / jnp.maximum(statistics["count"], 1)


@dataclasses.dataclass(frozen=True)
class Max:
    """Largest valid value of each channel. The expected score grows with the area: more positions, higher maximum."""

    commutes_with_affine: ClassVar[bool] = False

    def lift(self, batch: Padded) -> Statistics:
        values = jnp.where(batch.mask, batch.values.astype(jnp.float32), -jnp.inf)
        return {"max": jnp.max(values, batch.spatial_axes)}

    def combine(self, left: Statistics, right: Statistics) -> Statistics:
        return jax.tree.map(jnp.maximum, left, right)

    def finish(self, statistics: Statistics) -> jax.Array:
        return _finite(statistics["max"])


@dataclasses.dataclass(frozen=True)
class LogSumExp:
    """Smooth maximum `log(mean(exp(r x))) / r`: the mean as r goes to 0, the maximum as r grows.

    Divided by the number of valid positions, so that the expected score does not grow with the area beyond what a
    sharper maximum would. With r = 1 on log-probabilities it is the logarithm of the mean probability.

    Args:
      r: sharpness, greater than 0.

    Raises:
      ValueError: if r is not greater than 0.

    Source: Pinheiro and Collobert, "From Image-level to Pixel-level Labeling with Convolutional Networks", 2015.
    """

    commutes_with_affine: ClassVar[bool] = False

    r: float = 5.0

    def __post_init__(self):
        if self.r <= 0:
            raise ValueError(f"r={self.r} of log-sum-exp pooling: must be greater than 0; Mean() is its limit at 0.")

    def lift(self, batch: Padded) -> Statistics:
        scaled = jnp.where(batch.mask, self.r * batch.values.astype(jnp.float32), -jnp.inf)
        # The shift cancels in the result, so no gradient has to pass through the maximum.
        highest = jax.lax.stop_gradient(jnp.max(scaled, batch.spatial_axes))
        shift = _finite(highest).reshape(batch.batch_size, *(1,) * batch.rank, -1)
        total = jnp.sum(jnp.exp(scaled - shift), batch.spatial_axes)  # exp(-inf) = 0 outside
        return {"max": highest, "sum": total, "count": _count(batch)}

    def combine(self, left: Statistics, right: Statistics) -> Statistics:
        highest = jnp.maximum(left["max"], right["max"])
        shift = _finite(highest)
        total = left["sum"] * jnp.exp(left["max"] - shift) + right["sum"] * jnp.exp(right["max"] - shift)
        return {"max": highest, "sum": total, "count": left["count"] + right["count"]}

    def finish(self, statistics: Statistics) -> jax.Array:
        empty = statistics["count"] == 0
        total, count = (jnp.where(empty, 1.0, statistics[name]) for name in ("sum", "count"))
        return (jnp.log(total / count) + _finite(statistics["max"])) / self.r


@dataclasses.dataclass(frozen=True)
class GeM:
    """Generalised mean `mean(max(x, epsilon)^p)^(1/p)`: the mean at p = 1, towards the maximum as p grows.

    Meant for features that are not negative (after a ReLU): values below `epsilon` count as `epsilon`.

    Args:
      p: exponent, greater than 0.
      epsilon: floor of the values, greater than 0.

    Raises:
      ValueError: if p or epsilon is not greater than 0.

    Source: Radenovic, Tolias and Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", 2018.
    """

    commutes_with_affine: ClassVar[bool] = False

    p: float = 3.0
    epsilon: float = 1e-6

    def __post_init__(self):
        if self.p <= 0 or self.epsilon <= 0:
            raise ValueError(f"p={self.p}, epsilon={self.epsilon} of GeM pooling: both must be greater than 0.")

    def lift(self, batch: Padded) -> Statistics:
        powers = jnp.maximum(batch.values.astype(jnp.float32), self.epsilon) ** self.p
        return {"sum": _sum(batch, powers), "count": _count(batch)}

    def combine(self, left: Statistics, right: Statistics) -> Statistics:
        return jax.tree.map(jnp.add, left, right)

    def finish(self, statistics: Statistics) -> jax.Array:
        empty = statistics["count"] == 0
        mean = jnp.where(empty, 1.0, statistics["sum"]) / jnp.maximum(statistics["count"], 1)
        return jnp.where(empty, 0.0, mean ** (1 / self.p))


POOLS: dict[str, Callable[..., Pool]] = {"mean": Mean, "max": Max, "logsumexp": LogSumExp, "gem": GeM}


def create(name: str, **options: float) -> Pool:
    """Returns the pool called `name` ("mean", "max", "logsumexp", "gem") with its options.

    Raises:
      ValueError: for an unknown name, with the nearest one, or an option out of its range.
    """
    if name not in POOLS:
        raise ValueError(unknown_name("pool", name, POOLS))
    check_options(f"option of pool {name!r}:", options, POOLS[name])
    return POOLS[name](**options)


def _sum(batch: Padded, values: jax.Array) -> jax.Array:
    return jnp.sum(values, batch.spatial_axes, where=batch.mask)  # [B, C]


def _count(batch: Padded) -> jax.Array:
    return batch.counts[:, None].astype(jnp.float32)  # [B, 1]


def _finite(values: jax.Array) -> jax.Array:
    """Replaces the -inf of an empty maximum by 0, value and gradient."""
    return jnp.where(jnp.isneginf(values), 0.0, values)
