"""Hashes of the files of prepared records, kept for the next run: a hash is valid while size and time are the same."""

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fcnjax.data.files.file_scan import Stamp, stamp_of
from fcnjax.sealed import hash_file, read_sealed, write_sealed


def hash_records(files: Sequence[Path], cache: Path, title: str) -> list[str]:
    """Returns the SHA-256 of each file; only files that are new or have changed are read.

    Args:
        files: the files, with different names.
        cache: sealed JSON file of hashes with the sizes and modification times for which they hold; made if it is
            absent or damaged, and left out if it cannot be written.
        title: title of the progress bar, which is shown if reading takes more than a second.

    Raises:
        OSError: if a file cannot be read.
    """
    stamps, known = {file: stamp_of(file) for file in files}, _load(cache)
    stale = [file for file in files if not _holds(known.get(file.name), stamps[file])]
    if stale:
        with ThreadPoolExecutor() as pool:
            bar = tqdm(pool.map(hash_file, stale), title, len(stale), unit=" files", delay=1, leave=False)
            known |= {file.name: [*stamps[file], one] for file, one in zip(stale, bar, strict=True)}
        with contextlib.suppress(OSError):  # a read-only folder: the next run reads the files again
            write_sealed(cache, known)
    return [known[file.name][2] for file in files]


def _holds(row: Any, stamp: Stamp) -> bool:
    """Returns whether a row of the cache belongs to the present state of a file."""
    return isinstance(row, list) and len(row) == 3 and row[:2] == [*stamp]


def _load(cache: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        return read_sealed(cache)
    return {}
