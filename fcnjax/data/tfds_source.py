"""TFDS data sets as sources: prepared once, then read by random access without TensorFlow.

Axes: H height, W width, C channels.
"""

import contextlib
import io
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcnjax.data.sources import Example, frozen_table

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

CACHE_BYTES = 256 * 2**20


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
        shapes, ids, kept_bytes = [], [], 0
        for index in range(len(self._records)):
            example = self._decode(index)
            shapes.append(example.values.shape)
            ids.append(example.id)
            kept_bytes += example.values.nbytes
            if kept_bytes > cache_bytes:
                self._kept = None
            elif self._kept is not None:
                self._kept.append(example)
        if not shapes:
            raise ValueError(f"split: {split!r} of {builder.name!r} holds no example; name a split that does")
        self.sizes = frozen_table([shape[:-1] for shape in shapes])
        self.ids = frozen_table(ids)
        self.channels = int(shapes[0][-1])

    def _decode(self, index: int) -> Example:
        record = self._records[index]
        return Example(int(record["id"]) if self._has_id else index, record["image"], int(record["label"]))

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int, /) -> Example:
        return self._decode(index) if self._kept is None else self._kept[index]


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
