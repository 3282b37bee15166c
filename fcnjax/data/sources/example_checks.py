"""Checks of arrays, labels and class names of examples: each error names the value and what to change.

Axes: N examples, S the spatial axes of one example (H, W of images, L of signals), C channels.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fcnjax.data.sources.contents import sample_positions
from fcnjax.data.sources.source import Source, UnreadableExample
from fcnjax.naming import unknown_name

# Without class names, labels may count as many classes as this, or as this times the number of examples.
MAX_COUNTED, MAX_COUNTED_EACH = 10_000, 10
COLORS = (1, 3, 4)  # channels of gray, RGB and RGBA images
FEW = 16  # channels: a last axis of more may be one of positions
SAMPLED, SPARE = 16, 0.25  # examples whose range is looked at, and how far resampling may overshoot [0, 1]


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
            f"{_other_layout([first, array.shape]) or 'convert the examples first'}."
        )
    if array.size == 0:
        raise ValueError(f"{shape}: must have extents of at least 1; leave empty examples out.")
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise TypeError(
            f"values[{index}].dtype={array.dtype}: must be uint8 (0 to 255) or floating; {_conversion(array)}."
        )
    if array.dtype != np.uint8 and not np.isfinite(array).all():
        raise ValueError(f"values[{index}]: must be finite; replace NaN and infinity first.")


def check_layout(sizes: np.ndarray, channels: int, given: int | None = None) -> None:
    """Checks that the last axis of arrays can be one of channels: nothing in an array says which axis it is.

    Refused are, unless the number of channels is `given`:

    - arrays of two axes with more than 16 in the last one, if the median of the first is less than twice that. They
      are images [H, W] without a channel axis, or signals [C, L]. Signals such as [5000, 12] (electrocardiograms),
      [160, 64] (electroencephalograms) or [L, 2] (stereo) pass;
    - arrays of three and four axes that begin with the same 1, 3 or 4, with more than 4 in the last one: channels
      first, as PyTorch has them;
    - arrays of three axes whose last two are equal and above 16 in all: volumes [D, H, W] without a channel axis, or,
      if they all begin with the same number of at most half as much, images with channels first.

    Args:
        sizes: int [N, D], the extents along all axes but the last one.
        channels: extent of the last axis.
        given: number of channels that the caller states; None if it is not known.

    Raises:
        ValueError: if the last axis has another number than `given`, or is probably none of channels; the message says
            what to do.
    """
    shapes = np.column_stack([sizes, np.full(len(sizes), channels)])
    shape, advice = tuple(shapes[0].tolist()), _other_layout(shapes)
    if given is not None and given != channels:
        raise ValueError(
            f"values[0].shape={shape}: must have channels={given} as its last axis; {advice or 'convert it first'}."
        )
    if advice is not None and given is None:
        raise ValueError(
            f"values[0].shape={shape}: must be [*S, C], channels last, and would have {channels} channels; {advice}, "
            f"or confirm them with channels={channels}."
        )


def _other_layout(shapes: Sequence[Sequence[int]] | np.ndarray) -> str | None:
    """Returns how to convert arrays of these shapes if they lack a channel axis or have it first; None if not."""
    rank = len(shapes[0])
    if any(len(shape) != rank for shape in shapes):
        return None
    table = np.asarray(shapes)
    first, last = table[:, 0], table[:, -1]
    same_first, same_last = bool((first == first[0]).all()), bool((last == last[0]).all())
    if rank == 2:
        if last.max() <= FEW or (same_last and np.median(first) >= 2 * last[0]):
            return None
        return "give array.T for signals [C, L]" if same_first and first[0] <= FEW else _ADD_AXIS
    order = ", ".join(map(str, [*range(1, rank), 0]))
    transpose = f"give array.transpose({order}), or tensor.permute({order}) in PyTorch"
    if same_first and first[0] in COLORS and last.min() > max(COLORS):
        return transpose
    if rank == 3 and last.min() > FEW and (not same_last or (table[:, 1] == last).all()):
        if same_first and 2 * first[0] <= table[:, 1:].min():
            return f"{transpose}, if the first axis is that of channels; of volumes, {_ADD_AXIS}"
        return _ADD_AXIS
    return None


_ADD_AXIS = "add a missing channel axis with array[..., None]"


def _conversion(array: np.ndarray) -> str:
    """Returns how to convert an array that is neither uint8 nor floating."""
    if array.dtype == bool:
        return "give array.astype(np.float32)"
    if not np.issubdtype(array.dtype, np.integer):
        return "convert the example first"
    low, high = int(array.min()), int(array.max())
    if low < 0:
        full = 2 ** max(15, max(high, 0).bit_length(), (-low - 1).bit_length())
        return f"its values are {low} to {high}, so give array / {full}.0 for samples, or divide by their full scale"
    if high <= 255 and array.dtype != np.uint16:
        return "its values are 0 to 255, so give array.astype(np.uint8)"
    full = 2 ** max(16, high.bit_length()) - 1
    return f"its values are {low} to {high}, so give array / {full}, or divide by their full scale"


def unusual_range(source: Source) -> str | None:
    """Returns a sentence on float images whose values lie outside [0, 1]; None if there are none.

    Training takes any finite values, as spectrograms and measurements have other ranges, so this is no error.

    Args:
        source: examples, of which up to 16, evenly spaced, are read; only images [H, W, C] are looked at, and of
            uint8 images no more than one.
    """
    if source.sizes.shape[1] != 2:
        return None
    low, high, farthest = 0.0, 1.0, ""
    for index in sample_positions(len(source), SAMPLED):
        try:
            values = source[index].values
        except UnreadableExample:
            continue
        if values.dtype == np.uint8:
            return None
        least, largest = float(values.min()), float(values.max())
        if least < low or largest > high:
            farthest = source.name_of(index)
        low, high = min(low, least), max(high, largest)
    if low >= -SPARE and high <= 1 + SPARE:
        return None
    if low >= 0 and high <= 255:
        advice = "divide pixels by 255, or give them as uint8"
    else:
        advice = "if they are pixels, scale them to [0, 1] and leave the rest to config.data.mean and std"
    return f"float images have values of {low:g} to {high:g} ({farthest}), and pixels have 0 to 1; {advice}."


def class_indices(labels: Any, class_names: Sequence[Any] | None = None) -> tuple[list[int], Sequence[Any] | None]:
    """Returns labels as class indices, and the names of the classes; labels that are strings name them.

    Args:
        labels: N integers, or N strings.
        class_names: names of the classes; None: unknown. Strings are then their own names, sorted.

    Returns:
        The indices, and `class_names` or the names that were found; None if there are neither.

    Raises:
        ValueError: if a label is not a whole number, nor one of the names; the first one is named. Labels of another
            shape, such as one-hot rows, are refused with what to do.
    """
    shape = np.shape(labels) if isinstance(labels, np.ndarray) or hasattr(labels, "__array__") else ()
    if len(shape) > 1:
        advice = "labels.ravel()" if shape[1:] == (1,) else "labels.argmax(axis=1) if its rows are one-hot"
        raise ValueError(f"labels of shape {shape}: must be one label per example, [N]; give {advice}.")
    given = list(labels)
    if not given or not all(isinstance(label, str) for label in given):
        return whole_numbers(given), class_names
    names = sorted(set(map(str, given))) if class_names is None else checked_names(class_names)
    known = {name: index for index, name in enumerate(names)}
    for index, label in enumerate(given):
        if label not in known:
            raise ValueError(f"labels[{index}]: {unknown_name('class', str(label), names)}")
    return [known[label] for label in given], names


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
            advice = "count classes from 0, or give the names of all"
            raise ValueError(f"labels[{index}]={label!r}: must be an integer; {advice}.")
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
