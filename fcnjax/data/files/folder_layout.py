"""The files of a folder that form a data set, and the class of each: from folders, from names, or from labels.

The one idea: everything follows from the sorted paths below the root and from its labels, so that all splits of a root
agree on classes and ids. What people have by accident (a folder around everything, one beside the splits, folds) is
recognized, and said or refused: it never becomes a class in silence.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fcnjax.data.files.label_settings import FOLDERS_ALONE, LabelSettings
from fcnjax.data.files.labeling import Labeling, label_files, listed_splits
from fcnjax.data.files.listing import TABLES, Listing, counted, list_folder, tops_of
from fcnjax.data.sources.source import Ignored
from fcnjax.naming import printable, some

SPLIT_NAMES = frozenset(
    {"dev", "eval", "evaluation", "test", "testing", "train", "training", "val", "valid", "validation"}
)
OUTSIDE = "outside of the folders of splits"
_PART = re.compile(r"(folds?|parts?|splits?|shards?|batch|images?|img)[ _-]?\d+", re.IGNORECASE)


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


def read_layout(root: Path, splits: Collection[str] = (), settings: LabelSettings = FOLDERS_ALONE) -> Layout:
    """Returns the files below a root and their classes.

    Without labels, the class of a file is the folder directly below the root, or below the folder of its split:
    `root/[split/]class/**/file`. Without such folders it is the part of the file's name before the first underscore:
    `root/[split/]class_*`. A single folder that holds everything is taken as the root. The root counts as divided into
    folders of splits if `splits` names one of its folders, if two of them have names from `SPLIT_NAMES`, if one has and
    it alone holds folders, or if all are folds ("fold1", "fold2", ...) that hold folders. Other folders are then left
    out, except folders of classes beside splits of other names.

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
    if not root.is_dir():
        raise refusal(f"root={root}: no such folder; name the folder that holds the classes or the splits.")
    listing = list_folder(root)
    if not listing.files:
        raise refusal(f"root={root}: holds no media file; name the folder that holds the classes or the splits.")
    if settings.table is not None or settings.pattern is not None:
        return _labeled_layout(root, listing, splits, settings)
    return _folder_layout(root, listing, splits, settings)


def media_files(root: Path) -> list[str]:
    """Returns the sorted relative paths of the files below a root that may be examples."""
    return list(list_folder(root).files)


def refusal(sentence: str) -> ValueError:
    """Returns an error whose names of files and folders, which may hold any character, are printable."""
    return ValueError(printable(sentence))


def split_folders(
    tops: Collection[str], files: Iterable[str], prefix: str = "", asked: Collection[str] = ()
) -> set[str]:
    """Returns the folders that are splits; none if the root is not divided.

    Args:
        tops: folders directly below `prefix`.
        files: paths of the files.
        prefix: where these folders are, "" or with a final "/".
        asked: names of splits that somebody asks for.
    """
    named = {top for top in tops if top.lower() in SPLIT_NAMES}
    wanted = set(tops) & set(asked)
    if not tops or not (named or wanted or all(_PART.fullmatch(top) for top in tops)):
        return set()
    deep = {name[len(prefix) :].split("/")[0] for name in files if name.count("/") >= prefix.count("/") + 2}
    if wanted and not named:
        return wanted | deep
    if wanted or len(named) >= 2 or named == set(tops):
        return named | wanted
    if len(named) == 1:
        return named if deep == named else set()
    return set(tops) if deep == set(tops) else set()  # folds that hold folders of classes


