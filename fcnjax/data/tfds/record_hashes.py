"""Hashes of the files of prepared records, kept for the next run: a hash is valid while size and time are the same."""

import contextlib
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fcnjax.atomic import read_json, write_json
from fcnjax.data.files.file_scan import Stamp, stamp_of
from fcnjax.data.sources.contents import hash_file


def hash_records(files: Sequence[Path], cache: Path, title: str) -> list[str]:
    """Returns the SHA-256 of each file; only files that are new or have changed are read.

    Args:
        files: the files, with different names.
        cache: JSON file of hashes with the sizes and modification times for which they hold; made if it is absent or
            damaged, and left out if it cannot be written.
        title: title of the progress bar, which is shown if reading takes more than a second.

    Raises:
        OSError: if a file cannot be read.
    """
    stamps, known = {file: stamp_of(file) for file in files}, _load(cache)
    stale = [file for file in files if not _holds(known.get(file.name), file.name, stamps[file])]
    if stale:
        with ThreadPoolExecutor() as pool:
            bar = tqdm(pool.map(hash_file, stale), title, len(stale), unit=" files", delay=1, leave=False)
            known |= {file.name: _row(file.name, stamps[file], one) for file, one in zip(stale, bar, strict=True)}
        with contextlib.suppress(OSError):  # a read-only folder: the next run reads the files again
            write_json(cache, known)
    return [known[file.name][2] for file in files]


def _row(name: str, stamp: Stamp, sha256: str) -> list:
    """Returns what the cache keeps of a file; the last number detects damage of the row itself."""
    return [*stamp, sha256, zlib.crc32(f"{name} {tuple(stamp)} {sha256}".encode("utf-8", "surrogateescape"))]


def _holds(row: Any, name: str, stamp: Stamp) -> bool:
    """Returns whether a row of the cache is undamaged and belongs to the present state of a file."""
    return isinstance(row, list) and len(row) == 4 and row == _row(name, stamp, str(row[2]))


def _load(cache: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        return read_json(cache)
    return {}
