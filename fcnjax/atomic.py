"""Files that are either whole or absent: written beside their name, then renamed onto it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path | str) -> Iterator[BinaryIO]:
    """Opens a file that appears under ``path`` only when the block ends without an error.

    An interruption at any moment leaves ``path`` as it was: absent, or with its former content.

    Args:
        path: the final name; missing parent folders are made.

    Yields:
        A binary handle on a hidden temporary file in the same folder (a rename is atomic only within one file system).

    Raises:
        OSError: the folder cannot be made or written.

    Source: POSIX ``rename(2)``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        with temporary.open("wb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())  # else a power cut can rename an empty file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path | str, content: bytes) -> Path:
    """Writes ``content`` to ``path`` by way of `replacing` and returns the path."""
    with replacing(path) as handle:
        handle.write(content)
    return Path(path)


def write_text(path: Path | str, content: str) -> Path:
    """Writes ``content`` as UTF-8 to ``path`` by way of `replacing` and returns the path."""
    return write_bytes(path, content.encode("utf-8"))
