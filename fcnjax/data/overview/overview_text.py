"""An overview of data as text for a terminal of 80 columns: a table of classes, and a line for each other fact."""

import io
import textwrap
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.text import Text

from fcnjax.data.overview.data_overview import DataOverview, SizeRange
from fcnjax.data.sources.source import Ignored
from fcnjax.naming import joined, printable, shortened, some
from fcnjax.table_style import tight_table

WIDTH = 80  # columns
SHOWN = 12  # rows of the table of classes
LONGEST_NAME = 32  # characters of a class's name
LISTED = 12  # reasons for which files were ignored or left out
NAMED = 5  # classes that are named instead of a table


def overview_text(overview: DataOverview, name: str) -> str:
    """Returns an overview as lines of at most 80 columns, unless the name alone is longer.

    Args:
        overview: what the data are.
        name: of the data set, such as "mnist".
    """
    facts = [("sizes", _sizes(overview)), ("values", _values(overview))]
    facts += [("ignored", text) for text in reason_lines(overview.ignored)]
    facts += [("left out", text) for text in reason_lines(overview.unreadable)]
    facts += [("note", text) for text in overview.notes]
    facts += [("warning", text) for text in overview.warnings]
    counts = ", ".join(f"{count:,} {split}" for split, count in overview.examples.items())
    classes = f"{len(overview.class_names):,} class{'es' * (len(overview.class_names) != 1)}"
    title, counted = printable(name), f"{counts} examples in {classes}"
    gap = " " if len(title) + len(counted) < WIDTH - 1 else "\n  "
    return "\n".join([f"{title}:{gap}{counted}", "", _class_table(overview), "", *_lines(facts)])


def reason_lines(found: Sequence[Ignored]) -> list[str]:
    """Returns a line for each reason for which files were not used: how many, why, and one of them.

    >>> reason_lines([Ignored("a table", 2, "labels.csv")])
    ['2 files: a table, such as labels.csv']
    """
    lines = []
    for each in found[:LISTED]:
        what = "1 file" if each.count == 1 else f"{each.count:,} files"
        lines.append(printable(f"{what}: {each.reason}, such as {each.example}"))
    rest = found[LISTED:]
    if rest:
        lines.append(f"{sum(each.count for each in rest):,} more, for {len(rest)} other reasons")
    return lines


def _class_table(overview: DataOverview) -> str:
    """Returns the table of the examples of each class in each split: of many classes the most and least frequent."""
    counts = overview.class_counts
    known = [each for each in counts.values() if each is not None]
    if not known:
        return f"classes  {some([shortened(each) for each in overview.class_names], NAMED)}"
    frequency = counts["train"] if counts["train"] is not None else np.sum(known, axis=0)
    order = list(range(len(overview.class_names)))
    hidden: list[int] = []
    if len(order) > SHOWN:
        order = np.argsort(-frequency, kind="stable").tolist()
        head, tail = order[: SHOWN // 2], order[len(order) - (SHOWN - SHOWN // 2 - 1) :]
        hidden = order[SHOWN // 2 : len(order) - len(tail)]
        order = [*head, -1, *tail]
    table = tight_table("class", *counts)
    for label in order:
        rows, title = ([label], shortened(overview.class_names[label], LONGEST_NAME)) if label >= 0 else (hidden, "")
        cells = ["-" if each is None else f"{each[rows].sum():,}" for each in counts.values()]
        table.add_row(Text(title or f"… {len(hidden):,} more"), *cells)
    drawn = io.StringIO()
    Console(file=drawn, width=WIDTH, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in drawn.getvalue().rstrip("\n").split("\n"))


def _sizes(overview: DataOverview) -> str:
    channels = f"{overview.channels} channel{'s' * (overview.channels != 1)}"
    text = f"{_range(overview.sizes)}; {channels}"
    if overview.native != overview.sizes:
        text += f"; before the size policy {_range(overview.native)}"
    rate = overview.sample_rate
    if rate is not None and len(overview.sizes.median) == 1:
        low, middle, high = (f"{size[0] / rate:.2f}" for size in overview.native)
        text += f"; {low} to {high} s, median {middle} s," if low != high else f"; {low} s"
        text += f" at {rate:,} Hz"
    return text


def _range(sizes: SizeRange) -> str:
    low, middle, high = map(joined, sizes)
    return f"all {low}" if low == high else f"{low} to {high}, median {middle}"


def _values(overview: DataOverview) -> str:
    values = overview.values
    if values is None:
        return "none of the examples that were tried could be decoded"
    scale = {"uint8": " (of 0 to 255, divided by 255)", "float32": ""}.get(values.dtype, " (uint8 divided by 255)")
    count = f"{values.examples} training example{'s' * (values.examples != 1)}"
    return f"{values.dtype}, mean {values.mean:.3g}, largest {values.peak:.3g}{scale}; {count} decoded"


def _lines(facts: Sequence[tuple[str, str]]) -> list[str]:
    """Returns facts below each other, the name of each in a column of its own; a name is not repeated."""
    indent = max(len(name) for name, _ in facts) + 2
    lines, before = [], ""
    for name, text in facts:
        start = "" if name == before else name
        lines += textwrap.wrap(
            printable(text),
            WIDTH,
            initial_indent=f"{start:{indent}}",
            subsequent_indent=" " * indent,
            break_on_hyphens=False,
        )
        before = name
    return lines
