"""Data sets by name: the one place that knows which source stands behind a name."""

import os
from dataclasses import dataclass
from pathlib import Path

from fcnjax.data.files.folder import FolderSource
from fcnjax.data.sources.npz import load_npz
from fcnjax.data.sources.source import Source
from fcnjax.data.tfds.prepare import (
    cannot_prepare,
    is_catalog_name,
    not_prepared,
    own_builders,
    prepare,
    unknown_data_set,
)
from fcnjax.data.tfds.records import open_prepared, prepared_folder
from fcnjax.data.tfds.tfds_source import TfdsSource

DataDir = str | os.PathLike[str] | None


@dataclass(frozen=True)
class FileOptions:
    """How files are read (see `FolderSource`); data sets that are not made of files leave it aside.

    Attributes:
        channels: of images, 1 or 3; None takes 1 where all are gray.
        sample_rate: of recordings, in Hz; None keeps their own.
        on_error: "refuse" or "mask".
        verify: whether to decode every file once; None does so with "refuse".
        cache_dir: where sizes are kept for the next time.
    """

    channels: int | None = None
    sample_rate: int | None = None
    on_error: str = "refuse"
    verify: bool | None = None
    cache_dir: DataDir = None


FOLDERS = {"image_folder": (FolderSource.images, "channels"), "audio_folder": (FolderSource.audio, "sample_rate")}


def load_source(name: str, split: str, data_dir: DataDir = None, options: FileOptions = FileOptions()) -> Source:
    """A split of a data set by name.

    Args:
        name: "image_folder" or "audio_folder", which `data_dir` then is (see `FolderSource`); "any_size_digits" or
            "any_size_digits/fixed_28x28" (prepared on first use; the part behind the slash names the variant); a name
            of the TFDS catalog, such as "mnist" or "imagenette/320px-v2", which `fcnjax prepare NAME` has prepared; a
            path that ends in ".npz" (see `fcnjax.data.save_npz`), relative to `data_dir` where that is given.
        split: A split of the data set, such as "train", with TFDS slices ("train[:100]", "train[95%:]").
        data_dir: Folder of prepared data sets; None means TFDS's own (TFDS_DATA_DIR, else ~/tensorflow_datasets).
        options: How the files of a folder are read.

    Returns:
        The source. Several processes may ask for the same data set at once.

    Raises:
        ValueError: No such data set, variant or split; the message lists what there is. Or the split is empty.
        FileNotFoundError: A data set of the catalog is not prepared in `data_dir`, or there is no such file.
        OSError: The data set cannot be written to `data_dir`.
    """
    if name in FOLDERS:
        if data_dir is None:
            raise ValueError(f"data_dir: {name} needs the folder itself, such as data_dir='photos'.")
        make, own = FOLDERS[name]
        shared = {"on_error": options.on_error, "verify": options.verify, "cache_dir": options.cache_dir}
        return make(data_dir, split, **{own: getattr(options, own)}, **shared)
    if name.endswith(".npz"):
        return load_npz(Path(data_dir or "").expanduser() / name, split)
    build = own_builders(data_dir).get(name)
    if build is not None:
        try:
            prepared = prepare(build)
        except OSError as error:
            raise cannot_prepare(name, data_dir, error) from None
    else:
        folder = prepared_folder(name, data_dir)
        if folder is None and is_catalog_name(name):
            raise FileNotFoundError(not_prepared(name, data_dir))
        if folder is None:
            raise ValueError(unknown_data_set(name))
        prepared = open_prepared(folder)
    return TfdsSource(prepared, split)
