"""Bucket rectangles: the few shapes that every batch is padded to, chosen from the size table.

Axes: N examples, D spatial axes, K buckets, n distinct sizes. "Rectangle" and "area" stand for length where D = 1, box
and volume where D = 3. The one idea: a rectangle is the bounding box of the sizes it holds, so planning is clustering
under the cost "count times area of the bounding box". This file is the interface, `bucket_search` the search.
"""

from dataclasses import dataclass

import numpy as np

from fcnjax.data.planning.bucket_search import search_shapes
from fcnjax.data.size_table import areas, checked_table, distinct_sizes
from fcnjax.naming import joined


@dataclass(frozen=True, eq=False)
class BucketPlan:
    """K rectangles, and which one an example goes to. Made by `plan_buckets`, or by hand for fixed shapes.

    Attributes:
        shapes: int32 [K, D], extents in positions, at least 1; kept by increasing area, read-only.
        batch_sizes: int32 [K], rows of a batch of each rectangle, at least 1, in the order of `shapes`; read-only. None
            where nobody has chosen them.

    Raises:
        ValueError: `shapes` is not a table [K, D] of positive extents with 1 to 3 axes, or `batch_sizes` is not one
            positive integer for each.

    >>> plan = BucketPlan(np.array([[28, 28], [16, 28]]), batch_sizes=np.array([4, 7]))
    >>> plan.shapes.tolist(), plan.batch_sizes.tolist(), plan.assign(np.array([[10, 20], [20, 10]])).tolist()
    ([[16, 28], [28, 28]], [7, 4], [0, 1])
    """

    shapes: np.ndarray
    batch_sizes: np.ndarray | None = None

    def __post_init__(self) -> None:
        shapes = checked_table("shapes", self.shapes)
        order = np.lexsort((*shapes.T[::-1], areas(shapes)))
        shapes = shapes[order]
        shapes.setflags(write=False)
        object.__setattr__(self, "shapes", shapes)
        if self.batch_sizes is not None:
            batch_sizes = _checked_batch_sizes(self.batch_sizes, len(shapes))[order]
            batch_sizes.setflags(write=False)
            object.__setattr__(self, "batch_sizes", batch_sizes)

    def with_budget(self, pixel_budget: int, rows_multiple_of: int = 1) -> "BucketPlan":
        """The same rectangles with as many rows each as a budget of positions holds.

        Args:
            pixel_budget: Positions that one batch may take, padding included.
            rows_multiple_of: Batch sizes are multiples of this, such as the number of devices; at least 1.

        Returns:
            A plan with `batch_sizes`.

        Raises:
            ValueError: A rectangle, times `rows_multiple_of`, exceeds the budget; or an argument is below 1.
        """
        for name, value in (("pixel_budget", pixel_budget), ("rows_multiple_of", rows_multiple_of)):
            if value < 1:
                raise ValueError(f"{name}: got {value}; allowed is 1 or more")
        area = areas(self.shapes)
        rows = pixel_budget // area // rows_multiple_of * rows_multiple_of  # [K]
        if rows.min() < 1:
            rectangle = joined(self.shapes[-1].tolist())
            raise ValueError(
                f"pixel_budget: got {pixel_budget}; allowed is {area[-1] * rows_multiple_of} or more, the positions of "
                f"{rows_multiple_of} row{'s' * (rows_multiple_of > 1)} of rectangle {rectangle}; raise it, or leave "
                "the largest examples out"
            )
        return BucketPlan(self.shapes, np.minimum(rows, np.iinfo(np.int32).max))

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
        buckets = np.full(len(sizes), -1, np.int32)
        for bucket in range(len(self.shapes))[::-1]:  # the smallest that fits has the last word
            buckets[_fits(sizes, self.shapes[bucket])] = bucket
        if buckets.min() < 0:
            index = int(np.argmin(buckets))
            largest = ", ".join(str(tuple(shape)) for shape in self.shapes[-3:].tolist())
            raise ValueError(
                f"sizes[{index}]: size {tuple(sizes[index].tolist())} fits none of the {len(self.shapes)} buckets "
                f"(largest: {largest}); plan the buckets from a size table that contains it, or make it smaller"
            )
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


def plan_buckets(
    sizes: np.ndarray,
    max_buckets: int = 8,
    *,
    multiple_of: int = 1,
    pixel_budget: int | None = None,
    rows_multiple_of: int = 1,
) -> BucketPlan:
    """The rectangles that waste little on these sizes: optimal for D = 1, else the best of several local searches.

    The searches start from greedy merging and from groups of equal count by area. Deterministic, and independent of
    the order of `sizes`. Where there are no more distinct sizes than buckets, each gets its own and the waste is 0.
    Above a few thousand distinct sizes the search sees them on a coarser grid (see `bucket_search`).

    Args:
        sizes: int [N, D], the size table; D = 1, 2 or 3, extents at least 1.
        max_buckets: K, the most rectangles, at least 1; each is one compilation of the model.
        multiple_of: Every extent is rounded up to a multiple of this (tensor cores and lanes like 8 or 128).
        pixel_budget: Positions that one batch may take; given, the plan has `batch_sizes` (`BucketPlan.with_budget`).
        rows_multiple_of: With a budget: batch sizes are multiples of this, such as the number of devices.

    Returns:
        At most `max_buckets` rectangles that contain every size.

    Raises:
        ValueError: An argument is outside the range named above, or a rectangle alone exceeds the pixel budget.

    Source: derived here; the merging step is Ward's agglomeration with padded area in place of variance.

    >>> plan_buckets(np.array([[28, 16], [28, 14], [9, 30]]), max_buckets=2).shapes.tolist()
    [[9, 30], [28, 16]]
    >>> plan_buckets(np.array([[4], [5], [9], [9]]), pixel_budget=18).batch_sizes.tolist()
    [4, 3, 2]
    """
    sizes = checked_table("sizes", sizes)
    for name, value in (("max_buckets", max_buckets), ("multiple_of", multiple_of)):
        if value < 1:
            raise ValueError(f"{name}: got {value}; allowed is 1 or more")
    rounded = -(-sizes.astype(np.int64) // multiple_of) * multiple_of
    plan = BucketPlan(search_shapes(*distinct_sizes(rounded), max_buckets))
    return plan if pixel_budget is None else plan.with_budget(pixel_budget, rows_multiple_of)


def _fits(sizes: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Bool [N]: which sizes [N, D] a rectangle [D] contains."""
    fits = sizes[:, 0] <= shape[0]
    for axis in range(1, len(shape)):
        fits &= sizes[:, axis] <= shape[axis]
    return fits


def _checked_batch_sizes(batch_sizes: np.ndarray, buckets: int) -> np.ndarray:
    """int32 [K], a copy; raises ValueError where they are not K positive integers."""
    rows = np.asarray(batch_sizes)
    if rows.shape != (buckets,):
        raise ValueError(f"batch_sizes: got shape {rows.shape}; allowed is {(buckets,)}, one for each of `shapes`")
    if not np.issubdtype(rows.dtype, np.integer) or rows.min() < 1 or rows.max() > np.iinfo(np.int32).max:
        raise ValueError(f"batch_sizes: got {rows.tolist()}; allowed are integers, 1 or more; round them")
    return rows.astype(np.int32)
