"""Data sets in one `.npz` file: any numpy program can write them, and reading needs no pickle.

Axes: N examples, S the spatial axes of one example, D = len(S), C channels. The one idea: arrays of different sizes are
stored end to end, with the table of their sizes beside them.
"""

import io
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from fcnjax.atomic import write_bytes
from fcnjax.data.size_table import areas, checked_table, frozen_table
from fcnjax.data.sources.arrays import ArraySource
from fcnjax.data.sources.example_checks import (
    checked_groups,
    checked_names,
    checked_weights,
    class_indices,
    count_classes,
)
from fcnjax.data.sources.npz_archive import array_names, read_arrays
from fcnjax.data.sources.source import Source
from fcnjax.data.sources.splits import ALL, FixedOrder, SplitPart, parse_split, positions, split_parts
from fcnjax.data.sources.wrapped import as_source
from fcnjax.naming import printable, some

T = TypeVar("T")
# Names of arrays in files of others: x_train and y_train (Keras), train_images and train_labels (MedMNIST), X and y.
_VALUES, _LABELS = ("x", "images", "data", "signals"), ("y", "labels", "targets")
_KIND = "|".join(_VALUES + _LABELS)
_OTHER = re.compile(rf"(?:(?P<before>train|val|valid|validation|test)_)?(?P<kind>{_KIND})(?:_(?P<after>\w+))?", re.I)


def save_npz(
    path: str | os.PathLike[str],
    values: Source | Iterable[np.ndarray],
    labels: Iterable[int] | Iterable[str] | None = None,
    class_names: Sequence[str] | None = None,
    split: str = "train",
    *,
    channels: int | None = None,
    weights: Any = None,
    groups: Iterable[Any] | None = None,
) -> Path:
    """Writes examples of any size as one split of an `.npz` file and keeps the splits that the file already has.

    The file holds `{split}_values`, all arrays end to end [sum of S * C]; `{split}_sizes` int32 [N, D];
    `{split}_channels`; `{split}_labels` int64 [N]; and `class_names`, the same for all splits. It also holds
    `{split}_weights` float32 [N] and `{split}_groups`, strings [N], if examples have them.

    Args:
        path: the file. An interruption leaves it as it was.
        values: A `Source`, or N arrays [*S, C] as `fcnjax.data.ArraySource` takes them.
        labels: N class indices or names; leave them out if `values` is a source.
        class_names: as for `ArraySource`; leave them out if `values` is a source.
        split: letters, digits and underscores.
        channels: as for `ArraySource`.
        weights: as for `ArraySource`; leave them out if `values` is a source.
        groups: as for `ArraySource`; leave them out if `values` is a source.

    Returns:
        The path.

    Raises:
        ValueError: if `ArraySource` refuses the arrays or labels, the split's name contains other characters, or the
            file has other class names or is not an `.npz` file.
        TypeError: if the values are neither uint8 nor floating, or have more than one type.
    """
    path = Path(path)
    if not re.fullmatch(r"\w+", split):
        raise ValueError(f"split={split!r}: must consist of letters, digits and underscores.")
    if labels is None and not hasattr(values, "class_names"):
        raise ValueError("labels=None: must hold one label per array; give them, or a source instead of the arrays.")
    if labels is None:
        source = as_source(values)
    else:
        arrays = cast(Iterable[np.ndarray], values)
        source = ArraySource(arrays, labels, class_names, channels=channels, weights=weights, groups=groups)
    examples = [source[index] for index in range(len(source))]
    dtypes = {example.values.dtype for example in examples}
    if len(dtypes) > 1:
        raise TypeError(f"values: must have one type, not {sorted(map(str, dtypes))}; convert them.")
    stored = read_arrays(path) if path.exists() else {}
    names = np.array(source.class_names)
    if "class_names" in stored and stored["class_names"].tolist() != names.tolist():
        raise ValueError(f"{printable(path)}: has other class names than the new split; give all splits the same list.")
    stored |= {
        f"{split}_values": np.concatenate([example.values.reshape(-1) for example in examples]),
        f"{split}_sizes": np.array(source.sizes, np.int32),
        f"{split}_channels": np.array(source.channels),
        f"{split}_labels": np.array([example.label for example in examples], np.int64),
        "class_names": names,
    }
    for name, each in (("weights", source.weights), ("groups", source.groups)):
        stored.pop(f"{split}_{name}", None)  # of the examples that the split held before
        stored |= {} if each is None else {f"{split}_{name}": np.array(each)}
    content = io.BytesIO()
    arguments: Any = stored
    np.savez_compressed(content, **arguments)
    return write_bytes(path, content.getvalue())


