"""A part of a source: the examples that are kept, and why the others are not.

Axes: N kept examples, D spatial axes.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from fcnjax.data.sources.resized import SizePolicy
from fcnjax.data.sources.source import Example, Source
from fcnjax.data.sources.wrapped import as_source
from fcnjax.naming import joined


class PartialSource(Source):
    """Some examples of a source, in its order.

    Args:
        source: all of them.
        kept: int [N], positions in `source`, increasing.
        unreadable: why each of the others is left out, by name; what the source itself left out is added.
    """

    def __init__(self, source: Source, kept: np.ndarray, unreadable: dict[str, str]):
        self.source, self._kept = as_source(source), kept
        self.sizes, self.ids = self.source.sizes[kept], self.source.ids[kept]
        self.class_names, self.channels = self.source.class_names, self.source.channels
        self.names = [self.source.name_of(index) for index in kept.tolist()]
        self.unreadable = {**self.source.unreadable, **unreadable}

    @cached_property
    def labels(self) -> np.ndarray | None:
        return None if self.source.labels is None else self.source.labels[self._kept]

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int, /) -> Example:
        return self.source[int(self._kept[index])]

    def read(self, index: int, at_least: Sequence[int] | None = None) -> Example:
        return self.source.read(int(self._kept[index]), at_least)


def without_small(source: Source, policy: SizePolicy, minimum: Sequence[int]) -> Source:
    """The source without the examples that a policy would refuse as too small for a network, each with its reason.

    Args:
        source: native examples.
        policy: what caps them before.
        minimum: what the network needs [D], in positions.

    Raises:
        ValueError: if none is large enough.
    """
    source = as_source(source)
    least = np.maximum(minimum, policy.min_side or 1)
    low = (policy.content_sizes(source.sizes, minimum) < least).any(axis=1)
    if not low.any():
        return source
    wanted = joined(least.tolist())
    dropped = {
        source.name_of(row): f"its size {joined(source.sizes[row].tolist())} is below the minimum {wanted}"
        for row in np.flatnonzero(low).tolist()
    }
    if low.all():
        raise ValueError(f"sizes: all {len(source)} examples are below the network's minimum {wanted}; set size.below.")
    return PartialSource(source, np.flatnonzero(~low), dropped)
