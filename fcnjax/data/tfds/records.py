"""Folders of prepared TFDS data sets, opened without TensorFlow and without the code that prepared them.

The one idea: `features.json` describes what a record holds. Unused features are removed from it, and values that only
TensorFlow could decode (encoded images, audio features) are returned as stored.
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


DataDir = str | os.PathLike[str] | None


def data_folder(data_dir: DataDir) -> Path:
    """Returns the folder of prepared data sets; by default TFDS's own: TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def prepared_folder(name: str, data_dir: DataDir = None) -> Path | None:
    """Returns the folder of a prepared data set, or None if it is not prepared.

    Args:
        name: as TFDS writes it: "mnist", "imagenette/full-size-v2", "mnist:3.0.1". The default version is the newest
            one that is prepared; the default variant is the one that TFDS recorded.
        data_dir: folder of prepared data sets; None means TFDS's own.
    """
    path, _, version = name.partition(":")
    folder = data_folder(data_dir) / path
    if "/" not in path and not _versions(folder):
        try:  # TFDS records the default variant here
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
    """Returns a read-only builder of a prepared folder, with only the features image, audio, label and id.

    An audio feature becomes the integer tensor that it is stored as, because TFDS needs TensorFlow for audio features.

    Args:
        folder: holds `dataset_info.json` and `features.json`, such as data_dir/mnist/3.0.1.

    Raises:
        ValueError: if the records are not dictionaries, or hold audio files instead of samples.
    """
    import tensorflow_datasets as tfds  # here: it takes most of a second to import
    from google.protobuf import json_format
    from tensorflow_datasets.core import read_only_builder
    from tensorflow_datasets.core.dataset_info import read_proto_from_builder_dir
    from tensorflow_datasets.core.proto import feature_pb2

    protos: Any = feature_pb2  # generated code: its names are created at import
    stored = json_format.ParseDict(json.loads((folder / "features.json").read_text()), protos.Feature())
    if stored.WhichOneof("content") != "features_dict":
        raise ValueError(f"{folder}: its records are not dictionaries; prepare a data set with image and label.")
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
    """Returns random access to the records of some parts of splits; encoded images stay bytes.

    Args:
        builder: from `open_prepared`.
        parts: the parts, in order, none of them empty.

    Raises:
        ValueError: if the data set is stored in a format without random access.
    """
    import tensorflow_datasets as tfds

    features: Any = builder.info.features
    encoded = [name for name in features if isinstance(features[name], tfds.features.Image)]
    read: Any = builder.as_data_source  # a decorator of TFDS hides its arguments from type checkers
    try:
        split = "+".join(f"{part.split}[{part.start}:{part.stop}]" for part in parts)
        return read(split, decoders={name: tfds.decode.SkipDecoding() for name in encoded})
    except NotImplementedError:
        stored = getattr(builder.info.file_format, "value", builder.info.file_format)
        raise ValueError(
            f"{builder.name} in {builder.data_path} is stored as {stored}, which has no random access; prepare it as "
            f"array_record in another folder: fcnjax prepare {builder.name} --data_dir=DIR."
        ) from None
