"""From planned steps to arrays: reads, normalises, pads and stacks, some steps ahead, on background threads.

Axes: B rows, S spatial axes, D = len(S), C channels. The one idea: batches come from random access by step number, so
the step number is the whole state of the data, under any number of threads. The only file that imports grain.
"""

import sys
from collections.abc import Iterator, Sequence, Sized
from typing import NamedTuple

import grain
import numpy as np

from fcnjax.data.epoch_plan import FILLER, Plan, StepPlan
from fcnjax.data.sources import Source


class Batch(NamedTuple):
    """One padded batch on the host; zero outside each example.

    Attributes:
      values: float32 [B, *S, C], normalised inside each example.
      sizes: int32 [B, D]; 0 for filler rows.
      labels: int32 [B]; 0 for filler rows.
      ids: int32 [B], the examples' ids; -1 for filler rows.
    """

    values: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray
    ids: np.ndarray


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
) -> Iterator[tuple[StepPlan, Batch]]:
    """The batches of the steps from `start_step` to before `stop_step`, in order, read ahead on threads.

    Args:
      source: N examples; uint8 values are divided by 255 first, float values are taken as they are.
      plan: The order; made from `source.sizes`.
      mean: Subtracted from the values, in units of the scaled values; one number or C.
      std: What the result is divided by, above 0; one number or C.
      start_step: First step; a run resumes by giving the step it had reached.
      stop_step: Step to stop before; None means the end of a plan that has a length (`EvaluationPlan`), else no end.
      threads: Threads that read and pad, at least 1.
      prefetch: Batches held ready, at least 1.

    Returns:
      An iterator of `(step plan, batch)`.

    Raises:
      ValueError: An argument is outside the range named above, or `plan` was made for other sizes than the source's.
    """
    scale = _scale(source.channels, mean, std)
    if not np.array_equal(plan.sizes, source.sizes):
        raise ValueError(
            f"plan: made for {len(plan.sizes)} sizes that are not those of the source's {len(source)} examples; make "
            "it from source.sizes of the same split"
        )
    for name, value in (("threads", threads), ("prefetch", prefetch)):
        if value < 1:
            raise ValueError(f"{name}: got {value}; allowed is 1 or more")
    if stop_step is None:
        stop_step = len(plan) if isinstance(plan, Sized) else sys.maxsize
    if not 0 <= start_step <= stop_step:
        raise ValueError(f"start_step: got {start_step}; allowed is 0 to the stop step, {stop_step}")
    if start_step == stop_step:
        return iter(())

    def load(global_step: int) -> tuple[StepPlan, Batch]:
        step = plan.step(int(global_step))
        return step, read_batch(source, step, *scale)

    steps = grain.MapDataset.range(start_step, stop_step).map(load)
    return iter(steps.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)))


def read_batch(source: Source, step: StepPlan, factor: np.ndarray, offset: np.ndarray) -> Batch:
    """The batch of one step: `values * factor + offset` inside each example, zero outside.

    Args:
      source: What `step.rows` points into.
      step: The plan of the batch.
      factor: float32 [C] for values in 0 to 1; uint8 values are divided by 255 on the way.
      offset: float32 [C].

    Returns:
      The batch.

    Raises:
      ValueError: An example is not as large as the size table says.
    """
    rows, axes = len(step.rows), len(step.shape)
    values = np.zeros((rows, *step.shape, source.channels), np.float32)
    sizes = np.zeros((rows, axes), np.int32)
    labels = np.zeros(rows, np.int32)
    ids = np.full(rows, FILLER, np.int32)
    for row, index in enumerate(step.rows.tolist()):
        if index == FILLER:
            continue
        example = source[index]
        extents = example.values.shape[:-1]
        if extents != tuple(source.sizes[index].tolist()):
            raise ValueError(
                f"source[{index}]: example {example.id} has size {extents}, the size table says "
                f"{tuple(source.sizes[index].tolist())}; make the table anew from the data as it is now"
            )
        inside = values[(row, *map(slice, extents))]  # a view: [*extents, C]
        unit = np.float32(255) if example.values.dtype == np.uint8 else np.float32(1)
        np.multiply(example.values, factor / unit, out=inside)
        inside += offset
        sizes[row], labels[row], ids[row] = extents, example.label, example.id
    return Batch(values, sizes, labels, ids)


def _scale(channels: int, mean: float | Sequence[float], std: float | Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """(values - mean) / std as `values * factor + offset`, both float32 [C]."""
    for name, given in (("mean", mean), ("std", std)):
        if np.shape(given) not in ((), (channels,)) or not np.isfinite(given).all():
            raise ValueError(f"{name}: got {given}; allowed is one finite number or {channels}, one per channel")
    if np.min(std) <= 0:
        raise ValueError(f"std: got {std}; allowed is above 0; use 1 where a channel is constant")
    factor = 1 / np.broadcast_to(np.asarray(std, np.float64), (channels,))
    return factor.astype(np.float32), (-np.asarray(mean, np.float64) * factor).astype(np.float32)
