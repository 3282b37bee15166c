"""Data sets by name: the one place that maps a name to a kind of source."""

from dataclasses import dataclass
from pathlib import Path

from fcnjax.data.files.folder import FolderSource
from fcnjax.data.files.label_settings import FOLDERS_ALONE, LabelSettings
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
from fcnjax.data.tfds.records import DataDir, open_prepared, prepared_folder
from fcnjax.data.tfds.tfds_source import TfdsSource


@dataclass(frozen=True)
class FileOptions:
    """How the files of a folder are read (see `FolderSource`); other data sets take only `cache_dir`.

    Attributes:
        channels: channels of values; None means those of the files, and of recordings their mean.
        sample_rate: samples per second of recordings; None keeps each file's own.
        on_error: "refuse" or "mask".
        verify: whether to decode every file once; None does so unless `on_error` is "mask".
        cache_dir: folder that keeps sizes, and hashes of records, for the next run; None keeps no sizes.
        labels: a table, lists or a pattern of paths from which labels, splits and groups come.
        splits: all splits that are used, so that all agree on which folders are splits.
    """

    channels: int | None = None
    sample_rate: int | None = None
    on_error: str = "refuse"
    verify: bool | None = None
    cache_dir: DataDir = None
    labels: LabelSettings = FOLDERS_ALONE
    splits: tuple[str, ...] = ()


ARRAYS = "arrays"  # the name of data that were given as sources, and that no name can load
FOLDERS = {
    "image_folder": (FolderSource.images, ("channels",)),
    "audio_folder": (FolderSource.audio, ("channels", "sample_rate")),
}


def load_source(name: str, split: str, data_dir: DataDir = None, options: FileOptions = FileOptions()) -> Source:
    """Returns a split of a data set by name. Several processes may load the same data set at once.

    Args:
        name: one of
            - "image_folder" or "audio_folder": the folder is `data_dir` (see `FolderSource`);
            - "any_size_digits" or "any_size_digits/fixed_28x28", prepared on first use;
            - a name of the TFDS catalog, such as "mnist" or "imagenette/320px-v2" (a variant follows the slash), after
              `fcnjax prepare NAME`;
            - a path that ends in ".npz" (see `save_npz`), relative to `data_dir` if it is given.
        split: A split of the data set, such as "train", optionally with a slice: "train[:100]", "train[95%:]"; "+"
            joins several.
        data_dir: folder of prepared data sets; None means TFDS's own (TFDS_DATA_DIR, else ~/tensorflow_datasets).
        options: how the files of a folder are read.

    Returns:
        The source.

    Raises:
        ValueError: if the data set, variant or split is unknown (the message lists the known ones) or the split is
            empty.
        FileNotFoundError: if a data set of the catalog is not prepared in `data_dir`, or the file does not exist.
        OSError: if the data set cannot be written to `data_dir`.
    """
    if name in FOLDERS:
        if data_dir is None:
            raise ValueError(f"data_dir=None: must be the folder of {name}, such as data_dir='photos'.")
        make, own = FOLDERS[name]
        shared = (*own, "on_error", "verify", "cache_dir", "labels", "splits")
        return make(data_dir, split, **{each: getattr(options, each) for each in shared})
    if options.labels != FOLDERS_ALONE:
        raise ValueError(
            f"labels: must be left out with data.name={name!r}; they are for image_folder and audio_folder."
        )
    if name == ARRAYS:
        raise ValueError(
            f"data.name={name!r}: must be given as sources: fcnjax.train(sources, workdir) and "
            "fcnjax.evaluate(workdir, sources); init_from=run goes on from a run of them."
        )
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
    return TfdsSource(prepared, split, cache_dir=options.cache_dir)
