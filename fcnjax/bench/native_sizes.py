"""Stretches of training: the batches of a size table, cut in each of the ways that training could cut it.

Axes: N examples, B rows, D spatial axes. The one idea: how fast a step is depends on sizes and not on values, so a
stretch is sizes alone, taken evenly from a whole epoch; rates are then counted in the positions of real examples.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fcnjax.data import BucketPlan, EpochPlan, read_sizes
from fcnjax.data.planning.remainders import FILLER
from fcnjax.data.size_table import areas, distinct_sizes

DRAWN = 8_677  # sizes where no file is given, as many as Caltech-101 has photographs


class Rows(NamedTuple):
    """One batch, without its values.

    Attributes:
        shape: the rectangle [D].
        sizes: int32 [B, D], of the examples; 0 for filler rows.
    """

    shape: tuple[int, ...]
    sizes: np.ndarray

    @property
    def program(self) -> tuple[int, ...]:
        """(B, *shape), which says what program the batch needs."""
        return (len(self.sizes), *self.shape)


class Stretch(NamedTuple):
    """Batches in the order in which they are trained on.

    Attributes:
        steps: one batch each.
        epoch_steps: steps of the whole epoch that these stand for.
        epoch_programs: distinct programs of that epoch.
    """

    steps: tuple[Rows, ...]
    epoch_steps: int
    epoch_programs: int

    @property
    def real(self) -> int:
        """Positions inside examples."""
        return sum(int(areas(rows.sizes).sum()) for rows in self.steps)

    @property
    def padded(self) -> int:
        """All positions, padding and filler rows included."""
        return sum(int(np.prod(rows.program)) for rows in self.steps)

    def about(self) -> dict[str, int | float]:
        """Returns what the report says of it."""
        return {
            "steps": len(self.steps),
            "examples": sum(int((areas(rows.sizes) > 0).sum()) for rows in self.steps),
            "waste": self.padded / self.real - 1,
            "epoch_steps": self.epoch_steps,
            "epoch_programs": self.epoch_programs,
        }


def scaled_sizes(path: Path | str | None, scale: float) -> np.ndarray:
    """Returns the size table [N, D] of a CSV file (None: `drawn_sizes`), every extent times `scale` and rounded.

    Raises:
        ValueError: as for `read_sizes`, or if the scale is not greater than 0.
    """
    if not 0 < scale < float("inf"):
        raise ValueError(f"scale={scale}: must be greater than 0; 1 takes the sizes as they are.")
    sizes = drawn_sizes() if path is None else read_sizes(path)
    return np.maximum(np.rint(sizes * scale), 1).astype(np.int32)


def drawn_sizes(count: int = DRAWN) -> np.ndarray:
    """Returns sizes [N, 2] like those of a collection of small photographs, always the same ones.

    Long sides of 300 pixels, of one in ten log-normally more or less; aspects log-normal, three in four lying.
    """
    rng = np.random.default_rng(0)
    long = 300 * np.where(rng.random(count) < 0.1, np.exp(rng.normal(0, 0.25, count)), 1.0)
    short = long * np.exp(-np.abs(rng.normal(0.25, 0.2, count)))
    lying = rng.random(count) < 0.75
    return np.rint(np.stack([np.where(lying, short, long), np.where(lying, long, short)], 1)).astype(np.int32)


def planned(sizes: np.ndarray, buckets: BucketPlan, steps: int) -> Stretch:
    """Returns `steps` batches of the first epoch of an `EpochPlan`, from every rectangle its share."""
    assert buckets.batch_sizes is not None
    plan = EpochPlan(sizes, buckets, buckets.batch_sizes.tolist(), seed=0)
    epoch = [plan.step(index) for index in range(plan.steps_per_epoch)]
    batches = [Rows(step.shape, np.where(step.rows[:, None] == FILLER, 0, sizes[step.rows])) for step in epoch]
    ranks = [(rows.shape, int(areas(rows.sizes).sum())) for rows in batches]
    return _stretch(batches, ranks, steps)


def of_one_size(sizes: np.ndarray, pixel_budget: int, steps: int) -> Stretch:
    """Returns `steps` of the batches that hold examples of exactly one size each: no padding, and no filler rows.

    What is left of a size when its batches are full makes a smaller one, which is a program of its own.
    """
    batches = []
    for size, count in zip(*(each.tolist() for each in distinct_sizes(sizes)), strict=True):
        most = max(1, pixel_budget // math.prod(size))
        rows = [most] * (count // most) + [count % most] * (count % most > 0)
        batches += [Rows(tuple(size), np.array([size] * n, np.int32)) for n in rows]
    order = np.random.default_rng(0).permutation(len(batches))
    batches = [batches[index] for index in order]
    return _stretch(batches, [math.prod(rows.program) for rows in batches], steps)


def dense(sizes: np.ndarray, pixel_budget: int, steps: int) -> Stretch:
    """Returns `steps` batches of one shape that every example fills: the median size, as many rows as fit."""
    size = np.rint(np.median(sizes, axis=0)).astype(np.int32)
    rows = Rows(tuple(size.tolist()), np.tile(size, (max(1, pixel_budget // int(areas(size))), 1)))
    return Stretch((rows,) * steps, max(1, len(sizes) // len(rows.sizes)), 1)


def one_by_one(stretch: Stretch) -> list[list[Rows]]:
    """Returns the examples of each step, each a batch of its own."""
    steps = []
    for step in stretch.steps:
        real = step.sizes[areas(step.sizes) > 0]
        steps.append([Rows(tuple(size.tolist()), size[None]) for size in real])
    return steps


def _stretch(batches: Sequence[Rows], ranks: Sequence[Any], steps: int) -> Stretch:
    """Takes `steps` of an epoch's batches, at even distances in the order of ranks, and keeps the epoch's order."""
    count, programs = min(steps, len(batches)), len({rows.program for rows in batches})
    ranked = sorted(range(len(batches)), key=ranks.__getitem__)
    taken = {ranked[int((index + 0.5) * len(batches) / count)] for index in range(count)}
    return Stretch(tuple(batches[index] for index in sorted(taken)), len(batches), programs)
