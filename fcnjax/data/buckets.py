"""Bucket rectangles: the few shapes that every batch is padded to, chosen from the size table.

Axes: N examples, D spatial axes, K buckets, n distinct sizes. "Rectangle" and "area" stand for length where D = 1, box
and volume where D = 3. The one idea: a rectangle is the bounding box of the sizes it holds, so planning is clustering
under the cost "count times area of the bounding box". This file is the interface, `bucket_search` the search.
"""

from dataclasses import dataclass

import numpy as np

from fcnjax.data.bucket_search import (
    area_groups,
    exact_intervals,
    greedy_rectangles,
    improve,
    padded_area,
    shrink,
)

# More distinct sizes than this are put on a coarser grid first: the search is quadratic in them.
MOST_DISTINCT = {1: 6000, 2: 1500, 3: 1500}
ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, eq=False)
class BucketPlan:
    """K rectangles, and which one an example goes to. Made by `plan_buckets`, or by hand for fixed shapes.

    Attributes:
      shapes: int32 [K, D], extents in positions, at least 1; kept by increasing area, read-only.

    Raises:
      ValueError: `shapes` is not a table [K, D] of positive extents with 1 to 3 axes.

    >>> plan = BucketPlan(np.array([[28, 28], [16, 28]]))
    >>> plan.shapes.tolist(), plan.assign(np.array([[10, 20], [20, 10]])).tolist()
    ([[16, 28], [28, 28]], [0, 1])
    """

    shapes: np.ndarray

    def __post_init__(self) -> None:
        shapes = checked_table("shapes", self.shapes)
        shapes = shapes[np.lexsort((*shapes.T[::-1], areas(shapes)))]
        shapes.setflags(write=False)
        object.__setattr__(self, "shapes", shapes)

    def assign(self, sizes: np.ndarray) -> np.ndarray:
        """The bucket of each example: the rectangle of least area that contains it.

        Args:
          sizes: int [N, D], extents of the examples.

        Returns:
          int32 [N], indices into `shapes`.

        Raises:
          ValueError: An example fits no rectangle; or `sizes` is no table with the D of `shapes`.
        """
        sizes = checked_table("sizes", sizes, axes=self.shapes.shape[1])
        buckets = np.empty(len(sizes), np.int32)
        for start in range(0, len(sizes), ROWS_AT_ONCE):
            block = sizes[start : start + ROWS_AT_ONCE]
            fits = (block[:, None, :] <= self.shapes).all(axis=2)  # [rows, K]
            homeless = ~np.any(fits, axis=1)
            if homeless.any():
                index = start + int(np.argmax(homeless))
                largest = ", ".join(str(tuple(shape)) for shape in self.shapes[-3:].tolist())
                raise ValueError(
                    f"sizes[{index}]: size {tuple(sizes[index].tolist())} fits none of the {len(self.shapes)} buckets "
                    f"(largest: {largest}); plan the buckets from a size table that contains it, or make it smaller"
                )
            buckets[start : start + ROWS_AT_ONCE] = fits.argmax(axis=1)
        return buckets

    def waste(self, sizes: np.ndarray) -> float:
        """Padded over real positions, minus 1, when each example goes to its bucket; 0.0 is no padding at all.

        Args:
          sizes: int [N, D], extents of the examples.

        Returns:
          The waste; filler rows of ragged batches come on top (see `EpochPlan.waste`).

        Raises:
          ValueError: As for `assign`.
        """
        sizes = checked_table("sizes", sizes, axes=self.shapes.shape[1])
        return float(areas(self.shapes)[self.assign(sizes)].sum() / areas(sizes).sum() - 1)


