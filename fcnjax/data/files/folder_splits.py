"""Which folders are splits of a data set: by their names, and by what they hold.

The one idea: a class and a split look alike, so two signs are asked for: several names of splits, or folders of the
same names in them.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from fcnjax.data.files.listing import only_folder, tops_of

_KINDS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
_KINDS |= dict.fromkeys(("val", "valid", "validation", "dev"), "validation")
_WHAT = "sets?|dataset|data|images?|imgs?|photos|pictures|files|audio|wavs?|split"
_SPLIT = re.compile(rf"(?:(?:{_WHAT}|seg)[ _-]?)?({'|'.join(_KINDS)})(?:[ _-]?(?:{_WHAT}))?\d?", re.IGNORECASE)
SPLIT_NAMES = frozenset(_KINDS)
PART = re.compile(r"(folds?|parts?|splits?|shards?|batch|images?|img)[ _-]?\d+", re.IGNORECASE)


def split_kind(folder: str) -> str | None:
    """Returns "train", "validation" or "test" for a folder that is called so, or None.

    >>> split_kind("training_set"), split_kind("Val"), split_kind("train station")
    ('train', 'validation', None)
    """
    found = _SPLIT.fullmatch(folder)
    return None if found is None else _KINDS[found[1].lower()]


def split_folders(
    tops: Collection[str], files: Sequence[str], prefix: str = "", asked: Collection[str] = ()
) -> set[str]:
    """Returns the folders that are splits; none if the root is not divided.

    Args:
        tops: folders directly below `prefix`.
        files: paths of the files.
        prefix: where these folders are, "" or with a final "/".
        asked: names of splits that somebody asks for.
    """
    kinds = {top: kind for top in tops if (kind := split_kind(top))}
    named = set(kinds) if len(set(kinds.values())) > 1 else {top for top in kinds if top.lower() in SPLIT_NAMES}
    wanted = set(tops) & set(asked)
    parts = {top for top in tops if PART.fullmatch(top)}
    if not (named or wanted or len(parts) > 1):
        return set()
    inner = inner_folders(files, prefix)
    if wanted and not named:
        return wanted | set(inner)
    if wanted or len(named) >= 2 or named == set(tops):
        return named | wanted
    if named:
        alike = any(_share(inner.get(split, set()), inner[top]) for split in named for top in set(inner) - named)
        return named if alike or set(inner) == named else set()
    return parts if parts <= set(inner) else set()  # folds that hold folders of classes


def inner_folders(files: Iterable[str], prefix: str) -> dict[str, set[str]]:
    """Returns the names of the folders in each folder below a prefix that holds some."""
    inner: dict[str, set[str]] = defaultdict(set)
    for name in files:
        top, _, rest = name[len(prefix) :].partition("/")
        if "/" in rest:
            inner[top].add(rest.partition("/")[0])
    return dict(inner)


def _share(first: set[str], second: set[str]) -> bool:
    """Returns whether at least half of the smaller of two sets of names are in the other one."""
    return bool(first & second) and 2 * len(first & second) >= min(len(first), len(second))


def wrapped_splits(names: Sequence[str], inside: Sequence[str]) -> list[str]:
    """Returns the single folder of each split, with a final "/", if every split has one that holds all classes."""
    within = []
    for folder in inside:
        members = [name for name in names if name.startswith(folder)]
        inner = only_folder(members, folder)
        if not inner or not tops_of(members, inner):
            return []
        within.append(inner)
    return within
