"""Batches in the order of a plan, read ahead on threads or in processes.

Axes: K buckets, C channels. The one idea: batches come from random access by step number, so the step number is the
whole state of the data, for any number of threads, processes and hosts. This is the only file that imports grain.
"""

import functools
import multiprocessing
import os
import pickle
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Any, NamedTuple, TypeVar

import grain
import numpy as np
from absl import flags

from fcnjax.data.augmentation.crop import RandomCrop
from fcnjax.data.batches import Batch, BatchReader
from fcnjax.data.planning.base_plan import MixedStep, Plan, StepPlan
from fcnjax.data.planning.mixed_plan import MixedPlan
from fcnjax.data.size_table import areas
from fcnjax.data.sources.source import Source

T = TypeVar("T")
U = TypeVar("U")


def load_batches(
    source: Source,
    plan: Plan,
    *,
    mean: float | Sequence[float],
    std: float | Sequence[float],
    start_step: int = 0,
    stop_step: int | None = None,
    threads: int = 1,
    prefetch: int = 4,
    workers: int = 0,
    host: int = 0,
    hosts: int = 1,
    rows_multiple_of: int = 1,
    crop: RandomCrop | None = None,
    seed: int = 0,
    on_error: str = "refuse",
) -> Iterator[Any]:
    """Returns the batches of the steps from `start_step` to before `stop_step`, in order, read in the background.

    The data does not depend on the number of threads and workers. An error in reading is raised after the batches
    before it, with its own type and text (or as a RuntimeError that contains them, if it cannot be sent between
    processes). The death of a worker is raised in the same way. Host memory is bounded, see `host_bytes`.

    Args:
        source: N examples; uint8 values are divided by 255 first, float values are taken as they are.
        plan: the order; made from `source.sizes`.
        mean: subtracted from the values, in units of the scaled values; one number, or one per channel [C].
        std: divides the result, above 0; one number, or one per channel [C].
        start_step: first step; a run resumes by giving the step it had reached, which costs nothing.
        stop_step: step to stop before; None means the end of a plan that has a length (`EvaluationPlan`), and never for
            other plans.
        threads: number of threads that read and pad, at least 1; with workers, the number in each worker.
        prefetch: batches held ready, at least 1; with workers rounded up to a multiple of their number, plus those in
            transit between processes.
        workers: processes that read and pad, for decoders that block other threads; 0 reads in this process. Workers
            start as new processes (seconds each) that import the main script, which therefore needs the usual
            `if __name__ == "__main__":`; `source` and `plan` are sent to them.
        host: which host this is, 0 to `hosts - 1`; its batches hold its rows only, see `StepPlan.shard`.
        hosts: how many hosts share each batch; it must divide the rows, including those that `rows_multiple_of` adds.
        rows_multiple_of: filler rows are added up to a multiple of this: the number of devices of all hosts.
        crop: box to cut out of each example, keyed by `seed`, epoch and example. A `MixedPlan` must plan with the sizes
            of the crop.
        seed: seed of `crop`.
        on_error: "refuse" raises for an example that cannot be decoded; "mask" makes its row a filler and reports it in
            `Batch.unreadable`. A disk that fails (OSError) is always raised.

    Returns:
        An iterator of `(step plan, batch)`; for a `MixedPlan` of `(mixed step, batches of its micro-batches)`.

    Raises:
        ValueError: if an argument is outside the range named above, or `plan` was made for other sizes than the
            source's.
    """
    planned = plan.planned_sizes if isinstance(plan, MixedPlan) else None
    read = BatchReader(source, mean, std, crop, seed, planned, on_error)
    stop_step = _checked_range(plan, start_step, stop_step)
    _check_plan(source, plan, host, hosts, rows_multiple_of)
    _check_counts(threads=threads, prefetch=prefetch, workers=workers)
    if start_step == stop_step:
        return iter(())

    def load(global_step: int) -> tuple[StepPlan | MixedStep, Batch | tuple[Batch, ...]] | _Failure:
        if workers:
            _end_with_parent()
        try:
            step = plan.step(int(global_step)).filled(rows_multiple_of).shard(host, hosts)
            return step, tuple(map(read, step.micro_batches)) if isinstance(step, MixedStep) else read(step)
        except Exception as error:
            return _Failure(_sendable(error) if workers else error)

    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=-(-prefetch // max(workers, 1)))
    steps = grain.MapDataset.range(start_step, stop_step).map(load).to_iter_dataset(options)
    if workers:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # grain reads its flags before it starts a process
        steps = steps.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=1))
    return _iterate(steps, workers)


