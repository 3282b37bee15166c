"""Where the labels of a folder come from: its folders, a table beside them, or the lists of a published data set.

The one idea: a table is only taken where folders are no classes, and where it names most of the files.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from fcnjax.data.files.folder_layout import Layout, read_layout
from fcnjax.data.files.label_settings import FOLDERS_ALONE, LabelSettings
from fcnjax.data.files.listing import TABLE_SUFFIXES, list_folder
from fcnjax.data.files.split_files import split_names
from fcnjax.naming import printable, some

LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}  # as Speech Commands comes


class FoundLabels(NamedTuple):
    """Where labels come from.

    Attributes:
        fields: the fields of `config.data.labels` that are set.
        layout: the files and their labels.
        why: why these fields were chosen; empty if somebody asked for them, or none is set.
        notes: why tables beside the files are not used.
    """

    fields: dict[str, Any]
    layout: Layout
    why: str
    notes: tuple[str, ...] = ()


def found_labels(root: Path, given: LabelSettings, splits: Sequence[str] = ()) -> FoundLabels:
    """Returns where the labels of a folder come from.

    Args:
        root: the folder.
        given: settings that somebody asked for; if there are none, they are chosen.
        splits: splits that somebody asked for.

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: if the files have no classes, by folders, names or a table.
    """
    asked = [name for split in splits for name in split_names(root, split)]
    said = given.table is not None or given.pattern is not None or given.lists is not None
    if said or not root.is_dir():
        return FoundLabels(_set(given), read_layout(root, asked, given), "")
    if given == FOLDERS_ALONE and all((root / name).is_file() for name in LISTS.values()):
        lists = LabelSettings(lists=",".join(f"{split}={name}" for split, name in LISTS.items()))
        return FoundLabels(_set(lists), read_layout(root, asked, lists), "the lists that lie in the folder")
    layout = refused = None
    if given == FOLDERS_ALONE:
        try:
            layout = read_layout(root, asked)
        except ValueError as error:
            refused = error
        if layout is not None and len(layout.class_names) > 1:
            return FoundLabels({}, layout, "")
    tried = [(settings, *_tried(root, asked, settings)) for settings in _tables(root, given)]
    found = [(settings, labeled) for settings, labeled, _ in tried if labeled is not None]
    if len(found) == 1:
        return FoundLabels(_set(found[0][0]), found[0][1], "it names the files, and folders are no classes")
    beside = [f"{settings.table}: not used, as {why}" for settings, _, why in tried]
    if len(found) > 1:
        named = some([repr(settings.table) for settings, _ in found], 3)
        beside = [f"Tables that name the files: {named}; give --config.data.labels.table"]
    if layout is not None:
        return FoundLabels({}, layout, "", tuple(beside))
    if refused is None and len(tried) == 1:  # a column was asked for, and the table says what is wrong with it
        raise ValueError(tried[0][2])
    base = refused or f"labels.{given.columns_asked}: names a column, and no table of {root} names files; give one."
    raise ValueError(printable(" ".join([str(base), *(f"{each.rstrip('.')}." for each in beside[:2])])))


def _set(settings: LabelSettings) -> dict[str, Any]:
    return {name: value for name, value in asdict(settings).items() if value is not None}


def _tables(root: Path, given: LabelSettings) -> list[LabelSettings]:
    """Returns settings for the tables in a folder and in those directly below it; one for tables of one name."""
    tables = [PurePosixPath(name) for name in list_folder(root).tables]
    tables = [path for path in tables if path.suffix.lower() in TABLE_SUFFIXES and len(path.parts) <= 2]
    names = {path.name: [each for each in tables if each.name == path.name] for path in tables}
    paths = [str(same[0]) if len(same) == 1 else f"*/{name}" for name, same in names.items()]
    return [replace(given, table=path) for path in paths]


def _tried(root: Path, asked: Sequence[str], settings: LabelSettings) -> tuple[Layout | None, str]:
    """Returns the layout by a table, or why it does not say the labels of at least half of the files."""
    try:
        layout = read_layout(root, asked, settings)
    except (ValueError, OSError) as error:
        return None, str(error)
    there = sum((root / name).exists() for name in layout.names)
    lost = sum(each.count for each in layout.ignored if "table" in each.reason)
    if len(layout.class_names) < 2:
        return None, f"all its labels are {' '.join(layout.class_names)!r}"
    if there < max(lost, len(layout.names) / 2):
        return None, f"it has {len(layout.names):,} rows, and {there:,} of them name one of {there + lost:,} files"
    return layout, ""
