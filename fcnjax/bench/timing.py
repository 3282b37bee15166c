"""Timing side by side: the arms take turns, so that a slow moment of the machine meets all of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

Arm = Callable[[int], None]  # runs that many steps, and returns when the last one is done


class Spread(NamedTuple):
    """The median of several rounds, and the quartiles on either side of it."""

    median: float
    low: float
    high: float


def take_turns(arms: Mapping[str, Arm], rounds: int, steps: int) -> dict[str, list[float]]:
    """Measures the milliseconds of a step.

    Args:
      arms: by name.
      rounds: how often each arm has its turn, after a first one that only warms up.
      steps: steps in a turn.

    Returns:
      For each arm the mean of a step in each round [rounds].
    """
    times: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(rounds + 1):
        for name, run in arms.items():
            start = time.perf_counter()
            run(steps)
            if turn:
                times[name].append(1e3 * (time.perf_counter() - start) / steps)
    return times


def spread(rounds: Sequence[float]) -> Spread:
    """Returns the median and the quartiles of a quantity measured in each round."""
    low, median, high = np.percentile(rounds, (25, 50, 75)).tolist()
    return Spread(median, low, high)


def ratio(over: Sequence[float], under: Sequence[float]) -> Spread:
    """Returns the spread of the ratios of two arms, taken round by round: what slows a whole round cancels."""
    return spread([a / b for a, b in zip(over, under, strict=True)])
