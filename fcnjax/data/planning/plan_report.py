"""The cost of buckets before any training: of each bucket, and of the whole plan compared with common baselines.

Axes: N examples, D spatial axes, K buckets. The one idea: counts and batch sizes determine the whole cost, so a report
is plain numbers. `bucket_table` and `comparison_table` show them on a terminal; `plan_figure` draws the plan.
"""

from dataclasses import dataclass

import numpy as np
from rich.table import Table

from fcnjax.data.planning.baseline_buckets import aspect_groups, equal_count_groups, pad_to_max
from fcnjax.data.planning.buckets import BucketPlan
from fcnjax.data.size_table import areas, checked_table
from fcnjax.naming import joined
from fcnjax.table_style import tight_table


@dataclass(frozen=True)
class BucketRow:
    """One bucket of a plan.

    Attributes:
        shape: extents [D] in positions.
        examples: how many examples go to the bucket.
        share: their share of all examples, 0 to 1.
        waste: padded over real positions of these examples, minus 1; 0.0 without examples.
        batch_size: rows of a batch; None if the plan has no batch sizes.
        batches: batches of one epoch; None without a batch size.
        filler_rows: rows of one epoch that hold no example; None without a batch size.
    """

    shape: tuple[int, ...]
    examples: int
    share: float
    waste: float
    batch_size: int | None
    batches: int | None
    filler_rows: int | None


@dataclass(frozen=True)
class PlanRow:
    """All buckets of a plan together.

    Attributes:
        name: the method that made the plan.
        buckets: K.
        waste: padded over real positions, minus 1, without filler rows.
        batches: batches of one epoch; None without batch sizes, or if one row of a bucket exceeds the pixel budget.
        filler_rows: rows of one epoch that hold no example. An upper bound: `EpochPlan` fills rows with examples of
            smaller buckets if that saves a batch (see `remainders`). None as for `batches`.
        waste_with_filler: `waste` with the filler rows counted as padding; None as for `batches`.
        programs: buckets that hold an example; the train step is compiled once for each.
    """

    name: str
    buckets: int
    waste: float
    batches: int | None
    filler_rows: int | None
    waste_with_filler: float | None
    programs: int


@dataclass(frozen=True)
class PlanReport:
    """The cost of a plan for a size table: of each bucket, and of the whole plan compared with the baselines.

    Attributes:
        examples: N.
        buckets: one row for each bucket, by increasing area.
        comparison: the plan first, then the baselines.
    """

    examples: int
    buckets: tuple[BucketRow, ...]
    comparison: tuple[PlanRow, ...]


def plan_report(
    sizes: np.ndarray,
    plan: BucketPlan,
    *,
    batch_size: int | None = None,
    pixel_budget: int | None = None,
    rows_multiple_of: int = 1,
) -> PlanReport:
    """Returns the cost of a plan on these sizes, and of the baselines: padding to the largest size, and simple groups.

    Args:
        sizes: int [N, D], the size table; each size must fit a bucket of the plan.
        plan: the buckets; their `batch_sizes` are used if they have any.
        batch_size: rows of every batch, for the baselines and for a plan without batch sizes.
        pixel_budget: determines the batch sizes of the baselines instead.
        rows_multiple_of: with a budget, the baselines' batch sizes are multiples of this.

    Returns:
        The report; "equal counts" groups the sizes into as many buckets as the plan has.

    Raises:
        ValueError: if a size fits no bucket, or `batch_size` is below 1 or given together with a budget.

    >>> report = plan_report(np.array([[5], [6], [6], [9]]), BucketPlan(np.array([[6], [9]])), batch_size=2)
    >>> [(row.shape, row.examples, row.filler_rows) for row in report.buckets]
    [((6,), 3, 1), ((9,), 1, 1)]
    >>> [(row.name, row.batches, row.programs) for row in report.comparison]
    [('planned', 3, 2), ('pad to max', 2, 1), ('equal counts', 3, 2)]
    """
    sizes = checked_table("sizes", sizes, axes=plan.shapes.shape[1])
    if batch_size is not None and pixel_budget is not None:
        raise ValueError(
            f"batch_size={batch_size}: must not be given with pixel_budget={pixel_budget}; give one of them."
        )
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: must be 1 or more rows.")
    baselines = {"pad to max": pad_to_max(sizes)}
    if sizes.shape[1] == 2:
        baselines["aspect groups"] = aspect_groups(sizes)
    baselines["equal counts"] = equal_count_groups(sizes, len(plan.shapes))
    rows = _bucket_rows(sizes, _with_batch_sizes(plan, batch_size, None, 1))
    comparison = [_plan_row("planned", sizes, rows)]
    for name, baseline in baselines.items():
        baseline = _with_batch_sizes(baseline, batch_size, pixel_budget, rows_multiple_of)
        comparison.append(_plan_row(name, sizes, _bucket_rows(sizes, baseline)))
    return PlanReport(len(sizes), rows, tuple(comparison))


