"""Checks of arrays, labels and class names of examples: each error names the value and what to change."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

# Without class names, labels may count as many classes as this, or as this times the number of examples.
MAX_COUNTED, MAX_COUNTED_EACH = 10_000, 10


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


def whole_numbers(labels: Iterable[Any]) -> list[int]:
    """Returns labels as integers.

    Raises:
        ValueError: if a label is not a whole number; the first one is named.
    """
    given = list(labels)
    for index, label in enumerate(given):
        try:
            whole = int(label) == label
        except (TypeError, ValueError, OverflowError):
            whole = False
        if not whole:
            raise ValueError(f"labels[{index}]={label!r}: must be an integer; count classes from 0.")
    return [int(label) for label in given]


def checked_weights(weights: Any, count: int) -> np.ndarray:
    """Returns the weights of examples in the training loss as float32 [N], read-only.

    Args:
        weights: N numbers.
        count: N, the number of examples.

    Raises:
        ValueError: if there is not one for each example, or one is not a finite number above 0; the first is named.
    """
    try:
        given = np.asarray(weights, np.float64)
    except (TypeError, ValueError):
        raise ValueError("weights: must be numbers above 0, one for each example; convert them first.") from None
    if given.shape != (count,):
        raise ValueError(f"weights: must be one number for each of {count} examples, not {list(given.shape)}.")
    with np.errstate(over="ignore", under="ignore"):
        table = given.astype(np.float32)
    wrong = np.flatnonzero(~(np.isfinite(table) & (table > 0)))
    if len(wrong):
        raise ValueError(
            f"weights[{wrong[0]}]={given[wrong[0]]}: must be finite and above 0; leave out examples that do not count."
        )
    table.setflags(write=False)
    return table


def checked_groups(groups: Iterable[Any], count: int) -> tuple[str, ...]:
    """Returns the groups of examples as strings.

    Args:
        groups: N strings or whole numbers.
        count: N, the number of examples.

    Raises:
        ValueError: if there is not one for each example, or one is of another type; the first is named.
    """
    given = list(groups)
    if len(given) != count:
        raise ValueError(f"groups: must be one for each of {count} examples, not {len(given)}.")
    for index, group in enumerate(given):
        if not isinstance(group, str | int | np.integer):
            raise ValueError(f"groups[{index}]={group!r}: must be a string or an integer; convert it.")
    return tuple(map(str, given))


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


def count_classes(labels: Sequence[int], examples: int) -> int:
    """Returns the number of classes that labels count: the largest one plus 1; 0 without labels.

    Args:
        labels: the labels.
        examples: number of examples of the data set, which bounds the labels: a wrong one, such as 2**31 - 1, would ask
            for as many names, and for logits of as many classes.

    Raises:
        ValueError: if a label is negative, or at least `max(10_000, 10 * examples)`; the first one is named.
    """
    limit = max(MAX_COUNTED, MAX_COUNTED_EACH * examples)
    if not labels or (min(labels) >= 0 and max(labels) < limit):
        return max(labels, default=-1) + 1
    index, label = next((index, label) for index, label in enumerate(labels) if not 0 <= label < limit)
    raise ValueError(
        f"labels[{index}]={label}: must be 0 to {limit - 1}, as there are {examples} examples and no class names; "
        "number the classes from 0, or give class_names."
    )


def checked_names(class_names: Sequence[Any]) -> tuple[str, ...]:
    """Returns the names of the classes as strings.

    Args:
        class_names: strings or integers, all different.

    Raises:
        ValueError: if there are none, one is of another type, or two are equal.
    """
    if isinstance(class_names, str | bytes):
        raise ValueError(f"class_names={class_names!r}: must be a list of names; put it in brackets.")
    for index, name in enumerate(class_names):
        if not isinstance(name, str | int | np.integer):
            raise ValueError(f"class_names[{index}]={name!r}: must be a string; decode or convert it.")
    names = tuple(map(str, class_names))
    if not names:
        raise ValueError("class_names=[]: must hold at least one name; leave it out to count the classes.")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise ValueError(f"class_names: {name!r} is there {times} times; give every class a name of its own.")
    return names
