"""Sources: random access to examples of any size, with the table of their sizes known before the first one is used.

Axes: N examples, S the spatial axes of one example (H, W for images, L for signals), D = len(S), C channels. The one
idea: a `Source` never resizes or pads; it hands out what is there and says how large it is.
"""

import contextlib
import io
import os
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from fcnjax.naming import unknown_name

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

CACHE_BYTES = 256 * 2**20


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


class Source(Protocol):
    """What the planner and the loader need of a data set; anything with these members will do."""

    @property
    def sizes(self) -> np.ndarray:
        """Size table: int32 [N, D], extents of each example in positions along its spatial axes."""
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
        """The example at `index`, 0 to N - 1. Called from several threads at once."""
        ...


class ArraySource:
    """Examples that are already in memory: the quickest road from your own arrays to a training run.

    Their ids are their positions. For data sets on disk see `load_source`.

    Args:
      values: N arrays [*S, C], each of its own size, uint8 (0 to 255) or floating; 1, 2 or 3 spatial axes, channels
        last. Floating arrays are kept as float32.
      labels: N class indices.
      class_names: Names of the classes; None counts the classes in `labels` and names them "0", "1", ...

    Raises:
      ValueError: An array has no channel axis, another rank or channel count than the first, no positions or a value
        that is not finite; a label is out of range; or there are not as many labels as arrays, or none at all.
      TypeError: An array is neither uint8 nor floating.

    >>> source = ArraySource([np.ones((28, 16, 1)), np.ones((9, 30, 1))], [0, 1])
    >>> source.sizes.tolist(), source.channels, source.class_names
    ([[28, 16], [9, 30]], 1, ('0', '1'))
    """

    def __init__(
        self, values: Iterable[np.ndarray], labels: Iterable[int], class_names: Sequence[str] | None = None
    ) -> None:
        self._values = [np.asarray(array) for array in values]
        self._labels = [int(label) for label in labels]
        if not self._values:
            raise ValueError("values: got no arrays; give at least one array [*S, C]")
        if len(self._labels) != len(self._values):
            raise ValueError(
                f"labels: got {len(self._labels)} labels for {len(self._values)} arrays; give one label per array"
            )
        first = self._values[0].shape
        for index, array in enumerate(self._values):
            _check_array(index, array, first)
        self._values = [
            array if array.dtype == np.uint8 else array.astype(np.float32, copy=False) for array in self._values
        ]
        if class_names is None:
            class_names = [str(label) for label in range(max(self._labels) + 1)]
        self.class_names = tuple(class_names)
        _check_labels(self._labels, len(self.class_names))
        self.channels = int(first[-1])
        self.sizes = _frozen_sizes([array.shape[:-1] for array in self._values])

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: int, /) -> Example:
        return Example(index, self._values[index], self._labels[index])


class TfdsSource:
    """One split of a prepared TFDS data set, read by random access without TensorFlow.

    Building it reads the split once, for the size table. What has been decoded on the way is kept when the whole split
    fits `cache_bytes` (short runs on small data would otherwise mostly wait for decoding); else each access decodes.

    Args:
      builder: A prepared builder with features `image` [H, W, C] and `label`, stored as ArrayRecord; feature `id` is
        used where there is one, else an example's id is its position in the split.
      split: A split of the builder, TFDS slices such as "train[:100]" included.
      cache_bytes: Largest total of decoded values, in bytes, that is kept in memory; 0 keeps none.

    Raises:
      ValueError: The data set lacks a feature named above, or the split is empty.
    """

    def __init__(self, builder: "tfds.core.DatasetBuilder", split: str, *, cache_bytes: int = CACHE_BYTES) -> None:
        features: Any = builder.info.features
        missing = {"image", "label"} - set(features or ())
        if missing:
            raise ValueError(
                f"builder: {builder.name!r} lacks the features {sorted(missing)}; it needs image [H, W, C] and label; "
                "write a Source of your own for other data"
            )
        read: Any = builder.as_data_source  # TFDS decorates it in a way that hides its arguments
        self._records: Any = read(split)
        self.class_names = tuple(features["label"].names)
        self._has_id = "id" in features
        self._kept: list[Example] | None = []
        shapes, kept_bytes = [], 0
        for index in range(len(self._records)):
            example = self._decode(index)
            shapes.append(example.values.shape)
            kept_bytes += example.values.nbytes
            if kept_bytes > cache_bytes:
                self._kept = None
            elif self._kept is not None:
                self._kept.append(example)
        if not shapes:
            raise ValueError(f"split: {split!r} of {builder.name!r} holds no example; name a split that does")
        self.sizes = _frozen_sizes([shape[:-1] for shape in shapes])
        self.channels = int(shapes[0][-1])

    def _decode(self, index: int) -> Example:
        record = self._records[index]
        return Example(int(record["id"]) if self._has_id else index, record["image"], int(record["label"]))

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int, /) -> Example:
        return self._decode(index) if self._kept is None else self._kept[index]