def host_bytes(
    plan: Plan,
    channels: int,
    *,
    threads: int = 1,
    prefetch: int = 4,
    workers: int = 0,
    hosts: int = 1,
    rows_multiple_of: int = 1,
) -> int:
    """Returns a bound on the host memory of `load_batches`, in bytes: `steps * step + readers * example`.

    `step` is the largest step's float32 values and `example` the largest example's. `steps` is `prefetch + 2`: one is
    with the consumer and one is in transfer to it. With workers it is `workers * (ceil(prefetch / workers) + 4) + 2`,
    as each also has some in transit. `readers` is the number of threads of all processes. Memory inside decoders comes
    on top, and so do the source and the plan, which each worker holds too.

    Args:
        plan: as for `load_batches`, as are all arguments below except `channels`.
        channels: C.
        threads: threads that read and pad.
        prefetch: batches held ready.
        workers: processes that read and pad.
        hosts: how many hosts share each batch; the bound is for one host.
        rows_multiple_of: filler rows are added up to a multiple of this.

    Returns:
        The bound in bytes, for all processes of one host together.

    Raises:
        ValueError: if a number is below its range.
    """
    _check_counts(threads=threads, prefetch=prefetch, workers=workers, hosts=hosts, rows_multiple_of=rows_multiple_of)
    steps = workers * (-(-prefetch // max(workers, 1)) + 4) + 2 if workers else prefetch + 2
    largest = int(areas(plan.sizes).max())
    growth = float((_filled(plan, rows_multiple_of) / plan.rows_per_bucket).max())
    positions = int(np.ceil(plan.largest_step * growth)) // hosts
    return 4 * channels * (steps * positions + max(workers, 1) * threads * largest)


def prefetch_to_device(batches: Iterator[T], transfer: Callable[[T], U], depth: int = 2) -> Iterator[U]:
    """Returns `transfer(item)` for each item, started `depth` items before it is yielded.

    For transfers that return at once and continue in the background, as `jax.device_put` does: the device then never
    waits for a copy, at the cost of `depth` batches of its memory. An error in reading is raised after the items before
    it.

    Args:
        batches: from `load_batches`.
        transfer: called on each item, in order, in this thread.
        depth: number of items ahead, 0 or more.

    Returns:
        An iterator of the results in order.

    Raises:
        ValueError: if `depth` is negative.
    """
    if depth < 0:
        raise ValueError(f"depth={depth}: must be 0 or more.")
    return _ahead(batches, transfer, depth)


def _ahead(batches: Iterator[T], transfer: Callable[[T], U], depth: int) -> Iterator[U]:
    ahead: deque[U] = deque()
    failure = None
    while True:
        try:
            ahead.append(transfer(next(batches)))
        except StopIteration:
            break
        except Exception as error:
            failure = error
            break
        if len(ahead) > depth:
            yield ahead.popleft()
    while ahead:
        yield ahead.popleft()
    if failure is not None:
        raise failure


class _Failure(NamedTuple):
    """Carries an exception through grain, to be re-raised at its step."""

    error: Exception


def _iterate(steps: grain.IterDataset, workers: int) -> Iterator[Any]:
    """Yields the steps, re-raises errors in reading, and ends the threads and processes."""
    iterator = iter(steps)
    try:
        for item in iterator:
            if isinstance(item, _Failure):
                raise item.error
            yield _plain(item) if workers else item
    except RuntimeError as error:
        if "terminated unexpectedly" not in str(error):
            raise
        raise RuntimeError(
            f"workers={workers}: one of the processes that read data died; code -9 mostly means that the system ran "
            f"out of memory, so use fewer workers or a smaller prefetch ({error})."
        ) from error
    finally:
        iterator.close()


@functools.cache
def _end_with_parent() -> None:
    """Ends this process, a worker, once the process that started it has ended, even if it was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent,), name="end with parent", daemon=True).start()


def _exit_after(parent: Any) -> None:
    parent.join()
    os._exit(1)  # at once: other threads may wait for the parent


def _plain(item: Any) -> Any:
    """Returns the item with ordinary arrays; those of workers are views of shared memory, freed with the array."""
    if isinstance(item, np.ndarray):
        return np.asarray(item)  # a view that keeps the shared memory
    if isinstance(item, tuple):
        parts = map(_plain, item)
        return type(item)(*parts) if hasattr(item, "_fields") else tuple(parts)
    return item


def _sendable(error: Exception) -> Exception:
    """Returns the error, or a RuntimeError with its text if the error itself would crash the worker when pickled."""
    try:
        copy = pickle.loads(pickle.dumps(error))
        sendable = type(copy) is type(error) and str(copy) == str(error)
    except Exception:
        sendable = False
    return error if sendable else RuntimeError(f"{type(error).__name__}: {error}")


def _checked_range(plan: Plan, start_step: int, stop_step: int | None) -> int:
    """Returns the step to stop before; raises ValueError if `start_step` is outside the range."""
    if stop_step is None:
        stop_step = len(plan) if isinstance(plan, Sized) else sys.maxsize
    if not 0 <= start_step <= stop_step:
        raise ValueError(f"start_step={start_step}: must be 0 to the stop step, {stop_step}.")
    return stop_step


def _check_plan(source: Source, plan: Plan, host: int, hosts: int, rows_multiple_of: int) -> None:
    if not np.array_equal(plan.sizes, source.sizes):
        raise ValueError(
            f"plan: must be made from the sizes of the source's {len(source)} examples, but was made from "
            f"{len(plan.sizes)} others; make it from source.sizes of the same split."
        )
    if not 0 <= host < hosts:
        raise ValueError(f"host={host}: must be 0 to {hosts - 1} for {hosts} hosts.")
    _check_counts(rows_multiple_of=rows_multiple_of)
    if (_filled(plan, rows_multiple_of) % hosts).any():
        raise ValueError(
            f"hosts={hosts}: must divide the rows of a batch, {plan.rows_per_bucket.tolist()}, as every host reads the "
            f"same number of rows; give rows_multiple_of={hosts}, or make the plan with batch sizes that are multiples "
            "of it."
        )


def _filled(plan: Plan, rows_multiple_of: int) -> np.ndarray:
    """Returns the rows of each bucket's batches with the filler rows that `StepPlan.filled` adds, int64 [K]."""
    return -(-plan.rows_per_bucket // rows_multiple_of) * rows_multiple_of


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        minimum = 0 if name == "workers" else 1
        if value < minimum:
            raise ValueError(f"{name}={value}: must be {minimum} or more.")