def bucket_table(report: PlanReport) -> Table:
    """Returns one row per bucket, for a terminal."""
    columns = ("bucket", "examples", "share", "batch size", "batches", "waste", "filler rows")
    table = tight_table(*columns)
    for row in report.buckets:
        share, waste = f"{row.share:.1%}", f"{row.waste:.3f}"
        numbers = (_count(n) for n in (row.batch_size, row.batches))
        table.add_row(joined(row.shape), _count(row.examples), share, *numbers, waste, _count(row.filler_rows))
    return table


def comparison_table(report: PlanReport) -> Table:
    """Returns one row per plan, for a terminal."""
    columns = ("plan", "buckets", "waste", "batches", "filler rows", "with filler", "programs")
    table = tight_table(*columns)
    for row in report.comparison:
        filled = "-" if row.waste_with_filler is None else f"{row.waste_with_filler:.3f}"
        numbers = (_count(n) for n in (row.batches, row.filler_rows))
        table.add_row(row.name, _count(row.buckets), f"{row.waste:.3f}", *numbers, filled, _count(row.programs))
    return table


def _with_batch_sizes(plan: BucketPlan, batch_size: int | None, budget: int | None, multiple: int) -> BucketPlan:
    """Returns the plan with its own batch sizes, else with the given ones; without any if the budget is too small."""
    if plan.batch_sizes is not None:
        return plan
    if batch_size is not None:
        return BucketPlan(plan.shapes, np.full(len(plan.shapes), batch_size))
    if budget is None or budget < multiple * areas(plan.shapes).max():
        return plan
    return plan.with_budget(budget, multiple)


def _bucket_rows(sizes: np.ndarray, plan: BucketPlan) -> tuple[BucketRow, ...]:
    """Returns the cost of each bucket."""
    assignment, buckets = plan.assign(sizes), len(plan.shapes)
    examples = np.bincount(assignment, minlength=buckets)  # [K]
    real = np.bincount(assignment, weights=areas(sizes), minlength=buckets)  # [K], positions
    padded = examples * areas(plan.shapes)
    rows = []
    for bucket, shape in enumerate(plan.shapes.tolist()):
        count = int(examples[bucket])
        batch_size = None if plan.batch_sizes is None else int(plan.batch_sizes[bucket])
        batches = None if batch_size is None else -(-count // batch_size)
        filler = None if batch_size is None or batches is None else batches * batch_size - count
        waste = float(padded[bucket] / real[bucket] - 1) if count else 0.0
        rows.append(BucketRow(tuple(shape), count, count / len(sizes), waste, batch_size, batches, filler))
    return tuple(rows)


def _plan_row(name: str, sizes: np.ndarray, rows: tuple[BucketRow, ...]) -> PlanRow:
    """Returns the cost of all buckets together."""
    real, area = int(areas(sizes).sum()), areas(np.array([row.shape for row in rows])).tolist()
    padded = sum(a * row.examples for a, row in zip(area, rows, strict=True))
    batches = filler = with_filler = None
    if rows[0].batch_size is not None:
        batches = sum(row.batches or 0 for row in rows)
        filler = sum(row.filler_rows or 0 for row in rows)
        with_filler = (padded + sum(a * (row.filler_rows or 0) for a, row in zip(area, rows, strict=True))) / real - 1
    programs = sum(row.examples > 0 for row in rows)
    return PlanRow(name, len(rows), padded / real - 1, batches, filler, with_filler, programs)


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"
