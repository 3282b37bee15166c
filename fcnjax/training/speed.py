"""How fast a run trains, and where its time goes: one row of figures per interval of steps.

Positions are pixels of images, samples of signals. The one idea: the clock runs from the end of one step to the end of
the next, so that every second of training belongs to one step, and what is no training (evaluation, checkpoints) stops
the clock. The figures come apart as `efficiency = 1 / (1 + waste) * padded rate / ceiling`.
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
Clock = Callable[[], float]  # seconds since any moment

UNITS = {1: ("ksamples/s", 1e3), 2: ("Mpx/s", 1e6), 3: ("Mvoxels/s", 1e6)}  # by the number of spatial axes
RECENT = 64  # steps of a rectangle whose median is its rate
FEWEST = 5  # steps of a rectangle that a median is taken of: two of them may be out of line
HARDLY = 0.05  # share of a step's time; who waited less for input was computing


class StepWork(NamedTuple):
    """What a step had to do.

    Attributes:
        step: its number, counted from 1.
        epoch: counted from 0.
        examples: real ones.
        real: positions inside the examples.
        padded: positions computed with: rectangle times rows, filler rows included.
        shape: the rectangle; None of a step in several, whose shares of its time nobody knows.
    """

    step: int
    epoch: int
    examples: int
    real: int
    padded: int
    shape: tuple[int, ...] | None

    @classmethod
    def of(cls, step: int, epoch: int, parts: Sequence[Batch]) -> "StepWork":
        """Returns the work of a step from the batches that it is made of."""
        rectangles = tuple(part.values.shape[1:-1] for part in parts)
        return cls(
            step,
            epoch,
            examples=sum(int((part.ids >= 0).sum()) for part in parts),
            real=sum(int(np.prod(part.sizes, axis=1, dtype=np.int64).sum()) for part in parts),
            padded=sum(len(part.sizes) * math.prod(shape) for part, shape in zip(parts, rectangles, strict=True)),
            shape=rectangles[0] if len(rectangles) == 1 else None,
        )


@dataclasses.dataclass(frozen=True)
class SpeedRow:
    """An interval of training in figures.

    Attributes:
        step: the last one of the interval, counted from 1.
        epoch: of that step, counted from 0.
        rank: number of spatial axes of an example.
        steps: how many.
        seconds: that they took, without compilation and what was paused.
        examples_per_second: real examples.
        positions_per_second: positions inside real examples.
        waste: padded / real positions - 1; None where no example was real.
        input_share: share of `seconds`, in [0, 1], that was lost to waiting for input (see `TimedInput`).
        efficiency: `positions_per_second` over that of a dense run (see `Speed.ceiling`); None before that is known.
        compile_seconds: that training has waited for compilation since the run began or was resumed.
        memory_bytes: the most held so far (see `peak_memory_bytes`); None where nobody tells.
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
        """`positions_per_second` as a figure and the unit that suits the rank."""
        unit, size = UNITS[self.rank]
        return self.positions_per_second / size, unit


class Speed:
    """Keeps the time of the steps since the last row; the first one begins when this is made.

    The counters that `done` takes are totals since the run began, so that a second is counted for the step during whose
    time it passed, although the loop prepares a step while the device computes the one before.

    Args:
        rank: number of spatial axes of an example, 1 to 3.
        clock: seconds since any moment.
        memory: returns the most bytes held so far.

    Raises:
        ValueError: if the rank is another.

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
        self._rates: dict[Hashable, deque[float]] = defaultdict(lambda: deque(maxlen=RECENT))
        self._ceiling = 0.0
        self._begin_interval()
        self._end = clock()  # of the last step, later by what was paused since

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the clock for what is no training: `with speed.paused(): evaluate(...)`."""
        begun = self._clock()
        try:
            yield
        finally:
            self._end += self._clock() - begun

    def done(self, work: StepWork, *, waited: float = 0.0, compiled: float = 0.0) -> None:
        """Notes that a step is over. To be called when its loss has been read, for then the device is done with it.

        Args:
            work: what the step had to do.
            waited: seconds lost to waiting for training input (see `TimedInput`), in total since the run began.
            compiled: seconds that training stood waiting for compilation, in total since the run began.
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
        if elapsed > 0 and compiling == 0 and waiting <= HARDLY * elapsed:
            self._rates[work.shape].append(work.padded / elapsed)

    @property
    def ceiling(self) -> float | None:
        """Positions per second of a dense run: the best rate at which this run computed *padded* positions.

        It is what training would reach without padding, without waiting, and with every rectangle as quick as the best
        one. A rectangle's rate is the median over its last 64 steps, of those alone that hardly waited for input and
        compiled nothing; steps in several rectangles share one median. The best one is kept. None before any rectangle
        had five such steps. A median and not the quickest step, which would be one after a step whose end the host saw
        late. An interval of hardly any padding may exceed the ceiling by the spread of its steps.

        Source: derived here.
        """
        known = [statistics.median(rates) for rates in self._rates.values() if len(rates) >= FEWEST]
        self._ceiling = max([self._ceiling, *known])
        return self._ceiling or None

    def row(self) -> SpeedRow:
        """Returns the figures of the steps since the last row, and begins a new interval.

        Raises:
            ValueError: if no step was done since.
        """
        if self._last is None:
            raise ValueError("row: no step was done since the last row; call done() after each step.")
        seconds = max(self._seconds, 1e-9)  # a coarse clock may not see a step
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
    """Hands on the items of an iterator, and counts the seconds that were lost to waiting for them.

    While the device computes a step the loop may wait for the next batch at no cost. So a wait counts only if the
    device is idle at its end; it then counts in full, which is more than was lost where the device became idle midway.

    Args:
        batches: what the loop reads.
        busy: tells whether the device still computes, such as `lambda: not loss.is_ready()` of the last step's loss.
        clock: seconds since any moment.

    Attributes:
        seconds: counted so far.
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
    """Returns the most bytes held so far on any device of this process; on a CPU, by the process itself.

    Returns:
        What the device's allocator tells, else the largest resident set; None where the system tells neither.

    Source: `jax.Device.memory_stats`; getrusage(2).
    """
    peaks = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in jax.local_devices()]
    known = [peak for peak in peaks if peak is not None]
    if known:
        return int(max(known))
    try:
        import resource  # Windows has no such module
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # KiB, but on macOS
