"""Any object with `__len__` and `__getitem__` as a source: a list of pairs, a PyTorch `Dataset`, your own database.

Axes: N examples, S the spatial axes of one example, D = len(S), L samples of a signal, C channels. The one idea: the
type of an item alone decides how it is read, and the size table takes one pass unless the caller knows it.
"""

import operator
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from fcnjax.data.decoding.item_values import as_signal, holds_media, is_recording, media_values
from fcnjax.data.size_table import checked_table, frozen_table
from fcnjax.data.sources.example_checks import (
    check_array,
    check_labels,
    check_layout,
    checked_names,
    checked_weights,
    class_indices,
    count_classes,
)
from fcnjax.data.sources.source import Example, Source
from fcnjax.progress import progress_bar

_VALUE_KEYS = ("image", "audio", "values")


def as_source(
    data: Any, class_names: Sequence[str] | None = None, sizes: Any = None, *, channels: int | None = None
) -> Source:
    """Returns a source of the items of your object; a `Source` is returned unchanged.

    Use `ArraySource` for arrays that fit in memory: it is faster and checks all of them for NaN.

    Args:
        data: an object with `__len__` and `__getitem__`; several threads call the latter at once. An item is an
            `Example`; a pair `(values, label)`; or a mapping with the key "label" and one of "image", "audio" and
            "values". Values are anything that numpy converts to an array [*S, C], uint8 (0 to 255) or floating,
            channels last: arrays, tensors. With the key "image", [H, W] becomes [H, W, 1]; with "audio", [L] becomes
            [L, 1], and integers are scaled to full scale 1 (see `as_signal`). Values can also be Pillow images, or the
            images and recordings of Hugging Face `datasets`, decoded or not: a mapping with "bytes" or "path" of a file
            ("audio" says that it is a recording), or with "array" and "sampling_rate"; or an object with
            `get_all_samples()`. They become what their files would in a folder; a recording keeps its rate. A label is
            a class index or the name of a class. An item must have the same size at every access: leave random crops
            to the training's augmentation. An object that also has the other members of a `Source` (`sizes`, `ids`,
            `class_names`, `channels`) is used as it is, and the arguments below are ignored.
        class_names: names of the classes, all different; None takes those that the object has, as data sets of Hugging
            Face (`features["label"].names`) and torchvision (`classes`) have them; else it counts the classes in the
            labels and names them "0", "1", ..., if the largest label is below 10,000 or 10 times the number of items.
            Labels that are names are then the classes, sorted.
        sizes: int [N, D], the extents of each item along its spatial axes; `class_names` is then required. None reads
            every item once, with a progress bar if that takes more than a second.
        channels: C, the extent of the last axis, for items that look like others, as for `ArraySource`; images and
            recordings that are no arrays are converted to it, as by `decode_image` and `decode_audio`. None: of images
            1 if all are gray, else 3 (if `sizes` are given, as the first item is); of recordings 1, their mean.

    Returns:
        The source. Ids are positions; items of type `Example` keep their own if the size table is read from them.

    Raises:
        ValueError: if `data` is empty, an item has none of these forms or cannot be decoded (UnreadableExample), or
            labels, sizes and items disagree.
        TypeError: if `data` lacks one of the two methods, or values are neither uint8 nor floating.

    >>> source = as_source([(np.ones((28, 16, 1)), 0), (np.ones((9, 30, 1)), 1)], ["tall", "wide"])
    >>> source.sizes.tolist(), source[1].label
    ([[28, 16], [9, 30]], 1)
    """
    if isinstance(data, Source):
        return data
    if all(hasattr(data, name) for name in ("sizes", "ids", "class_names", "channels", "__len__", "__getitem__")):
        return _MemberSource(data)
    return _ItemSource(data, _own_names(data) if class_names is None else class_names, sizes, channels)


def _own_names(data: Any) -> list[str] | None:
    """Returns the names of the classes that an object has, as data sets of Hugging Face and torchvision do."""
    features = getattr(data, "features", None)
    label = features.get("label") if isinstance(features, Mapping) else None
    names = getattr(label, "names", None) or getattr(data, "classes", None)
    return list(names) if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names) else None


