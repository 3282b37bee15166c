"""Sources: random access to examples of any size, with the table of their sizes known before the first one is used.

Axes: N examples, S the spatial axes of one example (H, W for images, L for signals), D = len(S), C channels. The one
idea: a `Source` never resizes or pads; it hands out what is there and says how large it is.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

ON_ERROR = ("refuse", "mask")  # what becomes of an example that cannot be decoded


class Example(NamedTuple):
    """One example at its native size.

    Attributes:
      id: Names the example within its data set, whatever the split or the order; randomness is keyed by it.
      values: uint8 (0 to 255) or float32 [*S, C].
      label: Class index, 0 to len(class_names) - 1.
    """

    id: int
    values: np.ndarray
    label: int


class UnreadableExample(ValueError):
    """An example whose content cannot be decoded; a disk that fails is an OSError instead.

    Attributes:
      name: the file, or what else names the example to a person.
      reason: what is wrong with it.
    """

    def __init__(self, name: str, reason: str):
        super().__init__(name, reason)  # both are kept, so that worker processes can send the error
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class Source(Protocol):
    """What the planner and the loader need of a data set; anything with these members will do."""

    @property
    def sizes(self) -> np.ndarray:
        """Size table: int32 [N, D], extents of each example in positions along its spatial axes."""
        ...

    @property
    def ids(self) -> np.ndarray:
        """int32 [N], the id of each example (see `Example`), known without reading it."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""
        ...

    @property
    def channels(self) -> int:
        """C, the same for all examples."""
        ...

    def __len__(self) -> int:
        """N, the number of examples."""
        ...

    def __getitem__(self, index: int, /) -> Example:
        """The example at `index`, 0 to N - 1. Called from several threads at once.

        Raises:
          UnreadableExample: It cannot be decoded.
          OSError: It cannot be read.
        """
        ...


def labels_of(source: Source) -> np.ndarray | None:
    """Returns the labels int32 [N] of a source that has the attribute `labels`; None where they are not known."""
    labels = getattr(source, "labels", None)
    return None if labels is None else np.asarray(labels, np.int32)


class ArraySource:
    """Examples that are already in memory: the quickest road from your own arrays to a training run.

    For data sets on disk see `load_source`, for objects that hold examples `as_source`.

    Args:
      values: N arrays [*S, C], each of its own size, uint8 (0 to 255) or floating; 1, 2 or 3 spatial axes, channels
        last. Floating arrays are kept as float32.
      labels: N class indices.
      class_names: Names of the classes; None counts the classes in `labels` and names them "0", "1", ...
      first_id: Ids are positions counted from here, so that the splits of one data set can have different ones.

    Raises:
      ValueError: An array has no channel axis, another rank or channel count than the first, no positions or a value
        that is not finite; a label is out of range; or there are not as many labels as arrays, or none at all.
      TypeError: An array is neither uint8 nor floating.

    Attributes:
      labels: int32 [N], class indices.

    >>> source = ArraySource([np.ones((28, 16, 1)), np.ones((9, 30, 1))], [0, 1])
    >>> source.sizes.tolist(), source.channels, source.class_names
    ([[28, 16], [9, 30]], 1, ('0', '1'))
    """

    def __init__(
        self,
        values: Iterable[np.ndarray],
        labels: Iterable[int],
        class_names: Sequence[str] | None = None,
        *,
        first_id: int = 0,
    ) -> None:
        self._values = [np.asarray(array) for array in values]
        given = [int(label) for label in labels]
        if not self._values:
            raise ValueError("values: got no arrays; give at least one array [*S, C]")
        if len(given) != len(self._values):
            raise ValueError(
                f"labels: got {len(given)} labels for {len(self._values)} arrays; give one label per array"
            )
        first = self._values[0].shape
        for index, array in enumerate(self._values):
            check_array(index, array, first)
        self._values = [
            array if array.dtype == np.uint8 else array.astype(np.float32, copy=False) for array in self._values
        ]
        if class_names is None:
            class_names = [str(label) for label in range(max(given) + 1)]
        self.class_names = tuple(class_names)
        check_labels(given, len(self.class_names))
        self.labels = frozen_table(given)
        self.channels = int(first[-1])
        self.sizes = frozen_table([array.shape[:-1] for array in self._values])
        self.ids = frozen_table(range(first_id, first_id + len(self._values)))

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: int, /) -> Example:
        return Example(int(self.ids[index]), self._values[index], int(self.labels[index]))


def check_array(index: int, array: np.ndarray, first: tuple[int, ...]) -> None:
    """Raises what `ArraySource` says it raises, if an array is no example or does not fit the shape of the first."""
    where = f"values[{index}]: got shape {array.shape}"
    if not 2 <= array.ndim <= 4:
        raise ValueError(
            f"{where}; an example is [*S, C] with 1, 2 or 3 spatial axes and channels last; add the channel axis with "
            "array[..., None] where there is only one"
        )
    if (array.ndim, array.shape[-1]) != (len(first), first[-1]):
        raise ValueError(
            f"{where}, but values[0] has shape {first}; all examples need one rank and one channel count (last axis); "
            "convert them first"
        )
    if array.size == 0:
        raise ValueError(f"{where}; every extent must be at least 1; leave empty examples out")
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"{where} of dtype {array.dtype}; allowed are uint8 (0 to 255) and floating; convert it first")
    if array.dtype != np.uint8 and not np.isfinite(array).all():
        raise ValueError(f"{where} with values that are not finite; replace NaN and infinity first")


def check_labels(labels: Sequence[int], classes: int) -> None:
    """Raises ValueError for the first label that is not in 0 to `classes` - 1."""
    for index, label in enumerate(labels):
        if not 0 <= label < classes:
            raise ValueError(
                f"labels[{index}]: got {label}; a label is 0 to {classes - 1} ({classes} class names); "
                "number the classes from 0 or name the missing ones"
            )


def frozen_table(rows: Sequence[tuple[int, ...]] | Sequence[int]) -> np.ndarray:
    """Returns rows as a read-only int32 array, as `Source.sizes` and `Source.ids` are."""
    table = np.array(rows, np.int32)
    table.setflags(write=False)
    return table
