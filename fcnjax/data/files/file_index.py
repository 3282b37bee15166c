"""Finds the files that tables and lists name, however they write their paths.

The one idea: a row finds its file by its path; by a name alone only if it gives no folder, and one file has that name.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from fcnjax.naming import printable

TRAIN = "train"  # the split of files that no list names
LOOKED_AT = 200  # rows that show which column names files


class FileIndex:
    """Finds the files that a table means.

    Args:
        root: folder that `names` are relative to.
        names: paths of files.
    """

    def __init__(self, root: Path, names: Iterable[str]) -> None:
        self._root, self._paths = str(root.absolute()), frozenset(names)
        self._near: dict[str, list[str]] = {}
        for name in sorted(self._paths):
            whole, last = _without_ending(name), name.rpartition("/")[2]
            for key in {each.casefold() for each in (name, whole, last, _without_ending(last))}:
                self._near.setdefault(key, []).append(name)

    def holds(self, text: str, folder: str) -> bool:
        """Returns whether a text is the path of a file, from the root or from a folder."""
        return text in self._paths or f"{folder}{text}" in self._paths

    def find(self, text: str, folder: str) -> tuple[str | None, bool]:
        """Returns the file that a table in a folder means, or None, and whether its path is as written.

        Raises:
            ValueError: if there are several files of that name.
        """
        path = text.replace("\\", "/")
        if path not in self._paths and "\\" in text and text in self._paths:
            path = text
        if path.startswith(f"{self._root}/"):
            path = path[len(self._root) + 1 :]
        path = path if path in self._paths or not path else os.path.normpath(path)
        for candidate in (path, f"{folder}{path}"):
            if candidate in self._paths:
                return candidate, True
        for candidate in (path, f"{folder}{path}"):
            found = self._near.get(candidate.casefold(), [])
            if len(found) > 1:
                raise ValueError(
                    f"{printable(text)} may be {printable(found[0])} or {printable(found[1])}; give labels.path as a "
                    "template, such as 'train/{file}.png'"
                )
            if found:
                return found[0], False
        return None, False


def _without_ending(path: str) -> str:
    start, dot, ending = path.rpartition(".")
    return start if dot and start and not start.endswith("/") and "/" not in ending else path


def names_file(text: str, index: FileIndex, folder: str) -> bool:
    """Returns whether a text of a table means a file, or several."""
    try:
        return bool(text) and index.find(text, folder)[0] is not None
    except ValueError:  # several files of that name
        return True


def relative_here(paths: list[str], index: FileIndex, folder: str) -> tuple[list[str], int]:
    """Returns paths without the folders of another machine in front of them, and how many were left out of each."""

    def hits(texts: Sequence[str]) -> int:
        return sum(names_file(text, index, folder) for text in texts[:LOOKED_AT])

    parts = [text.replace("\\", "/").split("/") for text in paths]
    if hits(paths) or not paths:
        return paths, 0
    for drop in range(1, max(map(len, parts[:LOOKED_AT]))):
        cut = ["/".join(each[drop:]) for each in parts]
        if 2 * hits(cut) >= len(cut[:LOOKED_AT]):
            return cut, drop
    return paths, 0


def list_files(lists: str) -> list[tuple[str, str]]:
    """Returns the split and the file of each list, of "validation=validation_list.txt,test=testing_list.txt".

    Raises:
        ValueError: if a part has another form.
    """
    files = []
    for part in lists.split(","):
        split, _, file = (piece.strip() for piece in part.partition("="))
        if not (split and file):
            raise ValueError(
                f"labels.lists={lists!r}: must name a file for each split, as in 'validation=validation_list.txt,"
                "test=testing_list.txt'."
            )
        files.append((split, file))
    return files


def listed_splits(root: Path, names: Sequence[str], lists: str) -> dict[str, str]:
    """Returns the split of each file by lists (see `list_files`); that of a file in none of them is "train".

    Raises:
        FileNotFoundError: if a list does not exist.
        ValueError: as `list_files`, or if two lists name one file. Files that are not there keep their names.
    """
    splits: dict[str, str] = {}
    index = FileIndex(root, names)
    for split, file in list_files(lists):
        path = root / file
        if not path.is_file():
            raise FileNotFoundError(f"labels.lists={lists!r}: there is no file {printable(path)}; correct its name.")
        for line in path.read_text("utf-8-sig", errors="surrogateescape").splitlines():
            if not line.strip():
                continue
            texts, folder = [line.strip(), line.split()[0]], folder_of(root, path)  # a path, or a path and more
            try:
                name = next((found for text in texts if (found := index.find(text, folder)[0])), texts[0])
            except ValueError as error:
                raise ValueError(f"labels.lists={lists!r}: {error}.") from None
            if splits.setdefault(name, split) != split:
                raise ValueError(
                    f"labels.lists={lists!r}: {printable(name)} is in the lists of {splits[name]} and {split}; remove "
                    "it from one."
                )
    return dict.fromkeys(names, TRAIN) | splits


def folder_of(root: Path, path: Path) -> str:
    """Returns the folder of a table relative to the root, with a final "/", or "" for the root itself."""
    folder = path.parent.relative_to(root).as_posix() if path.is_relative_to(root) else "."
    return "" if folder == "." else f"{folder}/"
