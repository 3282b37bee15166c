"""A part of a source: the examples that are kept, and why the others are left out.

Axes: N kept examples, D spatial axes.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from fcnjax.data.sources.contents import Contents
from fcnjax.data.sources.size_policy import SizePolicy, size_words
from fcnjax.data.sources.source import Example, Source
from fcnjax.data.sources.wrapped import as_source
from fcnjax.naming import joined, printable


class PartialSource(Source):
    """Some examples of a source, in its order.

    Args:
        source: the whole source.
        kept: int [N], positions in `source`, increasing.
        unreadable: why each of the others is left out, by name; it is added to the source's own `unreadable`.
    """

    def __init__(self, source: Source, kept: np.ndarray, unreadable: Mapping[str, str]) -> None:
        self.source, self._kept = as_source(source), kept
        self.sizes, self.ids = self.source.sizes[kept], self.source.ids[kept]
        self.class_names, self.channels = self.source.class_names, self.source.channels
        self.describe_as(self.source, kept)
        self.unreadable = {**self.source.unreadable, **unreadable}

    @cached_property
    def labels(self) -> np.ndarray | None:
        return None if self.source.labels is None else self.source.labels[self._kept]

    @cached_property
    def contents(self) -> Contents:
        """The contents of the whole inner source."""
        return self.source.contents

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int, /) -> Example:
        return self.source[int(self._kept[index])]

    def read(self, index: int, at_least: Sequence[int] | None = None) -> Example:
        return self.source.read(int(self._kept[index]), at_least)


def without_small(source: Source, policy: SizePolicy, minimum: Sequence[int]) -> Source:
    """Returns the source without the examples that a policy would refuse as too small; `unreadable` holds the reasons.

    Args:
        source: examples at their native sizes.
        policy: the policy; its caps apply first.
        minimum: the network's minimum size [D], in positions.

    Raises:
        ValueError: if every example is too small.
    """
    source, smallest = as_source(source), policy.smallest(minimum)
    sizes = policy.content_sizes(source.sizes, minimum)
    low = (sizes < smallest).any(axis=1)
    if not low.any():
        return source
    needed = joined(smallest.tolist())
    if low.all():
        first = f"{printable(source.name_of(0))} {size_words(source.sizes[0], sizes[0])}"
        raise ValueError(
            f"sizes: all {len(source)} examples are below the network's minimum {needed}, such as {first}; give larger "
            "ones, or train with config.size.below to upsample or pad."
        )
    dropped = {
        source.name_of(row): f"its size {size_words(source.sizes[row], sizes[row])} is below the minimum {needed}"
        for row in np.flatnonzero(low).tolist()
    }
    return PartialSource(source, np.flatnonzero(~low), dropped)
