"""The files that a command line names: files, folders, patterns, and a list on standard input."""

import glob
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

from fcnjax.data.files.folder_layout import media_files
from fcnjax.naming import printable

STDIN = "-"


def expanded(arguments: Sequence[str], stdin: TextIO) -> list[str]:
    """Returns the paths of files, in the order of the arguments, each once.

    Args:
        arguments: files, as they are; folders, with all media files below them, sorted (see
            `fcnjax.data.files.listing`); patterns such as "photos/**/*.jpg", sorted; and "-".
        stdin: holds one path per line, for "-".

    Raises:
        ValueError: if a folder or a pattern has no files, or there are none at all.
    """
    paths = dict.fromkeys(path for argument in arguments for path in _expanded(argument, stdin))
    if not paths:
        raise ValueError("files: must be at least one; the list on standard input is empty.")
    return list(paths)


def _expanded(argument: str, stdin: TextIO) -> Iterable[str]:
    if argument == STDIN:
        if isinstance(stdin, io.TextIOWrapper):
            stdin.reconfigure(errors="surrogateescape")  # names of files need not be text
        return [line.rstrip("\r\n") for line in stdin if line.strip()]
    path = Path(argument)
    if os.path.isdir(argument):  # False, not an error, for a path that is too long or may not be looked up
        names = media_files(path)
        if not names:
            raise ValueError(f"{printable(argument)}: holds no media file; name a folder that does.")
        return [str(path / name) for name in names]
    if glob.has_magic(argument) and not os.path.lexists(argument):
        matches = sorted(match for match in glob.glob(argument, recursive=True) if Path(match).is_file())
        if not matches:
            raise ValueError(f"{printable(argument)}: matches no file; change the pattern.")
        return matches
    return [argument]