def plan_buckets(sizes: np.ndarray, max_buckets: int = 8, *, multiple_of: int = 1) -> BucketPlan:
    """The rectangles that waste little on these sizes: optimal for D = 1, else the better of two local searches.

    One search starts from greedy merging, the other from groups of equal count by area. Deterministic, and independent
    of the order of `sizes`. Where there are no more distinct sizes than buckets, each gets its own and the waste is 0.
    Above MOST_DISTINCT distinct sizes the search sees them on a coarser grid.

    Args:
      sizes: int [N, D], the size table; D = 1, 2 or 3, extents at least 1.
      max_buckets: K, the most rectangles, at least 1; each is one compilation of the model.
      multiple_of: Every extent is rounded up to a multiple of this (tensor cores and lanes like 8 or 128).

    Returns:
      At most `max_buckets` rectangles that contain every size.

    Raises:
      ValueError: An argument is outside the range named above.

    Source: derived here; the merging step is Ward's agglomeration with padded area in place of variance.

    >>> plan_buckets(np.array([[28, 16], [28, 14], [9, 30]]), max_buckets=2).shapes.tolist()
    [[9, 30], [28, 16]]
    """
    sizes = checked_table("sizes", sizes)
    for name, value in (("max_buckets", max_buckets), ("multiple_of", multiple_of)):
        if value < 1:
            raise ValueError(f"{name}: got {value}; allowed is 1 or more")
    rounded = -(-sizes.astype(np.int64) // multiple_of) * multiple_of
    distinct, counts = np.unique(rounded, axis=0, return_counts=True)  # [n, D], [n]
    if len(distinct) <= max_buckets:
        return BucketPlan(distinct)
    coarse, weights = _coarsen(distinct, counts)
    if sizes.shape[1] == 1:
        shapes = exact_intervals(coarse, weights, max_buckets)
    else:
        starts = [start(coarse, weights, max_buckets) for start in (greedy_rectangles, area_groups)]
        ends = [improve(coarse, weights, start) for start in starts]
        shapes = min(ends, key=lambda end: padded_area(coarse, weights, end))
    return BucketPlan(shrink(distinct, shapes))


def areas(sizes: np.ndarray) -> np.ndarray:
    """Number of positions of each size: int [..., D] to int64 [...]."""
    return np.prod(sizes, axis=-1, dtype=np.int64)


def checked_table(name: str, sizes: np.ndarray, axes: int | None = None) -> np.ndarray:
    """A size table as a new int32 array, or an error that names the argument.

    Args:
      name: What the caller calls the table; it begins the error.
      sizes: Should be int [N, D] with N at least 1, D = 1, 2 or 3 and extents at least 1.
      axes: The D that is wanted; None allows all three.

    Returns:
      int32 [N, D], a copy.

    Raises:
      ValueError: It is no such table.
    """
    table = np.asarray(sizes)
    allowed = "1, 2 or 3" if axes is None else str(axes)
    if table.ndim != 2 or not len(table) or not 1 <= table.shape[1] <= 3 or axes not in (None, table.shape[1]):
        raise ValueError(
            f"{name}: got shape {table.shape}; allowed is [N, D] with N at least 1 and D = {allowed} spatial axes; "
            "leave the channel axis out, and write one-dimensional sizes as a column"
        )
    if not np.issubdtype(table.dtype, np.integer):
        raise ValueError(f"{name}: got dtype {table.dtype}; allowed are integer extents in positions; round them first")
    if table.min() < 1:
        row = int(np.argmin(table.min(axis=1)))
        raise ValueError(f"{name}[{row}]: got {table[row].tolist()}; every extent must be at least 1; leave it out")
    return table.astype(np.int32)


def _coarsen(distinct: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most MOST_DISTINCT[D] sizes that stand for all: the bounding boxes of the occupied cells of a square grid."""
    axes = distinct.shape[1]
    most, cell = MOST_DISTINCT[axes], 1
    while True:
        _, where = np.unique(-(-distinct // cell), axis=0, return_inverse=True)
        where = where.reshape(-1)
        cells = int(where.max()) + 1
        if cells <= most:
            break
        cell = max(cell + 1, int(0.9 * cell * (cells / most) ** (1 / axes)))
    boxes = np.zeros((cells, axes), distinct.dtype)
    np.maximum.at(boxes, where, distinct)
    weights = np.bincount(where, weights=counts, minlength=cells)
    boxes, where = np.unique(boxes, axis=0, return_inverse=True)
    return boxes, np.bincount(where.reshape(-1), weights=weights)
