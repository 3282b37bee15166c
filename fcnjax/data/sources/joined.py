"""Several sources as one: `JoinedSource`.

Axes: N examples of all parts together, D spatial axes.
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from fcnjax.data.size_table import frozen_table
from fcnjax.data.sources.contents import Contents
from fcnjax.data.sources.source import Example, Source


class JoinedSource(Source):
    """The examples of several sources, one source after the other.

    Use a split such as "train+test" instead where one data set is read by its name.

    Args:
        parts: sources of the same channels, classes and rank.

    Raises:
        ValueError: if the parts do not match, or two examples have one id.
    """

    def __init__(self, parts: Sequence[Source]) -> None:
        self.parts, first = tuple(parts), parts[0]
        for part in self.parts:
            if (part.channels, part.class_names) != (first.channels, first.class_names):
                raise ValueError("parts: must all have the same channels and classes; join splits of one data set.")
        self.sizes = frozen_table(np.concatenate([part.sizes for part in self.parts]))
        self.ids = frozen_table(np.concatenate([part.ids for part in self.parts]))
        self.class_names, self.channels = first.class_names, first.channels
        distinct, counts = np.unique(self.ids, return_counts=True)
        if counts.max() > 1:
            raise ValueError(
                f"parts: must have different ids, and {(counts > 1).sum():,} occur more than once, such as "
                f"{distinct[np.argmax(counts)]}; join splits that share no example, and number them throughout."
            )
        if any(part.names is not None for part in self.parts):
            self.names = [part.name_of(index) for part in self.parts for index in range(len(part))]
        self.unreadable = {name: why for part in self.parts for name, why in part.unreadable.items()}
        if all(part.groups is not None for part in self.parts):
            self.groups = [group for part in self.parts for group in part.groups or ()]
        if any(part.weights is not None for part in self.parts):
            ones = [np.ones(len(part), np.float32) if part.weights is None else part.weights for part in self.parts]
            self.weights = np.concatenate(ones)
        self.ignored = tuple(dict.fromkeys(each for part in self.parts for each in part.ignored))
        self.notes = tuple(dict.fromkeys(note for part in self.parts for note in part.notes))
        self._ends = np.cumsum([len(part) for part in self.parts])

    @cached_property
    def labels(self) -> np.ndarray | None:
        labels = [part.labels for part in self.parts]
        return None if any(each is None for each in labels) else frozen_table(np.concatenate(labels))  # pyright: ignore

    @cached_property
    def contents(self) -> Contents:
        """The contents of all parts."""
        every = [part.contents for part in self.parts]
        covers = "; ".join(dict.fromkeys(each.covers for each in every))
        return Contents(covers, hashlib.sha256("".join(each.sha256 for each in every).encode()).hexdigest())

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int, /) -> Example:
        part, position = self._find(index)
        return part[position]

    def read(self, index: int, at_least: Sequence[int] | None = None) -> Example:
        part, position = self._find(index)
        return part.read(position, at_least)

    def _find(self, index: int) -> tuple[Source, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"index={index}: must be 0 to {len(self) - 1}.")
        part = int(np.searchsorted(self._ends, index, side="right"))
        return self.parts[part], index - int(self._ends[part]) + len(self.parts[part])
