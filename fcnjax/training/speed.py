"""The speed of training and the use of its time: one row of figures per interval of steps.

Positions are the pixels of images or the samples of signals. The one idea: the clock runs from the end of one step to
the end of the next, so every second of training belongs to one step, and everything else (evaluation, checkpoints)
stops the clock. Efficiency factors as `efficiency = 1 / (1 + waste) * padded rate / ceiling`.
"""

import dataclasses
import math
import statistics
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import jax
import numpy as np

from fcnjax.data import Batch

T = TypeVar("T")
Clock = Callable[[], float]  # returns the seconds since a fixed moment

UNITS = {1: ("ksamples/s", 1e3), 2: ("Mpx/s", 1e6), 3: ("Mvoxels/s", 1e6)}  # by number of spatial axes
MAX_STEPS = 64  # latest steps of a bucket; their median is its rate
MIN_STEPS = 5  # steps of a bucket before it has a rate: the median then tolerates two outliers
MAX_WAIT = 0.05  # share of a step's time; a step that waited longer for input does not count for the rate


class StepWork(NamedTuple):
    """The work of one step.

    Attributes:
        step: number of the step, counted from 1.
        epoch: counted from 0.
        examples: number of real examples.
        real: number of positions inside the examples.
        padded: number of positions computed, padding and filler rows included.
        shape: shape of its bucket; None for a step in several buckets, because their shares of the time are unknown.
    """

    step: int
    epoch: int
    examples: int
    real: int
    padded: int
    shape: tuple[int, ...] | None

    @classmethod
    def of(cls, step: int, epoch: int, parts: Sequence[Batch]) -> "StepWork":
        """Returns the work of a step from its batches."""
        shapes = tuple(part.values.shape[1:-1] for part in parts)
        return cls(
            step,
            epoch,
            examples=sum(part.examples for part in parts),
            real=sum(int(np.prod(part.sizes, axis=1, dtype=np.int64).sum()) for part in parts),
            padded=sum(len(part.sizes) * math.prod(shape) for part, shape in zip(parts, shapes, strict=True)),
            shape=shapes[0] if len(shapes) == 1 else None,
        )


@dataclasses.dataclass(frozen=True)
class SpeedRow:
    """The figures of an interval of training.

    Attributes:
        step: last step of the interval, counted from 1.
        epoch: epoch of that step, counted from 0.
        rank: number of spatial axes of an example.
        steps: number of steps.
        seconds: duration of the steps, without compilation and pauses.
        examples_per_second: real examples.
        positions_per_second: positions inside real examples.
        waste: padded / real positions - 1; None without real examples.
        input_share: share of `seconds`, in [0, 1], that was lost to waiting for input (see `TimedInput`).
        efficiency: `positions_per_second` / `Speed.ceiling`, the rate of a dense run; None before that is known.
        compile_seconds: time that training waited for compilation since the run started or was resumed.
        memory_bytes: peak memory so far (see `peak_memory_bytes`); None if the system does not report it.
    """

    step: int
    epoch: int
    rank: int
    steps: int
    seconds: float
    examples_per_second: float
    positions_per_second: float
    waste: float | None
    input_share: float
    efficiency: float | None
    compile_seconds: float
    memory_bytes: int | None

    @property
    def throughput(self) -> tuple[float, str]:
        """`positions_per_second` as a number and the unit for the rank."""
        unit, size = UNITS[self.rank]
        return self.positions_per_second / size, unit


