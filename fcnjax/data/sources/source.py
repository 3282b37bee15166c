"""The interface of a data set: random access to examples of any size, with all sizes known before the first is read.

Axes: N examples, S the spatial axes of one example (H, W for images, L for signals), D = len(S), C channels. The one
idea: a source neither pads nor augments; it returns the examples and their sizes.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from fcnjax.data.decoding.unreadable import UnreadableExample
from fcnjax.data.sources.contents import Contents, sampled_contents

ON_ERROR = ("refuse", "mask")  # how examples that cannot be decoded are treated


class Example(NamedTuple):
    """One example.

    Attributes:
        id: identifies the example within its data set, independently of split and order; random draws are keyed by it.
        values: uint8 (0 to 255) or float32 [*S, C].
        label: class index, 0 to len(class_names) - 1.
    """

    id: int
    values: np.ndarray
    label: int


@dataclass(frozen=True)
class Ignored:
    """Files that a data set does not use, all for one reason.

    Attributes:
        reason: why, such as "a table; config.data.labels.table reads labels from it".
        count: number of files.
        example: the name of one of them.
    """

    reason: str
    count: int
    example: str


class Source(ABC):
    """Base class of data sets: random access to N examples, with all their sizes known in advance.

    A source of your own sets the first four attributes and defines `__len__` and `__getitem__`; the other members have
    defaults. `as_source` also accepts an object that merely has these members, or only holds examples.

    Attributes:
        sizes: int32 [N, D], extents of each example in positions along its spatial axes.
        ids: int32 [N], the id of each example (see `Example`), known without reading it.
        class_names: names of the classes, in the order of the labels.
        channels: C, the same for all examples.
        names: name of each example in messages and reports, such as its file; None if examples have only ids.
        unreadable: why each example that was left out of the source cannot be read, by name.
        groups: what each example belongs to that no two splits should share, such as a patient; None if unknown.
        weights: float32 [N], weight of each example in the mean loss of training, above 0, times that of its class;
            None if all weigh the same. Evaluation counts every example once.
        ignored: files of the data set that are no examples, by reason.
        notes: what else should be known of how the data were read, one sentence each.
    """

    sizes: np.ndarray
    ids: np.ndarray
    class_names: tuple[str, ...]
    channels: int
    names: Sequence[str] | None = None
    unreadable: Mapping[str, str] = MappingProxyType({})
    groups: Sequence[str] | None = None
    weights: np.ndarray | None = None
    ignored: Sequence[Ignored] = ()
    notes: Sequence[str] = ()

    @cached_property
    def labels(self) -> np.ndarray | None:
        """int32 [N], class indices; None if they are unknown until the examples are read."""
        return None

    @cached_property
    def contents(self) -> Contents:
        """A hash of labels and values, and what it covers, to detect that they have changed between two runs.

        By default it covers the labels, if they are known, and a few examples, which are read twice.
        """
        return sampled_contents(self, UnreadableExample)

    @abstractmethod
    def __len__(self) -> int:
        """Returns N, the number of examples."""

    @abstractmethod
    def __getitem__(self, index: int, /) -> Example:
        """Returns the example at `index`, 0 to N - 1. Several threads call it at once.

        Raises:
            UnreadableExample: if the example cannot be decoded.
            OSError: if it cannot be read.
        """

    def read(self, index: int, at_least: Sequence[int] | None = None) -> Example:
        """Returns the example at `index`, possibly reduced in size; by default `self[index]`.

        Args:
            index: 0 to N - 1.
            at_least: extents [D] that are sufficient for the caller. A source that can decode at a fraction of the
                native size may do so, as long as no extent falls below `at_least`. None asks for the native size.

        Returns:
            The example; its values have the native size unless `at_least` allows less.

        Raises:
            UnreadableExample: if the example cannot be decoded.
            OSError: if it cannot be read.
        """
        del at_least
        return self[index]

    def describe_as(self, source: "Source", kept: np.ndarray | None = None) -> None:
        """Takes over what is known of another source's examples besides their sizes: names, groups, weights, notes.

        Args:
            source: the other source.
            kept: int [N], positions of the examples in it; None: all, in its order.
        """
        chosen = range(len(source)) if kept is None else kept.tolist()
        if source.names is not None or kept is not None:
            self.names = source.names if kept is None else [source.name_of(index) for index in chosen]
        self.groups = source.groups if source.groups is None else [source.groups[index] for index in chosen]
        self.weights = source.weights if source.weights is None or kept is None else source.weights[kept]
        self.unreadable, self.ignored, self.notes = dict(source.unreadable), source.ignored, source.notes

    def name_of(self, index: int) -> str:
        """Returns the name of the example at `index` for messages: its own name, else "example" and its id."""
        return f"example {self.ids[index]}" if self.names is None else str(self.names[index])
