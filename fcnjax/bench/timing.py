"""Timing side by side: the timed programs take turns, so that a slow moment of the machine affects all of them."""

import concurrent.futures
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fcnjax.progress import progress_bar
from fcnjax.xla import FLAGS, given_flags

TimedProgram = Callable[[int], None]  # runs that many steps, and returns when the last one is done


def one_round(programs: Mapping[str, TimedProgram], steps: int, turn: int) -> dict[str, float]:
    """Returns the mean milliseconds of a step of each program, in one turn of each.

    The order is random: each program is affected by what the previous one left behind, such as spinning threads and a
    fragmented heap, so no program should always follow the same one.

    Args:
        programs: the programs by name.
        steps: steps in a turn.
        turn: number of the round, which determines the order.
    """
    times = {}
    for name in np.random.default_rng(turn).permutation(list(programs)).tolist():
        start = time.perf_counter()
        programs[name](steps)
        times[name] = 1e3 * (time.perf_counter() - start) / steps
    return times


def take_turns(
    programs: Mapping[str, TimedProgram], rounds: int, steps: int, progress: str = ""
) -> dict[str, list[float]]:
    """Measures the milliseconds of a step of each program.

    Args:
        programs: the programs by name.
        rounds: number of turns of each program, after a first turn that only warms up.
        steps: steps in a turn.
        progress: title of a progress bar on stderr; empty for none.

    Returns:
        For each program, the mean milliseconds of a step in each round [rounds].
    """
    turns = progress_bar(range(rounds + 1), progress, unit=" rounds", disable=not progress)
    measured = [one_round(programs, steps, turn) for turn in turns][1:]
    return {name: [times[name] for times in measured] for name in programs}


class InOwnProcess:
    """A timed program in its own process, which settings of this process do not affect.

    Args:
        make: a function at module level that returns the program.
        *arguments: arguments of `make`; they and the function are pickled.
    """

    _program: TimedProgram | None = None  # in the other process

    def __init__(self, make: Callable[..., TimedProgram], *arguments: Any):
        self._process = concurrent.futures.ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=_start, initargs=(given_flags(), make, arguments)
        )

    def __call__(self, steps: int) -> None:
        """Runs that many steps in the other process."""
        self._process.submit(_run, steps).result()

    def __enter__(self) -> "InOwnProcess":
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.shutdown()


def _start(flags: str, make: Callable[..., TimedProgram], arguments: tuple[Any, ...]) -> None:
    os.environ[FLAGS] = flags  # XLA has not read them yet
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = (
        "false"  # the process that started this one has most of a GPU's memory
    )
    InOwnProcess._program = make(*arguments)


def _run(steps: int) -> None:
    assert InOwnProcess._program is not None
    InOwnProcess._program(steps)
