"""What a layout of files may hide, in sentences: folders and names that count as classes, and may be none."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence

from fcnjax.data.files.folder_splits import inner_folders, split_kind
from fcnjax.data.files.label_table import LabelTable
from fcnjax.data.files.listing import tops_of
from fcnjax.naming import some

MISSING = ("nan", "na", "n/a", "none", "null", "?")  # labels that may say that there is none
NO_CLASSES = frozenset({"images", "imgs", "annotations", "labels", "masks", "metadata", "data"})


def few(names: Iterable[str]) -> str:
    """Returns the first of some folders for a message."""
    return some([f"{name}/" for name in sorted(names)], 3)


def alike_classes(names: Sequence[str], prefix: str) -> list[str]:
    """Returns a note if folders that count as classes hold folders of the same names, or are seldom classes."""
    inner = inner_folders(names, prefix)
    owners = Counter(name for below in inner.values() for name in below)
    shared = [name for name, count in owners.items() if count > 1]
    notes = [f"{few(odd)} count as classes; are they?"] if (odd := sorted(NO_CLASSES & tops_of(names, prefix))) else []
    if len(shared) < 2 or 2 * len(shared) < len(owners):
        return notes
    first = few(top for top, below in inner.items() if below & set(shared))
    start = "[^/]+/" * prefix.count("/")
    if len({split_kind(name) for name in shared} - {None}) > 1:
        what, pattern = "these are splits", f"{start}(?P<label>[^/]+)/(?P<split>[^/]+)/"
    else:
        what, pattern = "these are the classes", f"{start}[^/]+/(?P<label>[^/]+)/"
    return [
        f"{first} count as classes, and hold folders of the same names, {few(shared)}; if {what}, give "
        f"config.data.labels.pattern='{pattern}'",
        *notes,
    ]


def classes_within(names: Sequence[str], classes: Sequence[str], depth: int) -> list[str]:
    """Returns a note if a class folder holds folders that are classes elsewhere, such as val/images/cat/."""
    inner: dict[str, set[str]] = defaultdict(set)
    known = set(classes)
    for name in names:
        parts = name.split("/")
        inner["/".join(parts[: depth + 1])].add(parts[depth + 1] if len(parts) > depth + 2 else "")
    for folder, below in sorted(inner.items()):
        if below <= known and folder.split("/")[-1] not in below:
            return [f"{folder}/ counts as a class, and holds {few(below)}, which are classes elsewhere; move them up"]
    return []


def merged_names(names: Sequence[str], classes: Sequence[str]) -> list[str]:
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
                "classes, give config.data.labels.pattern='(?:.*/)?(?P<label>[^/]+)_[0-9]+'"
            ]
    return []


def table_notes(table: LabelTable, used: Collection[str], labels: Sequence[str]) -> list[str]:
    """Returns what a table of labels may hide: columns that are not used, and labels that may be no classes.

    Args:
        table: the table.
        used: columns and templates that were used.
        labels: the label of each row.
    """
    other = [column for column in table.columns if not any(column == each or f"{{{column}" in each for each in used)]
    notes = [f"columns that are not used: {some([repr(column) for column in other], 8)}"] if other else []
    missing = sorted({label for label in labels if label.lower() in MISSING})
    if missing:
        verb = "counts as a class" if len(missing) == 1 else "count as classes"
        notes.append(f"{some([repr(label) for label in missing])} {verb}; leave the label empty if it is none")
    classes = set(labels) - {""}
    for sign in "|;,":
        several = [label for label in classes if sign in label]
        if len(several) > 1 and any(part in classes for label in several for part in label.split(sign)):
            notes.append(f"each combination of labels counts as a class of its own, such as {several[0]!r}")
            break
    if len(classes) > max(20, len(labels) / 2) and all(map(_is_number, classes)):
        notes.append(
            f"{len(classes):,} of {len(labels):,} labels differ, and all are numbers; are they a quantity, no class?"
        )
    return notes


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
