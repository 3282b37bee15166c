"""Folders of images or audio files as sources: split, size table and classes come from the folder alone.

Axes: N files, S spatial axes (H, W of images, L of audio), D = len(S), C channels. The one idea: construction finds
everything that is wrong with a folder and reports it in one message.
"""

import hashlib
import math
import os
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fcnjax.atomic import write_bytes
from fcnjax.data.decoding.unreadable import NAMED, lines_by_reason, names_by_reason
from fcnjax.data.files.file_scan import AudioKind, ImageKind, Kind, ScannedFile, scan_files
from fcnjax.data.files.folder_layout import read_layout
from fcnjax.data.files.label_settings import FOLDERS_ALONE, LabelSettings
from fcnjax.data.files.split_files import joined_folders, kept_groups, select, split_names
from fcnjax.data.size_table import frozen_table
from fcnjax.data.sources.contents import Contents, file_contents
from fcnjax.data.sources.source import ON_ERROR, Example, Source, UnreadableExample
from fcnjax.naming import printable, unknown_name

OUTLIER = 64  # an outlier has more than this times the median number of positions


class UnreadableFiles(ValueError):
    """The files of a split that cannot be decoded, all in one message.

    Attributes:
        reasons: why each one cannot be decoded, by name.
    """

    def __init__(self, message: str, reasons: Mapping[str, str]):
        super().__init__(message)
        self.reasons = reasons


