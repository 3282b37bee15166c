"""The examples of a source with labels that count in another list of classes, matched by name.

Axes: N examples.
"""

from collections.abc import Sequence

import numpy as np

from fcnjax.data.size_table import frozen_table
from fcnjax.data.sources.source import Example, Source, UnreadableExample
from fcnjax.data.sources.subset import PartialSource
from fcnjax.naming import printable, unknown_name

UNKNOWN = ("refuse", "skip")  # how examples of a class that the list lacks are treated
NAMED = 5  # classes that an error lists


class RelabeledSource(Source):
    """The examples of a source, with the labels of a list of classes such as a trained network's.

    The classes of the source may be some of the list, in another order; only classes that have examples count.

    Args:
        source: the examples. If it does not know its labels, all examples are read once.
        class_names: the list; labels are positions in it.
        unknown: "refuse" raises if examples have a class that the list lacks; "skip" leaves these examples out.

    Attributes:
        source: the examples that were kept, with their own labels.
        skipped: number of examples that were left out, by the name of their class.

    Raises:
        ValueError: if `unknown` is neither, examples have an unknown class and are not skipped, or all are skipped.
    """

    def __init__(self, source: Source, class_names: Sequence[str], unknown: str = "refuse") -> None:
        if unknown not in UNKNOWN:
            raise ValueError(unknown_name("unknown_classes", unknown, UNKNOWN))
        labels = _labels_of(source)
        positions = {name: position for position, name in enumerate(class_names)}
        self._positions = np.array([positions.get(name, -1) for name in source.class_names], np.int32)
        lost = (labels >= 0) & (self._positions[labels] < 0)
        counts = np.bincount(labels[lost], minlength=len(source.class_names)).tolist()
        self.skipped = {source.class_names[label]: count for label, count in enumerate(counts) if count}
        if self.skipped and (unknown == "refuse" or lost.all()):
            raise ValueError(_refusal(self.skipped, class_names, len(source), every=bool(lost.all())))
        kept = np.flatnonzero(~lost)
        self.source = source if len(kept) == len(source) else PartialSource(source, kept, {})
        self.labels = frozen_table(np.where(labels[kept] < 0, -1, self._positions[labels[kept]]))
        self.sizes, self.ids = self.source.sizes, self.source.ids
        self.describe_as(self.source)
        self.class_names, self.channels = tuple(class_names), source.channels

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int, /) -> Example:
        return self._relabeled(self.source[index])

    def read(self, index: int, at_least: Sequence[int] | None = None) -> Example:
        return self._relabeled(self.source.read(index, at_least))

    def _relabeled(self, example: Example) -> Example:
        return example._replace(label=int(self._positions[example.label]))


def _labels_of(source: Source) -> np.ndarray:
    """Returns the labels int32 [N]; -1 for an example that cannot be decoded, if they must be read."""
    if source.labels is not None:
        return np.asarray(source.labels, np.int32)
    labels = np.full(len(source), -1, np.int32)
    for index in range(len(source)):
        try:
            labels[index] = source[index].label
        except UnreadableExample:
            continue  # it is reported when its values are needed
    return labels


def _refusal(unknown: dict[str, int], class_names: Sequence[str], count: int, *, every: bool) -> str:
    first, *rest = unknown
    others = ", ".join(printable(repr(name)) for name in rest[: NAMED - 1]) + ", ..." * (len(rest) >= NAMED)
    sentence = unknown_name("class", first, class_names) + (f" Also unknown: {others}." if rest else "")
    if every:
        return f"all {count:,} examples have classes that the model lacks: {sentence} Give data of its classes."
    examples = f"{sum(unknown.values()):,} of {count:,} examples"
    return f"{sentence} Rename the class, or leave {examples} out with unknown_classes=skip."
