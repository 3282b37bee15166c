"""Arrays in memory as a source: `ArraySource`.

Axes: N examples, S the spatial axes of one example, C channels.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from fcnjax.data.size_table import frozen_table
from fcnjax.data.sources.contents import Contents, all_contents
from fcnjax.data.sources.example_checks import (
    check_array,
    check_labels,
    check_layout,
    checked_groups,
    checked_names,
    checked_weights,
    class_indices,
    count_classes,
)
from fcnjax.data.sources.source import Example, Source


class ArraySource(Source):
    """A source of arrays in memory: the shortest way from your own arrays to a training run.

    Use `load_source` for data sets on disk and `as_source` for objects that hold examples.

    Args:
        values: N arrays [*S, C] of any sizes, uint8 (0 to 255) or floating; 1, 2 or 3 spatial axes, channels last.
            Floating arrays are converted to float32.
        labels: N class indices, or N names of classes.
        class_names: names of the classes, all different; None counts the classes in `labels` and names them "0", "1",
            ..., if the largest label is below 10,000 or 10 times the number of examples. Labels that are names are
            then the classes, sorted; give the splits of one data set the same list.
        first_id: id of the first example; ids count up from it. Give the splits of one data set disjoint ids.
        channels: C, the extent of the last axis, for arrays that look like others (see `check_layout`): signals of
            more than 16 channels that are shorter than twice that, or images of 1, 3 or 4 rows. None: none do.
        weights: N weights of the examples in the training loss, finite and above 0; None: all weigh the same.
        groups: what each of the N examples belongs to that no two splits should share, such as a patient: strings or
            integers; None: unknown.

    Raises:
        ValueError: if there are no arrays; if the numbers of arrays and labels differ; if an array has no channel axis,
            a rank or channel count that differs from the first one's, no positions, or a value that is not finite; if
            the last axis is probably not one of channels; if a label is out of range, or a class name repeats; or if
            weights or groups are not one for each array.
        TypeError: if an array is neither uint8 nor floating.

    Attributes:
        labels: int32 [N], class indices.

    >>> source = ArraySource([np.ones((28, 16, 1)), np.ones((9, 30, 1))], [0, 1])
    >>> source.sizes.tolist(), source.channels, source.class_names
    ([[28, 16], [9, 30]], 1, ('0', '1'))
    """

    def __init__(
        self,
        values: Iterable[np.ndarray],
        labels: Iterable[int] | Iterable[str],
        class_names: Sequence[str] | None = None,
        *,
        first_id: int = 0,
        channels: int | None = None,
        weights: Any = None,
        groups: Iterable[Any] | None = None,
    ) -> None:
        self._values = [np.asarray(array) for array in values]
        given, names = class_indices(labels, class_names)
        if not self._values:
            raise ValueError("values=[]: must hold at least one array [*S, C].")
        if not 0 <= first_id <= 2**31 - len(self._values):
            raise ValueError(f"first_id={first_id}: must be 0 or more, and every id below 2^31; count from 0.")
        if len(given) != len(self._values):
            raise ValueError(
                f"labels: must be one label per array, not {len(given)} labels for {len(self._values)} arrays."
            )
        first = self._values[0].shape
        for index, array in enumerate(self._values):
            check_array(index, array, first)
        self._values = [
            array if array.dtype == np.uint8 else array.astype(np.float32, copy=False) for array in self._values
        ]
        self.class_names = checked_names(range(count_classes(given, len(given))) if names is None else names)
        check_labels(given, len(self.class_names))
        self.labels = self._labels = frozen_table(given)
        self.weights = None if weights is None else checked_weights(weights, len(given))
        self.groups = None if groups is None else checked_groups(groups, len(given))
        self.channels = int(first[-1])
        self.sizes = frozen_table([array.shape[:-1] for array in self._values])
        check_layout(self.sizes, self.channels, channels)
        self.ids = frozen_table(range(first_id, first_id + len(self._values)))

    @cached_property
    def contents(self) -> Contents:
        """A hash of all labels and values."""
        return all_contents(self._labels, self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: int, /) -> Example:
        return Example(int(self.ids[index]), self._values[index], int(self._labels[index]))
