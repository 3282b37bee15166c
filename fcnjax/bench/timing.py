"""Timing side by side: the arms take turns, so that a slow moment of the machine meets all of them."""

import concurrent.futures
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fcnjax.xla import FLAGS, given_flags

ENVIRONMENT = ("devices", "platform", "python", "versions", "xla", "git_revision", "started")  # of a result
TimedProgram = Callable[[int], None]  # runs that many steps, and returns when the last one is done


class Spread(NamedTuple):
    """The median of several rounds, and the quartiles on either side of it."""

    median: float
    low: float
    high: float


def take_turns(arms: Mapping[str, TimedProgram], rounds: int, steps: int) -> dict[str, list[float]]:
    """Measures the milliseconds of a step.

    The order of a round is drawn: an arm meets what the one before it left, such as threads that still spin and a heap
    in pieces, and that must not always be the same one's.

    Args:
        arms: by name.
        rounds: how often each arm has its turn, after a first one that only warms up.
        steps: steps in a turn.

    Returns:
        For each arm the mean of a step in each round [rounds].
    """
    times: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(rounds + 1):
        for name in np.random.default_rng(turn).permutation(list(arms)):
            start = time.perf_counter()
            arms[name](steps)
            if turn:
                times[name].append(1e3 * (time.perf_counter() - start) / steps)
    return times


class InOwnProcess:
    """An arm in a process of its own, which none of this one's settings reach.

    Args:
        make: a module's function that returns the arm.
        *arguments: for it; they and the function are pickled.
    """

    _arm: TimedProgram | None = None  # in the other process

    def __init__(self, make: Callable[..., TimedProgram], *arguments: Any):
        self._process = concurrent.futures.ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(given_flags(), make, arguments)
        )

    def __call__(self, steps: int) -> None:
        """Runs that many steps there."""
        self._process.submit(_go_on, steps).result()

    def __enter__(self) -> "InOwnProcess":
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.shutdown()


def _begin(flags: str, make: Callable[..., TimedProgram], arguments: tuple[Any, ...]) -> None:
    os.environ[FLAGS] = flags  # XLA has not read them yet
    InOwnProcess._arm = make(*arguments)


def _go_on(steps: int) -> None:
    assert InOwnProcess._arm is not None
    InOwnProcess._arm(steps)


def spread(rounds: Sequence[float]) -> Spread:
    """Returns the median and the quartiles of a quantity measured in each round."""
    low, median, high = np.percentile(rounds, (25, 50, 75)).tolist()
    return Spread(median, low, high)


def ratio(over: Sequence[float], under: Sequence[float]) -> Spread:
    """Returns the spread of the ratios of two arms, taken round by round: what slows a whole round cancels."""
    return spread([a / b for a, b in zip(over, under, strict=True)])


def between(quartiles: Sequence[float] | None) -> str:
    """Returns how a table shows the quartiles of a `Spread`; nothing where there are none."""
    return "" if quartiles is None else f"{quartiles[0]:.3f} to {quartiles[1]:.3f}"


def threads() -> int:
    """Returns the number of CPU cores that this process may use, which is how many threads XLA takes."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
