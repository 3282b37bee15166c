"""Checks of arrays and labels that become examples: each error names the array or label and what to change."""

from collections.abc import Sequence

import numpy as np


def check_array(index: int, array: np.ndarray, first: tuple[int, ...]) -> None:
    """Checks that an array is an example and agrees with the first one.

    Args:
        index: position of the array, for the message.
        array: the array; it should be uint8 or floating [*S, C] with 1, 2 or 3 spatial axes, and finite.
        first: shape of the first array; rank and channel count must be the same.

    Raises:
        ValueError: if the shape is not allowed or a value is not finite.
        TypeError: if the array is neither uint8 nor floating.
    """
    shape = f"values[{index}].shape={array.shape}"
    if not 2 <= array.ndim <= 4:
        raise ValueError(
            f"{shape}: must be [*S, C] with 1, 2 or 3 spatial axes and channels last; add a missing channel axis with "
            "array[..., None]."
        )
    if (array.ndim, array.shape[-1]) != (len(first), first[-1]):
        raise ValueError(
            f"{shape}: must have the rank and the channel count (last axis) of values[0], whose shape is {first}; "
            "convert the examples first."
        )
    if array.size == 0:
        raise ValueError(f"{shape}: must have extents of at least 1; leave empty examples out.")
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise TypeError(
            f"values[{index}].dtype={array.dtype}: must be uint8 (0 to 255) or floating; convert the example first."
        )
    if array.dtype != np.uint8 and not np.isfinite(array).all():
        raise ValueError(f"values[{index}]: must be finite; replace NaN and infinity first.")


def check_labels(labels: Sequence[int], classes: int) -> None:
    """Checks that every label is a class index.

    Args:
        labels: the labels.
        classes: number of classes.

    Raises:
        ValueError: if a label is not 0 to `classes - 1`; the first one is named.
    """
    for index, label in enumerate(labels):
        if not 0 <= label < classes:
            raise ValueError(
                f"labels[{index}]={label}: must be 0 to {classes - 1} ({classes} class names); number the classes from "
                "0 or name the missing ones."
            )
