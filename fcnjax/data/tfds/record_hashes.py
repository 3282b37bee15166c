"""Hashes of the files of prepared records, kept for the next run: a hash is valid while size and time are the same.

The one idea: a file of equal records has an equal hash. The bytes of two such files may differ, as the features of a
record are a map, which protobuf writes in an order that changes from process to process.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordReader

from fcnjax.data.files.file_scan import Stamp, stamp_of
from fcnjax.progress import progress_bar
from fcnjax.sealed import hash_file, read_sealed, write_sealed

AT_ONCE = 64  # records that are held in memory
FIELD_1 = 0x0A  # begins field number 1 of a message if its length follows


def hash_records(files: Sequence[Path], cache: Path, title: str) -> list[str]:
    """Returns a SHA-256 of the records of each file; only files that are new or have changed are read.

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
            found = pool.map(hash_record_file, stale)
            bar = progress_bar(found, title, len(stale), unit=" files", delay=1, leave=False)
            known |= {file.name: [*stamps[file], one] for file, one in zip(stale, bar, strict=True)}
        with contextlib.suppress(OSError):  # a read-only folder: the next run reads the files again
            write_sealed(cache, known)
    return [known[file.name][2] for file in files]


def hash_record_file(file: Path) -> str:
    """Returns a SHA-256 of the records of an ArrayRecord file, in which the order of their features does not count.

    Of a file of another kind, or a damaged one, it is the SHA-256 of all bytes.

    Raises:
        OSError: if the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with contextlib.closing(ArrayRecordReader(str(file))) as reader:
            for start in range(0, reader.num_records(), AT_ONCE):
                for record in reader.read(start, min(start + AT_ONCE, reader.num_records())):
                    for part in sorted(_features(record)):
                        digest.update(len(part).to_bytes(8, "little") + part)
                    digest.update(bytes(8))  # ends a record, as no part is empty
    except (RuntimeError, ValueError, IndexError):
        return hash_file(file)
    return digest.hexdigest()


def _features(record: bytes) -> list[bytes]:
    """Returns the features of a record, a serialized `tf.train.Example`; the record itself if it is not one."""
    try:
        (features,) = _fields(record)
        return list(_fields(features)) or [record]
    except (ValueError, IndexError):
        return [record]


def _fields(message: bytes) -> Iterator[bytes]:
    """Yields the contents of the fields of a message, all of which must be number 1 and delimited by their length.

    Source: the wire format of Protocol Buffers, https://protobuf.dev/programming-guides/encoding/.
    """
    place = 0
    while place < len(message):
        if message[place] != FIELD_1:
            raise ValueError(f"field {message[place]}: must be number 1, delimited by its length.")
        length, shift, place = 0, 0, place + 1
        while True:
            byte, place = message[place], place + 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if place + length > len(message):
            raise ValueError("a field is cut short.")
        yield message[place : place + length]
        place += length


def _holds(row: Any, stamp: Stamp) -> bool:
    """Returns whether a row of the cache belongs to the present state of a file."""
    return isinstance(row, list) and len(row) == 3 and row[:2] == [*stamp]


def _load(cache: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        return read_sealed(cache)
    return {}
