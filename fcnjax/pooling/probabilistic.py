"""Global pools from probability: noisy-or of logits, and the mean of probabilities weighted by themselves.

Axes: B batch, S spatial, C channels.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from fcnjax.layers.layer import at_least_float32
from fcnjax.padded import Padded
from fcnjax.pooling import monoid
from fcnjax.pooling.monoid import Statistics

SMALLEST_SCALE = 1e-18  # 1 / scale**2 is still a finite float32: XLA folds (x / scale)**2 to x**2 / scale**2


@dataclasses.dataclass(frozen=True)
class NoisyOr:
    """Logit of `1 - prod(1 - sigmoid(x))`: the probability that some position has the class, if they are independent.

    It takes logits and returns a logit, for use with sigmoid cross-entropy. The expected score grows with the area
    without limit: every position adds the positive `softplus(x)` to the evidence.

    Source: Zhang, Platt and Viola, "Multiple Instance Boosting for Object Detection", 2005. With
    s = sum(softplus(x)) = -log(prod(1 - sigmoid(x))), the logit is log(exp(s) - 1), derived here.
    """

    commutes_with_affine: ClassVar[bool] = False

    def lift(self, batch: Padded) -> Statistics:
        values = at_least_float32(batch.values)
        highest = monoid.highest_valid(batch, jnp.where(batch.mask, values, -jnp.inf))
        relative = jnp.exp(_log_softplus(values) - monoid.per_position(batch, _scale(highest)))
        return {"max": highest, "sum": monoid.valid_sum(batch, relative)}

    def combine(self, left: Statistics, right: Statistics) -> Statistics:
        highest = jnp.maximum(left["max"], right["max"])
        first, second = (part["sum"] * jnp.exp(_scale(part["max"]) - _scale(highest)) for part in (left, right))
        return {"max": highest, "sum": first + second}

    def finish(self, statistics: Statistics) -> jax.Array:
        empty = jnp.isneginf(statistics["max"])
        total, scale = jnp.where(empty, 1.0, statistics["sum"]), _scale(statistics["max"])
        s = total * jnp.exp(scale)
        # log(expm1(s)) = log(s) + series(s): log(s) stays finite where s underflows. Not the minimum and maximum of s
        # and 0.5, whose gradient at 0.5 itself is one half.
        small, large = jnp.where(s < 0.5, s, 0.5), jnp.where(s < 0.5, 0.5, s)
        below = jnp.log(total) + scale + small / 2 + small**2 / 24 - small**4 / 2880
        above = large + jnp.log1p(-jnp.exp(-large))
        return jnp.where(empty, 0.0, jnp.where(s < 0.5, below, above))


@dataclasses.dataclass(frozen=True)
class LinearSoftmax:
    """`sum(p^2) / sum(p)`: the mean of values weighted by themselves, 0 if all of them are 0.

    For probabilities, or other nonnegative features: values below 0 count as 0. The expected score grows with the area
    to a limit, E[p^2] / E[p].

    Source: Wang, Li and Metze, "A Comparison of Five Multiple Instance Learning Pooling Functions for Sound Event
    Detection with Weak Labeling", 2019.
    """

    commutes_with_affine: ClassVar[bool] = False

    def lift(self, batch: Padded) -> Statistics:
        values = jnp.where(batch.mask, jax.nn.relu(at_least_float32(batch.values)), 0.0)
        # Relative to the largest value: squares of small values, and the gradient of the quotient, would underflow.
        highest = jnp.maximum(monoid.highest_valid(batch, values), SMALLEST_SCALE)
        shares = values / monoid.per_position(batch, highest)
        axes = batch.spatial_axes
        return {"max": highest, "sum": jnp.sum(shares, axes), "squares": jnp.sum(shares**2, axes)}

    def combine(self, left: Statistics, right: Statistics) -> Statistics:
        highest = jnp.maximum(left["max"], right["max"])
        first, second = left["max"] / highest, right["max"] / highest
        total = left["sum"] * first + right["sum"] * second
        squares = left["squares"] * first**2 + right["squares"] * second**2
        return {"max": highest, "sum": total, "squares": squares}

    def finish(self, statistics: Statistics) -> jax.Array:
        total = jnp.where(statistics["sum"] == 0, 1.0, statistics["sum"])
        return statistics["max"] * (statistics["squares"] / total)


def _scale(highest: jax.Array) -> jax.Array:
    """Returns the exponent that sums are relative to: 0 unless all logits are negative and sums could underflow."""
    return jnp.minimum(monoid.finite(highest), 0.0)


def _log_softplus(values: jax.Array) -> jax.Array:
    far = -15.0  # below it log1p(exp(x)) = exp(x) - exp(x)^2 / 2 to float32 precision
    is_far = values < far
    near = jnp.log(jax.nn.softplus(jnp.where(is_far, far, values)))
    return jnp.where(is_far, values - jnp.exp(jnp.where(is_far, values, far)) / 2, near)