class Speed:
    """Times the steps since the last row; the first step starts at construction.

    `done` takes counters that are totals since the run started. A second therefore counts for the step during which it
    passed, although the loop prepares a step while the device computes the previous one.

    Args:
        rank: number of spatial axes of an example, 1 to 3.
        clock: returns the seconds since a fixed moment.
        memory: returns the peak memory so far, in bytes; default: `peak_memory_bytes`.

    Raises:
        ValueError: if `rank` is not 1, 2 or 3.

    >>> ticks = iter([0.0, 2.0])
    >>> speed = Speed(rank=2, clock=lambda: next(ticks), memory=lambda: None)
    >>> speed.done(StepWork(step=1, epoch=0, examples=4, real=3_000_000, padded=4_500_000, shape=(750, 1500)))
    >>> row = speed.row()
    >>> row.examples_per_second, row.throughput, row.waste
    (2.0, (1.5, 'Mpx/s'), 0.5)
    """

    def __init__(self, rank: int, *, clock: Clock = time.perf_counter, memory: Callable[[], int | None] | None = None):
        if rank not in UNITS:
            raise ValueError(f"rank={rank}: must be 1, 2 or 3, the number of spatial axes of an example.")
        self._rank, self._clock, self._memory = rank, clock, memory or peak_memory_bytes
        self._waited = self._compiled = 0.0  # totals at the end of the last step
        self._rates: dict[Hashable, deque[float]] = defaultdict(lambda: deque(maxlen=MAX_STEPS))
        self._ceiling = 0.0
        self._begin_interval()
        self._end = clock()  # end of the last step, moved later by the pauses since then

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the clock for work that is not training: `with speed.paused(): evaluate(...)`."""
        begun = self._clock()
        try:
            yield
        finally:
            self._end += self._clock() - begun

    def done(self, work: StepWork, *, waited: float = 0.0, compiled: float = 0.0) -> None:
        """Records that a step is done. Call it when the step's loss has been read: the device has then finished it.

        Args:
            work: what the step computed.
            waited: seconds lost to waiting for training input (see `TimedInput`), in total since the run started.
            compiled: seconds that training waited for compilation, in total since the run started.
        """
        now = self._clock()
        elapsed, self._end = now - self._end, now
        waiting, self._waited = waited - self._waited, waited
        compiling, self._compiled = compiled - self._compiled, compiled
        self._last, self._steps = work, self._steps + 1
        self._examples += work.examples
        self._real += work.real
        self._padded += work.padded
        self._seconds += elapsed - compiling
        self._waiting += waiting
        if elapsed > 0 and compiling == 0 and waiting <= MAX_WAIT * elapsed:
            self._rates[work.shape].append(work.padded / elapsed)

    @property
    def ceiling(self) -> float | None:
        """Positions per second of a dense run: the best rate at which this run computed *padded* positions.

        Training would reach it without padding, without waiting, and with every bucket as fast as the fastest one. The
        rate of a bucket is the median over its last 64 steps that waited for at most 5 % of their time and compiled
        nothing; steps in several buckets share one median. The ceiling is the best rate so far, and None until a bucket
        has five such steps. It is a median because a step seems too fast if the host noticed the end of the previous
        step late. An interval with little padding may exceed the ceiling by the spread of its steps.

        Source: derived here.
        """
        known = [statistics.median(rates) for rates in self._rates.values() if len(rates) >= MIN_STEPS]
        self._ceiling = max([self._ceiling, *known])
        return self._ceiling or None

    def row(self) -> SpeedRow:
        """Returns the figures of the steps since the last row, and starts a new interval.

        Raises:
            ValueError: if no step was done since the last row.
        """
        if self._last is None:
            raise ValueError("row: no step was done since the last row; call done() after each step.")
        seconds = max(self._seconds, 1e-9)  # a coarse clock may measure 0 s
        rate, ceiling = self._real / seconds, self.ceiling
        row = SpeedRow(
            step=self._last.step,
            epoch=self._last.epoch,
            rank=self._rank,
            steps=self._steps,
            seconds=self._seconds,
            examples_per_second=self._examples / seconds,
            positions_per_second=rate,
            waste=self._padded / self._real - 1 if self._real else None,
            input_share=min(self._waiting / seconds, 1.0),
            efficiency=rate / ceiling if ceiling else None,
            compile_seconds=self._compiled,
            memory_bytes=self._memory(),
        )
        self._begin_interval()
        return row

    def _begin_interval(self) -> None:
        self._last: StepWork | None = None
        self._steps = self._examples = self._real = self._padded = 0
        self._seconds = self._waiting = 0.0


class TimedInput(Iterator[T]):
    """Yields the items of an iterator, and counts the seconds that were lost to waiting for them.

    While the device computes a step, the loop may wait for the next batch at no cost. A wait therefore counts only if
    the device is idle at its end. It then counts in full, which overestimates the loss if the device became idle
    midway.

    Args:
        batches: the iterator that the loop reads.
        busy: returns whether the device still computes, such as `lambda: not loss.is_ready()` of the last step's loss.
        clock: returns the seconds since a fixed moment.

    Attributes:
        seconds: seconds lost so far.
    """

    def __init__(
        self, batches: Iterator[T], busy: Callable[[], bool] = lambda: False, *, clock: Clock = time.perf_counter
    ):
        self._batches, self._busy, self._clock = batches, busy, clock
        self.seconds = 0.0

    def __next__(self) -> T:
        begun = self._clock()
        item = next(self._batches)
        waited = self._clock() - begun
        if not self._busy():
            self.seconds += waited
        return item


def peak_memory_bytes() -> int | None:
    """Returns the peak memory so far, in bytes: the largest of this process's devices, or on a CPU that of the process.

    Returns:
        The figure of the device's allocator, else the largest resident set; None if the system reports neither.

    Source: `jax.Device.memory_stats`; getrusage(2).
    """
    peaks = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in jax.local_devices()]
    known = [peak for peak in peaks if peak is not None]
    if known:
        return int(max(known))
    try:
        import resource  # missing on Windows
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # bytes on macOS, else KiB