def load_npz(path: str | os.PathLike[str], split: str = "train") -> ArraySource:
    """Returns one split of an `.npz` file, in memory.

    The file holds arrays `values` and `labels` (int [N], or strings [N], the names of classes). Their names begin with
    the split and an underscore (`train_values`); in a file of one split they may be bare, and the split is called
    "train" or "all". `values` is [N, *S, C]; or 1-D, all examples end to end, with `sizes` int [N, D] and `channels`
    (default 1) of the same prefix, as `save_npz` writes them. Beside values [N, *S, C], an array `channels` that holds
    C says that the last axis is one of channels, where it looks like another one (see `ArraySource`). `class_names`
    [K], strings, is optional; by default the labels of all splits determine the classes: the largest integer, or the
    names, sorted. `weights` and `groups` [N] of the same prefix are optional, too (see `ArraySource`). In a file
    without arrays of these names, those of other libraries are read: x_train and y_train, train_images and
    train_labels, X and y.

    Args:
        path: the file.
        split: its name, optionally with a slice in examples or percent, "train[:100]" or "train[95%:]", of a fixed
            random order that holds the classes in proportion and keeps groups whole, as for folders; "+" joins several.

    Returns:
        The source; ids are positions in the file, with its splits in the order of their names.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the split is unknown or empty, or an array is missing, pickled, damaged or inconsistent with the
            others; or if there are no class names, and a label is far beyond the number of examples.
        TypeError: if the values are neither uint8 nor floating.

    >>> import tempfile
    >>> path = save_npz(Path(tempfile.mkdtemp()) / "two.npz", [np.ones((2, 3, 1)), np.ones((4, 5, 1))], [0, 1])
    >>> load_npz(path, "train[:50%]+train[50%:]").class_names
    ('0', '1')
    """
    path = Path(path)
    shown = printable(path)
    if not path.exists():
        raise FileNotFoundError(f"{shown}: no such file; fcnjax.data.save_npz writes one from arrays.")
    stored = _named(read_arrays(path))
    splits = _split_names(stored)
    if not splits:
        held = some([f"{name} {list(array.shape)}" for name, array in stored.items()], 6) or "none"
        raise ValueError(
            f"{shown}: must hold arrays values and labels, or one of each for every split, such as train_values; its "
            f"arrays are {printable(held)}; fcnjax.data.save_npz(path, values, labels) writes them."
        )
    if splits == {""}:
        bare = ALL if parse_split(split)[0].name == ALL else "train"
        prefixes = {bare: ""}
    else:
        prefixes = {name: f"{name}_" for name in splits}
    labels = {name: _labels(shown, stored, prefix) for name, prefix in prefixes.items()}
    counts = {name: len(one) for name, one in labels.items()}
    parts = split_parts(split, counts, str(path))
    names, labels = _classes(shown, stored, prefixes, labels)
    weights = _beside(shown, stored, prefixes, counts, "weights", checked_weights)
    groups = _beside(shown, stored, prefixes, counts, "groups", checked_groups)
    what = f"split={split!r} of {shown}: "
    members = [
        (part.split, _prefixed(what, _members, part, labels[part.split], groups.get(part.split))) for part in parts
    ]
    arrays = [each for name, rows in members for each in _examples(shown, stored, prefixes[name], rows, counts[name])]
    chosen = [labels[name][row] for name, rows in members for row in rows]
    more: dict[str, Any] = {}
    if any(name in weights for name, _ in members):  # a split without weights beside one that has them: 1
        more["weights"] = [weights[name][row] if name in weights else 1 for name, rows in members for row in rows]
    if all(name in groups for name, _ in members):
        more["groups"] = [groups[name][row] for name, rows in members for row in rows]
    try:
        stated = [prefixes[name] for name, _ in members if f"{prefixes[name]}channels" in stored]
        channels = _channels(shown, stored, stated[0]) if stated else None
        source = ArraySource(arrays, chosen, names, channels=channels, **more)
    except (ValueError, TypeError) as error:
        raise type(error)(f"split={split!r} of {shown}: {error}") from None
    whole = {name: positions([SplitPart(name, 0, count)], counts) for name, count in counts.items()}
    source.ids = frozen_table(np.concatenate([whole[name][rows] for name, rows in members]))
    return source


