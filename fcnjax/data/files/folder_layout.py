"""The files of a folder that form a data set, the class of each file, and the files that a split selects.

The one idea: everything follows from the sorted paths below the root, so that all splits of a root agree on classes and
ids, and a slice is the same on every machine.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fcnjax.data.sources.splits import ALL, SplitTerm, parse_split, parse_term, stratified
from fcnjax.naming import printable, unknown_name

# Companions of media files. Every other file counts as an example, whatever its suffix, so that a damaged or misplaced
# one is reported and not lost.
IGNORED_SUFFIXES = frozenset(
    {".csv", ".gz", ".html", ".ipynb", ".json", ".jsonl", ".mat", ".md", ".pdf", ".py", ".sh", ".sha256", ".tar"}
    | {".tgz", ".tsv", ".txt", ".xml", ".yaml", ".yml", ".zip"}
)
IGNORED_NAMES = frozenset({"thumbs.db", "desktop.ini", "license", "licence", "copying", "readme", "__macosx"})
SPLIT_NAMES = frozenset(
    {"dev", "eval", "evaluation", "test", "testing", "train", "training", "val", "valid", "validation"}
)


@dataclass(frozen=True)
class Layout:
    """The files of a root and their classes.

    Attributes:
        names: paths of all files relative to the root, with "/", sorted; the position of a file is its id.
        labels: class index of each file.
        class_names: sorted names of the classes of the whole root.
    """

    names: tuple[str, ...]
    labels: tuple[int, ...]
    class_names: tuple[str, ...]


def read_layout(root: Path, split: str) -> Layout:
    """Returns the files below a root and their classes.

    The class of a file is the folder directly below the root, or below the folder of its split:
    `root/[split/]class/**/file`. Without such folders it is the part of the file's name before the first underscore:
    `root/[split/]class_*`. The root counts as divided into folders of splits if `split` names one of its folders, or if
    all its folders have names from `SPLIT_NAMES`. Hidden files and folders, `IGNORED_NAMES` and files with a suffix
    from `IGNORED_SUFFIXES`, in upper or lower case, do not belong to the data set.

    Args:
        root: folder of the data set.
        split: as in `FolderSource`; here it only matters whether it names a folder.

    Returns:
        The layout, the same for all splits of the root.

    Raises:
        ValueError: if the folder does not exist or holds no media file, a class folder is empty, or a file has no
            class.
    """
    if not root.is_dir():
        raise _refusal(f"root={root}: no such folder; name the folder that holds the classes or the splits.")
    names, folders = media_files(root)
    if not names:
        raise _refusal(f"root={root}: holds no media file; name the folder that holds the classes or the splits.")
    tops = {name.split("/")[0] for name in names if "/" in name}
    divided = any(term.name in tops for term in _terms(root, split))
    divided = divided or (bool(tops) and {top.lower() for top in tops} <= SPLIT_NAMES)
    depth = 1 if divided else 0  # parts of the path before the class
    in_folders = any(name.count("/") > depth for name in names)
    classes = [_class_of(root, name, depth, in_folders) for name in names]
    if in_folders:
        _check_no_empty_class(root, folders, depth, set(classes))
    class_names = tuple(sorted(set(classes)))
    if not in_folders and len(class_names) == 1:
        raise _refusal(
            f"root={root}: there is no class folder for split {split!r}, and all file names begin with "
            f"'{class_names[0]}_', as {names[0]!r} does; use root/class/file, root/split/class/file or class_*."
        )
    positions = {name: label for label, name in enumerate(class_names)}
    return Layout(tuple(names), tuple(positions[name] for name in classes), class_names)


def select(root: Path, layout: Layout, split: str) -> list[int]:
    """Returns the positions in `layout.names` of the files of a split, ascending.

    Args:
        root: folder of the data set.
        layout: its files.
        split: as in `FolderSource`.

    Returns:
        The positions; those of `x[:p%]` and `x[p%:]` are disjoint and together are those of `x`.

    Raises:
        ValueError: if the split is unknown, malformed, out of range or empty.
    """
    chosen: set[int] = set()
    for term in _terms(root, split):
        members = _members(root, layout, term.name)
        if term.sliced:
            classes = [layout.class_names[layout.labels[member]] for member in members]
            order = stratified(classes, [layout.names[member] for member in members])
            members = [members[order[place]] for place in term.span(len(order), strict=False)]
        chosen.update(members)
    if not chosen:
        raise _refusal(f"split={split!r} of {root}: holds no file; name a split that does, such as 'all'.")
    return sorted(chosen)


def _refusal(sentence: str) -> ValueError:
    """Returns an error whose names of files and folders, which may hold any character, are printable."""
    return ValueError(printable(sentence))


def media_files(root: Path) -> tuple[list[str], list[str]]:
    """Returns the sorted relative paths of the files and of the folders that belong to the data set."""
    files: list[str] = []
    folders: list[str] = []

    def visit(folder: str, prefix: str, above: frozenset[str]) -> None:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not _counts(entry.name):
                    continue
                if entry.is_dir():
                    real = os.path.realpath(entry.path)
                    if real not in above:  # otherwise a link to a folder above itself would be followed forever
                        folders.append(prefix + entry.name)
                        visit(entry.path, f"{prefix}{entry.name}/", above | {real})
                # A broken link is kept, so that it is reported; a pipe is not, because reading it would wait.
                elif _is_media(entry.name) and (entry.is_file() or entry.is_symlink()):
                    files.append(prefix + entry.name)

    visit(str(root), "", frozenset({os.path.realpath(root)}))
    return sorted(files), sorted(folders)


def _counts(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in IGNORED_NAMES


def _is_media(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() not in IGNORED_SUFFIXES


def _class_of(root: Path, name: str, depth: int, in_folders: bool) -> str:
    parts = name.split("/")
    if len(parts) <= depth + in_folders:
        kind = "class folder" if in_folders else "folder of a split"
        raise _refusal(f"root={root}: {name} lies outside every {kind}; move it into one, or out of the root.")
    if in_folders:
        return parts[depth]
    label, underscore, _ = parts[-1].partition("_")
    if not (label and underscore):
        raise _refusal(
            f"root={root}: {name} has no class: there are no class folders, and its name is not class_*; use "
            "root/class/file, root/split/class/file or class_*."
        )
    return label


def _check_no_empty_class(root: Path, folders: Sequence[str], depth: int, classes: set[str]) -> None:
    for folder in folders:
        parts = folder.split("/")
        if len(parts) == depth + 1 and parts[depth] not in classes:
            raise _refusal(f"root={root}: class folder {folder} holds no file; fill it or remove it.")


def _terms(root: Path, split: str) -> list[SplitTerm]:
    """Returns the terms of a split, separated at "+"; the name of a folder that contains a "+" is one term."""
    whole = parse_term(split)
    return [whole] if (root / whole.name).is_dir() else parse_split(split)


def _members(root: Path, layout: Layout, base: str) -> list[int]:
    """Returns the positions of the files of a split before slicing."""
    if base == ALL:
        return list(range(len(layout.names)))
    folders = {name.split("/")[0] for name in layout.names if "/" in name}
    if base in folders:
        return [position for position, name in enumerate(layout.names) if name.startswith(f"{base}/")]
    if base and "/" not in base and (root / base).is_dir():
        raise _refusal(f"split={base!r} of {root}: its folder holds no file; fill it or name another split.")
    if not any(sign in base for sign in "*?[") and folders and not {top.lower() for top in folders} & SPLIT_NAMES:
        raise _refusal(
            f"split={base!r} of {root}: must be a folder of a split, and there are only classes; slice them all, as in "
            "'all[:80%]', 'all[80%:90%]' and 'all[90%:]' for config.data.train_split, validation_split and test_split."
        )
    if not any(sign in base for sign in "*?["):
        raise _refusal(unknown_name(f"split of {root}:", base, folders | {ALL}) + " Or give a pattern: '*_[0-4].wav'.")
    matches = re.compile(_expression(base), re.DOTALL).fullmatch
    return [position for position, name in enumerate(layout.names) if matches(name)]


def _expression(glob: str) -> str:
    """Returns a regular expression for a glob: `*`, `?` and `[...]` match within a folder, `**` across folders."""
    meanings = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    expression = ""
    for sign in re.findall(r"\*\*/|\*\*|\*|\?|\[!?[^]]+]|.", glob, re.DOTALL):
        if sign in meanings:
            expression += meanings[sign]
        elif len(sign) > 1:
            inner = sign[1:-1].replace("\\", r"\\").replace("[", r"\[")
            expression += f"(?!/)[{'^' + inner[1:] if inner[0] == '!' else inner}]"
        else:
            expression += re.escape(sign)
    return expression
