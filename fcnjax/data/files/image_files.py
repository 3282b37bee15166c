"""Image files: their size from the header alone, and their pixels from any mode they are stored in.

Axes: H height, W width, C channels. The one idea: a file is first read into memory and then parsed, so that it is clear
what failed: the disk while reading (`OSError`), or the content afterwards (`UnreadableExample`).
"""

import io
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np

# Importing a plugin registers its format. Otherwise Pillow imports all plugins at the first file it cannot read.
from PIL import BmpImagePlugin as _bmp  # noqa: F401
from PIL import ExifTags, Image, JpegImagePlugin, TiffImagePlugin
from PIL import GifImagePlugin as _gif  # noqa: F401
from PIL import MpoImagePlugin as _mpo  # noqa: F401
from PIL import PngImagePlugin as _png  # noqa: F401
from PIL import WebPImagePlugin as _webp  # noqa: F401

from fcnjax.data.sources.source import UnreadableExample

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP")
_NO_IMAGE = f"not an image, or its header is damaged; known formats are {', '.join(FORMATS)}"
MAX_PIXELS = 2**27  # 512 MiB as uint8 RGBA; a file that claims more is treated as a decompression bomb
MAX_BYTES = 8 * MAX_PIXELS  # of a file: four channels of 16 bits for each pixel
HEADER_BYTES = 2**16

Result = TypeVar("Result")
_GRAY_8 = ("1", "L", "LA", "La")
_GRAY_16 = ("I;16", "I;16L", "I;16B", "I;16N")
_COLOR_8 = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
# Formats in which the relevant part of the header precedes the pixels. TIFF may have it anywhere; WebP's library checks
# the length when the file is opened.
_HEADER_FIRST = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM")
_KNOWN = (*_HEADER_FIRST, b"II", b"MM", b"RIFF")  # how a file of `FORMATS` starts


class ImageHeader(NamedTuple):
    """The header of an image file.

    Attributes:
        size: (H, W) in pixels as the image is displayed, after EXIF orientation.
        channels: 1 if the file holds gray values or a palette of grays, else 3.
    """

    size: tuple[int, int]
    channels: int


def read_size(file: Path | BinaryIO) -> tuple[int, int]:
    """Returns (H, W) of an image in pixels, after EXIF orientation; see `read_header`."""
    return read_header(file).size


def read_header(file: Path | BinaryIO) -> ImageHeader:
    """Returns the header of an image without decoding pixels, so damaged pixels go unnoticed.

    Reads only the first 64 KiB of a JPEG, PNG, GIF or BMP file if they suffice, and all bytes of a TIFF or WebP file.
    EXIF data of a PNG counts if it precedes the pixels, where writers usually put it.

    Args:
        file: A path, or a binary stream; a stream is read from its current position.

    Returns:
        The header.

    Raises:
        UnreadableExample: if the content is not an image of `FORMATS`, has a mode without a fixed range of values
            (32-bit), claims more than `MAX_PIXELS`, or has more than `MAX_BYTES`.
        OSError: if the file cannot be read.
    """
    name = name_of(file)
    with _opened(file) as stream:
        check_bytes(stream, MAX_BYTES)
        start = stream.read(HEADER_BYTES)
        if start and not start.startswith(_KNOWN):  # the rest may be large
            raise UnreadableExample(name, _NO_IMAGE)
        if start.startswith(_HEADER_FIRST) and len(start) == HEADER_BYTES:
            try:
                return _understood(name, lambda: _header(_open(start)))
            except UnreadableExample:
                pass  # long metadata: the header does not end within these bytes
        content = start + stream.read()
    return _understood(name, lambda: _header(_open(content)))


def decode_image(file: Path | BinaryIO, channels: int, at_least: tuple[int, int] | None = None) -> np.ndarray:
    """Returns the pixels of an image, or of the first frame of an animation, after EXIF orientation.

    Transparent pixels are blended with white. Palettes, 1-bit, CMYK and YCbCr become RGB or gray; gray becomes RGB by
    repetition, RGB becomes gray with the weights of ITU-R 601-2 (Pillow's "L"). Pillow reduces colors of 16 bits per
    channel to 8 bits; gray of 16 bits keeps its precision.

    Args:
        file: A path, or a binary stream; a stream is read from its current position.
        channels: C, 1 (gray) or 3 (RGB).
        at_least: (H, W) that is sufficient for the caller, each 1 or more. A JPEG may then be decoded at 1/2, 1/4 or
            1/8 of its size, several times faster, as long as no extent falls below it. None decodes at the native size.

    Returns:
        uint8 [H, W, C], 0 to 255; float32 [H, W, C], 0 to 1, for gray of 16 bits.

    Raises:
        UnreadableExample: as for `read_header`, or if the pixels are damaged.
        OSError: if the file cannot be read.
        ValueError: if `channels` or `at_least` is out of range.

    >>> file = io.BytesIO()
    >>> Image.new("L", (40, 30), 255).save(file, "JPEG")
    >>> _ = file.seek(0)
    >>> decode_image(file, channels=3, at_least=(10, 10)).shape
    (15, 20, 3)
    """
    if channels not in (1, 3):
        raise ValueError(f"channels={channels}: must be 1 (gray) or 3 (RGB).")
    if at_least is not None and min(at_least) < 1:
        raise ValueError(f"at_least={at_least}: must be a height and a width of 1 or more.")
    with _opened(file) as stream:
        check_bytes(stream, MAX_BYTES)
        content = stream.read()
    return _understood(name_of(file), lambda: _pixels(_open(content), channels, at_least))


