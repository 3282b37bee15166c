"""How the last incomplete batch of each bucket is filled: with examples of smaller buckets, else with filler rows.

Axes: N examples, D spatial axes, K buckets. All batches of a bucket have the same number of rows; the examples of its
last incomplete batch are its remainder. `promotions` decides which remainders move to a larger bucket, `batch_counts`
how many batches each bucket then has, and `cut_into_batches` cuts the examples into batches and marks the rows that
stay empty with `FILLER`. The one idea: a remainder moves as a whole, and only into rows that would otherwise be filler
rows, so each move saves a batch and costs nothing.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

FILLER = -1


class Promotion(NamedTuple):
    """A move of examples to a larger bucket.

    Attributes:
        bucket: the bucket that the examples leave, an index into the shapes.
        examples: how many examples move.
        target: the bucket that the examples move to.
    """

    bucket: int
    examples: int
    target: int


def promotions(shapes: np.ndarray, counts: np.ndarray, rows: np.ndarray) -> list[Promotion]:
    """Returns the moves of remainders into free rows of larger buckets, smallest bucket first.

    Args:
        shapes: int [K, D], shapes of the buckets by increasing area.
        counts: int [K], examples of each bucket.
        rows: int [K], rows of each bucket's batches.

    Returns:
        The moves; a remainder may be spread over several targets, but it moves as a whole or stays.
    """
    counts, moves = counts.copy(), []
    for bucket in np.flatnonzero(counts % rows).tolist():
        remainder = int(counts[bucket] % rows[bucket])  # may have become 0 through examples that moved in
        free = np.where((shapes >= shapes[bucket]).all(axis=1), -counts % rows, 0)  # [K]
        free[bucket] = 0
        if not 0 < remainder <= free.sum():
            continue
        for target in np.flatnonzero(free).tolist():
            moved = min(remainder, int(free[target]))
            if moved:
                moves.append(Promotion(bucket, moved, target))
                counts[bucket] -= moved
                counts[target] += moved
                remainder -= moved
    return moves


def batch_counts(shapes: np.ndarray, counts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns the number of batches of each bucket after all promotions, int64 [K]; arguments as for `promotions`."""
    promoted = counts.copy()
    for bucket, moved, target in promotions(shapes, counts, rows):
        promoted[bucket] -= moved
        promoted[target] += moved
    return -(-promoted // rows)


def cut_into_batches(
    examples: np.ndarray, assignment: np.ndarray, shapes: np.ndarray, rows: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields batches of examples, bucket after bucket; within a bucket the examples keep their order.

    Args:
        examples: int [N], indices of the examples.
        assignment: int [N], the bucket of each.
        shapes: int [K, D], shapes of the buckets by increasing area.
        rows: int [K], rows of each bucket's batches.

    Yields:
        The bucket and the batch's rows, int32 [rows of the bucket], read-only, fillers last.
    """
    assignment = assignment.copy()
    for bucket, moved, target in promotions(shapes, np.bincount(assignment, minlength=len(rows)), rows):
        assignment[np.flatnonzero(assignment == bucket)[-moved:]] = target
    for bucket in np.flatnonzero(np.bincount(assignment, minlength=len(rows))).tolist():
        members, size = examples[assignment == bucket], int(rows[bucket])
        slots = np.full(-(-len(members) // size) * size, FILLER, np.int32)
        slots[: len(members)] = members
        slots.setflags(write=False)
        for batch in slots.reshape(-1, size):
            yield bucket, batch
