"""The files of a folder that form a data set, and the class of each: from folders, from names, or from labels.

The one idea: everything follows from the sorted paths below the root and from its labels, so that all splits of a root
agree on classes and ids. What people have by accident (a folder around everything, one beside the splits, folds) is
recognized, and said or refused: it never becomes a class in silence.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

from fcnjax.data.files.file_index import list_files, listed_splits
from fcnjax.data.files.folder_splits import PART, SPLIT_NAMES, split_folders, wrapped_splits
from fcnjax.data.files.label_settings import FOLDERS_ALONE, LabelSettings
from fcnjax.data.files.labeling import Labeling, label_files
from fcnjax.data.files.layout_notes import alike_classes, classes_within, few, merged_names
from fcnjax.data.files.listing import TABLES, TEXTS, Listing, counted, list_folder, only_folder, top_of, tops_of
from fcnjax.data.sources.source import Ignored
from fcnjax.naming import printable, some

OUTSIDE = "outside of the folders of splits"


@dataclass(frozen=True)
class Layout:
    """The files of a root and their classes.

    Attributes:
        names: paths of all files relative to the root, with "/", sorted; the position of a file is its id.
        labels: class index of each file.
        class_names: sorted names of the classes of the whole root.
        prefix: the only folder of the root, with a final "/", if it was taken as the root; else "".
        folders: the folders of splits, without the prefix.
        splits: name of the split of each file, if a table, lists or a pattern say so; else None.
        groups: what no two slices share, for each file; of a file alone, a NUL and its name. None if unknown.
        weights: weight of each file in the training loss; None: all the same.
        ignored: files that are left out, by reason.
        notes: what else was understood, one sentence each.
    """

    names: tuple[str, ...]
    labels: tuple[int, ...]
    class_names: tuple[str, ...]
    prefix: str = ""
    folders: tuple[str, ...] = ()
    splits: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    weights: tuple[float, ...] | None = None
    ignored: tuple[Ignored, ...] = ()
    notes: tuple[str, ...] = ()


_kept: ContextVar[dict[tuple[str, ...], Layout] | None] = ContextVar("layouts", default=None)


@contextmanager
def layouts_kept() -> Iterator[None]:
    """Keeps the layouts that are read until the block ends: the splits of one data set share them."""
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def read_layout(root: Path, splits: Collection[str] = (), settings: LabelSettings = FOLDERS_ALONE) -> Layout:
    """Returns the files below a root and their classes.

    Without labels, the class of a file is the folder directly below the root, or below the folder of its split:
    `root/[split/]class/**/file`. Without such folders it is the part of the file's name before the first underscore:
    `root/[split/]class_*`. A single folder that holds everything is taken as the root. The root counts as divided into
    folders of splits if `splits` names one of its folders; if two of them are called so (see `split_kind`); if one is,
    and it alone holds folders, or others hold folders of the same names; or if several are folds ("fold1", "fold2",
    ...) that hold folders. Other folders are then left out, except folders of classes beside splits of other names.
    Where every split has a single folder that holds the classes, this folder is passed over.

    Args:
        root: folder of the data set.
        splits: names of splits that somebody asks for, without slices.
        settings: a table, lists or a pattern, from which labels and splits come instead.

    Returns:
        The layout, the same for all splits of the root.

    Raises:
        FileNotFoundError: if a table of labels is not there.
        ValueError: if the folder does not exist or holds no media file, a class folder is empty, a file has no class,
            or folds would become classes.
    """
    kept = _kept.get()
    if kept is None:
        return _read(root, splits, settings)
    key = (str(root.absolute()), repr(settings), *sorted(set(splits)))
    if key not in kept:
        kept[key] = _read(root, splits, settings)
    return kept[key]


def _read(root: Path, splits: Collection[str], settings: LabelSettings) -> Layout:
    if not root.is_dir():
        raise refusal(f"root={root}: no such folder; name the folder that holds the classes or the splits.")
    listing = list_folder(root)
    if not listing.files:
        raise refusal(f"root={root}: holds no media file; name the folder that holds the classes or the splits.")
    if settings.columns_asked is not None and settings.table is None:
        raise refusal(f"labels.{settings.columns_asked}: names a column, so it needs a table; give labels.table too.")
    if settings.table is not None or settings.pattern is not None:
        return _labeled_layout(root, listing, splits, settings)
    return _folder_layout(root, listing, splits, settings)


def media_files(root: Path) -> list[str]:
    """Returns the sorted relative paths of the files below a root that may be examples."""
    return list(list_folder(root).files)


def refusal(sentence: str) -> ValueError:
    """Returns an error whose names of files and folders, which may hold any character, are printable."""
    return ValueError(printable(sentence))


def _labeled_layout(root: Path, listing: Listing, asked: Collection[str], settings: LabelSettings) -> Layout:
    """Returns the layout of files whose labels come from a table or a pattern."""
    labeling = label_files(root, listing.files, settings)
    names = sorted(labeling.files)
    if not names:
        lost = next(iter(labeling.left_out.values()))
        what = f"labels.pattern={settings.pattern!r}: must match paths from their start, and matches none"
        if settings.pattern is None:
            what = f"labels.table={settings.table}: must give labels, and gives none"
        raise refusal(f"{what} of {len(lost):,} files of {root}, such as {lost[0]!r}; correct it.")
    classes = [labeling.files[name].label for name in names]
    left_out = {**labeling.left_out, **listing.left_out}
    if TABLES in left_out:
        left_out[TABLES] = [name for name in left_out[TABLES] if name not in labeling.tables]
    layout = _layout(names, classes, labeling=labeling, settings=settings, root=root, left_out=left_out)
    folders = () if layout.splits else [top for top in tops_of(names) if top.lower() in SPLIT_NAMES or top in asked]
    return replace(layout, folders=tuple(sorted(folders)))


def _folder_layout(root: Path, listing: Listing, asked: Collection[str], settings: LabelSettings) -> Layout:
    """Returns the layout of files whose folders or names are their classes."""
    names, left_out, notes = list(listing.files), dict(listing.left_out), []
    prefix = _wrapper(names, asked)
    if prefix:
        notes.append(f"{prefix} is the only folder of the root, and was taken as the root")
    tops = tops_of(names, prefix)
    splits = split_folders(tops, names, prefix, asked)
    depth = prefix.count("/") + bool(splits)  # parts of the path before the class
    if splits:
        beside = [name for name in names if top_of(name, prefix) in tops - splits]
        names = [name for name in names if top_of(name, prefix) not in tops - splits]
        if beside:
            left_out[f"{OUTSIDE} {few(splits)}: in {few(tops - splits)}"] = beside
        inside = [f"{prefix}{split}/" for split in sorted(splits)]
        while within := wrapped_splits(names, inside):
            inside, depth = within, depth + 1
            notes.append(f"the classes are the folders in {some(inside, 3)}")
    in_folders = any(name.count("/") > depth for name in names)
    parts = {top for top in tops if PART.fullmatch(top)}
    if in_folders and not splits and len(parts) > 1:
        raise refusal(
            f"root={root}: {few(parts)} are parts of a data set and no classes; give config.data.labels.table or "
            "labels.pattern, as in '(?P<label>[^/]+)/' if they are classes after all."
        )
    classes = [_class_of(root, name, depth, in_folders) for name in names]
    if not in_folders and len(set(classes)) == 1:
        raise refusal(
            f"root={root}: there is no class folder, and all file names begin with '{classes[0]}_', as {names[0]!r} "
            "does; use root/class/file, root/split/class/file or class_*, or give config.data.labels.table or "
            "labels.pattern."
        )
    if in_folders:
        _check_no_empty_class(root, listing.folders, depth, prefix, splits, set(classes))
        notes += classes_within(names, classes, depth)
        notes += [] if splits else alike_classes(names, prefix)
    else:
        notes += merged_names(names, classes)
    layout = _layout(names, classes, settings=settings, root=root, left_out=left_out, notes=notes)
    return replace(layout, prefix=prefix, folders=tuple(sorted(splits)))


def _layout(
    names: Sequence[str],
    classes: Sequence[str],
    *,
    root: Path,
    settings: LabelSettings,
    left_out: dict[str, list[str]],
    labeling: Labeling | None = None,
    notes: Sequence[str] = (),
) -> Layout:
    class_names = tuple(sorted(set(classes)))
    positions = {name: label for label, name in enumerate(class_names)}
    known = [] if labeling is None else [labeling.files[name] for name in names]
    splits = groups = weights = None
    if labeling is not None:
        notes = [*labeling.notes, *notes]
        if labeling.divided:
            splits = tuple(file.split or top_of(name) for file, name in zip(known, names, strict=True))
        if labeling.grouped:  # a file without a group is one of its own
            groups = tuple(file.group or f"\0{name}" for file, name in zip(known, names, strict=True))
        weights = tuple(file.weight for file in known) if labeling.weighted else None
    if settings.lists is not None:
        listed = listed_splits(root, names, settings.lists)
        used = {file for _, file in list_files(settings.lists)}
        left_out = left_out | {TEXTS: [name for name in left_out.get(TEXTS, ()) if name not in used]}
        splits = tuple(listed[name] for name in names)
        if absent := sorted(listed.keys() - set(names)):
            left_out = {**left_out, "in labels.lists, and without a label or not there": absent}
    labels = tuple(positions[name] for name in classes)
    return Layout(
        tuple(names),
        labels,
        class_names,
        splits=splits,
        groups=groups,
        weights=weights,
        ignored=counted(left_out),
        notes=tuple(notes),
    )


def _wrapper(names: Sequence[str], asked: Collection[str]) -> str:
    """Returns the folders around everything, with a final "/", that hold the classes or the splits; else ""."""
    prefix = ""
    while True:
        inner = only_folder(names, prefix)
        top = top_of(inner, prefix)
        if not top or top in asked or top.lower() in SPLIT_NAMES:
            return prefix
        if not tops_of(names, inner) and not _names_are_classes(names):
            return prefix
        prefix = inner


def _names_are_classes(names: Sequence[str]) -> bool:
    """Returns whether names of files begin with at least two classes, each of which has several files."""
    counts: dict[str, int] = defaultdict(int)
    for name in names:
        label, underscore, _ = name.split("/")[-1].partition("_")
        if not (label and underscore):
            return False
        counts[label] += 1
    return len(counts) > 1 and min(counts.values()) > 1


def _class_of(root: Path, name: str, depth: int, in_folders: bool) -> str:
    parts = name.split("/")
    if len(parts) <= depth + in_folders:
        kind = "class folder" if in_folders else "folder of a split"
        raise refusal(f"root={root}: {name} lies outside every {kind}; move it into one, or out of the root.")
    if in_folders:
        return parts[depth]
    label, underscore, _ = parts[-1].partition("_")
    if not (label and underscore):
        raise refusal(
            f"root={root}: {name} has no class: there are no class folders, and its name is not class_*; use "
            "root/class/file, root/split/class/file or class_*, or give config.data.labels.table or labels.pattern."
        )
    return label


def _check_no_empty_class(
    root: Path, folders: Sequence[str], depth: int, prefix: str, splits: Collection[str], classes: set[str]
) -> None:
    for folder in folders:
        parts = folder.split("/")
        inside = folder.startswith(prefix) and (not splits or top_of(folder, prefix) in splits)
        if inside and len(parts) == depth + 1 and parts[depth] not in classes:
            raise refusal(f"root={root}: class folder {folder} holds no file; fill it or remove it.")
