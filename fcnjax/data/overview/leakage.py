"""What splits share and should not: examples, contents of files or arrays, and groups.

Axes: N examples. The one idea: of files with one size, checksums of a few KiB from the middle are compared, and only
what agrees is read whole; so most files are never opened.
"""

import contextlib
import hashlib
import os
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np

from fcnjax.data.files.folder import FolderSource
from fcnjax.data.overview.origin import origin, positions_in
from fcnjax.data.size_table import areas
from fcnjax.data.sources.arrays import ArraySource
from fcnjax.data.sources.joined import JoinedSource
from fcnjax.data.sources.source import Source, UnreadableExample
from fcnjax.data.tfds.tfds_source import TfdsSource
from fcnjax.naming import printable

PART = 4096  # bytes of a file's middle that are compared first
BLOCK = 2**20  # bytes that are read at once
MAX_OPENED = 20_000  # files that are opened before training
MAX_READ = 2**24  # values of a split that are read through its source before training
MAX_ITEMS = 10_000  # examples that are


@dataclass(frozen=True)
class Leak:
    """What two splits share.

    Attributes:
        what: "examples" (of one id), "files" or "examples" of the same content, or "groups".
        splits: the two splits; the first is the one to learn from.
        count: number of shared files, examples or groups of the second split.
        total: number of all of them in the second split.
        example: one of them, in words.
    """

    what: str
    splits: tuple[str, str]
    count: int
    total: int
    example: str

    @property
    def text(self) -> str:
        """The leak in words."""
        first, second = self.splits
        verb = "is" if self.count == 1 else "are"
        return (
            f"{self.count:,} of {self.total:,} {self.what} of {second} {verb} also in {first}, such as {self.example}"
        )


class _Item(NamedTuple):
    """One example whose content can be compared."""

    split: int
    place: int


class _Contents(NamedTuple):
    """How the contents of one split are compared.

    Attributes:
        what: "files" or "examples".
        bytes: int [N], a size that equal contents share.
        part: returns a checksum of a part of the content at an index; None if it cannot be read.
        whole: returns a hash of the whole content; None if it cannot be read.
        opened: whether comparing opens a file.
    """

    what: str
    bytes: np.ndarray
    part: Callable[[int], Hashable]
    whole: Callable[[int], Hashable]
    opened: bool


def find_leaks(
    sources: Mapping[str, Source], *, one_data_set: bool, max_opened: int | None = MAX_OPENED
) -> tuple[tuple[Leak, ...], tuple[str, ...]]:
    """Returns what splits share, and what was not compared.

    Contents are compared of files (byte by byte: another encoding of the same picture is another file), of arrays in
    memory, and of other sources that are small. Of data sets of TFDS, ids and groups are.

    Args:
        sources: the splits by name, in the order of their use: training first.
        one_data_set: whether all splits are parts of one data set, so that equal ids are the same example.
        max_opened: maximum number of files to open; if more would have to be, no content is compared. None: no limit,
            and large sources are read as well.

    Returns:
        The leaks, and sentences on what was not compared.
    """
    leaks, shared = [], {}
    pairs = list(combinations(sources, 2))
    for pair in pairs:
        first, second = (sources[name] for name in pair)
        shared[pair] = set(np.intersect1d(first.ids, second.ids).tolist()) if one_data_set else set()
        if shared[pair]:
            index = int(np.flatnonzero(np.isin(second.ids, list(shared[pair])))[0])
            count = len(shared[pair])
            leaks.append(Leak("examples", pair, count, len(second), printable(second.name_of(index))))
    most = None if max_opened is None else MAX_READ
    contents = [_contents(source, most) for source in sources.values()]
    equal, skipped = _equal_contents(contents, max_opened)
    for pair in pairs:
        leaks += _content_leaks(sources, pair, equal, shared[pair])
    for pair in pairs:
        leaks += _group_leaks(sources, pair)
    notes = [f"the contents of {skipped:,} files of equal sizes were not compared; 'fcnjax data' compares them"]
    notes = notes if skipped else []
    named = zip(sources.items(), contents, strict=True)
    unread = [name for (name, source), each in named if each is None and not isinstance(origin(source), TfdsSource)]
    if unread and len(sources) > 1:
        what = f"the examples of {' and '.join(unread)} were not compared with those of other splits"
        notes.append(f"{what}; config.data.leakage=refuse compares all that can be")
    return tuple(leaks), tuple(notes)


