"""Sources: random access to examples of any size, with the table of their sizes known before the first one is used.

Axes: N examples, S the spatial axes of one example (H, W for images, L for signals), D = len(S), C channels. The one
idea: a `Source` never resizes or pads; it hands out what is there and says how large it is.
"""

from collections.abc import Sequence
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
