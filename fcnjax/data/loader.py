"""Batches in the order of a plan, read ahead on threads or in processes.

Axes: B rows, S spatial axes, C channels. The one idea: batches come from random access by step number, so the step
number is the whole state of the data, under any number of threads, processes and hosts. The only file that imports
grain.
"""

import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Any, NamedTuple, TypeVar

import grain
import numpy as np
from absl import flags

from fcnjax.data.augmentation.crop import RandomCrop
from fcnjax.data.batches import Batch, BatchReader
from fcnjax.data.planning.epoch_plan import Plan, StepPlan
from fcnjax.data.planning.mixed_plan import MixedPlan, MixedStep
from fcnjax.data.size_table import areas
from fcnjax.data.sources.source import Source

T = TypeVar("T")
U = TypeVar("U")


def load_batches(
    source: Source,
    plan: Plan | MixedPlan,
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
    """The batches of the steps from `start_step` to before `stop_step`, in order, read ahead in the background.

    The data is the same for any number of threads and workers. What fails while reading is raised here, after the
    batches before it, with its own type and text (as a RuntimeError that contains them, where the error cannot be sent
    between processes); so is the death of a worker. The memory that is held is bounded, see `host_bytes`.

    Args:
        source: N examples; uint8 values are divided by 255 first, float values are taken as they are.
        plan: The order; made from `source.sizes`.
        mean: Subtracted from the values, in units of the scaled values; one number or C.
        std: What the result is divided by, above 0; one number or C.
        start_step: First step; a run resumes by giving the step it had reached, which costs nothing.
        stop_step: Step to stop before; None means the end of a plan that has a length (`EvaluationPlan`), else no end.
        threads: Threads that read and pad, at least 1; in each worker, where there are any.
        prefetch: Batches held ready, at least 1; with workers rounded up to a multiple of their number, plus what is on
            its way between processes.
        workers: Processes that read and pad, for decoders that do not let threads run side by side; 0 reads in this
            process. They start anew (seconds each) and import the main script, which therefore needs the usual
            `if __name__ == "__main__":`; `source` and `plan` are sent to them.
        host: Which host this is, 0 to `hosts - 1`; its batches hold its rows alone, see `StepPlan.shard`.
        hosts: How many share each batch; its rows, with those of `rows_multiple_of`, are a multiple of it.
        rows_multiple_of: Each batch gets filler rows up to a multiple of this: the number of devices, of all hosts.
        crop: Cut out of each example, keyed by `seed`, epoch and example. A `MixedPlan` must plan with the crop's
            sizes.
        seed: For `crop`.
        on_error: "refuse" raises for an example that cannot be decoded; "mask" makes its row a filler and reports it in
            `Batch.unreadable`. A disk that fails (OSError) is always raised.

    Returns:
        An iterator of `(step plan, batch)`; for a `MixedPlan` of `(mixed step, batches of its micro-batches)`.

    Raises:
        ValueError: An argument is outside the range named above, or `plan` was made for other sizes than the source's.
    """
    planned = plan.planned_sizes if isinstance(plan, MixedPlan) else None
    read = BatchReader(source, mean, std, crop, seed, planned, on_error)
    stop_step = _checked_range(plan, start_step, stop_step)
    _check_plan(source, plan, host, hosts, rows_multiple_of)
    _check_counts(threads=threads, prefetch=prefetch, workers=workers)
    if start_step == stop_step:
        return iter(())

    def load(global_step: int) -> tuple[StepPlan | MixedStep, Batch | tuple[Batch, ...]] | _Failure:
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
    plan: Plan | MixedPlan,
    channels: int,
    *,
    threads: int = 1,
    prefetch: int = 4,
    workers: int = 0,
    hosts: int = 1,
    rows_multiple_of: int = 1,
) -> int:
    """A bound on the host memory of `load_batches`, in bytes: `steps * step + readers * example`.

    `step` is the largest step's float32 values and `example` the largest example's. `steps` is `prefetch + 2`: one is
    with the consumer and one is handed over. With workers it is `workers * (ceil(prefetch / workers) + 4) + 2`, as each
    also has some on their way. `readers` is the threads of all processes. What decoders need inside comes on top, as do
    the source and the plan, which each worker holds too.

    Args:
        plan: As given to `load_batches`.
        channels: C.
        threads: As given to `load_batches`.
        prefetch: As given to `load_batches`.
        workers: As given to `load_batches`.
        hosts: As given to `load_batches`; the bound is that of one of them.
        rows_multiple_of: As given to `load_batches`.

    Returns:
        The bound in bytes, for all processes of one host together.

    Raises:
        ValueError: A number is below its range.
    """
    _check_counts(threads=threads, prefetch=prefetch, workers=workers, hosts=hosts, rows_multiple_of=rows_multiple_of)
    steps = workers * (-(-prefetch // max(workers, 1)) + 4) + 2 if workers else prefetch + 2
    largest = int(areas(plan.sizes).max())
    growth = float((_filled(plan, rows_multiple_of) / plan.rows_per_bucket).max())
    positions = int(np.ceil(plan.largest_step * growth)) // hosts
    return 4 * channels * (steps * positions + max(workers, 1) * threads * largest)


def prefetch_to_device(batches: Iterator[T], transfer: Callable[[T], U], depth: int = 2) -> Iterator[U]:
    """What `transfer` makes of each item, begun `depth` items before it is handed out.

    For transfers that return at once and go on in the background, as `jax.device_put` does: the device then never waits
    for a copy, at the cost of `depth` batches of its memory. An error in reading is raised in its place, after the
    items before it.

    Args:
        batches: From `load_batches`.
        transfer: Called on each item, in order, in this thread.
        depth: Items ahead, 0 or more.

    Yields:
        The results in order.

    Raises:
        ValueError: `depth` is negative.
    """
    if depth < 0:
        raise ValueError(f"depth: got {depth}; allowed is 0 or more")
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
    """Stands for a step that could not be read; as a value it arrives in its place and as it was raised."""

    error: Exception


def _iterate(steps: grain.IterDataset, workers: int) -> Iterator[Any]:
    """Iterates, raises what failed, and ends the threads and processes."""
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
            f"workers: one of the {workers} processes that read data died; code -9 is mostly the system's answer to a "
            f"lack of memory, so use fewer workers or a smaller prefetch ({error})"
        ) from error
    finally:
        iterator.close()


def _plain(item: Any) -> Any:
    """The same with ordinary arrays: those of worker processes lie in shared memory, which they free when they go."""
    if isinstance(item, np.ndarray):
        return np.asarray(item)  # a view that keeps the shared memory
    if isinstance(item, tuple):
        parts = map(_plain, item)
        return type(item)(*parts) if hasattr(item, "_fields") else tuple(parts)
    return item


def _sendable(error: Exception) -> Exception:
    """The error, or its text where it would be lost between processes (and with it the whole worker)."""
    try:
        copy = pickle.loads(pickle.dumps(error))
        sendable = type(copy) is type(error) and str(copy) == str(error)
    except Exception:
        sendable = False
    return error if sendable else RuntimeError(f"{type(error).__name__}: {error}")


def _checked_range(plan: Plan | MixedPlan, start_step: int, stop_step: int | None) -> int:
    if stop_step is None:
        stop_step = len(plan) if isinstance(plan, Sized) else sys.maxsize
    if not 0 <= start_step <= stop_step:
        raise ValueError(f"start_step: got {start_step}; allowed is 0 to the stop step, {stop_step}")
    return stop_step


def _check_plan(source: Source, plan: Plan | MixedPlan, host: int, hosts: int, rows_multiple_of: int) -> None:
    if not np.array_equal(plan.sizes, source.sizes):
        raise ValueError(
            f"plan: made for {len(plan.sizes)} sizes that are not those of the source's {len(source)} examples; make "
            "it from source.sizes of the same split"
        )
    if not 0 <= host < hosts:
        raise ValueError(f"host: got {host} of {hosts} hosts; allowed is 0 to hosts - 1")
    _check_counts(rows_multiple_of=rows_multiple_of)
    if (_filled(plan, rows_multiple_of) % hosts).any():
        raise ValueError(
            f"hosts: got {hosts} for batches of {plan.rows_per_bucket.tolist()} rows; every host takes the same number "
            f"of rows, so give rows_multiple_of={hosts}, or make the plan with batch sizes that are multiples of it"
        )


def _filled(plan: Plan | MixedPlan, rows_multiple_of: int) -> np.ndarray:
    """int64 [K], rows of each bucket's batches with the filler rows that `StepPlan.filled` adds."""
    return -(-plan.rows_per_bucket // rows_multiple_of) * rows_multiple_of


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        least = 0 if name == "workers" else 1
        if value < least:
            raise ValueError(f"{name}: got {value}; allowed is {least} or more")
