"""Draws: which examples a run trains on and which it tests, and changes of them that an arm may ask for.

Axes: N examples. The one idea: seed and fold determine the division, the same for all arms, so that the values of two
arms are paired by example.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn.model_selection import StratifiedKFold

from fcnjax.data import Example, JoinedSource, PartialSource, Source
from fcnjax.data.size_table import frozen_table
from fcnjax.data.sources.contents import Contents
from fcnjax.lab.experiment import Setting


class Draws:
    """The divisions of a data set into training and test examples.

    With folds, the training and test examples are divided together, in another way for every seed; each is tested once
    per seed. With one fold, the test split stays what it is. The validation split never changes: it serves tuning.

    Args:
        sources: "train", "validation" and "test".
        setting: the number of folds, and of the training examples of a draw.

    Attributes:
        pool: all examples that any draw tests.

    Raises:
        ValueError: if ids repeat, or a class has fewer examples than there are folds.
    """

    def __init__(self, sources: Mapping[str, Source], setting: Setting) -> None:
        self._sources, self._setting = sources, setting
        together = JoinedSource([sources["train"], sources["test"]])  # refuses repeated ids also with one fold
        self.pool: Source = together if setting.folds > 1 else sources["test"]
        self._train: Source = together if setting.folds > 1 else sources["train"]
        if setting.folds > 1:
            smallest = np.bincount(labels_of(together), minlength=len(together.class_names)).min()
            if smallest < setting.folds:
                raise ValueError(
                    f"folds={setting.folds} of {setting.config}: must be at most {smallest}, the number of examples of "
                    "the smallest class; give fewer folds or more examples."
                )

    def sources(self, seed: int, fold: int) -> dict[str, Source]:
        """Returns the splits of a draw.

        Args:
            seed: at least 0; each makes another division.
            fold: 0 to folds - 1.
        """
        train, test = np.arange(len(self._train)), None
        if self._setting.folds > 1:
            train, test = self._folds(seed)[fold]
        source: Source = PartialSource(self._train, train, {}) if test is not None else self._train
        if self._setting.train_examples is not None:
            source = few_examples(self._setting.train_examples)({"train": source}, seed)["train"]
        tested = self.pool if test is None else PartialSource(self.pool, test, {})
        return {"train": source, "validation": self._sources["validation"], "test": tested}

    def _folds(self, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
        labels = labels_of(self.pool)
        folds = StratifiedKFold(self._setting.folds, shuffle=True, random_state=seed)
        return list(folds.split(np.zeros(len(labels)), labels))


def labels_of(source: Source) -> np.ndarray:
    """Returns the labels of a source, int32 [N]; all examples are read if it does not know them."""
    if source.labels is not None:
        return source.labels
    return frozen_table([int(source[index].label) for index in range(len(source))])


def same_examples(a: Source, b: Source) -> bool:
    """Returns whether two sources have the same ids and labels, in one order; sizes may differ."""
    return a is b or (np.array_equal(a.ids, b.ids) and np.array_equal(labels_of(a), labels_of(b)))


def sizes_by_id(sources: Mapping[str, Source]) -> dict[int, tuple[int, ...]]:
    """Returns the size of each example of all splits by its id."""
    pairs = (pair for each in sources.values() for pair in zip(each.ids.tolist(), each.sizes.tolist(), strict=True))
    return {number: tuple(size) for number, size in pairs}


@dataclass(frozen=True)
class FewExamples:
    """Keeps some training examples, of each class in proportion, drawn with the seed.

    The examples of a smaller number are among those of a larger one.

    Attributes:
        count: number of training examples, at least 1.
    """

    count: int

    def __post_init__(self):
        if self.count < 1:
            raise ValueError(f"count={self.count}: must be at least 1.")

    def __call__(self, sources: Mapping[str, Source], seed: int) -> dict[str, Source]:
        """Returns the splits with fewer training examples.

        Raises:
            ValueError: if there are fewer than `count`.
        """
        train = sources["train"]
        if self.count > len(train):
            raise ValueError(f"count={self.count}: must be at most {len(train)}, the number of training examples.")
        labels = labels_of(train)
        order = np.random.default_rng(seed).permutation(len(labels))
        share = np.empty(len(labels))  # place of each example in the shuffled order of its class, in (0, 1)
        for label in np.unique(labels):
            members = order[labels[order] == label]
            share[members] = (np.arange(len(members)) + 0.5) / len(members)
        kept = order[np.argsort(share[order], kind="stable")[: self.count]]
        return {**sources, "train": PartialSource(train, np.sort(kept), {})}


@dataclass(frozen=True)
class ShuffledLabels:
    """Permutes the labels of the training examples with the seed: an arm that must fail."""

    def __call__(self, sources: Mapping[str, Source], seed: int) -> dict[str, Source]:
        """Returns the splits with permuted training labels."""
        train = sources["train"]
        labels = np.random.default_rng(seed).permutation(labels_of(train))
        return {**sources, "train": _Relabeled(train, labels)}


def few_examples(count: int) -> FewExamples:
    """Returns the change of an arm's sources that keeps `count` training examples (see `FewExamples`)."""
    return FewExamples(count)


def shuffled_labels() -> ShuffledLabels:
    """Returns the change of an arm's sources that permutes the training labels (see `ShuffledLabels`)."""
    return ShuffledLabels()


class _Relabeled(Source):
    """The examples of a source with other labels, int [N]."""

    def __init__(self, source: Source, labels: np.ndarray) -> None:
        self._source, self._labels = source, frozen_table(labels)
        self.sizes, self.ids = source.sizes, source.ids
        self.describe_as(source)
        self.class_names, self.channels = source.class_names, source.channels

    @cached_property
    def labels(self) -> np.ndarray:
        return self._labels

    @cached_property
    def contents(self) -> Contents:
        """The contents of the source, and all labels."""
        covers, contents = self._source.contents
        digest = hashlib.sha256(contents.encode() + self._labels.tobytes())
        return Contents(f"{covers}, and all new labels", digest.hexdigest())

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int, /) -> Example:
        return self._source[index]._replace(label=int(self._labels[index]))

    def read(self, index: int, at_least: Sequence[int] | None = None) -> Example:
        return self._source.read(index, at_least)._replace(label=int(self._labels[index]))