def check_leaks(leaks: Sequence[Leak]) -> None:
    """Raises ValueError if there are leaks."""
    if leaks:
        raise ValueError(
            f"config.data.leakage=refuse: splits must share nothing, and {'; '.join(leak.text for leak in leaks)}; "
            "remove what is in two splits, or train with config.data.leakage=warn."
        )


def _content_leaks(
    sources: Mapping[str, Source], pair: tuple[str, str], equal: list[list[_Item]], same: set[int]
) -> Iterable[Leak]:
    """Yields the leak of contents between two splits, without the examples that have one id in both."""
    numbers = [list(sources).index(name) for name in pair]
    first, second = (sources[name] for name in pair)
    found: list[tuple[int, int]] = []
    for items in equal:
        befores, afters = ([item.place for item in items if item.split == number] for number in numbers)
        if befores:
            found += [(befores[0], after) for after in afters if int(second.ids[after]) not in same]
    if found:
        before, after = min(found, key=lambda two: two[1])
        example = printable(f"{first.name_of(before)} = {second.name_of(after)}")
        what = "files" if isinstance(origin(second), FolderSource) else "examples"
        yield Leak(what, pair, len(found), len(second), example)


def _group_leaks(sources: Mapping[str, Source], pair: tuple[str, str]) -> Iterable[Leak]:
    """Yields the leak of groups between two splits."""
    first, second = (sources[name].groups for name in pair)
    counts = Counter(group for group in second or () if group and not group.startswith("\0"))  # "\0": a file alone
    shared = counts.keys() & set(first or ())
    if shared:
        most = min(shared, key=lambda group: (-counts[group], group))
        count = counts[most]
        example = printable(f"{most!r} ({count:,} example{'s' * (count != 1)} of {pair[1]})")
        yield Leak("groups", pair, len(shared), len(counts), example)


def _equal_contents(contents: Sequence[_Contents | None], max_opened: int | None) -> tuple[list[list[_Item]], int]:
    """Returns the examples of equal contents that are in two splits or more, and the number of files not compared."""
    chosen = [_Item(split, place) for split, place in _of_equal_size(contents)]
    opened = [each is not None and each.opened for each in contents]
    files = sum(opened[item.split] for item in chosen)
    if max_opened is not None and files > max_opened:
        return [], files

    def compare(items: Sequence[_Item], looked_at: Callable[[_Contents], Callable[[int], Hashable]]):
        def key(item: _Item) -> Hashable:
            each = contents[item.split]
            assert each is not None
            value = looked_at(each)(item.place)
            return None if value is None else (each.what, int(each.bytes[item.place]), value)

        with ThreadPoolExecutor() as pool:
            equal: dict[Hashable, list[_Item]] = defaultdict(list)
            for item, value in zip(items, pool.map(key, items) if files else map(key, items), strict=True):
                if value is not None:
                    equal[value].append(item)
        return [group for group in equal.values() if len({item.split for item in group}) > 1]

    similar = compare(chosen, lambda each: each.part)
    return compare([item for group in similar for item in group], lambda each: each.whole), 0


def _of_equal_size(contents: Sequence[_Contents | None]) -> Iterable[tuple[int, int]]:
    """Yields split and index of the examples whose size some example of another split has."""
    sizes = [np.unique(each.bytes) if each is not None else np.zeros(0, np.int64) for each in contents]
    values, counts = np.unique(np.concatenate(sizes), return_counts=True)
    shared = values[counts > 1]
    for split, each in enumerate(contents):
        if each is not None:
            yield from ((split, index) for index in np.flatnonzero(np.isin(each.bytes, shared)).tolist())


