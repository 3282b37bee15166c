"""Size tables of files on disk, scanned on threads and cached.

Axes: N files, D spatial axes (2 for images, 1 for audio), C channels. The one idea: a cached row is valid while its
file has the same path, byte size and modification time; all other files are scanned again.
"""

import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from fcnjax.atomic import atomic_file
from fcnjax.data.decoding.audio_files import AUDIBLE, decode_audio, read_length
from fcnjax.data.decoding.image_files import decode_image, read_header
from fcnjax.data.sources.source import UnreadableExample
from fcnjax.progress import progress_bar

LAYOUT = 3  # version of the cache file's layout and of the reasons in it; files of other versions are rebuilt
FRAMES = "several pages or frames, of which the first is read"  # remarks on files that can be read
SILENCE = f"only silence, with all amplitudes below {AUDIBLE}"
CHUNK = 32  # files per task: few enough for a smooth progress bar, enough to make the cost of a task negligible


class Kind(Protocol):
    """How one kind of media file is read. An instance can be pickled."""

    @property
    def axes(self) -> int:
        """D, the number of spatial axes."""
        ...

    @property
    def channels(self) -> int | None:
        """C that is asked for; None: as the files are."""
        ...

    def with_channels(self, channels: int | None) -> "Kind":
        """Returns the same kind that asks for other channels."""
        ...

    @property
    def settings(self) -> str:
        """Everything besides the files that sizes and errors depend on; part of the cache's key."""
        ...

    def header(self, file: Path) -> tuple[tuple[int, ...], int, str]:
        """Returns size, channel count and a remark or ""; raises UnreadableExample or OSError."""
        ...

    def decode(self, file: Path, channels: int, at_least: tuple[int, ...] | None = None) -> np.ndarray:
        """Returns values [*S, C]; raises UnreadableExample or OSError."""
        ...

    def remark(self, values: np.ndarray) -> str:
        """Returns what should be known of decoded values; mostly empty."""
        ...


@dataclass(frozen=True)
class ImageKind:
    """Image files; see `decode_image`.

    Attributes:
        channels: C that is asked for; None: 1 for gray, 3 for colors, the bands of a TIFF file that has others.
    """

    channels: int | None = None
    axes = 2

    def with_channels(self, channels: int | None) -> "ImageKind":
        return replace(self, channels=channels)

    @property
    def settings(self) -> str:
        asked = "" if self.channels is None else f", {self.channels} channels"
        return f"image, Pillow {version('pillow')}, tifffile {version('tifffile')}{asked}"

    def header(self, file: Path) -> tuple[tuple[int, ...], int, str]:
        size, channels, several = read_header(file, self.channels)
        return size, channels, FRAMES if several else ""

    def decode(self, file: Path, channels: int, at_least: tuple[int, ...] | None = None) -> np.ndarray:
        return decode_image(file, channels, None if at_least is None else (at_least[0], at_least[1]))

    def remark(self, values: np.ndarray) -> str:
        return ""


@dataclass(frozen=True)
class AudioKind:
    """Audio files; see `decode_audio`.

    Attributes:
        sample_rate: samples per second after resampling; None keeps each file's own.
        channels: C; None or 1 is the mean of the file's channels, another number must be that of every file.
    """

    sample_rate: int | None = None
    channels: int | None = None
    axes = 1

    def with_channels(self, channels: int | None) -> "AudioKind":
        return replace(self, channels=channels)

    @property
    def settings(self) -> str:
        asked = "" if self.channels in (None, 1) else f" in {self.channels} channels"
        return f"audio at {self.sample_rate} Hz{asked}, soundfile {version('soundfile')}, soxr {version('soxr')}"

    def header(self, file: Path) -> tuple[tuple[int, ...], int, str]:
        return (read_length(file, self.sample_rate, self.channels),), self.channels or 1, ""

    def decode(self, file: Path, channels: int, at_least: tuple[int, ...] | None = None) -> np.ndarray:
        del at_least  # always at `sample_rate`
        return decode_audio(file, self.sample_rate, channels)

    def remark(self, values: np.ndarray) -> str:
        return "" if max(values.max(), -values.min()) >= AUDIBLE else SILENCE


class Stamp(NamedTuple):
    """The size of a file in bytes and its modification time in nanoseconds: if either differs, the file has changed."""

    bytes: int
    mtime_ns: int


class ScannedFile(NamedTuple):
    """The result of scanning one file.

    Attributes:
        stamp: state of the file when it was scanned.
        size: extents along the D axes; zeros for a file that cannot be read.
        channels: C of the file; 0 for a file that cannot be read.
        verified: whether the whole file was decoded, not only its header.
        reason: why the file cannot be read; empty if it can be read.
        remark: what else should be known of a file that can be read, `FRAMES` or, if verified, `SILENCE`; or empty.
    """

    stamp: Stamp
    size: tuple[int, ...]
    channels: int
    verified: bool
    reason: str = ""
    remark: str = ""