def _labeled_layout(root: Path, listing: Listing, asked: Collection[str], settings: LabelSettings) -> Layout:
    """Returns the layout of files whose labels come from a table or a pattern."""
    labeling = label_files(root, listing.files, settings)
    names = sorted(labeling.files)
    if not names:
        reason, lost = next(iter(labeling.left_out.items()))
        raise refusal(f"root={root}: no file has a label; all {len(lost):,} files are {reason}, such as {lost[0]!r}.")
    classes = [labeling.files[name].label for name in names]
    left_out = {**labeling.left_out, **listing.left_out}
    if settings.table is not None and TABLES in left_out:
        del left_out[TABLES]
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
        beside = [name for name in names if _top(name, prefix) in tops - splits]
        names = [name for name in names if _top(name, prefix) not in tops - splits]
        if beside:
            left_out[f"{OUTSIDE} {_few(splits)}: in {_few(tops - splits)}"] = beside
    in_folders = any(name.count("/") > depth for name in names)
    if in_folders and not splits and len(tops) > 1 and all(_PART.fullmatch(top) for top in tops):
        raise refusal(
            f"root={root}: {_few(tops)} are parts of a data set and no classes; give config.data.labels.table or "
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
        notes += _classes_within(names, classes, depth)
    else:
        notes += _merged_names(names, classes)
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
            splits = tuple(file.split or _top(name, "") for file, name in zip(known, names, strict=True))
        if labeling.grouped:  # a file without a group is one of its own
            groups = tuple(file.group or f"\0{name}" for file, name in zip(known, names, strict=True))
        weights = tuple(file.weight for file in known) if labeling.weighted else None
    if settings.lists is not None:
        listed = listed_splits(root, names, settings.lists)
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
        tops = tops_of(names, prefix)
        (top,) = tops if len(tops) == 1 else ("",)
        inner = f"{prefix}{top}/"
        if not top or top in asked or top.lower() in SPLIT_NAMES or not all(name.startswith(inner) for name in names):
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


def _classes_within(names: Sequence[str], classes: Sequence[str], depth: int) -> list[str]:
    """Returns a note if a class folder holds folders that are classes elsewhere, such as val/images/cat/."""
    inner: dict[str, set[str]] = defaultdict(set)
    known = set(classes)
    for name in names:
        parts = name.split("/")
        inner["/".join(parts[: depth + 1])].add(parts[depth + 1] if len(parts) > depth + 2 else "")
    for folder, below in sorted(inner.items()):
        if below <= known and folder.split("/")[-1] not in below:
            return [f"{folder}/ counts as a class, and holds {_few(below)}, which are classes elsewhere; move them up"]
    return []


def _merged_names(names: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Returns a note if names before the first underscore may merge classes, such as american_bulldog_1 into american.

    What follows the class may also be a speaker: then most classes have the same ones, and there is no note.
    """
    inner: dict[str, set[str]] = defaultdict(set)
    for name, label in zip(names, classes, strict=True):
        stem = re.sub(r"[\d_.-]*$", "", name.split("/")[-1].rpartition(".")[0])
        inner[label].add(stem[len(label) + 1 :])
    shared = Counter(rest for rests in inner.values() for rest in rests)
    for label, rests in sorted(inner.items()):
        own = sorted(rest for rest in rests - {""} if shared[rest] == 1)
        if len(rests - {""}) > 1 and len(own) == len(rests - {""}):
            named = " and ".join(f"{label}_{rest}_*" for rest in own[:2])
            return [
                f"classes are the names before the first underscore, and {label!r} holds {named}; if these are "
                "classes, give config.data.labels.pattern='(?P<label>.+)_[0-9]+'"
            ]
    return []


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
        inside = folder.startswith(prefix) and (not splits or _top(folder, prefix) in splits)
        if inside and len(parts) == depth + 1 and parts[depth] not in classes:
            raise refusal(f"root={root}: class folder {folder} holds no file; fill it or remove it.")


def _top(name: str, prefix: str) -> str:
    """Returns the folder below a prefix in which a file is, or "" for a file directly below it."""
    top, slash, _ = name[len(prefix) :].partition("/")
    return top if slash else ""


def _few(names: Iterable[str]) -> str:
    return some([f"{name}/" for name in sorted(names)], 3)