def _contents(source: Source, most: int | None) -> _Contents | None:
    """Returns how the contents of a split are compared; None if they are not.

    Args:
        source: the split.
        most: values that may be read through a source that holds neither files nor arrays; None: any number.
    """
    inner = origin(source)
    places = positions_in(inner, source)
    if isinstance(inner, FolderSource):
        folder = os.fspath(inner.root)

        def path(index: int) -> str:
            return os.path.join(folder, inner.name_of(int(places[index])))

        return _Contents(
            "files",
            inner.file_bytes[places],
            lambda index: _read_part(path(index)),
            lambda index: _read_whole(path(index)),
            True,
        )
    if isinstance(inner, ArraySource):
        values = [inner[index].values for index in places.tolist()]
        sizes = np.array([each.nbytes for each in values], np.int64)
        return _Contents(
            "examples", sizes, lambda index: _part_of(values[index]), lambda index: _whole_of(values[index]), False
        )
    if isinstance(inner, JoinedSource):
        return _joined([_contents(part, most) for part in inner.parts], places)
    if isinstance(inner, TfdsSource):
        return None
    small = len(source) <= MAX_ITEMS and float(areas(inner.sizes[places]).sum()) * inner.channels <= (most or 0)
    return _read_contents(inner, places) if small or most is None else None


def _joined(parts: Sequence[_Contents | None], places: np.ndarray) -> _Contents | None:
    """Returns how the contents of a joined source are compared; None unless all its parts are compared in one way."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or len({(part.what, part.opened) for part in known}) > 1:
        return None
    ends = np.cumsum([len(part.bytes) for part in known])
    numbers = np.searchsorted(ends, places, side="right")
    within = places - np.concatenate([[0], ends])[numbers]
    return _Contents(
        known[0].what,
        np.concatenate([part.bytes for part in known])[places],
        lambda index: known[numbers[index]].part(int(within[index])),
        lambda index: known[numbers[index]].whole(int(within[index])),
        known[0].opened,
    )


def _read_contents(source: Source, places: np.ndarray) -> _Contents:
    """Returns how examples are compared that are read once each, and not kept."""
    sizes = np.zeros(len(places), np.int64)
    parts: list[Hashable] = [None] * len(places)
    wholes: list[Hashable] = [None] * len(places)
    for index, place in enumerate(places.tolist()):
        with contextlib.suppress(UnreadableExample):
            values = np.asarray(source[place].values)
            sizes[index], parts[index], wholes[index] = values.nbytes, _part_of(values), _whole_of(values)
    return _Contents("examples", sizes, parts.__getitem__, wholes.__getitem__, False)


def _content(values: np.ndarray) -> memoryview:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def _part_of(values: np.ndarray) -> Hashable:
    return values.shape, values.dtype.char, zlib.crc32(_middle(_content(values)))


def _whole_of(values: np.ndarray) -> Hashable:
    return values.shape, values.dtype.char, _hash([_content(values)])


def _middle(content: memoryview) -> memoryview:
    start = max(0, (len(content) - PART) // 2)
    return content[start : start + PART]


def _read_part(path: str) -> int | None:
    """Returns a checksum of the middle of a file, where files differ that share a header; None if it cannot be read."""
    with contextlib.suppress(OSError), open(path, "rb") as stream:  # what cannot be read is reported when it is needed
        stream.seek(max(0, (os.fstat(stream.fileno()).st_size - PART) // 2))
        return zlib.crc32(stream.read(PART))
    return None


def _read_whole(path: str) -> bytes | None:
    with contextlib.suppress(OSError), open(path, "rb") as stream:
        return _hash(iter(lambda: stream.read(BLOCK), b""))
    return None


def _hash(parts: Iterable[bytes | memoryview]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.digest()
