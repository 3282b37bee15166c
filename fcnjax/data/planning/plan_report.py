"""What a plan costs, before anything is trained: per rectangle, and beside what loaders commonly do.

Axes: N examples, D spatial axes, K rectangles. The one idea: counts and batch sizes say it all, so a report is plain
numbers; `bucket_table` and `comparison_table` show them on a terminal, `plan_figure` in another file draws them.
"""

from dataclasses import dataclass

import numpy as np
from rich.table import Table

from fcnjax.data.planning.baseline_plans import aspect_groups, equal_count_groups, pad_to_max
from fcnjax.data.planning.buckets import BucketPlan
from fcnjax.data.size_table import areas, checked_table
from fcnjax.naming import joined
from fcnjax.table_style import tight_table


@dataclass(frozen=True)
class BucketRow:
    """One rectangle of a plan.

    Attributes:
        shape: Extents [D] in positions.
        examples: How many go there.
        share: Of all examples, 0 to 1.
        waste: Padded over real positions of these examples, minus 1; 0.0 where there are none.
        batch_size: Rows of a batch; None where nobody has chosen it.
        batches: Of one epoch; None without a batch size.
        filler_rows: Rows of one epoch that hold no example; None without a batch size.
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
    """A whole plan.

    Attributes:
        name: What made it.
        rectangles: K.
        waste: Padded over real positions, minus 1, without filler rows.
        batches: Of one epoch; None without batch sizes, or where a rectangle alone exceeds the pixel budget.
        filler_rows: Rows of one epoch that hold no example. An upper bound: `EpochPlan` moves what is left over to
            larger rectangles where that saves a batch. None as for `batches`.
        waste_with_filler: `waste` with the filler rows counted as padding; None as for `batches`.
        programs: Rectangles that hold an example: so many compilations of the train step.
    """

    name: str
    rectangles: int
    waste: float
    batches: int | None
    filler_rows: int | None
    waste_with_filler: float | None
    programs: int


@dataclass(frozen=True)
class PlanReport:
    """A plan for a size table, rectangle by rectangle, and as a whole beside other plans.

    Attributes:
        examples: N.
        rectangles: One row for each rectangle, by increasing area.
        comparison: The plan first, then the others.
    """

    examples: int
    rectangles: tuple[BucketRow, ...]
    comparison: tuple[PlanRow, ...]


def plan_report(
    sizes: np.ndarray,
    plan: BucketPlan,
    *,
    batch_size: int | None = None,
    pixel_budget: int | None = None,
    rows_multiple_of: int = 1,
) -> PlanReport:
    """Works out what a plan costs on these sizes, and what padding to the largest and two ways of grouping would.

    Args:
        sizes: int [N, D], the size table; each must fit a rectangle of the plan.
        plan: Its `batch_sizes`, where it has them, are those of the report.
        batch_size: Rows of every batch, where the plan has no batch sizes; also of the other plans.
        pixel_budget: Given, it chooses the batch sizes of the other plans.
        rows_multiple_of: With a budget: their batch sizes are multiples of this.

    Returns:
        The report; the other plans have as many rectangles as this one where that can be chosen.

    Raises:
        ValueError: A size fits no rectangle, or `batch_size` is below 1 or given beside a budget.

    >>> report = plan_report(np.array([[5], [6], [6], [9]]), BucketPlan(np.array([[6], [9]])), batch_size=2)
    >>> [(row.shape, row.examples, row.filler_rows) for row in report.rectangles]
    [((6,), 3, 1), ((9,), 1, 1)]
    >>> [(row.name, row.batches, row.programs) for row in report.comparison]
    [('planned', 3, 2), ('pad to max', 2, 1), ('equal counts', 3, 2)]
    """
    sizes = checked_table("sizes", sizes, axes=plan.shapes.shape[1])
    if batch_size is not None and (batch_size < 1 or pixel_budget is not None):
        allowed = "1 or more rows" if pixel_budget is None else "one of batch_size and pixel_budget, not both"
        raise ValueError(f"batch_size: got {batch_size}; allowed is {allowed}")
    others = {"pad to max": pad_to_max(sizes)}
    if sizes.shape[1] == 2:
        others["aspect groups"] = aspect_groups(sizes)
    others["equal counts"] = equal_count_groups(sizes, len(plan.shapes))
    rows = _rectangle_rows(sizes, _with_batch_sizes(plan, batch_size, None, 1))
    comparison = [_plan_row("planned", sizes, rows)]
    for name, other in others.items():
        sized = _with_batch_sizes(other, batch_size, pixel_budget, rows_multiple_of)
        comparison.append(_plan_row(name, sizes, _rectangle_rows(sizes, sized)))
    return PlanReport(len(sizes), rows, tuple(comparison))


def bucket_table(report: PlanReport) -> Table:
    """One row per rectangle, for a terminal."""
    columns = ("rectangle", "examples", "share", "batch size", "batches", "waste", "filler rows")
    table = tight_table(*columns)
    for row in report.rectangles:
        share, waste = f"{row.share:.1%}", f"{row.waste:.3f}"
        numbers = (_count(n) for n in (row.batch_size, row.batches))
        table.add_row(joined(row.shape), _count(row.examples), share, *numbers, waste, _count(row.filler_rows))
    return table


def comparison_table(report: PlanReport) -> Table:
    """One row per plan, for a terminal."""
    columns = ("plan", "rectangles", "waste", "batches", "filler rows", "with filler", "programs")
    table = tight_table(*columns)
    for row in report.comparison:
        filled = "-" if row.waste_with_filler is None else f"{row.waste_with_filler:.3f}"
        numbers = (_count(n) for n in (row.batches, row.filler_rows))
        table.add_row(row.name, _count(row.rectangles), f"{row.waste:.3f}", *numbers, filled, _count(row.programs))
    return table


def _with_batch_sizes(plan: BucketPlan, batch_size: int | None, budget: int | None, multiple: int) -> BucketPlan:
    """The plan with batch sizes where it has none and they are known; without where the budget is too small."""
    if plan.batch_sizes is not None:
        return plan
    if batch_size is not None:
        return BucketPlan(plan.shapes, np.full(len(plan.shapes), batch_size))
    if budget is None or budget < multiple * areas(plan.shapes).max():
        return plan
    return plan.with_budget(budget, multiple)


def _rectangle_rows(sizes: np.ndarray, plan: BucketPlan) -> tuple[BucketRow, ...]:
    homes, buckets = plan.assign(sizes), len(plan.shapes)
    examples = np.bincount(homes, minlength=buckets)  # [K]
    real = np.bincount(homes, weights=areas(sizes), minlength=buckets)  # [K], positions
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
