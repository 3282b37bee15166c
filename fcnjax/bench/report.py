"""Results of a benchmark that runs in rounds: medians and quartiles, as fields of its JSON file and as a table."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from fcnjax.table_style import tight_table


class Quantity(NamedTuple):
    """A quantity that a benchmark reports.

    Attributes:
        meaning: description for the table.
        target: the values to reach, such as "at most 1.10"; empty if there is no target.
        unit: unit of the quantity; empty for a ratio.
    """

    meaning: str
    target: str = ""
    unit: str = ""


class Spread(NamedTuple):
    """The median of several rounds, with the lower and the upper quartile."""

    median: float
    low: float
    high: float


def spread(rounds: Sequence[float]) -> Spread:
    """Returns the median and the quartiles of a quantity measured in each round."""
    low, median, high = np.percentile(rounds, (25, 50, 75)).tolist()
    return Spread(median, low, high)


def ratio(over: Sequence[float], under: Sequence[float]) -> Spread:
    """Returns the spread of the ratios `over / under`, one per round: anything that slows a whole round cancels."""
    return spread([a / b for a, b in zip(over, under, strict=True)])


def quantity_fields(quantities: Mapping[str, Quantity], spreads: Mapping[str, Spread]) -> dict[str, Any]:
    """Returns the medians of `quantities` by name, their quartiles and their targets, as fields of a result.

    The median of a quantity without a spread is None.
    """
    return {
        **{name: spreads[name].median if name in spreads else None for name in quantities},
        "ratio_quartiles": {name: (low, high) for name, (_, low, high) in spreads.items()},
        "targets": {name: quantity.target for name, quantity in quantities.items()},
    }


def rounds_field(measured: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Any]]:
    """Returns the median and the quartiles of each timed program, with the measurement of each round."""
    return {name: {**spread(rounds)._asdict(), "rounds": rounds} for name, rounds in measured.items()}


def report_table(
    result: Mapping[str, Any], quantities: Mapping[str, Quantity], title: str, field: str, unit: str
) -> Table:
    """Returns a table of the quantities with quartiles and targets, then of the timed programs.

    Args:
        result: the result of the benchmark, with the fields of `quantity_fields`.
        quantities: the quantities to show first.
        title: what was measured; devices, threads and rounds are added.
        field: name of the field that holds what `rounds_field` returns.
        unit: unit of the numbers in that field.
    """
    title = f"{title}, {result['devices']}, {result['threads']} threads, {result['rounds']} rounds"
    table = tight_table("", "median", "quartiles", "target", title=title, left=4)
    for name, (meaning, target, suffix) in quantities.items():
        median, quartiles = result[name], result["ratio_quartiles"].get(name)
        shown = "-" if median is None else f"{median:.2f} {suffix}" if suffix else f"{median:.3f}"
        table.add_row(f"{name}\n  {meaning}", shown, _between(*quartiles) if quartiles else "", target)
    table.add_section()
    for name, rounds in result[field].items():
        table.add_row(f"{name}, {unit}", f"{rounds['median']:.3f}", _between(rounds["low"], rounds["high"]), "")
    return table


def _between(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}"
