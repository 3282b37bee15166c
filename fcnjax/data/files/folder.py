"""Folders of images or audio files as sources: split, size table and classes from the folder alone.

Axes: N files, S spatial axes (H, W of images, L of audio), D = len(S), C channels. The one idea: all that can be wrong
with a folder is found and named at construction, in one message.
"""

import hashlib
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from fcnjax.atomic import write_bytes
from fcnjax.data.files.file_scan import AudioKind, ImageKind, Kind, ScannedFile, scan_files
from fcnjax.data.files.folder_layout import read_layout, select
from fcnjax.data.size_table import frozen_table
from fcnjax.data.sources.source import ON_ERROR, Example, Source, UnreadableExample
from fcnjax.naming import unknown_name

LISTED = 20
OUTLIER = 64  # times the median number of positions


class UnreadableFiles(ValueError):
    """Files of a split that cannot be decoded, all in one message."""


class FolderSource(Source):
    """One split of a folder of media files, each read from disk when asked for; made by `images` or `audio`.

    The class of a file is the folder just below the root, or below the folder of its split,
    `root/[split/]class/**/file`; without such folders it is what precedes the first underscore of the name,
    `root/[split/]class_*`. Classes are those of the whole root, sorted, so that all splits agree on the labels. Ids are
    positions in the sorted listing of all files of the root. What a file is, is decided by its content; by name, hidden
    files and the companions listed in `folder_layout` (README, .txt, .csv, .json, Thumbs.db, ...) are left out and
    nothing else.

    Args:
        root: Folder of the data set.
        split: The name of a folder in `root`; a pattern of paths relative to it, such as "*_[0-4].wav" or "**/*.png";
            or "all". Each may end in a slice, "[:80%]", "[80%:]", "[100:200]", of a fixed random order that holds the
            classes in proportion. Several are joined by "+".
        kind: What the files are read with.
        channels: C of the values; None is 1 if every image of the root is gray, else 3.
        on_error: "refuse" raises if any file of the split is bad; "mask" leaves bad files out and names them in
            `unreadable`.
        verify: Decode every file of the split once, so that damage behind a sound header is found now; None does so
            unless `on_error` is "mask", where it decodes those alone that claim to be many times larger than most.
        cache_dir: Folder where scans are kept for the next time; None scans each time.

    Attributes:
        names: Path of each example relative to the root, with "/".
        labels: int32 [N], class indices.
        unreadable: Reason by name of each bad file that was left out.

    Raises:
        ValueError: The folder, the split or an argument is not as described.
        UnreadableFiles: Bad files with "refuse", or nothing but bad files, all in one message.
        OSError: The disk fails, or `cache_dir` cannot be written.

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
        channels: int | None = None,
        on_error: str = "refuse",
        verify: bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        if on_error not in ON_ERROR:
            raise ValueError(unknown_name("on_error", on_error, ON_ERROR))
        self.root = Path(root).expanduser().absolute()  # absolute: worker processes may stand elsewhere
        cache = None if cache_dir is None else Path(cache_dir).expanduser()
        layout = read_layout(self.root, split)
        chosen = select(self.root, layout, split)
        verify = on_error == "refuse" if verify is None else verify
        rows = scan_files(self.root, [layout.names[index] for index in chosen], kind, verify=verify, cache_dir=cache)
        if on_error == "mask" and not verify:  # a damaged header may promise anything, and rectangles would hold it
            rows |= scan_files(self.root, _outliers(rows), kind, verify=True, cache_dir=cache)
        self.unreadable = {name: row.reason for name, row in rows.items() if row.reason}
        if self.unreadable and (on_error == "refuse" or len(self.unreadable) == len(rows)):
            raise UnreadableFiles(_refusal(self.root, split, self.unreadable, len(rows), cache))
        if channels is None:
            channels = max(row.channels for row in rows.values())
            if channels == 1:  # gray; the other splits may not be, and all have to agree
                others = scan_files(self.root, [n for n in layout.names if n not in rows], kind, cache_dir=cache)
                channels = max([1, *(row.channels for row in others.values())])
        chosen = [index for index in chosen if layout.names[index] not in self.unreadable]
        self.names = tuple(layout.names[index] for index in chosen)
        self.ids = frozen_table(chosen)
        self.labels = self._labels = frozen_table([layout.labels[index] for index in chosen])
        self.sizes = frozen_table([rows[layout.names[index]].size for index in chosen])
        self.class_names = layout.class_names
        self.channels = channels
        self._kind = kind

    @classmethod
    def images(
        cls,
        root: str | os.PathLike[str],
        split: str,
        *,
        channels: int | None = None,
        on_error: str = "refuse",
        verify: bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> "FolderSource":
        """A source of JPEG, PNG, WebP, TIFF, GIF and BMP files, [H, W, C], see `decode_image`; `channels` is 1 or 3."""
        if channels not in (None, 1, 3):
            raise ValueError(f"channels: got {channels}; allowed is 1 (gray), 3 (RGB) or None (what the files hold).")
        return cls(root, split, ImageKind(), channels=channels, on_error=on_error, verify=verify, cache_dir=cache_dir)

    @classmethod
    def audio(
        cls,
        root: str | os.PathLike[str],
        split: str,
        *,
        sample_rate: int | None = None,
        on_error: str = "refuse",
        verify: bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> "FolderSource":
        """A source of WAV, FLAC, OGG, MP3, ... files, [L, 1], resampled to `sample_rate` Hz; see `decode_audio`."""
        kind = AudioKind(sample_rate)
        return cls(root, split, kind, channels=1, on_error=on_error, verify=verify, cache_dir=cache_dir)

    @property
    def paths(self) -> list[Path]:
        """The file of each example."""
        return [self.root / self.name_of(index) for index in range(len(self))]

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int, /) -> Example:
        return self.read(index)

    def read(self, index: int, at_least: Sequence[int] | None = None) -> Example:
        """The example at `index`, for a reader that makes it smaller anyway.

        Args:
            index: 0 to N - 1.
            at_least: Extents [D] that are wanted in the end; a JPEG file may then come at a fraction of its native
                size, no extent below `at_least`, for a fraction of the time. None gives the native size, as
                `source[index]` does.

        Returns:
            The example; its values have the native size unless `at_least` allowed less.

        Raises:
            UnreadableExample: It cannot be decoded; named as in `names`.
            OSError: It cannot be read.
        """
        name = self.name_of(index)
        try:
            values = self._kind.decode(self.root / name, self.channels, None if at_least is None else tuple(at_least))
        except UnreadableExample as error:
            raise UnreadableExample(name, error.reason) from None
        return Example(int(self.ids[index]), values, int(self._labels[index]))


def _outliers(rows: Mapping[str, ScannedFile]) -> list[str]:
    """Names of the files whose headers promise many times the positions of most."""
    areas = {name: math.prod(row.size) for name, row in rows.items() if not row.reason}
    usual = statistics.median(areas.values()) if areas else 0
    return [name for name, area in areas.items() if area > OUTLIER * usual]


def _refusal(root: Path, split: str, unreadable: Mapping[str, str], count: int, cache: Path | None) -> str:
    """One message for all bad files; the list is cut, the complete one is written beside the cache."""
    lines = [f"{name}: {reason}" for name, reason in unreadable.items()]
    shown = "\n".join(f"  {line}" for line in lines[:LISTED])
    advice = 'Repair or remove them, or leave them out with config.data.on_error="mask".'
    if cache is not None:
        digest = hashlib.sha256(os.fsencode(f"{root}\0{split}")).hexdigest()[:16]
        complete = write_bytes(cache / f"unreadable-{digest}.txt", os.fsencode("\n".join([*lines, ""])))
        advice += f" The complete list is in {complete}."
    elif len(lines) > LISTED:
        advice += " Give a cache_dir to have the complete list written there."
    more = f"\n  and {len(lines) - LISTED} more" if len(lines) > LISTED else ""
    return f"root={root}: {len(lines)} of {count} files of split {split!r} cannot be read. {advice}\n{shown}{more}"
