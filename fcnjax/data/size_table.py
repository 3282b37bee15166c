"""Size tables: int [N, D], the extents in positions of N examples with D = 1, 2 or 3 spatial axes.

The number of distinct sizes is n. The one idea: a plan depends only on the distinct sizes and their counts. Packing a
size into one integer makes finding them a sort of numbers, not of rows.
"""

import math
from collections.abc import Sequence

import numpy as np


def areas(sizes: np.ndarray) -> np.ndarray:
    """Returns the number of positions of each size: int [..., D] to int64 [...]."""
    return np.prod(sizes, axis=-1, dtype=np.int64)


def checked_table(name: str, sizes: np.ndarray, axes: int | None = None) -> np.ndarray:
    """Returns a size table as a new int32 array, or raises an error that names the argument.

    Args:
        name: the caller's name for the table; the error begins with it.
        sizes: the table: int [N, D] with N at least 1, D = 1, 2 or 3 and extents of 1 to 2^31 - 1.
        axes: the required D; None allows all three.

    Returns:
        int32 [N, D], a copy.

    Raises:
        ValueError: if `sizes` is not such a table.
    """
    table = np.asarray(sizes)
    allowed = "1, 2 or 3" if axes is None else str(axes)
    if table.ndim != 2 or not len(table) or not 1 <= table.shape[1] <= 3 or axes not in (None, table.shape[1]):
        raise ValueError(
            f"{name}.shape={table.shape}: must be [N, D] with N at least 1 and D = {allowed} spatial axes; leave the "
            "channel axis out, and write one-dimensional sizes as a column."
        )
    if not np.issubdtype(table.dtype, np.integer):
        raise ValueError(f"{name}.dtype={table.dtype}: must be integers, extents in positions; round them first.")
    if table.min() < 1:
        row = int(np.argmin(table.min(axis=1)))
        raise ValueError(
            f"{name}[{row}]={table[row].tolist()}: must have extents of at least 1; leave the example out."
        )
    if table.max() > np.iinfo(np.int32).max:
        row = int(np.argmax(table.max(axis=1)))
        raise ValueError(f"{name}[{row}]={table[row].tolist()}: must have extents below 2^31; cut the example shorter.")
    return table.astype(np.int32)


def frozen_table(rows: np.ndarray | Sequence[tuple[int, ...]] | Sequence[int]) -> np.ndarray:
    """Returns rows as a new read-only int32 array, the form of `Source.sizes` and `Source.ids`."""
    table = np.array(rows, np.int32)
    table.setflags(write=False)
    return table


def distinct_sizes(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the same as `np.unique(sizes, axis=0, return_counts=True)`, in a tenth of the time.

    Args:
        sizes: int [N, D], extents at least 0.

    Returns:
        int64 [n, D], the sizes in lexicographic order; int64 [n], the number of rows with each size.
    """
    keys, extents = _packed(sizes)
    if keys is None:
        return np.unique(sizes.astype(np.int64), axis=0, return_counts=True)
    keys, counts = np.unique(keys, return_counts=True)
    return np.stack(np.unravel_index(keys, extents), axis=1).astype(np.int64), counts


def quantile_groups(values: np.ndarray, groups: int) -> np.ndarray:
    """Returns the group of each example when examples are grouped by value, with about equal counts.

    Equal values are never divided: all of them go to the group of the middle one. There are fewer groups if many
    examples share a value.

    Args:
        values: [N], what to group by, such as areas.
        groups: number of groups to ask for, at least 1; 4 makes quartiles.

    Returns:
        int64 [N], 0 for the group of the smallest values; every group up to the last has examples.

    Raises:
        ValueError: if `groups` is below 1.

    Source: derived here.

    >>> quantile_groups(np.array([7, 1, 3, 3, 9]), 2).tolist()
    [1, 0, 0, 0, 1]
    """
    if groups < 1:
        raise ValueError(f"groups={groups}: must be at least 1; use 4 for quartiles.")
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    middles = 2 * np.cumsum(counts) - counts  # twice the rank of the middle example: whole numbers
    _, group = np.unique(groups * middles // max(2 * len(values), 1), return_inverse=True)  # [distinct values]
    return group[place]


def coarsened(distinct: np.ndarray, counts: np.ndarray, max_sizes: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns at most `max_sizes` sizes that represent all: frequent ones, and bounding boxes of the rest on a grid.

    The grid is logarithmic: successive cells of an axis have a constant ratio, so that rounding up costs small and
    large sizes the same share of their area.

    Args:
        distinct: int [n, D], distinct sizes, extents at least 1.
        counts: [n], number of examples of each size.
        max_sizes: at least 1.

    Returns:
        int64 [n', D] and float64 [n'] with n' at most `max_sizes`; sizes and counts are unchanged if n is at most
        `max_sizes`.
    """
    if len(distinct) <= max_sizes:
        return distinct, counts.astype(np.float64)
    frequent = counts * max_sizes > 2 * counts.sum()  # fewer than max_sizes / 2
    rare, rare_counts, left = distinct[~frequent], counts[~frequent], max_sizes - int(frequent.sum())
    logarithms = np.log(rare)  # [n, D]
    step = 1e-3
    while True:
        cells, _ = _packed(np.floor(logarithms / step).astype(np.int64))
        assert cells is not None  # at most log(2^31) / step cells per axis: 63 bits hold three axes
        _, where = np.unique(cells, return_inverse=True)
        occupied = int(where.max()) + 1
        if occupied <= left:
            break
        step *= max(1.05, 0.95 * (occupied / left) ** (1 / distinct.shape[1]))
    boxes = np.stack([_largest(where, column, occupied) for column in rare.T], axis=1)  # [n', D]
    boxes = np.concatenate([distinct[frequent], boxes])
    weights = np.concatenate([counts[frequent], np.bincount(where, weights=rare_counts, minlength=occupied)])
    boxes, where = np.unique(boxes, axis=0, return_inverse=True)
    return boxes, np.bincount(where.reshape(-1), weights=weights)


def _largest(groups: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Returns the largest of the values [n] of each group, int64 [count]; values are at least 0."""
    largest = np.zeros(count, np.int64)
    np.maximum.at(largest, groups, values)
    return largest


def _packed(sizes: np.ndarray) -> tuple[np.ndarray | None, tuple[int, ...]]:
    """Returns one number per row in lexicographic order, int64 [N] or None beyond 63 bits, and the extents packed."""
    extents = tuple(int(extent) + 1 for extent in sizes.max(axis=0))
    if math.prod(extents) >= 2**63:
        return None, extents
    keys = np.zeros(len(sizes), np.int64)
    for column, extent in zip(sizes.T, extents, strict=True):
        keys = keys * extent + column
    return keys, extents