class _MemberSource(Source):
    """An object with the members of a `Source` that does not derive from it; members it lacks have their defaults."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self.sizes, self.ids = data.sizes, data.ids
        self.class_names, self.channels = data.class_names, data.channels
        names = getattr(data, "names", None)
        self.names = None if names is None else tuple(names)
        weights = getattr(data, "weights", None)
        self.weights = None if weights is None else checked_weights(weights, len(data))
        for name in ("unreadable", "groups", "ignored", "notes"):
            if hasattr(data, name):
                setattr(self, name, getattr(data, name))

    @cached_property
    def labels(self) -> np.ndarray | None:
        labels = getattr(self._data, "labels", None)
        return None if labels is None else np.asarray(labels, np.int32)

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int, /) -> Example:
        return self._data[index]

    def read(self, index: int, at_least: Sequence[int] | None = None) -> Example:
        return self._data.read(index, at_least) if hasattr(self._data, "read") else self._data[index]


class _ItemSource(Source):
    """A source of the items of an object."""

    def __init__(self, data: Any, class_names: Sequence[str] | None, sizes: Any, channels: int | None) -> None:
        if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
            raise TypeError(f"data: a {type(data).__name__} lacks __len__ or __getitem__; convert it to a list.")
        if not len(data):
            raise ValueError("data: must hold at least one item, such as a pair (values, label).")
        if sizes is not None and class_names is None:
            raise ValueError("class_names=None: must be given with sizes, because no labels are read to count classes.")
        self._data = data
        self._asked = channels  # of media; None: as they are
        if sizes is None:
            self.sizes, self.ids, labels = self._scan()
            indices, names = class_indices(labels, class_names)
            self.class_names = checked_names(range(count_classes(indices, len(indices))) if names is None else names)
            check_labels(indices, len(self.class_names))
            self.labels = frozen_table(indices)
        else:
            example, _, media = _example(data, 0, channels)
            self._first, self._decoded = example.values.shape, media.made
            self.sizes = frozen_table(checked_table("sizes", sizes, len(self._first) - 1))
            if len(self.sizes) != len(data):
                raise ValueError(f"sizes: must have one row for each of the {len(data)} items, not {len(self.sizes)}.")
            self.ids = frozen_table(range(len(data)))
            self.class_names = checked_names(class_names or ())
        self.channels = self._asked = int(self._first[-1])
        check_layout(self.sizes, self.channels, self.channels if self._decoded else channels)

    def _scan(self) -> tuple[np.ndarray, np.ndarray, list[Any]]:
        sizes, ids, labels, rates, array = [], [], [], {}, False
        fixed: tuple[int, ...] | None = None  # shape of the first item whose channels do not convert
        images = set()  # channels of the others
        for index in progress_bar(range(len(self._data)), title="sizes", unit=" items", delay=1, leave=False):
            example, label, media = _example(self._data, index, self._asked)
            shape, array = example.values.shape, array or not media.made
            if media.converts and self._asked is None and shape[-1] in (1, 3):
                check_array(index, example.values, shape if fixed is None else (*fixed[:-1], shape[-1]))
                images.add(shape[-1])
            else:
                fixed = fixed or shape
                check_array(index, example.values, fixed)
            rates.setdefault(media.rate, index)
            sizes.append(shape[:-1])
            ids.append(example.id)
            labels.append(label)
        self._decoded, rank = not array, len(sizes[0])
        self._first = fixed or (*sizes[0], max(images))
        for index in [index for index, size in enumerate(sizes) if len(size) != rank][:1]:
            raise ValueError(f"data[{index}]: must have {rank} spatial axes as data[0], not {len(sizes[index])}.")
        known = sorted(rate for rate in rates if rate)
        if len(known) > 1:
            low, high = known[0], known[-1]
            self.notes = (
                f"recordings have {len(known)} rates, such as {low:g} Hz (item {rates[low]}) and {high:g} Hz (item "
                f"{rates[high]}); they are not resampled",
            )
        return frozen_table(sizes), frozen_table(ids), labels

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int, /) -> Example:
        example, label, _ = _example(self._data, index, self._asked)
        wanted = (*self.sizes[index].tolist(), self.channels)
        if example.values.shape != wanted:
            raise ValueError(
                f"data[{index}].shape={example.values.shape}: must be {wanted} as in the size table; an item must have "
                "one size at every access, so leave random crops and resizing to the training's augmentation."
            )
        check_array(index, example.values, self._first)
        (known,), _ = class_indices([label], self.class_names)
        check_labels([known], len(self.class_names))
        return example._replace(id=int(self.ids[index]), label=known)


class _Media(NamedTuple):
    """How the values of an item came about.

    Attributes:
        made: whether they were decoded, and are no array of the caller's.
        converts: whether they are an image, whose channels can be converted.
        rate: samples per second of a recording, if known.
    """

    made: bool = False
    converts: bool = False
    rate: int | None = None


def _example(data: Any, index: int, channels: int | None) -> tuple[Example, int | str, _Media]:
    """Returns an item as an example, its label as it is given, which that of the example is not yet, and its making."""
    item = data[index]
    given_id, key = index, "values"
    if isinstance(item, Example):
        given_id, values, label = item
    elif isinstance(item, Mapping):
        keys = [name for name in _VALUE_KEYS if name in item]
        if len(keys) != 1 or "label" not in item:
            raise ValueError(
                f"data[{index}]: must have the key 'label' and exactly one of {_VALUE_KEYS}; its keys are "
                f"{sorted(map(str, item))}."
            )
        key, values, label = keys[0], item[keys[0]], item["label"]
    elif isinstance(item, (tuple, list)) and len(item) == 2:
        values, label = item
    else:
        raise ValueError(
            f"data[{index}]: must be a pair (values, label), a mapping or an Example, not a {type(item).__name__}; "
            "give arrays and their labels as fcnjax.data.ArraySource(values, labels)."
        )
    if not 0 <= given_id < 2**31:
        raise ValueError(f"data[{index}].id={given_id}: must be 0 to 2^31 - 1; number the examples from 0.")
    media = _Media()
    if holds_media(values, key):
        audio = key == "audio" or is_recording(values)
        values, rate = media_values(values, f"data[{index}]", audio=audio, channels=channels)
        media = _Media(True, not audio, rate)
    else:
        values = _values(key, values)
    return Example(int(given_id), values, 0), _label(index, label), media


def _values(key: str, values: Any) -> np.ndarray:
    if key == "audio":
        return as_signal(values)
    array = np.asarray(values)
    if array.ndim == 2 and key == "image":
        array = array[..., None]
    return array.astype(np.float32, copy=False) if np.issubdtype(array.dtype, np.floating) else array


def _label(index: int, label: Any) -> int | str:
    if isinstance(label, str):
        return label
    try:
        return operator.index(label)
    except TypeError:
        more = "give its argmax if it is one-hot" if np.size(label) > 1 else "count classes from 0, or give its name"
        raise ValueError(f"data[{index}]: the label must be an integer or a name, not {label!r}; {more}.") from None