class FolderSource(Source):
    """One split of a folder of media files, read from disk on access; made by `images` or `audio`.

    The class of a file is the folder directly below the root, or below the folder of its split:
    `root/[split/]class/**/file`. Without such folders it is the part of the file's name before the first underscore:
    `root/[split/]class_*`. Classes come from the whole root, sorted, so that all splits agree on the labels. Ids are
    positions in the sorted listing of all files of the root. A file's type is determined by its content. Its name only
    serves to exclude hidden files and the companions listed in `listing` (README, .txt, .csv, .json, Thumbs.db, ...).
    What is left out is in `ignored`. A single folder that holds everything is taken as the root; folders beside those
    of splits are left out (see `folder_layout.read_layout`).

    Args:
        root: folder of the data set.
        split: the name of a folder in `root`; a pattern of paths relative to it, such as "*_[0-4].wav" or "**/*.png";
            the name of a split in a table or a list of `labels`; or "all". Each may end in a slice, "[:80%]", "[80%:]",
            "[100:200]", of a fixed random order that holds the classes in proportion and keeps groups whole. "+" joins
            several, and "-" between blanks takes one away: "all - 9 - 10".
        kind: how the files are read.
        labels: a table, lists or a pattern of paths from which labels, splits and groups come.
        splits: all splits of the data set that somebody uses, so that all of them agree on which folders are splits.
        channels: C of the values (see `decode_image`, `decode_audio`). None means those of the files: of images 1 if
            every one of the root is gray, else 3, or the bands that most of the split have; of recordings 1, the mean.
        on_error: "refuse" raises if any file of the split is bad; "mask" leaves bad files out and lists them in
            `unreadable`.
        verify: whether to decode every file of the split once, which finds damage behind an intact header. None does
            so unless `on_error` is "mask"; then it decodes only files that claim to be many times larger than the
            median.
        cache_dir: folder that keeps scans for the next run; None scans every time.

    Attributes:
        names: path of each example relative to the root, with "/".
        labels: int32 [N], class indices.
        file_bytes: int64 [N], the size of each example's file in bytes.
        unreadable: why each bad file was left out, by name.

    Raises:
        ValueError: if the folder, the split or an argument is not as described above.
        UnreadableFiles: if there are bad files and `on_error` is "refuse", or all files are bad; one message names all
            bad files.
        OSError: if the disk fails, or `cache_dir` cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> with TemporaryDirectory() as root:
    ...     for label, size in (("cat", (9, 4)), ("dog", (5, 7))):
    ...         Path(root, label).mkdir()
    ...         Image.new("L", size).save(Path(root, label, "1.png"))
    ...     source = FolderSource.images(root, "all")
    >>> source.class_names, source.names, source.sizes.tolist(), source.channels
    (('cat', 'dog'), ('cat/1.png', 'dog/1.png'), [[4, 9], [7, 5]], 1)
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str,
        kind: Kind,
        *,
        labels: LabelSettings = FOLDERS_ALONE,
        splits: Sequence[str] = (),
        channels: int | None = None,
        on_error: str = "refuse",
        verify: bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        if on_error not in ON_ERROR:
            raise ValueError(unknown_name("on_error", on_error, ON_ERROR))
        if channels is not None and channels < 1:
            raise ValueError(f"channels={channels}: must be 1 or more, or None (as the files are).")
        self.root = Path(root).expanduser().absolute()  # absolute: worker processes may run in another folder
        cache = None if cache_dir is None else Path(cache_dir).expanduser()
        asked = [name for each in dict.fromkeys((split, *splits)) for name in split_names(self.root, each)]
        layout = read_layout(self.root, asked, labels)
        chosen = select(self.root, layout, split)
        kind = kind.with_channels(channels)
        verify = on_error == "refuse" if verify is None else verify
        names = [layout.names[index] for index in chosen]
        rows = _scanned(self.root, names, kind, on_error, verify, cache)
        counts = Counter(row.channels for row in rows.values() if not row.reason)
        if len(counts) > 1 and not counts.keys() <= {1, 3}:  # files of other bands are named
            common = counts.most_common(1)[0][0]
            kind = kind.with_channels(3 if common == 1 and counts[3] else common)
            rows = _scanned(self.root, names, kind, on_error, verify, cache)
        self.unreadable = {name: row.reason for name, row in rows.items() if row.reason}
        if self.unreadable and (on_error == "refuse" or len(self.unreadable) == len(rows)):
            raise UnreadableFiles(_refusal(self.root, split, self.unreadable, len(rows), cache), self.unreadable)
        channels = kind.channels
        if channels is None:
            channels = max(row.channels for row in rows.values())
            if channels == 1 and kind.axes == 2:  # gray; others may have colors, and all splits need the same channels
                others = scan_files(self.root, [n for n in layout.names if n not in rows], kind, cache_dir=cache)
                channels = max([1, *(row.channels for row in others.values() if row.channels in (1, 3))])
        chosen = [index for index in chosen if layout.names[index] not in self.unreadable]
        self.names = tuple(layout.names[index] for index in chosen)
        self.ids = frozen_table(chosen)
        self.labels = self._labels = frozen_table([layout.labels[index] for index in chosen])
        self.groups = None if layout.groups is None else [layout.groups[index] for index in chosen]
        if layout.weights is not None:
            self.weights = np.array([layout.weights[index] for index in chosen], np.float32)
        self.ignored, every = layout.ignored, (split, *splits)
        notes = (kept_groups(self.root, layout, every), joined_folders(self.root, layout, split))
        self.notes = (*layout.notes, *(note for note in notes if note is not None), *_remarks(rows, split))
        self.sizes = frozen_table([rows[layout.names[index]].size for index in chosen])
        self.file_bytes = np.array([rows[name].stamp.bytes for name in self.names], np.int64)
        self.class_names = layout.class_names
        self.channels = channels
        self._kind = kind

    @classmethod
    def images(
        cls,
        root: str | os.PathLike[str],
        split: str,
        *,
        labels: LabelSettings = FOLDERS_ALONE,
        splits: Sequence[str] = (),
        channels: int | None = None,
        on_error: str = "refuse",
        verify: bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> "FolderSource":
        """Returns a source of image files (JPEG, PNG, WebP, TIFF, GIF, BMP, ...) as [H, W, C]; see `decode_image`.

        The arguments are those of the class.
        """
        more: dict[str, Any] = {"labels": labels, "splits": splits, "on_error": on_error, "verify": verify}
        return cls(root, split, ImageKind(), channels=channels, cache_dir=cache_dir, **more)

    @classmethod
    def audio(
        cls,
        root: str | os.PathLike[str],
        split: str,
        *,
        labels: LabelSettings = FOLDERS_ALONE,
        splits: Sequence[str] = (),
        sample_rate: int | None = None,
        channels: int | None = None,
        on_error: str = "refuse",
        verify: bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> "FolderSource":
        """Returns a source of WAV, FLAC, OGG, MP3, ... files as [L, C]; see `decode_audio`.

        The arguments are those of the class, and `sample_rate`: samples per second after resampling, 1 or more; None
        keeps each file's own.
        """
        more: dict[str, Any] = {"labels": labels, "splits": splits, "on_error": on_error, "verify": verify}
        return cls(root, split, AudioKind(sample_rate), channels=channels, cache_dir=cache_dir, **more)

    @cached_property
    def contents(self) -> Contents:
        """A hash of all labels and sizes of files, and of the bytes of some files."""
        return file_contents(self.paths, self.file_bytes, self._labels)

    @property
    def paths(self) -> list[Path]:
        """Path of each example's file."""
        return [self.root / self.name_of(index) for index in range(len(self))]

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int, /) -> Example:
        return self.read(index)

    def read(self, index: int, at_least: Sequence[int] | None = None) -> Example:
        """Returns the example at `index`, a JPEG file possibly at a fraction of its size; see `Source.read`."""
        name = self.name_of(index)
        try:
            values = self._kind.decode(self.root / name, self.channels, None if at_least is None else tuple(at_least))
        except UnreadableExample as error:
            raise UnreadableExample(name, error.reason) from None
        return Example(int(self.ids[index]), values, int(self._labels[index]))


