"""Files that tell whether they are still what was written: JSON or bytes with a checksum, folders with a list of them.

A flipped bit on a disk or in a copy changes numbers without an error. What a run reads back is therefore sealed when it
is written and checked when it is read. Files written without a seal, by older versions, are read as they are.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from fcnjax.atomic import read_json, write_bytes, write_json

CHECKSUM = "checksum"  # key of a sealed JSON file
CHECKSUMS = "checksums.json"  # file of a sealed folder


class DamagedFile(ValueError):
    """A file is not what was written."""

    def __init__(self, path: Path, how: str, remedy: str = "restore it from a copy"):
        super().__init__(f"{path}: is damaged ({how}); {remedy}.")


def write_sealed(path: Path | str, value: dict[str, Any]) -> Path:
    """Writes a JSON object with a checksum of its content, through `atomic_file`, and returns the path."""
    return write_json(path, {**value, CHECKSUM: _sum_of(value)})


def read_sealed(path: Path) -> dict[str, Any]:
    """Returns what `write_sealed` wrote. A file without a checksum is returned as it is.

    Raises:
        DamagedFile: if the content is not what was written.
        ValueError: if it is not JSON, or not an object.
    """
    value = read_json(path)
    expected = value.pop(CHECKSUM, None)
    if expected is not None and expected != _sum_of(value):
        raise DamagedFile(path, "its content does not match its checksum")
    return value


def write_sealed_bytes(path: Path | str, content: bytes) -> Path:
    """Writes bytes with their SHA-256 at the end, through `atomic_file`, and returns the path."""
    return write_bytes(path, content + hashlib.sha256(content).digest())


def read_sealed_bytes(path: Path, remedy: str = "restore it from a copy") -> bytes:
    """Returns what `write_sealed_bytes` wrote.

    Args:
        path: the file.
        remedy: what to do about a damaged file, for the message.

    Raises:
        DamagedFile: if the content is not what was written.
        OSError: if the file cannot be read.
    """
    content, checksum = (whole := path.read_bytes())[:-32], whole[-32:]
    if hashlib.sha256(content).digest() != checksum:
        raise DamagedFile(path, "its content does not match its checksum", remedy)
    return content


def seal_folder(folder: Path, about: Any = None) -> None:
    """Writes the sizes and checksums (SHA-256) of all files below a folder to `folder/checksums.json`.

    Args:
        folder: the folder.
        about: a JSON value that is kept with them, see `read_seal`.

    Raises:
        OSError: if a file cannot be read, or the list cannot be written.
    """
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files.pop(CHECKSUMS, None)
    sums = {name: [path.stat().st_size, hash_file(path)] for name, path in files.items()}
    write_sealed(folder / CHECKSUMS, {"files": sums, "about": about})


def check_folder(folder: Path) -> Any:
    """Checks that the files of a sealed folder are there and are what was written.

    Returns:
        What `seal_folder` was given as `about`; None for a folder without a seal, which cannot be checked.

    Raises:
        DamagedFile: for the first file that is not what was written; the message names it.
        ValueError: if the list itself is not JSON.
        OSError: if a file cannot be read.
    """
    if not (folder / CHECKSUMS).is_file():
        return None
    sealed = read_sealed(folder / CHECKSUMS)
    for name, (size, checksum) in sealed["files"].items():
        path = folder / name
        if not path.is_file():
            raise DamagedFile(path, "it is missing")
        if path.stat().st_size != size:
            raise DamagedFile(path, f"it has {path.stat().st_size:,} bytes instead of {size:,}")
        if hash_file(path) != checksum:
            raise DamagedFile(path, "its content does not match its checksum")
    return sealed["about"]


def hash_file(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal digits; raises OSError if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sum_of(value: dict[str, Any]) -> str:
    """Returns a checksum that does not depend on how the JSON is indented or in which order its keys stand."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
