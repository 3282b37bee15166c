"""Filling batches of fixed rows: which remainders move to a larger rectangle, and which rows stay empty.

Axes: N examples, D spatial axes, K buckets, T batches. The one idea: a remainder moves only into rows that would
otherwise be filler, so a promotion saves a whole batch and costs nothing.
"""

from collections.abc import Sequence

import numpy as np

FILLER = -1


def checked_rows(name: str, given: int | Sequence[int] | np.ndarray, buckets: int, multiple_of: int) -> np.ndarray:
    """The rows of each bucket's batches, or an error that names the argument.

    Args:
        name: What the caller calls the argument; it begins the error.
        given: One number for all buckets, or one for each.
        buckets: K.
        multiple_of: What each must be a multiple of (hosts, or devices), at least 1.

    Returns:
        int64 [K], read-only.

    Raises:
        ValueError: `given` is no such number or table, or is no multiple of `multiple_of`.
    """
    if multiple_of < 1:
        raise ValueError(f"rows_multiple_of: got {multiple_of}; allowed is 1 or more")
    rows = np.asarray(given)
    if rows.shape not in ((), (buckets,)) or not np.issubdtype(rows.dtype, np.integer) or rows.min() < 1:
        raise ValueError(
            f"{name}: got {given}; allowed is 1 or more rows: one integer, or {buckets}, one for each bucket"
        )
    if (rows % multiple_of).any():
        raise ValueError(
            f"{name}: got {given}; every host or device takes the same number of rows, so allowed are multiples of "
            f"{multiple_of}"
        )
    rows = np.broadcast_to(rows, buckets).astype(np.int64)
    rows.setflags(write=False)
    return rows


def promotions(shapes: np.ndarray, counts: np.ndarray, rows: np.ndarray) -> list[tuple[int, int, int]]:
    """Remainders that go where filler rows would be, which saves their batch.

    Args:
        shapes: int [K, D], rectangles by increasing area.
        counts: int [K], examples of each bucket.
        rows: int [K], rows of its batches.

    Returns:
        (bucket, examples, larger bucket) for each move; a bucket's remainder leaves as a whole or stays.
    """
    counts, moves = counts.copy(), []
    for bucket in np.flatnonzero(counts % rows).tolist():
        left = int(counts[bucket] % rows[bucket])  # may have become 0 by what moved in
        room = np.where((shapes >= shapes[bucket]).all(axis=1), -counts % rows, 0)  # [K]
        room[bucket] = 0
        if not 0 < left <= room.sum():
            continue
        for target in np.flatnonzero(room).tolist():
            moved = min(left, int(room[target]))
            if moved:
                moves.append((bucket, moved, target))
                counts[bucket] -= moved
                counts[target] += moved
                left -= moved
    return moves


def batches_of(counts: np.ndarray, moves: Sequence[tuple[int, int, int]], rows: np.ndarray) -> np.ndarray:
    """int64 [K]: batches of each bucket once `moves` are made."""
    counts = counts.copy()
    for bucket, moved, target in moves:
        counts[bucket] -= moved
        counts[target] += moved
    return -(-counts // rows)


def cut(
    order: np.ndarray, homes: np.ndarray, moves: Sequence[tuple[int, int, int]], rows: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Cuts examples into batches, bucket after bucket; within a bucket they keep their order.

    Args:
        order: int [N], indices of the examples.
        homes: int [N], the bucket of each; what `moves` take is written into it.
        moves: What `promotions` returned for these counts; the last of a bucket move.
        rows: int [K], rows of each bucket's batches.

    Returns:
        The buckets int64 [T], and for each batch its rows, int32 [rows of its bucket], read-only, fillers last.
    """
    for bucket, moved, target in moves:
        homes[np.flatnonzero(homes == bucket)[-moved:]] = target
    buckets, batches = [], []
    for bucket in np.flatnonzero(np.bincount(homes, minlength=len(rows))).tolist():
        members, size = order[homes == bucket], int(rows[bucket])
        slots = np.full(-(-len(members) // size) * size, FILLER, np.int32)
        slots[: len(members)] = members
        slots.setflags(write=False)
        batches += list(slots.reshape(-1, size))
        buckets += [bucket] * (len(slots) // size)
    return np.array(buckets, np.int64), batches
