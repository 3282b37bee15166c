"""Exponential moving average of a network over the steps of training. A run that keeps one evaluates and saves it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

Arrays = dict[str, jax.Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Average:
    """Averages over the steps so far, float32 like the arrays they average.

    Attributes:
        weights: by name.
        statistics: running statistics by name, averaged like the weights, so that they match them.
    """

    weights: Arrays
    statistics: Arrays


def moved_average(average: Average, weights: Arrays, statistics: Arrays, step: jax.Array, decay: float) -> Average:
    """Returns the average after one more step, `d * average + (1 - d) * new`, from the state after that step.

    d is the smaller of the decay and (1 + t) / (10 + t) after t steps. It starts at 1/10, so that even a short run soon
    forgets its initial weights.

    Args:
        average: the average before this step; before the first step, the initial weights and statistics.
        weights: weights after the step.
        statistics: running statistics after the step.
        step: int32 [], t, the number of steps before this one.
        decay: in [0, 1); near 1 - 1 / n for an average over about n steps.

    Source: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992; the warm-up as in
    TensorFlow's `ExponentialMovingAverage(num_updates=...)`.
    """
    share = 1 - jnp.minimum(decay, (1 + step) / (10 + step))
    old: Any = average
    new: Any = Average(weights, statistics)
    moved: Any = jax.tree.map(lambda before, now: before + share.astype(before.dtype) * (now - before), old, new)
    return moved  # in this form, an array that does not change keeps its bits
