"""A folder of class maps: one picture for each predicted file, and for a recording a table of its frames."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fcnjax.atomic import check_writable, write_bytes
from fcnjax.inference.example_maps import ExampleMaps
from fcnjax.naming import printable
from fcnjax.training import check_new

LONGEST = 160  # bytes of a name


class MapFolder:
    """Writes the class maps of files into a folder.

    Args:
        folder: new or empty.
        overwrite: whether it may hold files; those of the same names are replaced.

    Raises:
        FileExistsError: if the folder holds files and may not be overwritten, or is a file.
        PermissionError: if it cannot be written.
    """

    def __init__(self, folder: Path | str, *, overwrite: bool = False) -> None:
        self.folder = Path(folder)
        if not overwrite or not self.folder.is_dir():
            check_new(self.folder, "class_maps")
        check_writable(self.folder)

    def write(self, name: str, maps: ExampleMaps) -> str:
        """Writes the class maps of an example, and returns the name of the picture.

        Args:
            name: name of the picture without its suffix.
            maps: of an image or a signal.

        Raises:
            UnreadableExample: if the file of the example has changed.
            OSError: if a file cannot be written.
            ValueError: if the example is a volume.
        """
        from fcnjax.inference.map_pictures import frame_figure, frame_table, titled_overlay  # imports matplotlib

        if len(maps.size) == 1:
            write_bytes(self.folder / f"{name}.csv", frame_table(maps))
            picture = frame_figure(maps)
        else:
            picture = titled_overlay(maps)
        return write_bytes(self.folder / f"{name}.png", picture).name


def picture_names(files: Sequence[str]) -> list[str]:
    r"""Returns the names of the pictures of files: those of the files, with a hash of the path where several share one.

    Names that differ only in upper and lower case count as one, as on some systems; long ones are cut.

    >>> names = picture_names(["a/cat.jpg", "b/cat.jpg", "b/dog\n.jpg"])
    >>> [name[:8] for name in names], names[0] == names[1]
    (['cat.jpg-', 'cat.jpg-', 'dog\\n.jp'], False)
    """
    plain = [_short(printable(os.path.basename(os.path.normpath(file)))) for file in files]
    counts = Counter(name.casefold() for name in plain)
    cut = [name != printable(os.path.basename(os.path.normpath(file))) for name, file in zip(plain, files, strict=True)]
    return [
        f"{name}-{_hash(file)}" if long or counts[name.casefold()] > 1 else name
        for name, file, long in zip(plain, files, cut, strict=True)
    ]


def _short(name: str) -> str:
    return name.encode()[:LONGEST].decode(errors="ignore")


def _hash(file: str) -> str:
    return hashlib.blake2b(os.fsencode(file), digest_size=4).hexdigest()
