"""Size tables [N, D] in CSV files: a header, then one line per example with its extents in positions."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fcnjax.naming import printable

COLUMNS = (("depth", "height", "width"), ("height", "width"), ("length",))  # for D = 3, 2, 1


def read_sizes(path: Path | str) -> np.ndarray:
    """Returns the size table of a CSV file.

    Args:
        path: a file whose first line names columns, in any order: `length`, or `height` and `width`, with or without
            `depth`. Other columns and empty lines are ignored.

    Returns:
        int64 [N, D], axes in the order depth, height, width, rows in the order of the file.

    Raises:
        ValueError: if a column is missing, a cell is not an integer from 1 to 2^31 - 1, or the file holds no example.
        OSError: if the file cannot be read.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file)
            header = [name.strip().lower() for name in next(lines, [])]
            columns = next((names for names in COLUMNS if set(names) <= set(header)), None)
            if columns is None:
                raise ValueError(
                    f"{path}, line 1: must name the columns length, or height and width, or depth, height and width, "
                    f"but it names {printable(', '.join(header)) or 'none'}; write a first line with these names."
                )
            places = {name: header.index(name) for name in columns}
            rows = list(_rows(path, lines, places))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: must be CSV text in UTF-8 ({error}); save it as such.") from None
    if not rows:
        raise ValueError(f"{path}: must hold an example; write the extents of one on each line below the header.")
    return np.array(rows, np.int64)


def _rows(path: Path | str, lines: Iterator[list[str]], places: dict[str, int]) -> Iterator[list[int]]:
    """Yields the extents of each example; `places` maps the name of each axis to its column."""
    for number, cells in enumerate(lines, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        row = []
        for name, place in places.items():
            text = cells[place].strip() if place < len(cells) else ""
            extent = int(text) if text.isascii() and text.isdigit() else 0
            if not 1 <= extent < 2**31:
                raise ValueError(
                    f"{path}, line {number}: {name}={text!r}: must be an integer from 1 to 2^31 - 1; correct it, or "
                    "leave the line out."
                )
            row.append(extent)
        yield row
