"""Speed: figures against sums by hand, with a clock that the test advances."""

import dataclasses
import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcnjax.data import Batch
from fcnjax.training import device_memory_bytes
from fcnjax.training.speed import MIN_STEPS, Speed, SpeedRow, StepWork, TimedInput, peak_memory_bytes


class FakeClock:
    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Run:
    """A `Speed` with a clock that is advanced by hand, and the totals that a loop would keep."""

    def __init__(self, rank: int = 2):
        self.clock = FakeClock()
        self.speed = Speed(rank, clock=self.clock, memory=lambda: 7)
        self.count, self.waited, self.compiled = 0, 0.0, 0.0

    def step(self, seconds: float, *, real=80, padded=100, shape=(10, 10), examples=2, waited=0.0, compiled=0.0):
        self.clock.now += seconds
        self.count, self.waited, self.compiled = self.count + 1, self.waited + waited, self.compiled + compiled
        work = StepWork(self.count, self.count // 10, examples, real, padded, shape)
        self.speed.done(work, waited=self.waited, compiled=self.compiled)


def test_a_row_holds_the_figures_of_its_interval_and_of_no_other():
    run = Run()
    run.step(9.0, examples=1, real=1, padded=1, waited=8.0)
    run.speed.row()
    for _ in range(4):
        run.step(0.5, examples=3, real=600, padded=900)
    row = run.speed.row()
    assert (row.step, row.epoch, row.steps, row.seconds) == (5, 0, 4, 2.0)
    assert row.examples_per_second == 12 / 2
    assert row.positions_per_second == 2400 / 2
    assert row.waste == 0.5
    assert row.input_share == 0
    assert row.memory_bytes == 7
    with pytest.raises(ValueError, match="no step was done since the last row"):
        run.speed.row()


def test_what_is_paused_counts_for_no_step_even_if_it_fails():
    run = Run()
    run.step(1.0)
    with run.speed.paused():
        run.clock.now += 50
    run.clock.now += 0.25  # before the next step: counts as training

    def fail():
        with run.speed.paused():
            run.clock.now += 50
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    run.step(0.75)
    assert run.speed.row().seconds == 2.0


def test_compilation_is_counted_apart_and_never_tells_a_rate():
    run = Run()
    for _ in range(MIN_STEPS):
        run.step(10.0, padded=1000, compiled=9.0)
    assert run.speed.ceiling is None
    row = run.speed.row()
    assert (row.seconds, row.compile_seconds, row.efficiency) == (MIN_STEPS, 9.0 * MIN_STEPS, None)
    run.step(1.0)
    assert run.speed.row().compile_seconds == 9.0 * MIN_STEPS  # so far


def test_the_ceiling_is_the_best_buckets_median_over_steps_that_did_not_wait():
    run = Run()
    for seconds in (2.0, 2.0, 0.1, 9.0, 2.0):  # outliers: a late end, and a step that seems short after one
        run.step(seconds, padded=100, shape=(10, 10))
    assert run.speed.ceiling == 50
    for seconds in (2.0,) * MIN_STEPS:
        run.step(seconds, padded=300, shape=(30, 10))
    assert run.speed.ceiling == 150
    for _ in range(9):
        run.step(1.0, padded=10_000, shape=(100, 100), waited=0.5)  # input-bound: its rate is unknown
    assert run.speed.ceiling == 150
    for _ in range(200):
        run.step(4.0, padded=300, shape=(30, 10))
    assert run.speed.ceiling == 150  # keeps the best rate when the machine slows down


@given(
    waste=st.floats(0, 4),
    slower=st.floats(1, 5),
    waiting=st.floats(0, 0.9),
)
def test_efficiency_comes_apart_into_waste_slower_buckets_and_waiting(waste, slower, waiting):
    run, real = Run(), 3600
    for _ in range(MIN_STEPS):
        run.step(1.0, real=real, padded=real, shape=(60, 60))  # dense: the ceiling
    run.speed.row()
    computing = (1 + waste) * slower  # seconds for as many real positions, padded, in a slower bucket
    for _ in range(4):
        lost = computing * waiting / (1 - waiting)
        run.step(computing + lost, real=real, padded=real * (1 + waste), shape=(70, 90), waited=lost)
    row = run.speed.row()
    assert row.waste == pytest.approx(waste)
    assert row.input_share == pytest.approx(waiting)
    assert row.efficiency == pytest.approx((1 - waiting) / ((1 + waste) * slower))
    assert row.efficiency <= 1 + 1e-9


@pytest.mark.parametrize(
    ("rank", "figure", "unit"), [(1, 8.0, "ksamples/s"), (2, 0.008, "Mpx/s"), (3, 0.008, "Mvoxels/s")]
)
def test_the_unit_is_that_of_the_rank(rank, figure, unit):
    run = Run(rank)
    run.step(1.0, real=8000, padded=8000)
    assert run.speed.row().throughput == (pytest.approx(figure), unit)


def test_another_rank_is_refused():
    with pytest.raises(ValueError, match="rank=4: must be 1, 2 or 3"):
        Speed(4)


def test_a_row_is_frozen_and_json_even_if_no_example_was_real():
    run = Run()
    run.step(0.0, examples=0, real=0, padded=100)  # all unreadable, and a clock too coarse to see it
    row = run.speed.row()
    assert (row.waste, row.efficiency) == (None, None)
    assert SpeedRow(**json.loads(json.dumps(dataclasses.asdict(row), allow_nan=False))) == row
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.step = 3  # type: ignore[misc]


def batch(rows: list[tuple[int, ...]], shape: tuple[int, ...]) -> Batch:
    sizes = np.array(rows, np.int32)
    ids = np.where(sizes.any(axis=1), np.arange(len(rows)), -1).astype(np.int32)
    return Batch(np.zeros((len(rows), *shape, 3), np.float32), sizes, np.zeros(len(rows), np.int32), ids)


def test_the_work_of_a_step_counts_real_and_padded_positions_of_all_its_parts():
    first, second = batch([(2, 3), (0, 0), (4, 4)], (4, 5)), batch([(7, 1)], (8, 8))
    assert StepWork.of(3, 1, [first]) == StepWork(3, 1, examples=2, real=22, padded=60, shape=(4, 5))
    assert StepWork.of(4, 1, (first, second)) == StepWork(4, 1, 3, 29, 124, None)
    signals = batch([(100_000,)] * 30_000, (1,))  # 3e9 positions: beyond int32
    assert StepWork.of(1, 0, [signals]).real == 3_000_000_000


def test_waiting_counts_only_where_the_device_has_nothing_to_do():
    clock, busy = FakeClock(), []

    def slow():
        for item in range(4):
            clock.now += 2.0
            yield item

    timed = TimedInput(slow(), lambda: busy[-1], clock=clock)
    seen = []
    for state in (True, False, True, False):
        busy.append(state)
        seen.append((next(timed), timed.seconds))
    assert seen == [(0, 0.0), (1, 2.0), (2, 2.0), (3, 4.0)]
    with pytest.raises(StopIteration):
        next(timed)


def test_all_waiting_counts_if_nothing_is_known_of_the_device():
    clock = FakeClock()

    def slow():
        clock.now += 2.0
        yield 0

    timed = TimedInput(slow(), clock=clock)
    assert (next(timed), timed.seconds) == (0, 2.0)


def test_an_array_tells_whether_the_device_is_busy():
    loss = jnp.sum(jnp.ones((4, 4)))
    timed = TimedInput(iter([1, 2]), lambda: not loss.is_ready())
    jax.block_until_ready(loss)
    assert list(timed) == [1, 2]
    assert timed.seconds > 0


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs the figure of Linux")
@pytest.mark.skipif(jax.default_backend() != "cpu", reason="accelerators report their own memory")
def test_on_a_cpu_the_peak_is_at_least_what_the_system_says_is_held():
    held = np.ones(2**23)  # 64 MiB, its pages touched
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    peak = peak_memory_bytes()
    assert peak is not None
    assert held.nbytes < pages * os.sysconf("SC_PAGE_SIZE") <= peak + 2**20
    assert peak <= device_memory_bytes()