def npz_splits(path: str | os.PathLike[str]) -> list[str]:
    """Returns the sorted names of the splits of an `.npz` file, without reading them; "all" if it is undivided.

    Raises:
        ValueError: if it is not an `.npz` file.
        OSError: if it cannot be read.
    """
    return sorted(name or ALL for name in _split_names(_named(dict.fromkeys(array_names(Path(path))))))


def _named(stored: Mapping[str, T]) -> dict[str, T]:
    """Returns arrays by the names that this library gives them: "x_train", "train_images" are "train_values".

    Arrays of a file with values of that name keep their names.
    """
    if _split_names(stored):
        return dict(stored)
    renamed = {}
    for name, array in stored.items():
        found = _OTHER.fullmatch(name)
        if found is not None:
            split = found["before"] or found["after"]
            kind = "values" if found["kind"].lower() in _VALUES else "labels"
            name = f"{split}_{kind}" if split else kind
        renamed[name] = array
    return renamed


def _split_names(keys: Iterable[str]) -> set[str]:
    """Returns the names of the splits that arrays of these names form; "" for an undivided file."""
    return {key.removesuffix("values").removesuffix("_") for key in keys if re.fullmatch(r"(\w+_)?values", key)}


def _members(part: SplitPart, labels: Sequence[int], groups: Sequence[str] | None) -> list[int]:
    """Returns the rows that a part of a split selects, ascending: a slice has all classes, and whole groups."""
    if part.stop - part.start == len(labels):
        return list(range(len(labels)))
    order = FixedOrder([str(label) for label in labels], [str(row) for row in range(len(labels))], groups)
    return sorted(order.part(range(part.start, part.stop)))


def _labels(shown: str, stored: Mapping[str, np.ndarray], prefix: str) -> list[Any]:
    labels = stored.get(f"{prefix}labels")
    if labels is None:
        raise ValueError(f"{shown}: {prefix}labels is missing beside {prefix}values; add it, int [N].")
    if labels.ndim != 1 or labels.dtype.kind not in "iuU":
        found = f"{shown}: {prefix}labels is {labels.dtype} {list(labels.shape)}"
        column = labels.ndim == 2 and labels.shape[1] == 1
        advice = "labels[:, 0]" if column else "of one-hot rows labels.argmax(axis=1)"
        raise ValueError(f"{found}; write integers or strings [N], {advice}.")
    return labels.tolist()


def _classes(
    shown: str, stored: Mapping[str, np.ndarray], prefixes: Mapping[str, str], labels: Mapping[str, list[Any]]
) -> tuple[list[str], dict[str, list[int]]]:
    """Returns the names of the classes, and the labels of all splits as class indices."""
    named = {name: bool(one) and isinstance(one[0], str) for name, one in labels.items()}
    if not any(named.values()):
        return _class_names(shown, stored, {prefixes[name]: one for name, one in labels.items()}), dict(labels)
    if not all(named.values()):
        raise ValueError(f"{shown}: labels are strings in some splits and integers in others; write one kind.")
    if "class_names" in stored:
        names = _class_names(shown, stored, {})
    else:
        names = sorted({label for one in labels.values() for label in one})
    where = {name: f"{shown}: {prefixes[name]}" for name in labels}
    return names, {name: _prefixed(where[name], class_indices, one, names)[0] for name, one in labels.items()}


