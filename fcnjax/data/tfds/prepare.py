"""Preparing data sets: done once, with TensorFlow for the TFDS catalog, so that reading needs none."""

import contextlib
import difflib
import importlib.util
import io
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcnjax.data.tfds.records import default_data_dir, prepared_folder
from fcnjax.naming import unknown_name

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

CATALOG = "https://www.tensorflow.org/datasets/catalog"
EXTRA = "the extra catalog: pip install -e '.[catalog]'"


def prepare(build: "Callable[[], tfds.core.DatasetBuilder]", **download: Any) -> "tfds.core.DatasetBuilder":
    """A builder whose data is on disk, prepared now if need be.

    Safe against other processes that prepare the same data: TFDS writes to a temporary folder and renames it, the
    rename of all but the first fails, and those read what the first one wrote.

    Args:
        build: Makes the builder; called anew before and after.
        **download: Arguments of TFDS's `download_and_prepare`.

    Returns:
        The prepared builder.

    Raises:
        Exception: Whatever TFDS raised, if the data is not there afterwards (disk full, no permission).
    """
    if not build().is_prepared():
        # TFDS names its temporary folder with the global generator: after the same random.seed(n), two processes
        # would write into one folder.
        state = random.getstate()
        random.seed()
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # the progress bar is on stderr and stays
                build().download_and_prepare(**download)
        except Exception:
            if not build().is_prepared():
                raise
        finally:
            random.setstate(state)
    # Always a new builder: one that was made before another process finished never learns of the splits.
    return build()


def prepare_by_name(
    name: str, data_dir: str | os.PathLike[str] | None = None, manual_dir: str | os.PathLike[str] | None = None
) -> tuple[Path, bool]:
    """Prepares a data set, unless it is there already, as records that `load_source` reads without TensorFlow.

    Args:
        name: "any_size_digits", or a name of the TFDS catalog: "mnist", "imagenette/320px-v2".
        data_dir: Folder of prepared data sets; None means TFDS's own (TFDS_DATA_DIR, else ~/tensorflow_datasets).
        manual_dir: Folder of files that were downloaded by hand; TFDS takes from it what it would else download.

    Returns:
        The folder of the prepared data set, which appears only when all of it is there; and whether it was prepared
            now.

    Raises:
        ValueError: No such data set or variant, or it needs TensorFlow and that is not installed.
        OSError: It cannot be prepared: no network, a missing or changed file, no room, no permission.
    """
    there = prepared_folder(name, data_dir)
    if there is not None:
        return there, False
    build = own_builders(data_dir).get(name)
    download: dict[str, Any] = {}
    if build is None:
        build = _catalog_builder(name, data_dir)
        import tensorflow_datasets as tfds

        config = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
        download = {"download_config": config}
    try:
        return Path(prepare(build, **download).data_path), True
    except Exception as error:  # the code of a catalog data set may raise anything
        raise cannot_prepare(name, data_dir, error) from None


def cannot_prepare(name: str, data_dir: str | os.PathLike[str] | None, error: Exception) -> OSError:
    """The error that says in one sentence why a data set cannot be prepared."""
    where = "TFDS_DATA_DIR or ~/tensorflow_datasets" if data_dir is None else data_dir
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "").rstrip(".")
    offline = "ConnectionError" in type(error).__name__ or "Max retries exceeded" in reason
    if offline:
        reason = "its files cannot be downloaded from here; get them by hand and name their folder with --manual_dir"
    advice = "" if offline else "; name a folder to write to" if isinstance(error, PermissionError) else ""
    return OSError(f"data_dir={where}: {name} cannot be prepared there ({type(error).__name__}: {reason}){advice}.")


def own_builders(
    data_dir: str | os.PathLike[str] | None = None,
) -> "dict[str, Callable[[], tfds.core.DatasetBuilder]]":
    """Makers of the builders of this package by name, with and without the variant behind a slash."""
    from fcnjax.data.tfds.any_size_digits import AnySizeDigits  # here: TFDS takes most of a second to import

    folder = None if data_dir is None else Path(data_dir).expanduser()
    found: dict[str, Callable[[], tfds.core.DatasetBuilder]] = {}
    for builder_class in (AnySizeDigits,):
        for number, config in enumerate(builder_class.BUILDER_CONFIGS):

            def build(builder_class: Any = builder_class, config: str = config.name) -> "tfds.core.DatasetBuilder":
                return builder_class(config=config, data_dir=folder, file_format="array_record")

            if number == 0:
                found[builder_class.name] = build
            found[f"{builder_class.name}/{config.name}"] = build
    return found


def catalog_names() -> set[str]:
    """Names of the TFDS catalog; without TensorFlow those that its files tell, some robots' data left out."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import registered

    root = Path(tfds.core.tfds_path())
    packages = {
        path.name
        for path in root.glob("*/*")
        if (path / "checksums.tsv").exists() or (path / f"{path.name}.py").exists()
    }
    named = set(registered.list_imported_builders())  # stops at the first module that needs TensorFlow
    checksums = {path.stem for path in root.glob("url_checksums/*.txt")}
    return (named | packages | checksums) - own_builders().keys()  # ours are registered, too


def unknown_data_set(name: str) -> str:
    """The message for a name that is neither ours nor of the TFDS catalog, of which it lists the nearest only."""
    near = difflib.get_close_matches(name, catalog_names(), n=3, cutoff=0.5)
    known = unknown_name("data set", name, [*own_builders(), *near])
    return f"{known.removesuffix('.')}, the names of {CATALOG}, and paths of .npz files."


def is_catalog_name(name: str) -> bool:
    """Whether the part before a variant or version is a name of the TFDS catalog."""
    return name.partition(":")[0].partition("/")[0] in catalog_names()


def _catalog_builder(name: str, data_dir: str | os.PathLike[str] | None) -> "Callable[[], tfds.core.DatasetBuilder]":
    if not is_catalog_name(name):
        raise ValueError(unknown_data_set(name))
    if importlib.util.find_spec("tensorflow") is None:
        raise ValueError(f"{name}: preparing a data set of the TFDS catalog needs TensorFlow; install {EXTRA}")
    import tensorflow_datasets as tfds

    folder = None if data_dir is None else Path(data_dir).expanduser()

    def build() -> "tfds.core.DatasetBuilder":
        return tfds.builder(name, data_dir=folder, file_format="array_record")

    return build


def not_prepared(name: str, data_dir: str | os.PathLike[str] | None) -> str:
    """The message for a data set of the catalog that is not on disk."""
    where = default_data_dir() if data_dir is None else data_dir
    option = "" if data_dir is None else f" --data_dir={data_dir}"
    return f"{name} is not prepared in {where}; run 'fcnjax prepare {name}{option}' (needs {EXTRA})."
