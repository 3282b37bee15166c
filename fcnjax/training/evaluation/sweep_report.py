"""The report of one network at several sizes: tables for the terminal, and rows for a file."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.table import Table

from fcnjax.table_style import tight_table
from fcnjax.training.evaluation.groups import Group, accuracy_interval
from fcnjax.training.evaluation.metrics import Metrics
from fcnjax.training.evaluation.size_sweep import AtSize

COLUMNS = ("examples", "accuracy", "95 % interval", "log loss", "calibration error")
CSV_COLUMNS = ("examples", "correct", "accuracy", "low", "high", "log_loss", "mean_probability", "calibration_error")


def sweep_tables(sizes: Sequence[AtSize]) -> list[Table]:
    """Returns a table with a row for each size, and tables of the first one by native area and aspect ratio."""
    table = tight_table("size", *COLUMNS, title="at other sizes")
    for each in sizes:
        table.add_row(each.name, *_cells(each.metrics))
    groups: dict[str, Table] = {}
    for name, group in sizes[0].by():
        by = groups.setdefault(name, tight_table(f"native {name}", *COLUMNS, title=f"{sizes[0].name} size, by {name}"))
        by.add_row(extent(name, group), *_cells(group.metrics))
    return [table, *groups.values()]


def sweep_rows(sizes: Sequence[AtSize]) -> Iterator[Sequence[Any]]:
    """Yields the rows of a file: all examples at each size, then the groups of each size by native area and aspect."""
    yield "size", "by", "from", "to", *CSV_COLUMNS
    for each in sizes:
        yield each.name, "all", "", "", *_numbers(each.metrics)
    for each in sizes:
        for name, group in each.by():
            yield each.name, name, group.lowest, group.highest, *_numbers(group.metrics)


def extent(name: str, group: Group) -> str:
    """Returns the numbers of a group by "area", "length" or "aspect", such as "204 to 299"."""
    lowest, highest = (f"{number:.2f}" if name == "aspect" else f"{number:,.0f}" for number in group[:2])
    return lowest if lowest == highest else f"{lowest} to {highest}"


def _cells(metrics: Metrics) -> Iterable[str]:
    low, high = accuracy_interval(metrics.correct(), metrics.count)
    yield f"{metrics.count:,}"
    yield f"{metrics.accuracy():.2%}"
    yield f"{100 * low:.1f} to {100 * high:.1f}"
    yield f"{metrics.loss:.4f}"
    yield f"{metrics.calibration.error:.4f}"


def _numbers(metrics: Metrics) -> Sequence[Any]:
    interval, mean = accuracy_interval(metrics.correct(), metrics.count), metrics.mean_probability
    first = (metrics.count, metrics.correct(), metrics.accuracy(), *interval)
    return *first, metrics.loss, mean, metrics.calibration.error
