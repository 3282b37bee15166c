"""The arrays of an `.npz` file, each checked before it is read: what a file claims never decides how much is allocated.

The one idea: the zip directory says how many bytes a member holds, and its header how many its array needs. They must
agree, and the compressed bytes must be able to hold so many.
"""

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fcnjax.naming import first_line, printable, shortened

Result = TypeVar("Result")
_MAX_RATIO = 1040  # bytes from one deflated byte: zlib's own limit is 1032
_SMALL = 2**20  # bytes that any member may claim
_HEADERS: dict[tuple[int, int], Any] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Returns all arrays of an `.npz` file by name; members of other types are left out.

    Args:
        path: the file.

    Raises:
        ValueError: if the file is not a zip archive, or an array is damaged, pickled, twice there, too large for the
            memory, or claims more values than the file holds; the message names the file and the array.
        OSError: if the file cannot be read from the disk.
    """
    shown, arrays = printable(path), {}
    with _opened(path) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            called = f"'{shortened(name, 60)}'"
            if name == member.filename:
                _understood(f"{shown}: file {called}", lambda member=member: archive.open(member).close())
                continue
            if name in arrays:
                raise ValueError(f"{shown}: holds two arrays {called}; write the file again with one of them.")
            arrays[name] = _read_array(f"{shown}: array {called}", archive, member)
    return arrays


def array_names(path: Path) -> list[str]:
    """Returns the names of the arrays of an `.npz` file, in its order, without reading them.

    Raises:
        ValueError: if the file is not a zip archive.
        OSError: if the file cannot be read from the disk.
    """
    with _opened(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise ValueError(f"{printable(path)}: not an .npz file; fcnjax.data.save_npz writes one from arrays.") from None


def _read_array(what: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """Returns the array of a member; `what` names it in messages."""
    shape, dtype, stored = _understood(what, lambda: _header(archive, member))
    if dtype.hasobject:
        raise ValueError(
            f"{what} holds Python objects, which need pickle to read; write the examples with fcnjax.data.save_npz, "
            "which needs no pickle."
        )
    claimed = math.prod(shape) * dtype.itemsize
    if claimed != stored or min(shape, default=0) < 0 or not _can_hold(member):
        raise ValueError(
            f"{what} claims {list(shape)} values of {dtype}, {claimed:,} bytes, but the file cannot hold them; restore "
            "the file, or write it again."
        )
    return _understood(what, lambda: _content(archive, member))


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype, int]:
    """Returns the shape and the type of an array, and the number of bytes that follow its header."""
    with archive.open(member) as stream:
        shape, _, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
        return shape, dtype, member.file_size - stream.tell()


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as stream:  # zipfile compares the checksum at the end
        return np.lib.format.read_array(stream, allow_pickle=False)


def _understood(what: str, understand: Callable[[], Result]) -> Result:
    """Returns the result of `understand`; an error that does not come from the disk becomes one sentence."""
    try:
        return understand()
    except MemoryError as error:
        raise ValueError(f"{what} needs more memory than is available ({first_line(error)}).") from None
    except Exception as error:  # damaged content raises a dozen types
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = shortened(first_line(error), 80)
        raise ValueError(f"{what} is damaged ({reason}); restore the file, or write it again.") from None


def _can_hold(member: zipfile.ZipInfo) -> bool:
    """Returns whether a member's compressed bytes can hold as many as the zip directory claims."""
    ratio = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: _MAX_RATIO}.get(member.compress_type, math.inf)
    return member.file_size <= max(member.compress_size * ratio, _SMALL)
