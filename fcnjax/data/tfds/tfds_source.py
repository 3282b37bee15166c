"""TFDS data sets as sources: prepared once, then read by random access without TensorFlow.

Axes: H height, W width, L samples of a signal, S the spatial axes (H, W or L), C channels.
"""

import contextlib
import hashlib
import io
import os
import zipfile
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fcnjax.atomic import write_bytes
from fcnjax.data.decoding.image_files import decode_image, read_size
from fcnjax.data.decoding.item_values import as_signal
from fcnjax.data.size_table import frozen_table
from fcnjax.data.sources.contents import Contents
from fcnjax.data.sources.source import Example, Source, UnreadableExample
from fcnjax.data.sources.splits import positions, split_parts
from fcnjax.data.tfds.record_hashes import hash_records
from fcnjax.data.tfds.records import DataDir, open_prepared, open_records
from fcnjax.progress import progress_bar

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

CACHE_BYTES = 256 * 2**20


class TfdsSource(Source):
    """One split of a prepared TFDS data set, read by random access without TensorFlow.

    The size table comes from the feature's shape if it is fixed, else from one pass over the split, which reads the
    headers of encoded images and decodes no pixels. A pass that takes more than a second shows its progress. Its result
    is kept for the next run in a hidden file beside the data, if the folder is writable. Decoded examples are kept in
    memory if the whole split fits `cache_bytes`; otherwise every access decodes.

    Images are uint8 [H, W, C] with the feature's channel count (gray and palette files are converted to it). Audio is
    float32 [L, C]: integers are read as 16-bit samples and divided by 32768, so that full scale is 1.

    Args:
        builder: A prepared builder with a feature `image` or `audio` and a class `label`, stored as ArrayRecord. The id
            of an example is its feature `id` if there is one, else its position in the data set, with the splits end to
            end in the order of their names. Ids therefore do not depend on the slice.
        split: A split of the builder, optionally with a slice such as "train[:100]"; "+" joins several.
        cache_dir: folder that keeps the hashes of the files of records for the next run; None: the data's own folder.
        cache_bytes: maximum total of decoded values kept in memory, in bytes; 0 keeps nothing.

    Raises:
        ValueError: if the data set lacks one of these features or has one of an unsuitable type, is stored without
            random access, or the split is unknown or empty.
        UnreadableExample: if the header of an image cannot be read.
    """

    def __init__(
        self,
        builder: "tfds.core.DatasetBuilder",
        split: str,
        *,
        cache_dir: DataDir = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._folder, self._split, self._name = Path(builder.data_path), split, builder.name
        counts = {name: info.num_examples for name, info in builder.info.splits.items()}
        self._parts = split_parts(split, counts, self._name, strict=True)
        self._cache_dir = None if cache_dir is None else Path(cache_dir).expanduser()
        splits = sorted({part.split for part in self._parts})
        self._files = [Path(file) for name in splits for file in builder.info.splits[name].filepaths]
        prepared = self._open()
        features: Any = prepared.info.features
        self._key = _checked_key(self._name, features)
        self._encoded = type(features[self._key]).__name__ == "Image"
        self._has_id = "id" in features
        self.class_names = tuple(features["label"].names)
        shape = features[self._key].shape
        channels = int(shape[-1] or 3) if len(shape) > 1 else 1
        self.channels = 3 if self._encoded and channels > 1 else channels  # transparent pixels are shown on white
        extents = shape[:-1] if len(shape) > 1 else shape
        self.sizes, self.ids = self._tables(extents, counts)
        itemsize = 4 if self._key == "audio" else np.dtype(features[self._key].np_dtype).itemsize
        total = int(self.sizes.prod(axis=1, dtype=np.int64).sum()) * self.channels * itemsize
        self._kept: dict[int, Example] | None = {} if total <= cache_bytes else None

    def _open(self) -> "tfds.core.DatasetBuilder":
        prepared = open_prepared(self._folder)
        self._records: Any = open_records(prepared, self._parts)
        return prepared

    def _tables(self, extents: tuple[Any, ...], counts: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
        if None not in extents and not self._has_id:
            return frozen_table([extents] * len(self._records)), positions(self._parts, counts)
        stretch = "+".join(f"{part.split}-{part.start}-{part.stop}" for part in self._parts)
        path = self._folder / f".fcnjax_sizes_1-{stretch}.npz"
        tables = _load_tables(path, len(self._records))
        if tables is None:
            tables = self._scan()
            _save_tables(path, *tables)
        return tables[0], tables[1] if self._has_id else positions(self._parts, counts)

    def _scan(self) -> tuple[np.ndarray, np.ndarray]:
        sizes, ids = [], []
        for index in self._pass("sizes"):
            record = self._records[index]
            try:
                value = record[self._key]
                sizes.append(read_size(io.BytesIO(value)) if self._encoded else self._values(value).shape[:-1])
            except (OSError, ValueError, SyntaxError) as error:
                raise self._unreadable(index, error) from None
            ids.append(int(record["id"]) if self._has_id else index)
        return frozen_table(sizes), frozen_table(ids)

    @cached_property
    def labels(self) -> np.ndarray:
        """int32 [N], class indices, from one pass over the records, without decoding images."""
        return frozen_table([int(self._records[index]["label"]) for index in self._pass("labels")])

    @cached_property
    def contents(self) -> Contents:
        """A hash of all records of the files that hold the splits, labels included."""
        cache = self._folder / ".fcnjax_hashes_2.json"
        if self._cache_dir is not None:
            folder = hashlib.sha256(os.fsencode(self._folder.resolve())).hexdigest()[:16]
            cache = self._cache_dir / f"records-2-{folder}.json"
        hashes = hash_records(self._files, cache, f"checksums of {self._name} {self._split}")
        covers = f"all records of {len(self._files):,} files"
        return Contents(covers, hashlib.sha256("".join(hashes).encode()).hexdigest())

    def _pass(self, what: str) -> Iterable[int]:
        """Returns all indices, with a progress bar if going through them takes more than a second."""
        title = f"{what} of {self._name} {self._split}"
        return progress_bar(range(len(self._records)), title=title, unit=" examples", delay=1, leave=False)

    def _values(self, value: Any) -> np.ndarray:
        if self._encoded:
            return decode_image(io.BytesIO(value), self.channels)
        return as_signal(value) if self._key == "audio" else np.asarray(value)

    def _unreadable(self, index: int, reason: object) -> UnreadableExample:
        return UnreadableExample(
            f"{self._name}, split {self._split!r}, example {index}", str(getattr(reason, "reason", reason))
        )

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int, /) -> Example:
        kept = None if self._kept is None else self._kept.get(index)
        if kept is not None:
            return kept
        record = self._records[index]
        try:
            values = self._values(record[self._key])
        except (OSError, ValueError, SyntaxError) as error:
            raise self._unreadable(index, error) from None
        wanted, label = (*self.sizes[index].tolist(), self.channels), int(record["label"])
        if values.shape != wanted:
            raise self._unreadable(index, f"has shape {values.shape}, not {wanted} as its header says")
        if not 0 <= label < len(self.class_names):
            raise self._unreadable(index, f"has label {label}, of {len(self.class_names)} classes")
        example = Example(int(self.ids[index]), values, label)
        if self._kept is not None:
            self._kept[index] = example  # if two threads decode it, either result is right
        return example

    def __getstate__(self) -> dict[str, Any]:
        kept = None if self._kept is None else {}
        return {name: value for name, value in vars(self).items() if name != "_records"} | {"_kept": kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()


def _checked_key(name: str, features: Any) -> str:
    """Returns the name of the feature that holds the values: "image" or "audio"."""
    key = "audio" if "audio" in features and "image" not in features else "image"
    missing = {key, "label"} - set(features)
    if missing:
        raise ValueError(
            f"builder={name!r}: must have the features image [H, W, C] or audio [L], and label, but lacks "
            f"{sorted(missing)}; derive your own Source for other data."
        )
    if not hasattr(features["label"], "names"):
        raise ValueError(f"builder={name!r}: must have a ClassLabel as its label, because a classifier needs classes.")
    dtype, shape = np.dtype(features[key].np_dtype), features[key].shape
    if key == "image" and dtype != np.uint8 and not (len(shape) > 1 and dtype == np.float32 and shape[-1] is not None):
        raise ValueError(f"builder={name!r}: must have images of uint8, or float32 tensors, not {dtype}.")
    return key


def _load_tables(path: Path, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the sizes [N, D] and ids [N] of an earlier pass; None if no file holds them for `count` examples."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            sizes, ids = stored["sizes"], stored["ids"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    if sizes.ndim != 2 or not len(sizes) == len(ids) == count:
        return None
    return frozen_table(sizes), frozen_table(ids)


def _save_tables(path: Path, sizes: np.ndarray, ids: np.ndarray) -> None:
    stored = io.BytesIO()
    np.savez(stored, sizes=sizes, ids=ids)
    with contextlib.suppress(OSError):  # a read-only folder: the next run makes the pass again
        write_bytes(path, stored.getvalue())
