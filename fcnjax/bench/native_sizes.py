"""Stretches of training: the batches that training could make of a size table, in several ways.

Axes: N examples, B rows, D spatial axes. The one idea: the time of a step depends on sizes, not on values. A stretch
therefore holds only sizes, sampled evenly from a whole epoch, and rates count the positions of real examples.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fcnjax.data import BucketPlan, EpochPlan, read_sizes
from fcnjax.data.planning.remainders import FILLER
from fcnjax.data.size_table import areas, distinct_sizes

DRAWN = 8_677  # sizes when no file is given: as many as Caltech-101 has photographs


class Rows(NamedTuple):
    """One batch, without its values.

    Attributes:
        shape: padded shape, D entries.
        sizes: int32 [B, D], sizes of the examples; 0 for filler rows.
    """

    shape: tuple[int, ...]
    sizes: np.ndarray

    @property
    def program(self) -> tuple[int, ...]:
        """(B, *shape); batches for which it is equal share a compiled program."""
        return (len(self.sizes), *self.shape)


class Stretch(NamedTuple):
    """Batches in the order of training.

    Attributes:
        steps: one batch per step.
        epoch_steps: number of steps of the whole epoch that these represent.
        epoch_programs: number of distinct programs of that epoch.
    """

    steps: tuple[Rows, ...]
    epoch_steps: int
    epoch_programs: int

    @property
    def examples(self) -> int:
        """Number of real examples."""
        return sum(int((areas(rows.sizes) > 0).sum()) for rows in self.steps)

    @property
    def real(self) -> int:
        """Number of positions inside examples."""
        return sum(int(areas(rows.sizes).sum()) for rows in self.steps)

    @property
    def padded(self) -> int:
        """Number of all positions, padding and filler rows included."""
        return sum(int(np.prod(rows.program)) for rows in self.steps)

    def about(self) -> dict[str, int | float]:
        """Returns the fields of a result that describe the stretch."""
        return {
            "steps": len(self.steps),
            "examples": self.examples,
            "waste": self.padded / self.real - 1,
            "epoch_steps": self.epoch_steps,
            "epoch_programs": self.epoch_programs,
        }


def scaled_sizes(path: Path | str | None, scale: float) -> np.ndarray:
    """Returns the size table int32 [N, D] of a CSV file, with every extent multiplied by `scale` and rounded.

    Args:
        path: the file; None takes `drawn_sizes`.
        scale: greater than 0 and finite; an extent does not fall below 1.

    Raises:
        ValueError: if `read_sizes` refuses the file, or `scale` is out of range.
    """
    if not 0 < scale < float("inf"):
        raise ValueError(f"scale={scale}: must be greater than 0 and finite; give 1 to keep the sizes.")
    sizes = drawn_sizes() if path is None else read_sizes(path)
    return np.maximum(np.rint(sizes * scale), 1).astype(np.int32)


def drawn_sizes(count: int = DRAWN) -> np.ndarray:
    """Returns `count` sizes [N, 2] like those of a collection of small photographs, the same at every call.

    Long sides are 300 pixels, multiplied by a log-normal factor for one in ten photographs. Aspect ratios are
    log-normal; three in four photographs are wider than high.
    """
    rng = np.random.default_rng(0)
    long = 300 * np.where(rng.random(count) < 0.1, np.exp(rng.normal(0, 0.25, count)), 1.0)
    short = long * np.exp(-np.abs(rng.normal(0.25, 0.2, count)))
    wide = rng.random(count) < 0.75
    return np.rint(np.stack([np.where(wide, short, long), np.where(wide, long, short)], 1)).astype(np.int32)


def planned(sizes: np.ndarray, buckets: BucketPlan, steps: int) -> Stretch:
    """Returns `steps` batches of the first epoch of an `EpochPlan`, in proportion from every bucket.

    Args:
        sizes: int [N, D].
        buckets: a plan with batch sizes.
        steps: number of batches; the whole epoch if it has fewer.
    """
    assert buckets.batch_sizes is not None
    plan = EpochPlan(sizes, buckets, buckets.batch_sizes.tolist(), seed=0)
    epoch = [plan.step(index) for index in range(plan.steps_per_epoch)]
    batches = [Rows(step.shape, np.where(step.rows[:, None] == FILLER, 0, sizes[step.rows])) for step in epoch]
    ranks = [(rows.shape, int(areas(rows.sizes).sum())) for rows in batches]
    return _stretch(batches, ranks, steps)


def of_one_size(sizes: np.ndarray, pixel_budget: int, steps: int) -> Stretch:
    """Returns `steps` batches with examples of exactly one size each: no padding, and no filler rows.

    The remainder of a size makes a smaller batch, which needs its own program.

    Args:
        sizes: int [N, D].
        pixel_budget: maximum number of positions in a batch; a larger example is its own batch.
        steps: number of batches; the whole epoch if it has fewer.
    """
    batches = []
    for size, count in zip(*(each.tolist() for each in distinct_sizes(sizes)), strict=True):
        max_rows = max(1, pixel_budget // math.prod(size))
        rows = [max_rows] * (count // max_rows) + [count % max_rows] * (count % max_rows > 0)
        batches += [Rows(tuple(size), np.array([size] * n, np.int32)) for n in rows]
    order = np.random.default_rng(0).permutation(len(batches))
    batches = [batches[index] for index in order]
    return _stretch(batches, [math.prod(rows.program) for rows in batches], steps)


def dense(sizes: np.ndarray, pixel_budget: int, steps: int) -> Stretch:
    """Returns `steps` batches of one shape without padding: every example has the median size.

    Args:
        sizes: int [N, D].
        pixel_budget: maximum number of positions in a batch; a batch has as many rows as fit, at least 1.
        steps: number of batches.
    """
    size = np.rint(np.median(sizes, axis=0)).astype(np.int32)
    rows = Rows(tuple(size.tolist()), np.tile(size, (max(1, pixel_budget // int(areas(size))), 1)))
    return Stretch((rows,) * steps, max(1, len(sizes) // len(rows.sizes)), 1)


def full(shape: Sequence[int], rows: int, steps: int) -> Stretch:
    """Returns `steps` batches of `rows` examples that all have the size `shape`."""
    batch = Rows(tuple(shape), np.tile(np.array(shape, np.int32), (rows, 1)))
    return Stretch((batch,) * steps, steps, 1)


def drawn_within(stretch: Stretch, least: float, min_size: np.ndarray) -> Stretch:
    """Returns a stretch of the same padded shapes, with sizes drawn anew: extents from a share to all of the shape's.

    Args:
        stretch: batches whose shape is kept; equal batches get equal sizes.
        least: the smallest share of an extent, in (0, 1].
        min_size: int [D], the smallest size that is drawn.
    """
    drawn = {}
    for rows in stretch.steps:
        whole = np.array(rows.shape)
        low = np.minimum(np.maximum(np.ceil(least * whole).astype(int), min_size), whole)
        sizes = np.random.default_rng(rows.program).integers(low, whole + 1, rows.sizes.shape).astype(np.int32)
        drawn.setdefault(rows.program, Rows(rows.shape, sizes))
    return stretch._replace(steps=tuple(drawn[rows.program] for rows in stretch.steps))


def one_by_one(stretch: Stretch) -> list[list[Rows]]:
    """Returns the examples of each step of a stretch, each as its own batch; filler rows are left out."""
    steps = []
    for step in stretch.steps:
        real = step.sizes[areas(step.sizes) > 0]
        steps.append([Rows(tuple(size.tolist()), size[None]) for size in real])
    return steps


def _stretch(batches: Sequence[Rows], ranks: Sequence[Any], steps: int) -> Stretch:
    """Returns `steps` of the batches of an epoch, evenly spaced in the order of `ranks`, in the order of the epoch."""
    count, programs = min(steps, len(batches)), len({rows.program for rows in batches})
    ranked = sorted(range(len(batches)), key=ranks.__getitem__)
    taken = {ranked[int((index + 0.5) * len(batches) / count)] for index in range(count)}
    return Stretch(tuple(batches[index] for index in sorted(taken)), len(batches), programs)
