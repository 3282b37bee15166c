"""Content that cannot be decoded, the bytes of files, and the sentences that say what is wrong.

The one idea: a reason says which of three things is the case: the content is of no known kind, of a known kind that is
"not supported", or "damaged". Equal causes have equal reasons, without numbers of one file, so that reasons can be
counted.
"""

import io
import logging
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fcnjax.naming import printable, some

REASONS, NAMED = 12, 3  # reasons that are listed, and names of examples for each
LONGEST = 200  # characters of the words of a library in a reason


class UnreadableExample(ValueError):
    """An example whose content cannot be decoded; a failing disk raises OSError instead.

    Attributes:
        name: the file, or another name of the example.
        reason: why it cannot be decoded.
    """

    def __init__(self, name: str, reason: str):
        super().__init__(name, reason)  # both arguments, because worker processes pickle the error
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return printable(f"{self.name}: {self.reason}")


_thread = threading.local()


def _is_heard(record: logging.LogRecord) -> bool:
    del record
    return not getattr(_thread, "unlogged", False)


for _logger in ("tifffile", "PIL.TiffImagePlugin"):
    logging.getLogger(_logger).addFilter(_is_heard)


@contextmanager
def unlogged() -> Iterator[None]:
    """Drops what libraries of images log in this thread until the block ends: they also raise it, or read in spite."""
    before, _thread.unlogged = getattr(_thread, "unlogged", False), True
    try:
        yield
    finally:
        _thread.unlogged = before


class Refusal(Exception):
    """The content is understood, and the reason why it is not read is complete."""


def damaged(what: str, error: Exception | str) -> str:
    """Returns the reason of damaged content.

    Args:
        what: what it should be, such as "PNG".
        error: what a library says of it; its numbers and quoted bytes, which differ between files, are left out.
    """
    if isinstance(error, MemoryError):
        return f"damaged {what}: its header asks for more memory than is available"
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"\s*\([^()]*\)|:?\s*b?'[^']*'|<[^<>]*>\s*", "", text)
    return f"damaged {what}: {re.sub(r'-?[0-9]+', '#', text)[:LONGEST]}"


def unequal_channels(found: int, asked: int, what: str = "channels") -> Refusal:
    """Returns the refusal of a file that has another number of channels than asked for."""
    what = what.removesuffix("s") if found == 1 else what
    return Refusal(f"has {found} {what}, not {asked} as asked; leave it out, or set channels={found} for all files")


def name_of(file: Path | BinaryIO) -> str:
    """Returns the name of a file for messages: its path, or the name of a stream if it has one."""
    return str(file) if isinstance(file, Path) else str(getattr(file, "name", "<stream>"))


def check_bytes(stream: BinaryIO, most: int) -> None:
    """Raises UnreadableExample if a file on disk is larger than a number of bytes; it could fill the memory."""
    try:
        size = os.fstat(stream.fileno()).st_size
    except io.UnsupportedOperation:  # a stream in memory
        return
    if size > most:
        raise UnreadableExample(name_of(stream), f"is too large; at most {most:,} bytes are allowed")


@contextmanager
def opened(file: Path | BinaryIO, most: int) -> Iterator[BinaryIO]:
    """Yields the stream to read a file of at most so many bytes from, and adds the file's name to an OSError."""
    try:
        if isinstance(file, Path):
            with file.open("rb") as stream:
                check_bytes(stream, most)
                yield stream
        else:
            check_bytes(file, most)
            yield file
    except OSError as error:
        if error.filename is None:
            error.filename = name_of(file)
        raise


def names_by_reason(unreadable: Mapping[str, str]) -> dict[str, list[str]]:
    """Returns the names of examples by the reason why they cannot be read, most frequent first.

    Reasons that differ only in numbers are one, in the words of the first.

    Args:
        unreadable: the reason by name.

    >>> names_by_reason({"a.png": "truncated at byte 5", "b.png": "empty", "c.png": "truncated at byte 9"})
    {'truncated at byte 5': ['a.png', 'c.png'], 'empty': ['b.png']}
    """
    first: dict[str, str] = {}
    names: dict[str, list[str]] = {}
    for name, reason in unreadable.items():
        reason = first.setdefault(re.sub(r"\d+", "#", reason), reason)
        names.setdefault(reason, []).append(name)
    return dict(sorted(names.items(), key=lambda item: -len(item[1])))


def lines_by_reason(unreadable: Mapping[str, str], complete: str = "") -> list[str]:
    """Returns a line for each reason why examples cannot be read: the names of some, how many more, and why.

    Args:
        unreadable: the reason by name.
        complete: says where all of them are listed: the last line, if some are not named here.

    >>> lines_by_reason({"a.png": "empty", "b.png": "damaged PNG: cut", "c.png": "empty"})
    ['a.png, c.png: empty', 'b.png: damaged PNG: cut']
    """
    reasons = list(names_by_reason(unreadable).items())
    lines = [printable(f"{some(names, NAMED)}: {reason}") for reason, names in reasons[:REASONS]]
    rest = reasons[REASONS:]
    if rest:
        lines.append(f"{sum(len(names) for _, names in rest):,} more, for {len(rest)} other reasons")
    folded = rest or any(len(names) > NAMED for _, names in reasons)
    return [*lines, complete] if folded and complete else lines