def scan_files(
    root: Path,
    names: Sequence[str],
    kind: Kind,
    *,
    verify: bool = False,
    cache_dir: Path | None = None,
    threads: int | None = None,
) -> dict[str, ScannedFile]:
    """Returns the size of every file, or why it cannot be read; finds all bad files, not only the first.

    The cache also keeps the files scanned before an interruption.

    Args:
        root: folder that `names` are relative to.
        names: paths of the files, with "/" on every system.
        kind: how the files are read.
        verify: whether to decode every file once. This finds damage behind an intact header and costs as much as
            decoding for one epoch.
        cache_dir: folder of cache files, one per root and kind; None keeps nothing. A damaged cache file is rebuilt.
        threads: number of files read at the same time, 1 or more; None means two per core.

    Returns:
        A row for each name, in the order of `names`.

    Raises:
        OSError: if a file cannot be read from the disk, or `cache_dir` cannot be written.
    """
    cache = None if cache_dir is None else cache_dir / f"sizes-{_key(root, kind)}.npz"
    rows = dict(_load_cache(cache, kind.axes)) if cache else {}
    stale = []
    for name in names:
        try:
            stamp = stamp_of(root / name)
        except FileNotFoundError:
            what = "a link to a file that is not there" if (root / name).is_symlink() else "there is no such file"
            rows[name] = ScannedFile(Stamp(0, 0), (0,) * kind.axes, 0, False, what)
            continue
        row = rows.get(name)
        if row is None or row.stamp != stamp or (verify and not row.verified and not row.reason):
            stale.append((name, stamp))
    if stale:
        try:
            _scan(root, stale, kind, verify, threads or 2 * (os.cpu_count() or 1), rows)
        finally:
            if cache and rows:
                _save_cache(cache, rows, kind.axes)
    return {name: rows[name] for name in names}


def _scan(
    root: Path, stale: list[tuple[str, Stamp]], kind: Kind, verify: bool, threads: int, rows: dict[str, ScannedFile]
) -> None:
    """Adds a row for each stale file, on threads: decoders release the GIL, and header reads wait for the disk."""

    def scan(chunk: list[tuple[str, Stamp]]) -> list[tuple[str, ScannedFile]]:
        return [(name, _scan_file(root / name, stamp, kind, verify)) for name, stamp in chunk]

    chunks = [stale[start : start + CHUNK] for start in range(0, len(stale), CHUNK)]
    title = "verifying files" if verify else "reading headers"
    with progress_bar(title=title, total=len(stale), unit=" files") as bar, ThreadPoolExecutor(threads) as pool:
        try:
            for done in as_completed([pool.submit(scan, chunk) for chunk in chunks]):
                rows.update(done.result())
                bar.update(len(done.result()))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # otherwise an error or Ctrl-C waits for all other files
            raise


def _scan_file(file: Path, stamp: Stamp, kind: Kind, verify: bool) -> ScannedFile:
    try:
        size, channels, remark = kind.header(file)
        if verify:
            values = kind.decode(file, channels)
            if values.shape[:-1] != tuple(size):
                raise UnreadableExample(str(file), "damaged file: decodes to another size than its header claims")
            remark = remark or kind.remark(values)
    except UnreadableExample as error:
        return ScannedFile(stamp, (0,) * kind.axes, 0, verify, error.reason)
    return ScannedFile(stamp, tuple(size), channels, verify, remark=remark)


def stamp_of(file: Path) -> Stamp:
    """Returns the present stamp of a file; raises OSError if there is none."""
    status = file.stat()
    return Stamp(status.st_size, status.st_mtime_ns)


def _key(root: Path, kind: Kind) -> str:
    return hashlib.sha256(os.fsencode(f"{LAYOUT}\0{kind.settings}\0{root.resolve()}")).hexdigest()[:16]


def _load_cache(path: Path, axes: int) -> dict[str, ScannedFile]:
    """Returns the rows of a cache file; empty if the file is absent or damaged, because a cache can be rebuilt."""
    if not path.exists():
        return {}
    try:
        # Given a path, np.load would leak its handle on failure.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as table:
            names, reasons, remarks = (_split(table[key]) for key in ("names", "reasons", "remarks"))
            numbers = table["numbers"]  # int64 [N, bytes, mtime_ns, channels, verified, *size]
        if (
            numbers.dtype != np.int64
            or numbers.shape != (len(names), 4 + axes)
            or not len(reasons) == len(remarks) == len(names)
        ):
            return {}
    except Exception:  # a damaged zip file raises half a dozen types of errors
        return {}
    return {
        name: ScannedFile(Stamp(row[0], row[1]), tuple(row[4:]), row[2], bool(row[3]), reason, remark)
        for name, row, reason, remark in zip(names, numbers.tolist(), reasons, remarks, strict=True)
    }


def _save_cache(path: Path, rows: Mapping[str, ScannedFile], axes: int) -> None:
    rows = dict(sorted(rows.items()))  # otherwise in the order in which threads finished
    numbers = [(*row.stamp, row.channels, row.verified, *row.size) for row in rows.values()]
    with atomic_file(path) as handle:
        np.savez(
            handle,
            names=_joined(list(rows)),
            reasons=_joined([row.reason for row in rows.values()]),
            remarks=_joined([row.remark for row in rows.values()]),
            numbers=np.array(numbers, np.int64).reshape(len(rows), 4 + axes),
        )


def _joined(texts: Sequence[str]) -> np.ndarray:
    """Returns uint8: the texts, each with a final zero byte, which no path contains; smaller than a string array."""
    return np.frombuffer(b"".join(os.fsencode(text.replace("\0", "")) + b"\0" for text in texts), np.uint8)


def _split(joined: np.ndarray) -> list[str]:
    return [os.fsdecode(text) for text in joined.tobytes().split(b"\0")[:-1]]
