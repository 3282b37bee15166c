"""The loader with mixed steps, several hosts, crops, failures and worker processes."""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from itertools import islice
from pathlib import Path

import jax
import numpy as np
import pytest

from fcnjax.data import (
    ArraySource,
    EpochPlan,
    EvaluationPlan,
    MixedPlan,
    RandomCrop,
    UnreadableExample,
    host_bytes,
    load_batches,
    plan_buckets,
    prefetch_to_device,
)

SCALE = {"mean": 0.25, "std": 0.5}
CROP = RandomCrop(area=(0.2, 0.9), at_least=2)


def make_source(count: int = 60, channels: int = 2, kind: type[ArraySource] = ArraySource) -> ArraySource:
    rng = np.random.default_rng(0)
    shapes = rng.integers(3, 15, (count, 2)).tolist()
    return kind([rng.integers(0, 256, (*shape, channels)).astype(np.uint8) for shape in shapes], [0] * count)


@pytest.fixture(scope="module")
def source() -> ArraySource:
    return make_source()


def mixed_plan(source: ArraySource, crop: RandomCrop | None = None, max_buckets: int = 4) -> MixedPlan:
    def sizes_at(epoch):
        return crop.sizes(7, epoch, source.ids, source.sizes)

    buckets = plan_buckets(source.sizes, max_buckets)
    return MixedPlan(source.sizes, buckets, 16, 3, 4, None if crop is None else sizes_at)


def assert_same_batch(ours, other):
    for array, other_array in zip(ours[:4], other[:4], strict=True):
        np.testing.assert_array_equal(array, other_array)
        assert array.dtype == other_array.dtype
    assert ours.unreadable == other.unreadable
    np.testing.assert_array_equal(ours.weights, other.weights)


def contents(batches) -> dict[int, np.ndarray]:
    """The values of each example, cut out of its batch."""
    return {
        int(batch.ids[row]): batch.values[(row, *map(slice, batch.sizes[row]))]
        for batch in batches
        for row in np.flatnonzero(batch.ids >= 0)
    }


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_mixed_steps_hold_their_examples_once(source, threads):
    plan = mixed_plan(source)
    steps = list(load_batches(source, plan, **SCALE, threads=threads, stop_step=plan.steps_per_epoch))
    assert len(steps) == 4
    for step, batches in steps:
        for part, batch in zip(step.micro_batches, batches, strict=True):
            assert batch.values.shape == (4, *part.shape, 2)
            np.testing.assert_array_equal(batch.ids, part.rows)  # the ids of this source are its positions
            outside = batch.values.copy()
            for row, size in enumerate(batch.sizes):
                outside[(row, *map(slice, size))] = 0
            assert not outside.any()
        assert step.examples == sum(int((batch.sizes[:, 0] > 0).sum()) for batch in batches)
    examples = contents(batch for _, batches in steps for batch in batches)
    assert sorted(examples) == list(range(60))
    for index, values in examples.items():
        np.testing.assert_allclose(values, (source[index].values / 255 - 0.25) / 0.5, atol=1e-6)


def test_mixed_steps_resume_by_number(source):
    plan = mixed_plan(source, CROP)
    options = SCALE | {"crop": CROP, "seed": 7}
    whole = list(load_batches(source, plan, **options, stop_step=9))
    resumed = list(load_batches(source, plan, **options, start_step=3, stop_step=9, threads=3))
    for (step, batches), (other_step, other_batches) in zip(whole[3:], resumed, strict=True):
        assert step[:2] == other_step[:2]
        for batch, other in zip(batches, other_batches, strict=True):
            assert_same_batch(batch, other)


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_hosts_read_the_rows_of_one_batch(source, hosts):
    buckets = plan_buckets(source.sizes, 3)
    for plan in (EpochPlan(source.sizes, buckets, [4, 8, 4], 0), mixed_plan(source)):
        whole = load_batches(source, plan, **SCALE, stop_step=4)
        shares = [load_batches(source, plan, **SCALE, stop_step=4, host=host, hosts=hosts) for host in range(hosts)]
        for (_, wanted), *ours in zip(whole, *shares, strict=True):
            parts = wanted if isinstance(plan, MixedPlan) else (wanted,)
            of_hosts = [batches if isinstance(plan, MixedPlan) else (batches,) for _, batches in ours]
            for part, *pieces in zip(parts, *of_hosts, strict=True):
                assert len({piece.values.shape for piece in pieces}) == 1
                for array, *arrays in zip(part[:4], *(piece[:4] for piece in pieces), strict=True):
                    np.testing.assert_array_equal(np.concatenate(arrays), array)