def load_source(name: str, split: str, data_dir: str | os.PathLike[str] | None = None) -> TfdsSource:
    """A split of a data set by name; prepares the data set first where that has not been done.

    Args:
      name: "any_size_digits" or "any_size_digits/fixed_28x28"; the part behind the slash names the variant.
      split: "train", "validation" or "test", with TFDS slices ("train[:100]").
      data_dir: Folder of prepared data sets; None means TFDS's own (TFDS_DATA_DIR, else ~/tensorflow_datasets).

    Returns:
      The source. Several processes may ask for the same data set at once.

    Raises:
      ValueError: No such data set, variant or split; the message lists what there is. Or the split is empty.
      OSError: The data set cannot be written to `data_dir`.
    """
    from fcnjax.data.any_size_digits import AnySizeDigits  # here: TFDS takes most of a second to import

    builders = {builder.name: builder for builder in (AnySizeDigits,)}
    variants = {
        known: (builder, config.name)
        for base, builder in builders.items()
        for config in builder.BUILDER_CONFIGS
        for known in ([base] if config is builder.BUILDER_CONFIGS[0] else []) + [f"{base}/{config.name}"]
    }
    if name not in variants:
        raise ValueError(unknown_name("data set", name, variants))
    builder_class, config_name = variants[name]
    try:
        prepared = prepare(builder_class, config_name, data_dir)
    except OSError as error:
        where = "TFDS_DATA_DIR or ~/tensorflow_datasets" if data_dir is None else data_dir
        raise OSError(
            f"data_dir={where}: {name} cannot be prepared there ({error}); name a folder to write to."
        ) from None
    if split.split("[")[0] not in prepared.info.splits:
        raise ValueError(unknown_name(f"split of {name}:", split, prepared.info.splits))
    try:
        count = prepared.info.splits[split].num_examples
    except (ValueError, IndexError) as error:
        raise ValueError(f"split {split!r} of {name}: {str(error).splitlines()[0]}") from None
    if not count:
        raise ValueError(f"split {split!r} of {name}: holds no example; name a split that does, such as 'train[:100]'.")
    return TfdsSource(prepared, split)


def prepare(
    builder_class: "type[tfds.core.GeneratorBasedBuilder]", config: str, data_dir: str | os.PathLike[str] | None = None
) -> "tfds.core.DatasetBuilder":
    """A builder whose data is on disk as ArrayRecord, prepared now if need be.

    Safe against other processes that prepare the same data: TFDS writes to a temporary folder and renames it, the
    rename of all but the first fails, and those read what the first one wrote.

    Args:
      builder_class: Any TFDS builder class.
      config: Name of one of its configs.
      data_dir: As in `load_source`.

    Returns:
      The prepared builder.

    Raises:
      Exception: Whatever TFDS raised, if the data is not there afterwards (disk full, no permission).
    """
    folder = None if data_dir is None else Path(data_dir).expanduser()

    def build() -> "tfds.core.DatasetBuilder":
        return builder_class(config=config, data_dir=folder, file_format="array_record")

    if not build().is_prepared():
        # TFDS names its temporary folder with the global generator: after the same random.seed(n), two processes
        # would write into one folder.
        state = random.getstate()
        random.seed()
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # the progress bar is on stderr and stays
                build().download_and_prepare()
        except Exception:
            if not build().is_prepared():
                raise
        finally:
            random.setstate(state)
    # Always a new builder: one that was made before another process finished never learns of the splits.
    return build()


def _check_array(index: int, array: np.ndarray, first: tuple[int, ...]) -> None:
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


def _check_labels(labels: Sequence[int], classes: int) -> None:
    for index, label in enumerate(labels):
        if not 0 <= label < classes:
            raise ValueError(
                f"labels[{index}]: got {label}; a label is 0 to {classes - 1} ({classes} class names); "
                "number the classes from 0 or name the missing ones"
            )


def _frozen_sizes(shapes: Sequence[tuple[int, ...]]) -> np.ndarray:
    sizes = np.array(shapes, np.int32)  # [N, D]
    sizes.setflags(write=False)
    return sizes
