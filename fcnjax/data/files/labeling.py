"""The label, split, group and weight of each file, from a table, lists or a pattern of paths.

The one idea: a row of a table finds its file by its path, and by its name alone only where one file has that name.
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fcnjax.data.files.file_index import LOOKED_AT, FileIndex, folder_of, names_file, relative_here
from fcnjax.data.files.label_settings import LabelSettings
from fcnjax.data.files.label_table import UNNAMED, LabelTable, is_unicode, read_table
from fcnjax.data.files.layout_notes import table_notes
from fcnjax.naming import printable, some

LABEL = (
    "label",
    "labels",
    "class",
    "classname",
    "category",
    "target",
    "species",
    "breed",
    "findinglabels",
    "diagnosis",
)
LABEL += ("classid", "genre", "emotion", "digit", "word")
PATH = ("file", "filename", "filepath", "path", "image", "imagepath", "imageid", "imageindex", "id", "slicefilename")
SPLIT = ("split", "subset", "partition")
GROUP = ("group", "patient", "patientid", "subject", "subjectid", "speaker", "speakerid")
NO_GROUP = "none"  # no column of groups, whatever the table has
NO_LABEL = "in rows of a table without a label"
NOT_LISTED = "not in the table of labels"
NOT_MATCHED = "whose path config.data.labels.pattern does not match"


@dataclass(frozen=True)
class FileLabel:
    """What is known of a file.

    Attributes:
        label: name of its class.
        split: name of its split; None: its folder.
        group: what must not be divided among splits; None: unknown.
        weight: its weight in the training loss.
    """

    label: str
    split: str | None = None
    group: str | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Labeling:
    """The labels of the files of a root.

    Attributes:
        files: what is known of each file, by its path relative to the root; also of files that a table names and that
            are not there.
        left_out: files without a label, by reason.
        notes: how the table was read.
        tables: the files of tables, relative to the root.
        grouped, weighted, divided: whether groups, weights and splits are known.
    """

    files: Mapping[str, FileLabel]
    left_out: Mapping[str, list[str]]
    notes: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    grouped: bool = False
    weighted: bool = False
    divided: bool = False


def label_files(root: Path, names: Sequence[str], settings: LabelSettings) -> Labeling:
    """Returns the labels of files by a table, lists and a pattern.

    Args:
        root: folder of the data.
        names: paths of all files relative to it.
        settings: where the labels come from; at least a table or a pattern.

    Raises:
        FileNotFoundError: if there is no such table or list.
        ValueError: if a table cannot be read or lacks a column, or two rows name one file and contradict each other.
    """
    files: dict[str, FileLabel] = {}
    left_out: dict[str, list[str]] = {}
    notes: list[str] = []
    tables: list[str] = []
    known: dict[str, bool] = dict.fromkeys(("split", "group", "weight"), False)
    if settings.table is not None:
        index = FileIndex(root, names)
        paths = table_files(root, settings.table)
        if not paths and is_glob(settings.table):
            what = f"labels.table={settings.table}: no file below {printable(root)} matches"
            raise FileNotFoundError(f"{what}; change the pattern.")
        for path in paths or [root / settings.table]:
            found, unlabeled, note, has = _from_table(root, path, index, settings)
            _merge(files, found, printable(path))
            left_out.setdefault(NO_LABEL, []).extend(unlabeled)
            notes += note
            tables.append(os.path.relpath(path, root))
            known = {name: known[name] or has[name] for name in known}
    named = files.keys() | set(left_out.get(NO_LABEL, ()))
    rest = [name for name in names if name not in named]
    if settings.pattern is not None:
        matched = {name: _matched(settings.pattern, name) for name in rest}
        files |= {name: label for name, label in matched.items() if label is not None}
        groups = re.compile(settings.pattern).groupindex
        known |= {name: known[name] or name in groups for name in ("split", "group")}
        rest = [name for name, label in matched.items() if label is None]
    left_out[NOT_LISTED if settings.pattern is None else NOT_MATCHED] = rest
    left_out = {reason: lost for reason, lost in left_out.items() if lost}
    return Labeling(
        files, left_out, tuple(dict.fromkeys(notes)), tuple(tables), known["group"], known["weight"], known["split"]
    )


def table_files(root: Path, table: str) -> list[Path]:
    """Returns the file of a table, or those that a glob matches, sorted; empty if there is none.

    Args:
        root: folder that a relative path starts from.
        table: the path or glob, relative or absolute.
    """
    whole = root / table
    if whole.is_file() or not is_glob(table):
        return [whole] * whole.is_file()
    top, pattern = (Path(whole.anchor), whole.relative_to(whole.anchor)) if Path(table).is_absolute() else (root, table)
    return sorted(path for path in top.glob(str(pattern)) if path.is_file())


def is_glob(path: str) -> bool:
    """Returns whether a path has signs of a pattern that several files may match."""
    return any(sign in path for sign in "*?[")


def _from_table(
    root: Path, path: Path, index: FileIndex, settings: LabelSettings
) -> tuple[dict[str, FileLabel], list[str], list[str], dict[str, bool]]:
    """Returns the labels of a table by file, files of rows without a label, notes, and which columns it has."""
    table, folder = read_table(path, settings.columns), folder_of(root, path)
    file_column = settings.path or _path_column(table, index, folder)
    label_column = settings.label or _label_column(table, file_column)
    columns = {
        "split": settings.split or _named(table, SPLIT),
        "group": None if settings.group == NO_GROUP else settings.group or _named(table, GROUP),
        "weight": settings.weight,
    }
    paths, drop = relative_here(table.values(file_column, "labels.path"), index, folder)
    labels = table.values(label_column, "labels.label")
    more = {name: table.values(column, f"labels.{name}") if column else None for name, column in columns.items()}
    found: dict[str, FileLabel] = {}
    unlabeled, by_name = [], 0
    for row, (text, label) in enumerate(zip(paths, labels, strict=True)):
        if not text:
            raise ValueError(
                f"labels.table={table.name}: row {row + 1} names no file; fill its column {file_column!r}."
            )
        try:
            name, as_written = index.find(text, folder)
        except ValueError as error:
            raise ValueError(f"labels.table={table.name}: row {row + 1}: {error}.") from None
        by_name += name is not None and not as_written
        name = text if name is None else name
        if not label:
            unlabeled.append(name)
            continue
        if not is_unicode(label):
            raise ValueError(
                f"labels.table={table.name}: row {row + 1} has the label {printable(repr(label))}, which is not UTF-8; "
                "save the table as UTF-8."
            )
        split, group, weight = (None if values is None else values[row] for values in more.values())
        known = FileLabel(
            label, split or ("" if more["split"] else None), group or None, _weight(weight, table.name, row)
        )
        _merge(found, {name: known}, table.name)
    used = {"path": file_column, "label": label_column} | {name: column for name, column in columns.items() if column}
    found_by = [f"; {by_name:,} files were found by their names alone"] if by_name else []
    found_by += [f"; {drop} folders were left out in front of each path"] if drop else []
    words = ", ".join(f"{name} is {column!r}" for name, column in used.items()) + "".join(found_by)
    notes = [f"{os.path.relpath(path, root)}: {words}", *table_notes(table, used.values(), labels)]
    return found, unlabeled, notes, {name: bool(column) for name, column in columns.items()}


def _merge(files: dict[str, FileLabel], more: Mapping[str, FileLabel], table: str) -> None:
    for name, label in more.items():
        if files.setdefault(name, label) != label:
            raise ValueError(
                f"labels.table={table}: {printable(name)} is there twice, as {printable(_shown(files[name]))} and as "
                f"{printable(_shown(label))}; keep one row for each file."
            )


def _shown(known: FileLabel) -> str:
    return " ".join(filter(None, (repr(known.label), known.split, known.group)))


def _path_column(table: LabelTable, index: FileIndex, folder: str) -> str:
    """Returns the column whose values name the most files, by their paths before by their names alone.

    Row numbers may be names of files, too: a column called "file" comes before others, and one without a name last.
    """

    def hits(column: str) -> tuple[int, int, int]:
        texts = [row[column] for row in table.rows[:LOOKED_AT]]
        found = sum(names_file(text, index, folder) for text in texts)
        known = _plain(column) in PATH
        return sum(index.holds(text, folder) for text in texts), found, known - column.startswith(f"{UNNAMED} ")

    if named := [column for column in table.columns if names_file(column, index, folder)]:
        raise ValueError(
            f"labels.columns: must be given, as {table.name} begins with a row: {printable(repr(named[0]))} is a file; "
            f'give the names of its {len(table.columns)} columns, such as \'("file", "label")\'.'
        )
    best = max(table.columns, key=hits)
    if not any(hits(best)[:2]):
        for column in table.columns:
            if relative_here(table.values(column, "labels.path"), index, folder)[1]:
                return column
        first = printable(next(iter(table.rows))[table.columns[0]])
        raise ValueError(
            f"labels.path: must be given, as no column of {table.name} names files that are there; it may be a "
            f"template, such as 'images/{{{table.columns[0]}}}.png' for {first!r}. Columns: {_listed(table)}."
        )
    return best


def _label_column(table: LabelTable, file_column: str) -> str:
    named = _named(table, LABEL)
    others = [column for column in table.columns if column != file_column]
    if named is None and len(others) != 1:
        raise ValueError(
            f"labels.label: must be given, as {table.name} has no column 'label' or 'class'; its columns are "
            f"{_listed(table)}."
        )
    return named or others[0]


def _named(table: LabelTable, names: Sequence[str]) -> str | None:
    """Returns the first column that has one of the names, in any case and with any signs between its letters."""
    plain = {_plain(column): column for column in reversed(table.columns)}
    return next((plain[name] for name in names if name in plain), None)


def _plain(column: str) -> str:
    """Returns the letters and digits of a name in lower case."""
    return re.sub(r"[\W_]", "", column).lower()


def _listed(table: LabelTable) -> str:
    return printable(some([repr(column) for column in table.columns], 12))


def _weight(text: str | None, table: str, row: int) -> float:
    if text is None:
        return 1.0
    try:
        weight = float(text.replace(",", ".") if text.count(",") == 1 and "." not in text else text)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise ValueError(
            f"labels.weight: must be numbers above 0, and row {row + 1} of {table} holds {printable(repr(text))}; "
            "correct it, or leave the row out."
        )
    return weight


def _matched(pattern: str, name: str) -> FileLabel | None:
    match = re.match(pattern, name)
    known = {} if match is None else match.groupdict()
    return FileLabel(known["label"], known.get("split"), known.get("group")) if known.get("label") else None
