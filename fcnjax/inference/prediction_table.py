"""Tables of predictions: one row a file, with its most probable classes, as CSV, JSON lines or Parquet."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from fcnjax.atomic import write_bytes
from fcnjax.inference.prediction import Prediction
from fcnjax.naming import printable, spreadsheet_text, writable

Row = dict[str, Any]


def check_table(path: Path, *, overwrite: bool = False) -> None:
    """Checks that a table can be written to a path, before anything that takes time.

    Raises:
        ValueError: if its suffix is of no known format.
        FileExistsError: if it exists and may not be overwritten.
    """
    if path.suffix not in WRITERS:
        raise ValueError(f"to={path}: must end in {', '.join(WRITERS)}; choose one of these formats.")
    if path.is_dir() or (path.exists() and not overwrite):
        raise FileExistsError(f"to={path}: exists; choose another path, or replace the file with --overwrite.")


def write_table(
    path: Path,
    files: Sequence[str],
    found: Sequence[Prediction | None],
    unreadable: Mapping[str, str],
    *,
    top: int = 5,
    pictures: Sequence[str] | None = None,
) -> None:
    """Writes a table of predictions, which is complete or absent.

    The columns are `file`, `class` and `probability` of the most probable class, `class_2`, `probability_2` and so on
    of the next ones, `class_map` with `pictures`, and `error`: why a file has no prediction.

    Args:
        path: ends in .csv, .jsonl or .parquet.
        files: paths, one for each row.
        found: their predictions.
        unreadable: why a file has none, by its path.
        top: number of classes of each file.
        pictures: names of the pictures of class maps, one for each row, empty for none; None leaves the column out.
    """
    rows = [_row(*pair, unreadable, top) for pair in zip(files, found, strict=True)]
    for row, picture in zip(rows, pictures or (), strict=False):
        row |= {"class_map": picture} if picture else {}
    width = min(top, max((len(each.classes) for each in found if each is not None), default=1))
    columns = ["file", *(f"{name}{_rank(i)}" for i in range(width) for name in ("class", "probability"))]
    columns += ["error"] if pictures is None else ["class_map", "error"]
    write_bytes(path, WRITERS[path.suffix](columns, rows))


def _row(file: str, prediction: Prediction | None, unreadable: Mapping[str, str], top: int) -> Row:
    name = printable(file)
    if prediction is None:
        return {"file": name, "error": printable(unreadable.get(str(Path(file)), "has no prediction"))}
    row: Row = {"file": name}
    for index, (label, probability) in enumerate(prediction.top(top)):
        row |= {f"class{_rank(index)}": writable(label), f"probability{_rank(index)}": probability}
    return row


def _rank(index: int) -> str:
    return f"_{index + 1}" if index else ""


def _csv(columns: Sequence[str], rows: Sequence[Row]) -> bytes:
    """Returns CSV; an apostrophe precedes a text that a spreadsheet would run as a formula."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({n: spreadsheet_text(value) if isinstance(value, str) else value for n, value in row.items()})
    return text.getvalue().encode()


def _json_lines(columns: Sequence[str], rows: Sequence[Row]) -> bytes:
    del columns
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


def _parquet(columns: Sequence[str], rows: Sequence[Row]) -> bytes:
    kinds = [(name, pyarrow.float64() if name.startswith("probability") else pyarrow.string()) for name in columns]
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(list(rows), pyarrow.schema(kinds)), buffer)
    return buffer.getvalue()


WRITERS: dict[str, Callable[[Sequence[str], Sequence[Row]], bytes]] = {
    ".csv": _csv,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
