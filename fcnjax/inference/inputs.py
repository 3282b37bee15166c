"""Examples to predict, as a source: files, images in memory and arrays, in any mixture, without labels.

Axes: N examples, S the spatial axes of one example, C channels. The one idea: a file is read as in training, by the
same functions, and what training would not take is refused by name before anything is computed.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fcnjax.data import Example, Source, UnreadableExample
from fcnjax.data.decoding.audio_files import read_rate
from fcnjax.data.decoding.item_values import holds_media, media_values
from fcnjax.data.files.file_scan import AudioKind, ImageKind
from fcnjax.data.size_table import frozen_table
from fcnjax.naming import joined, printable
from fcnjax.progress import progress_bar
from fcnjax.training.standalone import Standalone

THREADS = 8  # files whose header is read at once
NEAR = 0.25  # how far float values may lie outside [0, 1], as resampling overshoots
SPATIAL = {1: "[L, {}], a signal", 2: "[H, W, {}], an image", 3: "[D, H, W, {}], a volume"}
Item = Any  # a path, an array [*S, C], or what `media_values` takes, such as a Pillow image


class Inputs(Source):
    """Examples to predict, at their native sizes. Those that cannot be read are left out and listed in `unreadable`.

    Args:
        items: paths of files; arrays [*S, C], uint8 or floating, as in training; or images and recordings in memory:
            Pillow images and what else `fcnjax.data.as_source` takes, alone or under the key "image" or "audio".
        model: the network that they are for.
        progress: whether to show a bar while the headers of files are read.

    Attributes:
        kept: int [N], position of each example in `items`.
        refused: why each other item was left out, by its position.
        unreadable: the same by name.
        item_names: names of all items.

    Raises:
        ValueError: if an array has another shape, or values of another range, than in training.
        TypeError: if an item is of no such kind.
    """

    def __init__(self, items: Sequence[Item], model: Standalone, *, progress: bool = False) -> None:
        self.class_names, self.channels = model.classes, model.channels
        self._model = model
        self._kind = ImageKind() if model.axes == 2 else AudioKind(model.recipe.data.sample_rate)
        self._kind = self._kind.with_channels(model.channels)
        self._rate = model.recipe.data.sample_rate
        held = [_held(index, item, model) for index, item in enumerate(items)]
        if model.axes > 2:
            first = next((item for item in held if isinstance(item, str | os.PathLike)), None)
            if first is not None:
                what = f"{model.axes} spatial axes"
                raise ValueError(f"{printable(first)}: must be an array: files have no values of {what}.")
        names = [item_name(item, index) for index, item in enumerate(held)]
        with ThreadPoolExecutor(THREADS) as pool:
            found, quiet = pool.map(self._size_of, held), not progress
            sizes = list(progress_bar(found, "reading headers", len(held), disable=quiet, unit=" files", leave=False))
        self.refused = {index: size for index, size in enumerate(sizes) if isinstance(size, str)}
        self.unreadable = {names[index]: reason for index, reason in self.refused.items()}
        self.item_names = tuple(names)
        self.kept = np.array([index for index, size in enumerate(sizes) if not isinstance(size, str)], np.int64)
        self._items = [held[index] for index in self.kept]
        self.names = tuple(names[index] for index in self.kept)
        self.sizes = frozen_table([sizes[index] for index in self.kept]) if len(self.kept) else np.zeros((0, 2), int)
        self.ids = frozen_table(range(len(self.kept)))

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int, /) -> Example:
        return self.read(index)

    def read(self, index: int, at_least: Sequence[int] | None = None) -> Example:
        """Returns the example at `index`, a JPEG file possibly at a fraction of its size; see `Source.read`.

        Raises:
            UnreadableExample: if a file cannot be read (any more), or is not of the size that it had.
        """
        item = self._items[index]
        if not isinstance(item, np.ndarray):
            item, reason = self._decoded(Path(item), self.sizes[index], at_least)
            if item is None:
                raise UnreadableExample(self.name_of(index), reason)
        return Example(index, item, 0)

    def file_of(self, index: int) -> str:
        """Returns the path of an example as text, or an empty text for an image or array in memory."""
        return "" if isinstance(self._items[index], np.ndarray) else self.name_of(index)

    def rate_of(self, index: int) -> float | None:
        """Returns the samples per second of a recording: those of training, or its own; None if they are unknown."""
        item = self._items[index]
        if self._rate or isinstance(item, np.ndarray) or self.sizes.shape[1] != 1:
            return self._rate if self.sizes.shape[1] == 1 else None
        try:
            return read_rate(Path(item))
        except (UnreadableExample, OSError):  # it has changed: its reading will say so
            return None

    def _decoded(self, path: Path, size: np.ndarray, at_least: Sequence[int] | None) -> tuple[np.ndarray | None, str]:
        """Returns the values of a file, or why it has none: it may have changed since its header was read."""
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                return None, "is not a file any more"
            values = self._kind.decode(path, self.channels, None if at_least is None else tuple(at_least))
        except UnreadableExample as error:
            return None, error.reason
        except OSError as error:
            return None, error.strerror or str(error)
        scales = (1, 2, 4, 8) if at_least is not None else (1,)
        if values.dtype != np.uint8 and len(size) == 2 and self._model.values == (0.0, 1.0):  # floats of a TIFF file
            try:
                _check_range(values, self._model, "its values")
            except ValueError as error:
                return None, str(error)
        if values.shape[:-1] not in [tuple((-(-size // scale)).tolist()) for scale in scales]:
            before, now = joined(size.tolist()), joined(values.shape[:-1])
            return None, f"has changed from {before} to {now} while it was predicted; predict it again"
        return values, ""

    def _size_of(self, item: Any) -> tuple[int, ...] | str:
        """Returns the size of an item, or why it cannot be read."""
        if isinstance(item, UnreadableExample):
            return item.reason
        if isinstance(item, np.ndarray):
            return item.shape[:-1]
        try:
            if not stat.S_ISREG(os.stat(item).st_mode):  # a pipe would wait, and a device may never end
                return "is not a file"
            return self._kind.header(Path(item))[0]
        except UnreadableExample as error:
            return error.reason
        except (OSError, ValueError) as error:  # ValueError: a path with a null byte
            return getattr(error, "strerror", None) or str(error)


def item_name(item: Item, position: int) -> str:
    """Returns the name of an item in messages: its path, or its position in the list."""
    return str(Path(item)) if isinstance(item, str | os.PathLike) else f"item {position}"


def _held(index: int, item: Item, model: Standalone) -> Any:
    """Returns a path, the values of another item, or the error of an image or recording that cannot be decoded.

    Raises:
        ValueError, TypeError: as `as_array`; the message names the item.
    """
    if isinstance(item, str | os.PathLike):
        return item
    try:
        return as_array(item, model, item_name(item, index))
    except UnreadableExample as error:
        return error
    except OSError as error:
        return UnreadableExample(item_name(item, index), error.strerror or str(error))
    except (ValueError, TypeError) as error:
        raise type(error)(f"item {index}: {error}") from None


def as_array(item: Any, model: Standalone, name: str = "item") -> np.ndarray:
    """Returns an image or a recording in memory, or an array, as the values of an example.

    Args:
        item: see `Inputs`.
        model: the network that it is for.
        name: its name in errors.

    Raises:
        UnreadableExample: if it cannot be decoded.
        ValueError: as `check_array`.
        TypeError: if the item is nothing of the kind.
    """
    key = next((key for key in ("image", "audio") if isinstance(item, Mapping) and key in item), None)
    item = item if key is None else item[key]
    if holds_media(item, key):
        if isinstance(item, Image.Image) and model.axes != 2:
            raise ValueError(f"an image: this network takes {_wanted(model)}, so give an array.")
        if model.axes > 2:
            raise ValueError(f"a file: this network takes {_wanted(model)}, so give an array.")
        rate = model.recipe.data.sample_rate
        item, _ = media_values(item, name, audio=model.axes == 1, channels=model.channels, sample_rate=rate)
    try:
        array = np.asarray(item)
    except Exception:
        array = np.asarray(None)
    if array.dtype == object or array.dtype.kind in "SU":
        raise TypeError(
            f"an item of type {type(item).__name__}: must be the path of a file, a Pillow image, or an array "
            f"{_wanted(model)}."
        )
    check_array(array, model)
    return array if array.dtype == np.uint8 else array.astype(np.float32)


def check_array(array: np.ndarray, model: Standalone) -> None:
    """Checks that an array is an example such as those of training.

    Raises:
        ValueError: if it has another shape or dtype, or values of another range; the message says what to do.
    """
    what = f"array of shape {array.shape}"
    if array.ndim == model.axes and model.channels == 1:
        raise ValueError(f"{what}: must be {_wanted(model)}; add the missing channel axis with array[..., None].")
    if array.ndim == model.axes + 2:
        raise ValueError(f"{what}: must be {_wanted(model)}; give several examples as list(batch).")
    if array.ndim == model.axes + 1 and array.shape[-1] != model.channels == array.shape[0]:
        order = ", ".join(map(str, [*range(1, array.ndim), 0]))
        raise ValueError(f"{what}: must be {_wanted(model)}, channels last; give array.transpose({order}).")
    if array.ndim != model.axes + 1 or array.shape[-1] != model.channels or array.size == 0:
        raise ValueError(f"{what}: must be {_wanted(model)}.")
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"{what} and dtype {array.dtype}: must be uint8 (0 to 255) or floating, as in training.")
    _check_range(array, model, what)


def _check_range(array: np.ndarray, model: Standalone, what: str) -> None:
    low, high = model.values
    pixels = (low, high) == (0.0, 1.0)
    if array.dtype == np.uint8:
        if not pixels:
            raise ValueError(f"{what} and dtype uint8: must be floating, of {low:g} to {high:g} as in training.")
        return
    if not np.isfinite(array).all():
        raise ValueError(f"{what}: must be finite; replace NaN and infinity first.")
    spare = NEAR if pixels and model.axes == 2 else high - low
    least, largest = float(array.min()), float(array.max())
    if least < low - spare or largest > high + spare:
        advice = "give uint8 pixels, or divide them by 255; do not normalize them, as the model does" if pixels else ""
        raise ValueError(
            f"{what}, values of {least:g} to {largest:g}: must be {low:g} to {high:g} as in training"
            f"{f'; {advice}' if advice else ', before mean and deviation are taken out'}."
        )


def _wanted(model: Standalone) -> str:
    return SPATIAL[model.axes].format(model.channels)
