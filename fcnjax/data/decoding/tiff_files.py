"""TIFF files that Pillow cannot read: any number of bands, floats, tiles, planes, pages; their first page.

Axes: H height, W width, C bands. The one idea: the values are as they are in the file, in one of two ranges: uint8, and
float32 (0 to 1 for uint16; as they are for floats).
"""

import contextlib
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile

from fcnjax.data.decoding.unreadable import Refusal, unequal_channels

# Compressions that tifffile reads by itself; for the others it needs imagecodecs, which bounds what it unpacks.
_DEFLATE = (8, 32946)
_COMPRESSIONS = (1, *_DEFLATE, 5, 32773, 50000)  # none, deflate, LZW, PackBits, ZSTD
_MAX_RATIO = 1032  # of deflate
_UNCHECKED = 2**26  # bytes that deflate may fill without a look at what it holds
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601-2, as Pillow makes gray
_ORIENTATION, _MIN_IS_WHITE, _PALETTE = 274, 0, 3


@dataclass(frozen=True)
class TiffBands:
    """The first page of a TIFF file; see `open_bands`.

    Attributes:
        size: (H, W), as stored.
        bands: C.
        orientation: of EXIF, 1 to 8.
        several: whether there are more pages.
    """

    content: bytes
    size: tuple[int, int]
    bands: int
    orientation: int
    several: bool

    def values(self, channels: int) -> np.ndarray:
        """Returns uint8 or float32 [H, W, C] as stored; one band can be repeated, and three of colors become gray."""
        self.check(channels)
        with _tiff(self.content) as page:
            _check_deflated(page, self.content)
            array = page.asarray(maxworkers=1)
            whitest = page.photometric == _MIN_IS_WHITE
        if page.axes == "SYX":
            array = np.moveaxis(array, 0, -1)
        values = array.reshape(*self.size, self.bands)
        if values.dtype == np.uint16:
            values = values.astype(np.float32) / np.float32(65535)
        elif values.dtype != np.uint8:
            with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, and is refused
                values = values.astype(np.float32)
        if values.dtype != np.uint8 and not np.isfinite(values).all():
            raise Refusal("holds values that are not finite; replace them, such as those that mark missing data")
        if whitest and array.dtype.kind == "u":
            values = (255 if values.dtype == np.uint8 else np.float32(1)) - values
        if channels == self.bands:
            return values
        return np.repeat(values, channels, axis=-1) if self.bands == 1 else (values @ _LUMA)[..., None]

    def check(self, channels: int) -> None:
        """Raises Refusal unless `values` can give so many channels."""
        if channels != self.bands and not {channels, self.bands} <= {1, 3}:
            raise unequal_channels(self.bands, channels, "bands")


def open_bands(content: bytes, max_pixels: int, max_bytes: int) -> TiffBands:
    """Returns the first page of a TIFF file, after a look at its header.

    Args:
        content: the file.
        max_pixels: H x W that is allowed.
        max_bytes: bytes of values that are allowed.

    Raises:
        Refusal: if it claims more, or is of a kind that is not read; the reason says what to do.
        Exception: of many types, if it is damaged.
    """
    with _tiff(content) as page:
        axes, shape, dtype = page.axes, page.shape, page.dtype
        tag = page.tags.get(_ORIENTATION)
        compression, photometric = int(page.compression), page.photometric
        several = _has_several(page)
    if axes not in ("YX", "YXS", "SYX"):
        raise Refusal("not supported: a TIFF volume; save each plane as a file")
    height, width = shape[1:] if axes == "SYX" else shape[:2]
    bands = {"YX": 1, "YXS": shape[-1], "SYX": shape[0]}[axes]
    _check_kind(dtype, photometric, compression)
    if min(height, width, bands) < 1 or height * width > max_pixels:
        raise Refusal(f"its header claims too many pixels, or none; a total of 1 to {max_pixels:,} is allowed")
    if height * width * bands * max(4, np.dtype(dtype).itemsize) > max_bytes:
        raise Refusal(f"its header claims too many values; at most {max_bytes:,} bytes of them are allowed")
    value = tag.value if tag is not None else 1
    orientation = int(value) if isinstance(value, int) and 1 <= value <= 8 else 1
    return TiffBands(content, (height, width), bands, orientation, several)


def _has_several(page: Any) -> bool:
    try:
        return len(page.parent.pages) > 1
    except Exception:  # of the next page, which is not read
        return False


def _check_kind(dtype: Any, photometric: Any, compression: int) -> None:
    """Raises Refusal unless values have a range, and their compression can be read."""
    if dtype is None or dtype.kind not in "uif" or dtype == np.bool_:
        raise Refusal("not supported: TIFF of this type of values; save it as uint8, uint16 or float32")
    if dtype.kind == "i" or (dtype.kind == "u" and dtype.itemsize > 2):
        raise Refusal(
            f"not supported: TIFF of {dtype.name}, which has no fixed range of values; save it as uint16 or float32"
        )
    if compression not in _COMPRESSIONS:
        raise Refusal("not supported: TIFF with this compression of these values; save it with deflate, or without")
    if photometric is not None and int(photometric) in (_PALETTE, 5, 6, 8):
        raise Refusal("not supported: TIFF of these values with a palette, CMYK, YCbCr or LAB; save it as RGB")


@contextlib.contextmanager
def _tiff(content: bytes) -> Iterator[Any]:
    """Yields the first page."""
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            yield file.pages.first
    except Exception as error:
        if "imagecodecs" in str(error):
            raise Refusal(
                "not supported: TIFF with this compression of these values; save it with deflate, or without"
            ) from None
        raise


def _check_deflated(page: Any, content: bytes) -> None:
    """Raises Refusal if deflated values fill more memory than the header claims."""
    if int(page.compression) not in _DEFLATE:
        return
    depth = np.dtype(page.dtype).itemsize * page.samplesperpixel
    rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    most = max(rows * columns * depth, _UNCHECKED)
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        if count * _MAX_RATIO > most:
            inflate, rest, filled = zlib.decompressobj(), content[offset : offset + count], 0
            while rest and not inflate.eof:
                filled += len(inflate.decompress(rest, 2**20))
                rest = inflate.unconsumed_tail
                if filled > most:
                    raise Refusal("damaged TIFF: its values fill more memory than its header claims")
