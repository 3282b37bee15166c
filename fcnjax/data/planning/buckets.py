"""Buckets: the few shapes that batches are padded to, chosen from the size table.

Axes: N examples, D spatial axes, K buckets. "Area" means length for D = 1 and volume for D = 3. The one idea: the shape
of a bucket is the bounding box of the sizes in it, so that planning is clustering under the cost "count times area of
the bounding box". This file is the interface, `bucket_search` the search.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fcnjax.data.planning.bucket_search import search_shapes
from fcnjax.data.size_table import areas, checked_table, distinct_sizes
from fcnjax.naming import joined


@dataclass(frozen=True, eq=False)
class BucketPlan:
    """K buckets, and which bucket an example goes to. Made by `plan_buckets`, or by hand for fixed shapes.

    Attributes:
        shapes: int32 [K, D], extents in positions, at least 1; sorted by increasing area, read-only.
        batch_sizes: int32 [K], rows of a batch of each bucket, at least 1, in the order of `shapes`; read-only. None
            leaves them open.

    Raises:
        ValueError: if `shapes` is not a table [K, D] of positive extents with 1 to 3 axes, or `batch_sizes` is not one
            positive integer for each bucket.

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
            batch_sizes = checked_rows("batch_sizes", self.batch_sizes, len(shapes))[order].astype(np.int32)
            batch_sizes.setflags(write=False)
            object.__setattr__(self, "batch_sizes", batch_sizes)

    def with_budget(self, pixel_budget: int, rows_multiple_of: int = 1) -> "BucketPlan":
        """Returns the same buckets with batch sizes: as many rows in each as a budget of positions holds.

        Args:
            pixel_budget: positions that one batch may take, padding included.
            rows_multiple_of: batch sizes are multiples of this, such as the number of devices; at least 1.

        Returns:
            A plan with `batch_sizes`.

        Raises:
            ValueError: if `rows_multiple_of` rows of a bucket exceed the budget, or an argument is below 1.
        """
        for name, value in (("pixel_budget", pixel_budget), ("rows_multiple_of", rows_multiple_of)):
            if value < 1:
                raise ValueError(f"{name}={value}: must be 1 or more.")
        area = areas(self.shapes)
        rows = pixel_budget // area // rows_multiple_of * rows_multiple_of  # [K]
        if rows.min() < 1:
            raise ValueError(
                f"pixel_budget={pixel_budget}: must be {area[-1] * rows_multiple_of} or more, the positions of "
                f"{rows_multiple_of} row{'s' * (rows_multiple_of > 1)} of bucket {joined(self.shapes[-1].tolist())}; "
                "raise it, or leave the largest examples out."
            )
        return BucketPlan(self.shapes, np.minimum(rows, np.iinfo(np.int32).max))

    def assign(self, sizes: np.ndarray) -> np.ndarray:
        """Returns the bucket of each example: the one of smallest area that contains it.

        Args:
            sizes: int [N, D], extents of the examples.

        Returns:
            int32 [N], indices into `shapes`.

        Raises:
            ValueError: if an example fits no bucket, or `sizes` is not a table with the D of `shapes`.
        """
        sizes = checked_table("sizes", sizes, axes=self.shapes.shape[1])
        buckets = np.full(len(sizes), -1, np.int32)
        for bucket in range(len(self.shapes))[::-1]:  # smaller buckets overwrite larger ones
            buckets[_fits(sizes, self.shapes[bucket])] = bucket
        if buckets.min() < 0:
            index = int(np.argmin(buckets))
            largest = ", ".join(str(tuple(shape)) for shape in self.shapes[-3:].tolist())
            raise ValueError(
                f"sizes[{index}]={tuple(sizes[index].tolist())}: must fit one of the {len(self.shapes)} buckets "
                f"(largest: {largest}); plan the buckets from a size table that contains it, or make it smaller."
            )
        return buckets

    def waste(self, sizes: np.ndarray) -> float:
        """Returns padded over real positions, minus 1, when each example goes to its bucket; 0.0 means no padding.

        Args:
            sizes: int [N, D], extents of the examples.

        Returns:
            The waste without filler rows, which `Plan.waste` includes.

        Raises:
            ValueError: as for `assign`.
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
    """Returns buckets that waste little on these sizes: optimal for D = 1, else the best of several local searches.

    The searches start from greedy merging and from groups of equal count by area. The result is deterministic and does
    not depend on the order of `sizes`. If there are no more distinct sizes than buckets, each size gets its own bucket
    and the waste is 0. Above a few thousand distinct sizes the search sees them on a coarser grid (see
    `bucket_search`).

    Args:
        sizes: int [N, D], the size table; D = 1, 2 or 3, extents at least 1.
        max_buckets: K, maximum number of buckets, at least 1; the model is compiled once for each.
        multiple_of: extents are rounded up to a multiple of this (tensor cores and vector lanes prefer 8 or 128).
        pixel_budget: positions that one batch may take; if given, the plan has `batch_sizes` (see `with_budget`).
        rows_multiple_of: with a budget, batch sizes are multiples of this, such as the number of devices.

    Returns:
        At most `max_buckets` buckets; every size fits one.

    Raises:
        ValueError: if an argument is outside the range named above, or one row of a bucket exceeds the pixel budget.

    Source: derived here; the merging step is Ward's agglomeration with padded area in place of variance.

    >>> plan_buckets(np.array([[28, 16], [28, 14], [9, 30]]), max_buckets=2).shapes.tolist()
    [[9, 30], [28, 16]]
    >>> plan_buckets(np.array([[4], [5], [9], [9]]), pixel_budget=18).batch_sizes.tolist()
    [4, 3, 2]
    """
    sizes = checked_table("sizes", sizes)
    for name, value in (("max_buckets", max_buckets), ("multiple_of", multiple_of)):
        if value < 1:
            raise ValueError(f"{name}={value}: must be 1 or more.")
    rounded = -(-sizes.astype(np.int64) // multiple_of) * multiple_of
    plan = BucketPlan(search_shapes(*distinct_sizes(rounded), max_buckets))
    return plan if pixel_budget is None else plan.with_budget(pixel_budget, rows_multiple_of)


def checked_rows(
    name: str, rows: int | Sequence[int] | np.ndarray, buckets: int, rows_multiple_of: int = 1
) -> np.ndarray:
    """Returns the rows of each bucket's batches.

    Args:
        name: the caller's name for the argument; the error begins with it.
        rows: one number for all buckets, or one for each; at least 1.
        buckets: K.
        rows_multiple_of: each number must be a multiple of this, at least 1.

    Returns:
        int64 [K], read-only.

    Raises:
        ValueError: if `rows` is anything else, or `rows_multiple_of` is below 1.
    """
    if rows_multiple_of < 1:
        raise ValueError(f"rows_multiple_of={rows_multiple_of}: must be 1 or more.")
    table = np.asarray(rows)
    integers = np.issubdtype(table.dtype, np.integer)
    if table.shape not in ((), (buckets,)) or not integers or table.min() < 1 or table.max() > np.iinfo(np.int32).max:
        raise ValueError(
            f"{name}={table.tolist()}: must be 1 or more rows: one integer, or {buckets}, one for each bucket."
        )
    if (table % rows_multiple_of).any():
        raise ValueError(
            f"{name}={table.tolist()}: must be multiples of {rows_multiple_of}, as every host or device takes "
            "the same number of rows."
        )
    table = np.broadcast_to(table, buckets).astype(np.int64)
    table.setflags(write=False)
    return table


def _fits(sizes: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Returns which sizes [N, D] fit a shape [D], bool [N]."""
    fits = sizes[:, 0] <= shape[0]
    for axis in range(1, len(shape)):
        fits &= sizes[:, axis] <= shape[axis]
    return fits
