"""Tables of labels: CSV, TSV, JSON lines and Parquet as rows of texts, and columns by name or by template.

The one idea: every value is a text, as it stands in the file: "007" stays a name and does not become the number 7.
"""

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcnjax.naming import first_line, printable, shortened, unknown_name

DELIMITERS = (",", ";", "\t", "|")  # a blank divides only what none of them does
UNNAMED = "column"  # and its number: the name of a column without one, such as that of row numbers
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
_FIELD = re.compile(r"{([^{}:]+)(?::([^{}]*))?}")
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}


@dataclass(frozen=True)
class LabelTable:
    """A table of texts.

    Attributes:
        name: path of its file, for messages.
        columns: names of the columns.
        rows: the values of each row by column; an empty text where there is none.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]

    def values(self, column: str, field: str) -> list[str]:
        """Returns the value of each row of a column, or of a template such as "images/{id}.jpg".

        Args:
            column: name of a column, or a template of names in braces; "{ClassId:05}" formats a whole number.
            field: what asks for it, for messages, such as "labels.path".

        Raises:
            ValueError: if there is no such column, or a value cannot be formatted.
        """
        fields = _FIELD.findall(column) if column not in self.columns else []
        if not fields and column not in self.columns:
            raise ValueError(f"{field}={column!r}: {unknown_name(f'column of {self.name}:', column, self.columns)}")
        for name, _ in fields:
            if name not in self.columns:
                raise ValueError(f"{field}={column!r}: {unknown_name(f'column of {self.name}:', name, self.columns)}")
        if not fields:
            return [row[column] for row in self.rows]
        return [_filled(column, row, f"{field}={column!r}", self.name, index) for index, row in enumerate(self.rows)]


def read_table(path: Path, columns: Sequence[str] | None = None) -> LabelTable:
    """Returns a table; a text file is read as CSV with the delimiter that divides its first lines most evenly.

    Args:
        path: a file that ends in .parquet, .json, .jsonl or .ndjson, or any other: CSV.
        columns: names of the columns of a CSV file whose first line is a row; None: its first line names them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not such a table, or has no rows.
    """
    name, suffix = printable(path), path.suffix.lower()
    if not path.is_file():
        raise FileNotFoundError(f"labels.table={name}: no such file; give its path relative to the folder of the data.")
    if suffix in (".xlsx", ".xls", ".ods"):
        raise ValueError(f"labels.table={name}: must be CSV, TSV, JSON lines or Parquet; save the sheet as CSV.")
    try:
        if suffix == ".parquet":
            names, rows = _parquet_rows(path)
        elif suffix in JSON_SUFFIXES:
            names, rows = _json_rows(path)
        else:
            names, rows = _csv_rows(path, columns)
    except (ValueError, csv.Error) as error:  # errors of pyarrow and json are ValueErrors
        reason = shortened(first_line(error), 120)
        raise ValueError(
            f"labels.table={name}: cannot be read ({reason}); save it as CSV with one line a row."
        ) from None
    if not rows:
        raise ValueError(f"labels.table={name}: must have at least one row below the names of its columns.")
    return LabelTable(name, tuple(names), tuple(rows))


def _csv_rows(path: Path, columns: Sequence[str] | None) -> tuple[list[str], list[dict[str, str]]]:
    content = path.read_bytes()
    encoding = next((kind for mark, kind in _MARKS.items() if content.startswith(mark)), "utf-8")
    text = content.decode(encoding, "surrogateescape")  # names of files may be in any bytes
    lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), skipinitialspace=True))
    lines = [(number, line) for number, line in enumerate(lines, 1) if any(cell.strip() for cell in line)]
    if not lines:
        return [], []
    names = list(columns) if columns else [cell.strip() or f"{UNNAMED} {n}" for n, cell in enumerate(lines[0][1], 1)]
    if any(not is_unicode(name) for name in names):
        raise ValueError("its names of columns are not UTF-8; save the table as UTF-8")
    if len(set(names)) < len(names):
        raise ValueError("two columns have one name")
    rows = []
    for number, line in lines if columns else lines[1:]:
        if len(line) > len(names) and any(cell.strip() for cell in line[len(names) :]):
            raise ValueError(f"line {number} has {len(line)} values for {len(names)} columns")
        cells = [cell.strip() for cell in line] + [""] * (len(names) - len(line))
        rows.append(dict(zip(names, cells, strict=False)))
    return names, rows


def is_unicode(text: str) -> bool:
    """Returns whether a text came from valid UTF-8: names of files may be other bytes, names of classes not."""
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


def _delimiter(text: str) -> str:
    """Returns the delimiter that divides the first lines into the same number of columns, as many as possible."""
    start = io.StringIO("\n".join(text.splitlines()[:20]), newline="")

    def evenness(delimiter: str) -> tuple[float, int]:
        start.seek(0)
        counts = [len(line) for line in csv.reader(start, delimiter=delimiter) if line]
        if not counts or counts[0] == 1:
            return 0, 1
        return sum(count == counts[0] for count in counts) / len(counts), counts[0]

    best = max(DELIMITERS, key=evenness)
    return best if evenness(best)[0] or not evenness(" ")[0] else " "


def _json_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    text = path.read_text("utf-8-sig", errors="surrogateescape")
    items = (
        json.loads(text) if text.lstrip().startswith("[") else [json.loads(x) for x in text.splitlines() if x.strip()]
    )
    if not all(isinstance(item, dict) for item in items):
        raise ValueError("every line must be an object with one value a column")
    names = list(dict.fromkeys(str(name) for item in items for name in item))
    return names, [{name: _as_text(item.get(name)) for name in names} for item in items]


def _parquet_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    from pyarrow import parquet  # here: it takes a tenth of a second to import

    table = parquet.read_table(path)
    columns = {str(name): [_as_text(value) for value in table[name].to_pylist()] for name in table.column_names}
    return list(columns), [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _as_text(value: Any) -> str:
    """Returns a value as a text; whole numbers that were stored as floats lose their ".0", missing ones are empty."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value).strip()


def _filled(template: str, row: Mapping[str, str], argument: str, table: str, index: int) -> str:
    def value(match: re.Match[str]) -> str:
        text, form = row[match[1]], match[2]
        if not form or not text:
            return text
        try:
            return format(int(text), form)
        except ValueError:
            raise ValueError(
                f"{argument}: must format whole numbers, and row {index + 1} of {table} holds "
                f"{printable(repr(text))}; leave the ':{form}' out."
            ) from None

    return _FIELD.sub(value, template)
