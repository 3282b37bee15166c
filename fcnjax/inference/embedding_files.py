"""Files of embeddings: one row of features for each example, as `.npz`, `.npy` or Parquet.

Axes: N examples, F features.
"""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow
from pyarrow import parquet

from fcnjax.atomic import check_writable, write_bytes
from fcnjax.naming import printable


def check_embeddings(path: Path, *, overwrite: bool = False) -> None:
    """Checks that embeddings can be written to a path, before anything that takes time.

    Raises:
        ValueError: if its suffix is of no known format.
        FileExistsError: if it exists and may not be overwritten.
        PermissionError: if its folder cannot be written.
    """
    if path.suffix not in WRITERS:
        raise ValueError(f"embeddings={path}: must end in {', '.join(WRITERS)}; choose one of these formats.")
    if path.is_dir() or (path.exists() and not overwrite):
        raise FileExistsError(f"embeddings={path}: exists; choose another path, or replace the file with --overwrite.")
    check_writable(path.parent)


def write_embeddings(path: Path, files: Sequence[str], classes: Sequence[str], values: np.ndarray) -> None:
    """Writes embeddings to a file, which is complete or absent.

    `.npz` holds the arrays `embeddings`, `files` and `classes`, `.parquet` the columns `file`, `class` and `embedding`,
    and `.npy` the embeddings alone.

    Args:
        path: ends in .npz, .parquet or .npy.
        files: N names.
        classes: N names of the predicted classes.
        values: float32 [N, F].
    """
    write_bytes(path, WRITERS[path.suffix]([printable(file) for file in files], list(classes), values))


def _npz(files: Sequence[str], classes: Sequence[str], values: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.savez(content, embeddings=values, files=np.array(files, str), classes=np.array(classes, str))
    return content.getvalue()


def _npy(files: Sequence[str], classes: Sequence[str], values: np.ndarray) -> bytes:
    del files, classes
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()


def _parquet(files: Sequence[str], classes: Sequence[str], values: np.ndarray) -> bytes:
    rows = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(values.ravel(), pyarrow.float32()), values.shape[1])
    table = pyarrow.table({"file": pyarrow.array(files, pyarrow.string()), "class": list(classes), "embedding": rows})
    content = io.BytesIO()
    parquet.write_table(table, content)
    return content.getvalue()


WRITERS: dict[str, Callable[[Sequence[str], Sequence[str], np.ndarray], bytes]] = {
    ".npz": _npz,
    ".parquet": _parquet,
    ".npy": _npy,
}