@pytest.mark.parametrize(("hosts", "devices"), [(1, 8), (2, 6), (3, 3)])
def test_devices_add_filler_rows_and_change_nothing_else(source, hosts, devices):
    buckets = plan_buckets(source.sizes, 3)
    for plan in (EpochPlan(source.sizes, buckets, [4, 7, 5], 0), mixed_plan(source)):
        whole = load_batches(source, plan, **SCALE, stop_step=4)
        options = {"hosts": hosts, "rows_multiple_of": devices}
        shares = [load_batches(source, plan, **SCALE, stop_step=4, host=host, **options) for host in range(hosts)]
        for (_, wanted), *ours in zip(whole, *shares, strict=True):
            parts = wanted if isinstance(plan, MixedPlan) else (wanted,)
            of_hosts = [batches if isinstance(plan, MixedPlan) else (batches,) for _, batches in ours]
            for part, *pieces in zip(parts, *of_hosts, strict=True):
                rows = len(part.ids)
                for array, *arrays in zip(part[:4], *(piece[:4] for piece in pieces), strict=True):
                    got = np.concatenate(arrays)
                    assert len(got) == -(-rows // devices) * devices
                    np.testing.assert_array_equal(got[:rows], array)
                assert (np.concatenate([piece.ids for piece in pieces])[rows:] == -1).all()


def test_crops_are_the_planned_ones_in_every_order(source):
    """Against crops cut by hand: the crop of an example in an epoch does not depend on the plan."""
    bucketed = EpochPlan(source.sizes, plan_buckets(source.sizes, 3), 8, 1)
    plans = [mixed_plan(source, CROP), mixed_plan(source, CROP, max_buckets=1), bucketed]
    for plan in plans:
        steps = plan.steps_per_epoch
        loaded = load_batches(source, plan, **SCALE, crop=CROP, seed=7, start_step=steps, stop_step=2 * steps)
        examples = contents(p for _, batch in loaded for p in (batch if isinstance(plan, MixedPlan) else (batch,)))
        assert sorted(examples) == list(range(60))
        starts, sizes = CROP.boxes(7, 1, source.ids, source.sizes)
        for index, values in examples.items():
            (top, left), (height, width) = starts[index], sizes[index]
            wanted = source[index].values[top : top + height, left : left + width]
            np.testing.assert_allclose(values, (wanted / 255 - 0.25) / 0.5, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{}, {"crop": CROP}, {"crop": RandomCrop(area=(0.35, 1.0)), "seed": 7}],
    ids=["no crop", "other seed", "other crop"],
)
def test_a_crop_that_was_not_planned_is_refused(source, options):
    with pytest.raises(ValueError, match=r"crop: example \d+ has size \(\d+, \d+\) in epoch 0, but the plan expects"):
        next(load_batches(source, mixed_plan(source, CROP), **SCALE, **options))


class Broken(ArraySource):
    """Raises an error for some examples: `errors` maps the index to the type and its arguments."""

    def __getitem__(self, index):
        if index in self.errors:
            kind, *arguments = self.errors[index]
            raise kind(*arguments)
        return super().__getitem__(index)


def broken(errors: dict[int, tuple]) -> Broken:
    source = make_source(kind=Broken)
    source.errors = errors
    return source


def test_weights_that_cannot_be_are_refused_before_a_batch_is_read():
    source = make_source()
    source.weights = np.zeros(60, np.float32)  # set later: not checked with the arrays
    with pytest.raises(ValueError, match=r"weights\[0\]=0.0: must be finite and above 0"):
        load_batches(source, mixed_plan(source), **SCALE)


