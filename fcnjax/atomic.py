"""Files and folders that are either complete or absent, and locks that let one process at a time use a folder.

Content is written under a temporary name beside the final one, then renamed. A lock on a folder ends with its process.
"""

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

LOCK = ".lock"


def check_writable(folder: Path) -> None:
    """Checks that this process may write in a folder; a folder that does not exist passes.

    Raises:
        PermissionError: if the process may not write in the folder.
    """
    effective = os.access in os.supports_effective_ids
    if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK, effective_ids=effective):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


@contextmanager
def atomic_file(path: Path | str) -> Iterator[BinaryIO]:
    """Opens a file for writing that appears at `path` only when the block ends without an error.

    An interruption at any moment leaves `path` as it was: absent, or with its former content.

    Args:
        path: the final path; missing parent folders are made.

    Yields:
        A binary handle on a hidden temporary file in the same folder (a rename is atomic only within a file system).

    Raises:
        OSError: if the folder cannot be made, or the file cannot be written.

    Source: POSIX `rename(2)`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"  # hosts may share process ids
    try:
        with temporary.open("wb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())  # otherwise a power failure can leave an empty file at `path`
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path | str) -> Iterator[Path]:
    """Makes a folder that appears at `folder`, with all its files, only when the block ends without an error.

    Args:
        folder: the final path, which must be absent or an empty folder; missing parent folders are made.

    Yields:
        A hidden temporary folder beside it, for the block to fill.

    Raises:
        OSError: if `folder` is not empty, or cannot be made.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.parent / f".{folder.name}.{uuid.uuid4().hex}.tmp"
    try:
        temporary.mkdir()
        yield temporary
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: Path | str, content: bytes) -> Path:
    """Writes `content` to `path` through `atomic_file`, and returns the path."""
    with atomic_file(path) as handle:
        handle.write(content)
    return Path(path)


def write_text(path: Path | str, content: str) -> Path:
    """Writes `content` in UTF-8 to `path` through `atomic_file`, and returns the path."""
    return write_bytes(path, content.encode("utf-8"))


def write_json(path: Path | str, value: Any) -> Path:
    """Writes `value` as indented JSON to `path` through `atomic_file`, and returns the path."""
    return write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path, kind: type = dict) -> Any:
    """Returns the value in a JSON file.

    Args:
        path: the file.
        kind: type of the value, `dict` or `list`.

    Raises:
        ValueError: if the content is not JSON, or if its value has another type.
    """
    try:
        value = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: must hold JSON ({error}); restore the file, or use another folder.") from None
    if not isinstance(value, kind):
        raise ValueError(f"{path}: must hold a {kind.__name__}, not a {type(value).__name__}; restore the file.")
    return value


@contextmanager
def locked_folder(folder: Path | str) -> Iterator[None]:
    """Locks a folder for this process, by a hidden file in it, until the block or the process ends.

    Args:
        folder: the folder; it is made if it does not exist.

    Raises:
        FileExistsError: if another process has locked it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise FileExistsError(
            f"workdir={folder}: another process is working in it; wait until it ends, or choose a new folder."
        ) from None
    try:
        yield
    finally:
        lock.release()