def _scanned(
    root: Path, names: Sequence[str], kind: Kind, on_error: str, verify: bool, cache: Path | None
) -> dict[str, ScannedFile]:
    """Returns the scan of the files of a split, with a closer look at outliers."""
    rows = scan_files(root, names, kind, verify=verify, cache_dir=cache)
    if on_error == "mask" and not verify:  # a damaged header may claim any size, and buckets would grow to it
        rows |= scan_files(root, _outliers(rows), kind, verify=True, cache_dir=cache)
    return rows


def _remarks(rows: Mapping[str, ScannedFile], split: str) -> list[str]:
    """Returns a sentence for each remark on files of a split that can be read."""
    names = names_by_reason({name: row.remark for name, row in rows.items() if row.remark})
    return [
        f"{len(each):,} {'file' if len(each) == 1 else 'files'} of {split} {'holds' if len(each) == 1 else 'hold'} "
        f"{remark}, such as {each[0]}"
        for remark, each in names.items()
    ]


def _outliers(rows: Mapping[str, ScannedFile]) -> list[str]:
    """Returns the names of files that claim many times the median number of positions."""
    areas = {name: math.prod(row.size) for name, row in rows.items() if not row.reason}
    median = statistics.median(areas.values()) if areas else 0
    return [name for name, area in areas.items() if area > OUTLIER * median]


def _refusal(root: Path, split: str, unreadable: Mapping[str, str], count: int, cache: Path | None) -> str:
    """Returns one message for all bad files, a line for each reason; the cache folder holds the complete list."""
    lines = [printable(f"{name}: {reason}") for name, reason in unreadable.items()]
    shown = "\n".join(f"  {line}" for line in lines_by_reason(unreadable))
    advice = "Repair or remove them, or leave them out with on_error=mask (in training config.data.on_error=mask)."
    if len(lines) == count:
        advice = "Repair them, or name a folder and a split of other files."
    if cache is not None:
        digest = hashlib.sha256(os.fsencode(f"{root}\0{split}")).hexdigest()[:16]
        complete = write_bytes(cache / f"unreadable-{digest}.txt", os.fsencode("\n".join([*lines, ""])))
        advice += f" The complete list is in {complete}."
    elif len(lines) > NAMED:
        advice += " 'fcnjax train' writes the complete list beside its run folder."
    where = f"root={printable(root)}: {len(lines)} of {count} files of split {split!r}"
    return f"{where} cannot be read. {advice}\n{shown}"
