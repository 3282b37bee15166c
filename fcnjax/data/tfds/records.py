"""Prepared TFDS folders, opened without TensorFlow and without the code that prepared them.

The one idea: `features.json` says what a record holds; what we do not use is struck from it, and what only TensorFlow
could decode (encoded images, audio features) is handed out as it is stored.
"""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcnjax.data.sources.splits import SplitPart

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

USED = ("image", "audio", "label", "id")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


def default_data_dir() -> Path:
    """Where TFDS keeps prepared data sets: TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def prepared_folder(name: str, data_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """The folder of a prepared data set, or None where there is none.

    Args:
        name: As TFDS writes it: "mnist", "imagenette/full-size-v2", "mnist:3.0.1"; without a version the newest one
            that is there, without a variant the one that TFDS noted as the default.
        data_dir: Folder of prepared data sets; None means `default_data_dir()`.
    """
    path, _, version = name.partition(":")
    folder = (default_data_dir() if data_dir is None else Path(data_dir).expanduser()) / path
    if "/" not in path and not _versions(folder):
        try:  # TFDS notes the default variant here
            folder /= json.loads((folder / ".config" / "metadata.json").read_text())["default_config_name"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
    found = [one for one in _versions(folder) if version in ("", one.name)]
    return max(found, key=lambda one: tuple(map(int, one.name.split("."))), default=None)


def _versions(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [one for one in folder.iterdir() if _VERSION.fullmatch(one.name) and (one / "features.json").exists()]


def open_prepared(folder: Path) -> "tfds.core.DatasetBuilder":
    """A read-only builder of a prepared folder, with the features image, audio, label and id alone.

    An audio feature becomes the integer tensor that it is stored as: TFDS makes audio features with TensorFlow only.

    Args:
        folder: Holds `dataset_info.json` and `features.json`, such as data_dir/mnist/3.0.1.

    Raises:
        ValueError: The records hold no dictionary, or audio files in place of samples.
    """
    import tensorflow_datasets as tfds  # here: it takes most of a second to import
    from google.protobuf import json_format
    from tensorflow_datasets.core import read_only_builder
    from tensorflow_datasets.core.dataset_info import read_proto_from_builder_dir
    from tensorflow_datasets.core.proto import feature_pb2

    protos: Any = feature_pb2  # generated: its names are made at import
    stored = json_format.ParseDict(json.loads((folder / "features.json").read_text()), protos.Feature())
    if stored.WhichOneof("content") != "features_dict":
        raise ValueError(f"{folder}: its records are no dictionaries; prepare one with image and label.")
    features = stored.features_dict.features
    for name in list(features):
        if name not in USED:
            del features[name]
        elif features[name].WhichOneof("content") == "audio":
            audio = features[name].audio
            if audio.lazy_decode:
                raise ValueError(f"{folder}: its audio is stored encoded; prepare it with lazy_decode=False.")
            tensor = protos.TensorFeature(shape=audio.shape, dtype=audio.dtype, encoding=audio.encoding)
            features[name].tensor.CopyFrom(tensor)
            features[name].python_class_name = f"{tfds.features.Tensor.__module__}.{tfds.features.Tensor.__name__}"
    info: Any = read_proto_from_builder_dir(folder)
    info.features.CopyFrom(stored)
    return read_only_builder.builder_from_metadata(folder, info)


def open_records(builder: "tfds.core.DatasetBuilder", parts: Sequence[SplitPart]) -> Any:
    """Random access to the records of some parts of splits, encoded images left as the bytes they are.

    Raises:
        ValueError: The data set is stored in a format without random access.
    """
    import tensorflow_datasets as tfds

    features: Any = builder.info.features
    encoded = [name for name in features if isinstance(features[name], tfds.features.Image)]
    read: Any = builder.as_data_source  # TFDS decorates it in a way that hides its arguments
    try:
        split = "+".join(f"{part.split}[{part.start}:{part.stop}]" for part in parts)
        return read(split, decoders={name: tfds.decode.SkipDecoding() for name in encoded})
    except NotImplementedError:
        stored = getattr(builder.info.file_format, "value", builder.info.file_format)
        raise ValueError(
            f"{builder.name} in {builder.data_path} is stored as {stored}, which has no random access; prepare it as "
            f"array_record in another folder: fcnjax prepare {builder.name} --data_dir=DIR."
        ) from None
