"""Preparing data sets: done once, with TensorFlow for the TFDS catalog, so that reading does not need TensorFlow."""

import contextlib
import difflib
import importlib.util
import io
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcnjax.data.tfds.records import DataDir, data_folder, prepared_folder
from fcnjax.naming import first_line, unknown_name

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

CATALOG = "https://www.tensorflow.org/datasets/catalog"
EXTRA = "the extra catalog: pip install -e '.[catalog]'"


def prepare(build: "Callable[[], tfds.core.DatasetBuilder]", **download: Any) -> "tfds.core.DatasetBuilder":
    """Returns a builder with its data on disk; prepares the data if necessary.

    Several processes may prepare the same data. TFDS writes to a temporary folder and renames it; the first rename
    succeeds, and the other processes read what it left.

    Args:
        build: makes the builder; called once more after preparing.
        **download: arguments of TFDS's `download_and_prepare`.

    Returns:
        The prepared builder.

    Raises:
        Exception: the error that TFDS raised, if the data is missing afterwards (disk full, no permission).
    """
    if not build().is_prepared():
        # TFDS draws the name of its temporary folder from the global generator: after the same random.seed(n), two
        # processes would write into one folder.
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
    # Always a new builder: one made before another process finished does not know the splits.
    return build()


def prepare_by_name(name: str, data_dir: DataDir = None, manual_dir: DataDir = None) -> tuple[Path, bool]:
    """Prepares a data set as records that `load_source` reads without TensorFlow, unless it is already prepared.

    Args:
        name: "any_size_digits", or a name of the TFDS catalog: "mnist", "imagenette/320px-v2".
        data_dir: folder of prepared data sets; None means TFDS's own (TFDS_DATA_DIR, else ~/tensorflow_datasets).
        manual_dir: folder of files that were downloaded by hand; TFDS uses them instead of downloading.

    Returns:
        The folder of the prepared data set, and whether it was prepared now. The folder is either complete or absent.

    Raises:
        ValueError: if there is no such data set or variant, or it needs TensorFlow, which is not installed.
        OSError: if it cannot be prepared: no network, a missing or changed file, no room, no permission.
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


def cannot_prepare(name: str, data_dir: DataDir, error: Exception) -> OSError:
    """Returns an error with one sentence on why a data set cannot be prepared."""
    reason = first_line(error).strip().rstrip(".")
    offline = "ConnectionError" in type(error).__name__ or "Max retries exceeded" in reason
    if offline:
        reason = "its files cannot be downloaded from here; get them by hand and name their folder with --manual_dir"
    advice = "" if offline else "; name a folder to write to" if isinstance(error, PermissionError) else ""
    where, kind = data_folder(data_dir), type(error).__name__
    return OSError(f"data_dir={where}: {name} cannot be prepared there ({kind}: {reason}){advice}.")


def own_builders(data_dir: DataDir = None) -> "dict[str, Callable[[], tfds.core.DatasetBuilder]]":
    """Returns functions that make the builders of this package, by name with and without a variant after a slash."""
    from fcnjax.data.tfds.any_size_digits import AnySizeDigits  # here: TFDS takes most of a second to import

    found: dict[str, Callable[[], tfds.core.DatasetBuilder]] = {
        f"{AnySizeDigits.name}/{config.name}": partial(
            AnySizeDigits, config=config.name, data_dir=data_folder(data_dir), file_format="array_record"
        )
        for config in AnySizeDigits.BUILDER_CONFIGS
    }
    return {AnySizeDigits.name: next(iter(found.values())), **found}  # TFDS's default is the first config


def catalog_names() -> set[str]:
    """Returns the names of the TFDS catalog; without TensorFlow, those found as files, without some robotics data."""
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
    return (named | packages | checksums) - own_builders().keys()  # TFDS registers ours, too


def unknown_data_set(name: str) -> str:
    """Returns the message for an unknown name; it lists only the most similar names of the TFDS catalog."""
    near = difflib.get_close_matches(name, catalog_names(), n=3, cutoff=0.5)
    known = unknown_name("data set", name, [*own_builders(), *near])
    return f"{known.removesuffix('.')}, the names of {CATALOG}, and paths of .npz files."


def is_catalog_name(name: str) -> bool:
    """Returns whether the TFDS catalog holds a name; a variant or version after the name is ignored."""
    return name.partition(":")[0].partition("/")[0] in catalog_names()


def _catalog_builder(name: str, data_dir: DataDir) -> "Callable[[], tfds.core.DatasetBuilder]":
    if not is_catalog_name(name):
        raise ValueError(unknown_data_set(name))
    if importlib.util.find_spec("tensorflow") is None:
        raise ValueError(f"{name}: preparing a data set of the TFDS catalog needs TensorFlow; install {EXTRA}.")
    import tensorflow_datasets as tfds

    return partial(tfds.builder, name, data_dir=data_folder(data_dir), file_format="array_record")


def not_prepared(name: str, data_dir: DataDir) -> str:
    """Returns the message for a data set of the catalog that is not prepared."""
    option = "" if data_dir is None else f" --data_dir={data_dir}"
    return f"{name} is not prepared in {data_folder(data_dir)}; run 'fcnjax prepare {name}{option}' (needs {EXTRA})."
