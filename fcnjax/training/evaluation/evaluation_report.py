"""The report of an evaluation: tables for the terminal, and a folder of figures, tables and one line per example.

The folder holds `metrics.json`, `per_class.csv`, `predictions.csv`, `confusion.png`, `reliability.png` and `sizes.png`;
for a network at several sizes also `size_sweep.csv` and `size_sweep.png`. In the tables, an apostrophe precedes a name
that a spreadsheet would run as a formula.
"""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from fcnjax.atomic import atomic_folder, write_json, write_text
from fcnjax.data import Source, as_source
from fcnjax.naming import shortened, spreadsheet_text
from fcnjax.table_style import tight_table
from fcnjax.training.evaluation.metrics import Metrics, worst_classes, worst_confusions
from fcnjax.training.evaluation.size_sweep import AtSize
from fcnjax.training.evaluation.sweep_report import sweep_rows


def check_new(folder: Path | str, argument: str = "report") -> Path:
    """Returns the path of a folder for a report, or for the `argument` that an error names.

    Raises:
        FileExistsError: if the path exists and is not an empty folder.
    """
    path = Path(folder)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"{argument}={path}: must be a new or empty folder; choose another path.")
    return path


def summary_tables(metrics: Metrics, class_names: Sequence[str]) -> list[Table]:
    """Returns tables for a terminal: overall figures, accuracy by size, and the worst classes and confusions."""
    tables, names = [_figures_table(metrics), _size_table(metrics)], [escape(shortened(name)) for name in class_names]
    classes, pairs = worst_classes(metrics), worst_confusions(metrics)
    if classes:
        tables.append(_class_table(metrics, names, classes))
    if pairs:
        table = tight_table("class", "taken for", "times", title="most frequent mistakes", left=2)
        for label, prediction, times in pairs:
            table.add_row(names[label], names[prediction], f"{times:,}")
        tables.append(table)
    return tables


def write_report(
    folder: Path | str,
    metrics: Metrics,
    source: Source,
    about: dict[str, Any] | None = None,
    sizes: Sequence[AtSize] = (),
) -> Path:
    """Writes the report of an evaluation into a new folder, which is complete or absent, and returns its path.

    Args:
        folder: new or empty.
        metrics: the metrics of all examples of the source.
        source: the evaluated examples, with their ids, their names if they have any, and the names of the classes.
        about: further entries of `metrics.json`, such as the split.
        sizes: the figures at several sizes, if there are any (see `sweep`).

    Raises:
        FileExistsError: if the folder is not empty.
        OSError: if the report cannot be written.
    """
    # Imported here, because these modules import matplotlib, which only a report needs.
    from fcnjax.figure_style import save_figure
    from fcnjax.training.evaluation.evaluation_figures import confusion_figure, reliability_figure, size_figure
    from fcnjax.training.evaluation.sweep_figure import sweep_figure

    source = as_source(source)
    with atomic_folder(check_new(folder)) as path:
        write_json(path / "metrics.json", (about or {}) | figures(metrics))
        write_text(path / "per_class.csv", _csv(_class_rows(metrics, source.class_names)))
        write_text(path / "predictions.csv", _csv(_prediction_rows(metrics, source)))
        save_figure(confusion_figure(metrics, source.class_names), path / "confusion.png")
        save_figure(reliability_figure(metrics), path / "reliability.png")
        save_figure(size_figure(metrics), path / "sizes.png")
        if sizes:
            write_text(path / "size_sweep.csv", _csv(sweep_rows(sizes)))
            save_figure(sweep_figure(sizes), path / "size_sweep.png")
    return Path(folder)


def figures(metrics: Metrics) -> dict[str, Any]:
    """Returns the figures as in `metrics.json`: counts as integers, and None for numbers that are not finite."""
    calibration = metrics.calibration
    bins = zip(
        calibration.edges[:-1].tolist(),
        calibration.edges[1:].tolist(),
        calibration.counts.tolist(),
        calibration.correct.tolist(),
        calibration.confidence.tolist(),
        strict=True,
    )
    names = ("above", "up_to", "count", "correct", "confidence")
    return {
        "count": metrics.count,
        "left_out": metrics.left_out,
        **{f"top{k}": {"correct": metrics.correct(k), "accuracy": metrics.accuracy(k)} for k in metrics.ks},
        "loss": _finite(metrics.loss),
        "expected_calibration_error": _finite(calibration.error),
        "calibration": [dict(zip(names, map(_finite, row), strict=True)) for row in bins],
        "sizes": [group._asdict() for group in metrics.by_size()],
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _class_rows(metrics: Metrics, class_names: Sequence[str]) -> Iterable[Sequence[Any]]:
    yield "class", "name", "count", "correct", "accuracy"
    counts, correct = metrics.class_counts.tolist(), metrics.class_correct.tolist()
    for index, (name, count, right) in enumerate(zip(class_names, counts, correct, strict=True)):
        yield index, name, count, right, right / count if count else ""


def _prediction_rows(metrics: Metrics, source: Source) -> Iterable[Sequence[Any]]:
    """Yields a row per example of the source; an example that could not be decoded has no label and no prediction."""
    names, classes = source.names, source.class_names
    yield "id", *(() if names is None else ("name",)), "label", "prediction", "probability"
    labels, predictions = ([classes[i] for i in which.tolist()] for which in (metrics.labels, metrics.predictions))
    decoded = iter(zip(labels, predictions, metrics.probabilities.tolist(), strict=True))
    for index, known in enumerate(metrics.known.tolist()):
        name = () if names is None else (names[index],)
        yield int(source.ids[index]), *name, *(next(decoded) if known else ("", "", ""))


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO(newline="")
    cells = ([spreadsheet_text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    csv.writer(text, lineterminator="\n").writerows(cells)
    return text.getvalue()


def _figures_table(metrics: Metrics) -> Table:
    table = tight_table(
        "", "", title=f"{metrics.count:,} examples" + f", {metrics.left_out:,} left out" * bool(metrics.left_out)
    )
    table.show_header = False
    for k in metrics.ks:
        table.add_row(f"top-{k} accuracy", f"{metrics.accuracy(k):.2%} ({metrics.correct(k):,})")
    table.add_row("cross-entropy", f"{metrics.loss:.4f}")
    table.add_row("expected calibration error", f"{metrics.calibration.error:.4f}")
    return table


def _size_table(metrics: Metrics) -> Table:
    table = tight_table("positions", "examples", "correct", "accuracy", title="by size")
    for group in metrics.by_size():
        extent = f"{group.smallest:,} to {group.largest:,}" if group.smallest < group.largest else f"{group.smallest:,}"
        table.add_row(extent, f"{group.examples:,}", f"{group.correct:,}", f"{group.correct / group.examples:.2%}")
    return table


def _class_table(metrics: Metrics, names: Sequence[str], classes: list[int]) -> Table:
    table = tight_table("class", "examples", "correct", "accuracy", title="least accurate classes")
    for index in classes:
        count, correct = int(metrics.class_counts[index]), int(metrics.class_correct[index])
        table.add_row(names[index], f"{count:,}", f"{correct:,}", f"{correct / count:.2%}")
    return table