def image_values(image: Image.Image, channels: int) -> np.ndarray:
    """Returns the pixels of an image that Pillow holds, as `decode_image` does those of a file.

    Raises:
        UnreadableExample: if its mode has no fixed range of values (32-bit), or its pixels are damaged.
    """
    return _understood(str(getattr(image, "filename", "") or "image"), lambda: _pixels(_checked(image), channels, None))


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
        raise UnreadableExample(name_of(stream), f"has {size:,} bytes; at most {most:,} are allowed")


@contextmanager
def _opened(file: Path | BinaryIO) -> Iterator[BinaryIO]:
    """Yields the stream to read from, and adds the file's name to an OSError."""
    try:
        if isinstance(file, Path):
            with file.open("rb") as stream:
                yield stream
        else:
            yield file
    except OSError as error:
        if error.filename is None:
            error.filename = name_of(file)
        raise


def _understood(name: str, understand: Callable[[], Result]) -> Result:
    """Returns the result of `understand`; all its errors concern the content, because the bytes are in memory."""
    try:
        with _pillow_silent():
            return understand()
    except Exception as error:  # damaged content makes Pillow raise a dozen types, some by accident
        reason = str(error) or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            reason = _NO_IMAGE
        elif isinstance(error, MemoryError):
            reason = "its header asks for more memory than is available"
        raise UnreadableExample(name, reason) from None


_silence = threading.Lock()
_silent_calls = 0
_IGNORE_PILLOW = ("ignore", None, Warning, re.compile(r"PIL\."), 0)  # the entry that `warnings.filterwarnings` makes


@contextmanager
def _pillow_silent() -> Iterator[None]:
    """Silences Pillow's warnings in all threads until the block ends: Pillow then either reads the file or raises.

    `warnings.catch_warnings` does not work here: two overlapping threads leave the filters of one of them behind.
    """
    global _silent_calls
    with _silence:
        _silent_calls += 1
        if warnings.filters[:1] != [_IGNORE_PILLOW]:
            warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        yield
    finally:
        with _silence:
            _silent_calls -= 1
            if not _silent_calls and _IGNORE_PILLOW in warnings.filters:
                warnings.filters.remove(_IGNORE_PILLOW)  # type: ignore[attr-defined]  # a list, documented as such


def _open(content: bytes) -> Image.Image:
    """Returns an image after reading and checking its header."""
    if not content:
        raise ValueError("an empty file")
    return _checked(Image.open(io.BytesIO(content), formats=FORMATS))


def _checked(image: Image.Image) -> Image.Image:
    """Returns an image whose size and mode can be read."""
    width, height = image.size
    if min(width, height) < 1 or width * height > MAX_PIXELS:
        raise ValueError(f"its header claims {height} x {width} pixels; a total of 1 to {MAX_PIXELS} is allowed")
    if image.mode not in (*_GRAY_8, *_GRAY_16, *_COLOR_8):
        raise ValueError(f"mode {image.mode} has no fixed range of values; convert it to 8 bits, or to gray of 16 bits")
    return image


def _header(image: Image.Image) -> ImageHeader:
    width, height = image.size
    gray = image.mode in (*_GRAY_8, *_GRAY_16) or (image.mode == "P" and _has_gray_palette(image))
    return ImageHeader((width, height) if _orientation(image) >= 5 else (height, width), 1 if gray else 3)


def _has_gray_palette(image: Image.Image) -> bool:
    """Returns whether the palette, which is part of the header, holds only grays."""
    if image.palette is None:
        return False
    table = np.frombuffer(bytes(image.palette.palette), np.uint8)
    # Layouts: TIFF stores all reds, then greens, then blues; BMP has a fourth byte; the others interleave three.
    layout = {"RGB;L": (3, -1), "BGRX": (-1, 4)}.get(image.palette.rawmode or "RGB", (-1, 3))
    colors = table.reshape(layout)
    colors = colors.T if layout[0] == 3 else colors[:, :3]  # [entries, 3]
    return bool((colors == colors[:, :1]).all())


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation that `image.size` does not include: 1 to 8; from 5 on, height and width swap."""
    if isinstance(image, TiffImagePlugin.TiffImageFile) and ExifTags.Base.Orientation in image.tag_v2:
        return 1  # Pillow has already turned the size
    try:
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation)  # the PNG plugin's own method would decode
    except Exception:  # damaged metadata is ignored; the pixels may be fine
        return 1
    return value if isinstance(value, int) and 2 <= value <= 8 else 1


def _pixels(image: Image.Image, channels: int, at_least: tuple[int, int] | None) -> np.ndarray:
    orientation = _orientation(image)
    if at_least is not None and isinstance(image, JpegImagePlugin.JpegImageFile):
        height, width = at_least if orientation < 5 else at_least[::-1]
        image.draft(None, (width, height))  # None keeps the mode, so that gray is made from RGB at every scale
    image.load()
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        orientation = 1  # Pillow has turned the pixels
    if image.mode in _GRAY_16:
        gray = np.asarray(image).astype(np.float32) / np.float32(65535)  # [H, W]
        values = np.repeat(gray[..., None], channels, axis=-1)
    else:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        values = np.asarray(image.convert("L" if channels == 1 else "RGB"))
        values = values.reshape(*values.shape[:2], channels)
    return np.ascontiguousarray(_turned(values, orientation))


def _turned(values: np.ndarray, orientation: int) -> np.ndarray:
    """Returns stored pixels [H, W, C] as they are displayed. Source: EXIF 2.32, tag 0x0112."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values
