"""Classes without training examples, classes that are written in two ways, and rare ones.

Axes: K classes. The one idea: a class that only a test split holds is mostly one of training under another spelling.
"""

import difflib
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fcnjax.naming import printable, some

RARE = 5  # training examples: a class with fewer is named
NAMED = 5  # classes that a sentence names
NEAR = 0.75  # similarity of two names, 0 to 1, above which one may be the other, misspelled
_FOLDS: dict[str, Callable[[str], str]] = {
    "case": str.casefold,
    "Unicode form": lambda name: unicodedata.normalize("NFC", name),
    "blanks": lambda name: " ".join(name.split()),
}


@dataclass(frozen=True)
class AbsentClass:
    """A class without training examples.

    Attributes:
        name: its name.
        counts: its examples in the other splits, by split; splits without any are left out.
        twin: a class of training that may be the same; None if there is none.
        differs: how the twin's name differs, such as "case" or "spelling"; empty without a twin.
    """

    name: str
    counts: Mapping[str, int]
    twin: str | None = None
    differs: str = ""

    @property
    def text(self) -> str:
        """The class, its examples and its twin, in words."""
        counts = [f"{count:,} in {split}" for split, count in self.counts.items()] or ["none in any split"]
        twin = "" if self.twin is None else f"; train has {_quoted(self.twin)}, which differs in {self.differs}"
        return f"{_quoted(self.name)} ({', '.join(counts)}{twin})"


def absent_classes(class_names: Sequence[str], counts: Mapping[str, np.ndarray | None]) -> tuple[AbsentClass, ...]:
    """Returns the classes without training examples, those that other splits hold first.

    Twins are looked up for the first ones only, which a message names.

    Args:
        class_names: names of the K classes.
        counts: int [K], the examples of each class, by split; None for a split of unknown labels. There is a split
            "train".

    Returns:
        The classes; none if the labels of training are unknown.
    """
    train = counts["train"]
    if train is None:
        return ()
    others = {split: each for split, each in counts.items() if split != "train" and each is not None}
    absent: list[int] = np.flatnonzero(train == 0).tolist()
    absent.sort(key=lambda label: all(each[label] == 0 for each in others.values()))
    found = []
    for rank, label in enumerate(absent):
        held = {split: int(each[label]) for split, each in others.items() if each[label]}
        twin, differs = None, ""
        if rank < NAMED and held:
            trained = [name for name, count in zip(class_names, train, strict=True) if count]
            beside = sum((others[split] for split in held), np.zeros(len(train), int))
            apart = [name for name, free in zip(class_names, (train > 0) & (beside == 0), strict=True) if free]
            twin, differs = _twin(class_names[label], trained, apart)
        found.append(AbsentClass(class_names[label], held, twin, differs))
    return tuple(found)


def _twin(name: str, trained: Sequence[str], apart: Sequence[str]) -> tuple[str | None, str]:
    """Returns the class of training that a name may stand for, and how it differs.

    Args:
        name: the name.
        trained: the classes of training; one of the same letters is a twin.
        apart: those that have no example where `name` has some; a similar one is a twin.
    """
    for other in trained:
        if _folded(other) == _folded(name):
            return other, _difference(name, other)
    similar = [other for other in apart if not _same_but_for_digits(name, other)]
    near = difflib.get_close_matches(name, similar, n=1, cutoff=NEAR)
    return (near[0], "spelling") if near else (None, "")


def twins_of_training(class_names: Sequence[str], counts: Mapping[str, np.ndarray | None]) -> list[tuple[str, str]]:
    """Returns pairs of classes that both have training examples and names of the same letters."""
    train, alike = counts["train"], defaultdict(list)
    for label, name in enumerate(class_names):
        if train is None or train[label]:
            alike[_folded(name)].append(name)
    return [(names[0], other) for names in alike.values() for other in names[1:]]


def class_notes(class_names: Sequence[str], counts: Mapping[str, np.ndarray | None]) -> tuple[list[str], list[str]]:
    """Returns what else should be known of the classes: notes, and warnings.

    Args: as for `absent_classes`.
    """
    notes, warnings = [], []
    for first, second in twins_of_training(class_names, counts)[:NAMED]:
        how = _difference(first, second)
        warnings.append(f"classes {_quoted(first)} and {_quoted(second)} differ in {how} alone; are they one?")
    train = counts["train"]
    if train is None:
        return notes, warnings
    for split, each in counts.items():
        lost = [] if each is None or split == "train" else np.flatnonzero((each == 0) & (train > 0)).tolist()
        if lost:
            names = some([printable(class_names[label]) for label in lost], NAMED)
            have = "has" if len(lost) == 1 else "have"
            notes.append(f"{len(lost):,} of {len(class_names):,} classes {have} no {split} example: {names}")
    rare = np.flatnonzero((train > 0) & (train < RARE)).tolist()
    if rare:
        names = some([f"{printable(class_names[label])} ({train[label]})" for label in rare], NAMED)
        what = "class has" if len(rare) == 1 else "classes have"
        notes.append(f"{len(rare):,} {what} fewer than {RARE} training examples: {names}")
    return notes, warnings


def check_classes(class_names: Sequence[str], absent: Sequence[AbsentClass], beside: str = "") -> None:
    """Raises ValueError unless there are two classes, all of them with training examples.

    Args:
        class_names: names of all classes.
        absent: from `absent_classes`.
        beside: what lies beside the files and may hold labels, in words.
    """
    if len(class_names) < 2:
        raise ValueError(
            f"data: must have at least two classes, and all examples are of {_quoted(' '.join(class_names))}; name the "
            f"folder that holds a folder for each class{beside}."
        )
    if absent:
        have = "has" if len(absent) == 1 else "have"
        raise ValueError(
            f"config.data.absent_classes=refuse: every class must have training examples, and {len(absent):,} of "
            f"{len(class_names):,} {have} none: {some([each.text for each in absent[:NAMED]])}"
            f"{f' and {len(absent) - NAMED:,} more' if len(absent) > NAMED else ''}; make the names agree in all "
            "splits, add examples, or train without them with config.data.absent_classes=allow."
        )


def other_classes(name: str, class_names: Sequence[str], train: Sequence[str]) -> str:
    """Returns in words how the classes of a split differ from those of training, whose names or order are others.

    Args:
        name: the split.
        class_names: its classes.
        train: the classes of training.
    """
    lost, more = ([each for each in a if each not in set(b)] for a, b in ((train, class_names), (class_names, train)))
    parts = [f"only {split} has {some([_quoted(each) for each in names], NAMED)}"
             for split, names in (("train", lost), (name, more)) if names]  # fmt: skip
    return " and ".join(parts) or "they are in another order"


def _folded(name: str) -> str:
    for fold in _FOLDS.values():
        name = fold(name)
    return name


def _difference(first: str, second: str) -> str:
    """Returns in which respects two names of the same letters differ."""
    alone = [what for what, fold in _FOLDS.items() if fold(first) == fold(second)]
    return alone[0] if alone else "case, Unicode form or blanks"


def _same_but_for_digits(first: str, second: str) -> bool:
    stems = ["".join(sign for sign in name if not sign.isdigit()) for name in (first, second)]
    return stems[0] == stems[1]


def _quoted(name: str) -> str:
    return f"'{printable(name)}'"