def test_unreadable_examples_become_filler_rows_and_are_reported():
    source = broken({5: (UnreadableExample, "a.png", "no image"), 40: (UnreadableExample, "b.png", "cut off")})
    sound = make_source()
    source.weights = sound.weights = np.linspace(1, 2, 60, dtype=np.float32)
    for plan in (mixed_plan(source), EvaluationPlan(source.sizes, plan_buckets(source.sizes, 3), 8)):
        stop, reported, ids = plan.steps_per_epoch, [], []
        loaded = load_batches(source, plan, **SCALE, stop_step=stop, on_error="mask", threads=2)
        for (_, got), (_, wanted) in zip(loaded, load_batches(sound, plan, **SCALE, stop_step=stop), strict=True):
            pairs = zip(got, wanted, strict=True) if isinstance(plan, MixedPlan) else [(got, wanted)]
            for ours, other in pairs:
                bad = np.isin(other.ids, [5, 40])
                assert len(ours.unreadable) == bad.sum()
                assert (ours.ids[bad] == -1).all()
                assert not any(array[bad].any() for array in (*ours[:3], ours.weights))
                np.testing.assert_array_equal(ours.weights[~bad], np.where(other.ids < 0, 0, other.weights)[~bad])
                np.testing.assert_array_equal(other.weights[other.ids >= 0], source.weights[other.ids[other.ids >= 0]])
                for array, other_array in zip(ours[:4], other[:4], strict=True):
                    np.testing.assert_array_equal(array[~bad], other_array[~bad])
                reported += ours.unreadable
                ids += ours.ids[ours.ids >= 0].tolist()
        assert sorted(reported) == [("a.png", "no image"), ("b.png", "cut off")]
        assert sorted(ids) == [index for index in range(60) if index not in (5, 40)]


class OwnError(OSError):
    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


@pytest.mark.parametrize("on_error", ["refuse", "mask"])
@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        ((OSError, errno.ENOENT, "No file", "/data/a.png"), FileNotFoundError, "No file: '/data/a.png'$"),
        ((OSError, errno.EACCES, "Permission denied"), PermissionError, "Permission denied: 'example 5'$"),
        ((TimeoutError, "share is gone"), TimeoutError, "^example 5: share is gone$"),
        ((OwnError, "one", "two"), OSError, "^example 5: OwnError: one two$"),
        ((MemoryError, "no memory"), MemoryError, "^no memory$"),
    ],
)
def test_a_failing_disk_is_raised_with_the_name_of_the_example(error, kind, says, on_error):
    source = broken({5: error})
    with pytest.raises(kind, match=says):
        list(load_batches(source, mixed_plan(source), **SCALE, stop_step=4, on_error=on_error))


def test_refused_examples_are_raised_after_the_steps_before_them():
    source = broken({5: (UnreadableExample, "a.png", "no image")})
    plan = mixed_plan(source)
    holds_5 = [any(5 in part.rows for part in plan.step(step).micro_batches) for step in range(4)]
    loaded = load_batches(source, plan, **SCALE, stop_step=4, threads=2)
    for _ in range(holds_5.index(True)):
        next(loaded)
    with pytest.raises(UnreadableExample, match="^a.png: no image$"):
        next(loaded)


class Counting(ArraySource):
    """Counts how often an example was read."""

    def __getitem__(self, index):
        with self.lock:
            self.reads += 1
        return super().__getitem__(index)


@pytest.mark.parametrize(("threads", "prefetch"), [(1, 1), (4, 2), (2, 5)])
def test_memory_is_bounded_as_reported(threads, prefetch):
    """Steps of one example each, so that the number of reads is the number of steps in memory."""
    source = make_source(kind=Counting)
    source.lock, source.reads = threading.Lock(), 0
    plan = EvaluationPlan(source.sizes, plan_buckets(source.sizes, 2), 1)
    options = {"threads": threads, "prefetch": prefetch}
    step_bytes = 4 * 2 * plan.largest_step
    read_ahead = threading.Event()
    for consumed, (_, batch) in enumerate(load_batches(source, plan, **SCALE, **options)):
        read_ahead.wait(0.002)  # let the threads read ahead as far as they can
        in_memory = source.reads - consumed + 1  # this batch, later ones, and the previous one in the loop variable
        assert batch.values.nbytes <= step_bytes
        example = 4 * 2 * int(source.sizes.prod(axis=1).max())
        assert in_memory * step_bytes + threads * example <= host_bytes(plan, 2, **options)


def test_memory_of_mixed_steps_covers_every_step(source):
    plan = mixed_plan(source, CROP)
    bound = host_bytes(plan, 2, prefetch=1, hosts=2) / 3
    loaded = load_batches(source, plan, **SCALE, crop=CROP, seed=7, stop_step=40, hosts=2)
    assert max(sum(batch.values.nbytes for batch in batches) for _, batches in loaded) <= bound
    filled = {"hosts": 2, "rows_multiple_of": 6}
    bound = host_bytes(plan, 2, prefetch=1, **filled) / 3
    loaded = load_batches(source, plan, **SCALE, crop=CROP, seed=7, stop_step=40, **filled)
    assert max(sum(batch.values.nbytes for batch in batches) for _, batches in loaded) <= bound


