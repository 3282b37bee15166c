"""What identifies the contents of a source: a hash of labels and values, or of a fixed sample of them.

Axes: N examples. The one idea: a hash comes with a sentence on what it covers, so that a run folder can say what was
compared when a run was resumed.
"""

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

EXAMPLES = 16  # examples of a sample that have to be read through the source
FILES, END = 64, 2**20  # files of a sample, and bytes at the start and at the end of each
CHUNKS = 64  # parts that threads check at once


class Contents(NamedTuple):
    """The contents of a source.

    Attributes:
        covers: which labels and values the hash covers.
        sha256: the hash of them, or of their checksums, in hexadecimal digits.
    """

    covers: str
    sha256: str


def sample_positions(count: int, size: int) -> list[int]:
    """Returns at most `size` of `count` positions, evenly spaced, with both ends.

    >>> sample_positions(100, 4)
    [0, 33, 66, 99]
    """
    return np.unique(np.linspace(0, count - 1, min(size, count)).round().astype(int)).tolist()


def all_contents(labels: np.ndarray, values: Sequence[np.ndarray]) -> Contents:
    """Returns the contents of examples in memory: all labels int32 [N] and all N arrays of values.

    The values enter by the CRC-32 of each example: it is four times as fast as SHA-256, and misses a changed example
    once in 2^32.
    """

    def checksums(span: np.ndarray) -> bytes:
        pairs = (_bytes_of(values[index]) for index in span.tolist())
        return b"".join(dtype + zlib.crc32(content).to_bytes(4, "little") for dtype, content in pairs)

    spans = np.array_split(np.arange(len(values)), min(CHUNKS, len(values)))
    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(checksums, spans))
    return Contents("all labels and values", _hash([labels.tobytes(), *parts]).hex())


def file_contents(files: Sequence[Path], sizes: np.ndarray, labels: np.ndarray) -> Contents:
    """Returns the contents of one file for each example: all labels and sizes of files, and the bytes of some files.

    Args:
        files: the N files.
        sizes: int64 [N], the size of each file in bytes.
        labels: int32 [N].

    Raises:
        OSError: if a file cannot be read.
    """
    chosen = sample_positions(len(files), FILES)
    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(lambda index: _ends(files[index]), chosen))
    covers = f"all labels, the size of every file, and the bytes of {len(chosen):,} of {len(files):,} files"
    if sizes[chosen].max(initial=0) > 2 * END:
        covers += " (of large ones the first and the last MiB)"
    return Contents(covers, _hash([labels.tobytes(), sizes.tobytes(), *parts]).hex())


def sampled_contents(source: Any, failure: type[Exception]) -> Contents:
    """Returns the contents of any source: its labels if it knows them, and the values of a few examples.

    These are read twice, because a source may draw new values at each access. Then its values cannot be compared.

    Args:
        source: a `Source`.
        failure: the error of an example that cannot be decoded, whose text then stands for its values.
    """
    chosen = sample_positions(len(source), EXAMPLES)
    labels = b"" if source.labels is None else np.asarray(source.labels, np.int32).tobytes()

    def values() -> Iterable[bytes | memoryview]:
        for index in chosen:
            try:
                example = source[index]
            except failure as error:
                yield str(error).encode("utf-8", "surrogateescape")
                continue
            yield str(int(example.label)).encode()
            yield from _bytes_of(np.asarray(example.values))

    first, second = _hash(values()), _hash(values())
    known = "no labels" if source.labels is None else "all labels"
    if first != second:
        return Contents(f"{known}, and no values, as they differ from one read to the next", _hash([labels]).hex())
    covers = f"{known}, and labels and values of {len(chosen):,} of {len(source):,} examples"
    return Contents(covers, _hash([labels, first]).hex())


def _bytes_of(values: np.ndarray) -> tuple[bytes, memoryview]:
    return values.dtype.str.encode(), np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def _hash(parts: Iterable[bytes | memoryview]) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


def _ends(file: Path) -> bytes:
    """Returns the hash of a file's bytes; of a large file, of its first and last MiB."""
    with file.open("rb") as stream:
        start = stream.read(END)
        size = stream.seek(0, 2)
        stream.seek(max(len(start), size - END))
        return _hash([start, stream.read(END)])
