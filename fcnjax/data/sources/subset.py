"""A part of a source: the examples that are kept, and why the others are not.

Axes: N kept examples, D spatial axes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fcnjax.data.sources.resized import SizePolicy
from fcnjax.data.sources.source import Example, Source, labels_of
from fcnjax.naming import joined


class PartialSource:
    """Some examples of a source, in its order.

    Args:
        source: all of them.
        kept: int [N], positions in `source`, increasing.
        unreadable: why each of the others is left out, by name; what the source itself left out is added.
    """

    def __init__(self, source: Source, kept: np.ndarray, unreadable: dict[str, str]):
        self.source, self._kept = source, kept
        self.sizes, self.ids = source.sizes[kept], source.ids[kept]
        self.class_names, self.channels = source.class_names, source.channels
        self.unreadable = getattr(source, "unreadable", {}) | unreadable

    @property
    def names(self) -> list[str]:
        """Of the examples, as `names_of` has them."""
        names = names_of(self.source)
        return [str(names[index]) for index in self._kept.tolist()]

    @property
    def labels(self) -> np.ndarray | None:
        """int32 [N], where the source knows its labels without reading the examples, else None."""
        labels = labels_of(self.source)
        return None if labels is None else labels[self._kept]

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int, /) -> Example:
        return self.source[int(self._kept[index])]

    def read(self, index: int, at_least: Sequence[int] | None = None) -> Example:
        """The example at `index`, smaller than it is where the source can do that (see `FolderSource.read`)."""
        read: Any = getattr(self.source, "read", None)
        return self[index] if read is None else read(int(self._kept[index]), at_least)


def names_of(source: Source) -> Sequence[str]:
    """What names each example to a person: the source's `names`, or its ids."""
    return getattr(source, "names", None) or [f"example {number}" for number in source.ids.tolist()]


def without_small(source: Source, policy: SizePolicy, minimum: Sequence[int]) -> Source:
    """The source without the examples that a policy would refuse as too small for a network, each with its reason.

    Args:
        source: native examples.
        policy: what caps them before.
        minimum: what the network needs [D], in positions.

    Raises:
        ValueError: if none is large enough.
    """
    least = np.maximum(minimum, policy.min_side or 1)
    low = (policy.content_sizes(source.sizes, minimum) < least).any(axis=1)
    if not low.any():
        return source
    names, wanted = names_of(source), joined(least.tolist())
    dropped = {
        name: f"its size {joined(source.sizes[row].tolist())} is below the minimum {wanted}"
        for row, name in enumerate(names)
        if low[row]
    }
    if low.all():
        raise ValueError(f"sizes: all {len(source)} examples are below the network's minimum {wanted}; set size.below.")
    return PartialSource(source, np.flatnonzero(~low), dropped)