@pytest.mark.slow
def test_worker_processes_read_the_same_and_their_end_is_noticed():
    """One test for both, because each start of processes takes seconds."""
    source = broken({5: (UnreadableExample, "a.png", "no image")})
    source.weights = np.linspace(1, 2, 60, dtype=np.float32)
    plan = mixed_plan(source, CROP)
    options = SCALE | {"crop": CROP, "seed": 7, "on_error": "mask"}
    alone = list(load_batches(source, plan, **options, stop_step=7))
    before = set(multiprocessing.active_children())
    loaded = load_batches(source, plan, **options, workers=2, prefetch=3)
    for step, batches in alone:
        other_step, others = next(loaded)
        assert step[:2] == other_step[:2]
        for part, other_part in zip(step.micro_batches, other_step.micro_batches, strict=True):
            assert part[:3] == other_part[:3]
            np.testing.assert_array_equal(part.rows, other_part.rows)
        for batch, other in zip(batches, others, strict=True):
            assert_same_batch(batch, other)
            np.testing.assert_array_equal(jax.device_put(other.values), batch.values)
            assert {type(array) for array in other[:4]} == {np.ndarray}
    started = [child for child in multiprocessing.active_children() if child not in before]
    assert len(started) == 2
    os.kill(started[0].pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="workers=2: one of the processes that read data died.*-9"):
        deque(islice(loaded, 100), maxlen=0)
    assert not [child for child in started if child.is_alive()]


ENDLESS = """
import multiprocessing, time
import numpy as np
from fcnjax.data import ArraySource, EvaluationPlan, load_batches, plan_buckets

if __name__ == "__main__":
    source = ArraySource([np.zeros((4, 4, 1), np.uint8)] * 64, [0] * 64)
    buckets = plan_buckets(source.sizes, max_buckets=1)
    loaded = load_batches(source, EvaluationPlan(source.sizes, buckets, 1), mean=0.0, std=1.0, workers=2)
    next(loaded), next(loaded)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_workers_end_with_a_process_that_is_killed(tmp_path):
    (tmp_path / "endless.py").write_text(ENDLESS)
    with subprocess.Popen([sys.executable, tmp_path / "endless.py"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        workers = [int(word) for word in process.stdout.readline().split()]
        process.kill()
    assert len(workers) == 2
    end = time.monotonic() + 30
    while left := [worker for worker in workers if is_running(worker)]:
        assert time.monotonic() < end, f"{left} still run"
        time.sleep(0.1)


def is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"  # ended, and nobody has asked how


class Awkward(Exception):
    """Cannot be sent between processes."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        ((UnreadableExample, "a.png", "no image"), UnreadableExample, "^a.png: no image$"),
        ((Awkward, "one", "two"), RuntimeError, "^Awkward: one and two$"),
    ],
)
def test_errors_in_worker_processes_arrive(error, kind, says):
    source = broken({5: error})
    with pytest.raises(kind, match=says):
        list(load_batches(source, mixed_plan(source), **SCALE, stop_step=4, workers=1))


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_transfers_run_ahead_by_the_depth(depth):
    begun = []

    def transfer(item):
        begun.append(item)
        return -item

    for position, item in enumerate(prefetch_to_device(iter(range(8)), transfer, depth)):
        assert item == -position
        assert begun == list(range(min(position + depth + 1, 8)))


def test_batches_reach_the_device_unchanged(source):
    plan = EvaluationPlan(source.sizes, plan_buckets(source.sizes, 3), 8)

    def transfer(item):
        step, batch = item
        return step, batch, jax.device_put(batch.values)

    for step, batch, values in prefetch_to_device(load_batches(source, plan, **SCALE), transfer):
        assert values.shape[1:3] == step.shape
        np.testing.assert_array_equal(values, batch.values)


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield from (1, 2)
        raise OSError("disk")

    seen, transferred = [], prefetch_to_device(items(), lambda item: item, depth=5)
    with pytest.raises(OSError, match="disk"):
        deque(map(seen.append, transferred), maxlen=0)
    assert seen == [1, 2]


def test_negative_depths_are_refused():
    with pytest.raises(ValueError, match="depth=-1: must be 0 or more"):
        prefetch_to_device(iter(()), lambda item: item, depth=-1)