def _beside(
    shown: str,
    stored: Mapping[str, np.ndarray],
    prefixes: Mapping[str, str],
    counts: Mapping[str, int],
    what: str,
    check: Callable[..., Any],
) -> dict[str, Any]:
    """Returns the checked weights or groups of the splits that have them, by name of the split."""
    arrays = {name: stored.get(f"{prefix}{what}") for name, prefix in prefixes.items()}
    return {
        name: _prefixed(f"{shown}: {prefixes[name]}", check, array.tolist(), counts[name])
        for name, array in arrays.items()
        if array is not None
    }


def _class_names(shown: str, stored: Mapping[str, np.ndarray], labels: Mapping[str, Sequence[int]]) -> list[str]:
    """Returns the names of the classes, the stored ones or those counted in the labels of all splits, by prefix."""
    names = stored.get("class_names")
    if names is None:
        examples = sum(map(len, labels.values()))
        counted = [_prefixed(f"{shown}: {prefix}", count_classes, one, examples) for prefix, one in labels.items()]
        return [str(label) for label in range(max(counted, default=0))]
    if names.ndim != 1 or names.dtype.kind not in "Uiu":
        raise ValueError(f"{shown}: class_names is {names.dtype} {list(names.shape)}; write strings [K].")
    return list(_prefixed(f"{shown}: ", checked_names, names.tolist()))


def _prefixed(prefix: str, check: Callable[..., T], *arguments: Any) -> T:
    """Returns the result of a check, whose error gets a prefix that names the file."""
    try:
        return check(*arguments)
    except ValueError as error:
        raise ValueError(f"{prefix}{error}") from None


def _examples(
    shown: str, stored: Mapping[str, np.ndarray], prefix: str, rows: Sequence[int], count: int
) -> Iterator[np.ndarray]:
    """Yields the arrays [*S, C] of some rows of a split of `count` examples."""
    values, sizes = stored[f"{prefix}values"], stored.get(f"{prefix}sizes")
    if sizes is None:
        if values.ndim < 3:
            raise ValueError(
                f"{shown}: {prefix}values has the shape {list(values.shape)}; write [N, *S, C], or 1-D with "
                f"{prefix}sizes beside it."
            )
        if len(values) != count:
            raise ValueError(
                f"{shown}: {prefix}values holds {len(values)} examples for {count} labels; write one label each."
            )
        yield from (values[row] for row in rows)
        return
    channels = _channels(shown, stored, prefix)
    table = checked_table(f"{shown}: {prefix}sizes", sizes)
    total = table.astype(np.float64).prod(axis=1).sum() * channels  # float: integers could overflow
    fits = values.ndim == 1 and len(table) == count and total <= len(values)
    ends = np.cumsum(areas(table) * channels) if fits else np.zeros(1, np.int64)
    if not fits or ends[-1] != len(values):
        raise ValueError(
            f"{shown}: {prefix}sizes of shape {sizes.shape} does not describe {count} examples of {channels} "
            f"channels in {prefix}values of shape {values.shape}; see fcnjax.data.save_npz."
        )
    for index in rows:
        size = table[index].tolist()
        yield values[ends[index] - math.prod(size) * channels : ends[index]].reshape(*size, channels)


def _channels(shown: str, stored: Mapping[str, np.ndarray], prefix: str) -> int:
    channels = stored.get(f"{prefix}channels", np.array(1))
    if channels.size != 1 or not np.issubdtype(channels.dtype, np.integer) or channels.item() < 1:
        raise ValueError(
            f"{shown}: {prefix}channels is {channels.dtype} {channels.tolist()}; write one integer of at least 1."
        )
    return int(channels.item())
