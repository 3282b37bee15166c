"""Image files: their size from the header alone, and their pixels, whatever the mode they are stored in.

Axes: H height, W width, C channels. The one idea: a file is read into memory first and understood second, so that what
fails is known: the disk while reading (`OSError`), the content ever after (`UnreadableExample`).
"""

import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np

# Importing a plugin registers its format. Left to itself, Pillow imports all of them at the first file it cannot read.
from PIL import BmpImagePlugin as _bmp  # noqa: F401
from PIL import ExifTags, Image, JpegImagePlugin, TiffImagePlugin
from PIL import GifImagePlugin as _gif  # noqa: F401
from PIL import MpoImagePlugin as _mpo  # noqa: F401
from PIL import PngImagePlugin as _png  # noqa: F401
from PIL import WebPImagePlugin as _webp  # noqa: F401

from fcnjax.data.sources.source import UnreadableExample

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP")
MAX_PIXELS = 2**27  # 512 MiB as uint8 RGBA; what claims more is taken for a decompression bomb
HEADER_BYTES = 2**16

Result = TypeVar("Result")
_GRAY_8 = ("1", "L", "LA", "La")
_GRAY_16 = ("I;16", "I;16L", "I;16B", "I;16N")
_COLOR_8 = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
# Formats that keep all that matters of the header in front of the pixels. TIFF may have it anywhere, WebP's length is
# checked by its library when the file is opened.
_HEADER_FIRST = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM")


class ImageHeader(NamedTuple):
    """What the header of an image file says.

    Attributes:
        size: (H, W) in pixels as a person sees the image, that is after EXIF orientation.
        channels: 1 if the file holds gray values or a palette of grays, else 3.
    """

    size: tuple[int, int]
    channels: int


def read_size(file: Path | BinaryIO) -> tuple[int, int]:
    """Returns (H, W) of an image in pixels, after EXIF orientation; see `read_header`."""
    return read_header(file).size


def read_header(file: Path | BinaryIO) -> ImageHeader:
    """What the header of an image says; no pixel is decoded, and a file whose pixels are damaged has a header still.

    Of JPEG, PNG, GIF and BMP the first 64 KiB are read where they suffice, of TIFF and WebP all bytes. EXIF data of a
    PNG counts where it precedes the pixels, as writers put it.

    Args:
        file: A path, or a binary stream that is read from where it stands.

    Returns:
        The header.

    Raises:
        UnreadableExample: The content is no image of `FORMATS`, has a mode without a fixed range of values (32-bit), or
            claims more than `MAX_PIXELS`.
        OSError: The file cannot be read.
    """
    name = name_of(file)
    with _opened(file) as stream:
        start = stream.read(HEADER_BYTES)
        if start.startswith(_HEADER_FIRST) and len(start) == HEADER_BYTES:
            try:
                return _understood(name, lambda: _header(_open(start)))
            except UnreadableExample:
                pass  # long metadata: the header is longer than what was read
        content = start + stream.read()
    return _understood(name, lambda: _header(_open(content)))


def decode_image(file: Path | BinaryIO, channels: int, at_least: tuple[int, int] | None = None) -> np.ndarray:
    """The pixels of an image, turned as its EXIF orientation says; of an animation the first frame.

    Transparent pixels are shown on white. Palettes, 1-bit, CMYK and YCbCr become RGB or gray; gray becomes RGB by
    repetition, RGB becomes gray by the weights of ITU-R 601-2 (Pillow's "L"). Color of 16 bits a channel is cut to 8
    by Pillow; gray of 16 bits keeps them.

    Args:
        file: A path, or a binary stream that is read from where it stands.
        channels: C, 1 (gray) or 3 (RGB).
        at_least: (H, W) that is wanted in the end, each 1 or more. JPEG can then be decoded at 1/2, 1/4 or 1/8 of its
            size, several times faster, as long as no extent falls below it. None decodes the native size.

    Returns:
        uint8 [H, W, C], 0 to 255; float32 [H, W, C], 0 to 1, for gray of 16 bits.

    Raises:
        UnreadableExample: As in `read_header`, or the pixels are damaged.
        OSError: The file cannot be read.
        ValueError: `channels` or `at_least` is outside the range named above.

    >>> file = io.BytesIO()
    >>> Image.new("L", (40, 30), 255).save(file, "JPEG")
    >>> _ = file.seek(0)
    >>> decode_image(file, channels=3, at_least=(10, 10)).shape
    (15, 20, 3)
    """
    if channels not in (1, 3):
        raise ValueError(f"channels: got {channels}; allowed is 1 (gray) or 3 (RGB).")
    if at_least is not None and min(at_least) < 1:
        raise ValueError(f"at_least: got {at_least}; allowed is a height and a width of 1 or more.")
    with _opened(file) as stream:
        content = stream.read()
    return _understood(name_of(file), lambda: _pixels(_open(content), channels, at_least))


def name_of(file: Path | BinaryIO) -> str:
    """Returns what names a file in messages: its path, or the name of a stream if it has one."""
    return str(file) if isinstance(file, Path) else str(getattr(file, "name", "<stream>"))


@contextmanager
def _opened(file: Path | BinaryIO) -> Iterator[BinaryIO]:
    """The stream to read from; an OSError while it is read carries the file's name."""
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
    """What `understand` returns; whatever it raises is about the content, because the bytes are in memory already."""
    try:
        with _pillow_silent():
            return understand()
    except Exception as error:  # Pillow raises a dozen types for damaged content, some of them by accident
        reason = str(error) or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            reason = f"no image, or its header is damaged; known formats are {', '.join(FORMATS)}"
        elif isinstance(error, MemoryError):
            reason = "its header asks for more memory than there is"
        raise UnreadableExample(name, reason) from None


_silence = threading.Lock()
_silent_calls = 0
_IGNORE_PILLOW = ("ignore", None, Warning, re.compile(r"PIL\."), 0)  # as `warnings.filterwarnings` files it


@contextmanager
def _pillow_silent() -> Iterator[None]:
    """No warnings from Pillow in any thread until the block ends: what it warns of, it either reads or raises.

    `warnings.catch_warnings` would not do: two threads that overlap leave the filters of one of them behind.
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
    """An image whose header was read and found to be in order."""
    if not content:
        raise ValueError("an empty file")
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    width, height = image.size
    if min(width, height) < 1 or width * height > MAX_PIXELS:
        raise ValueError(f"its header claims {height} x {width} pixels; allowed are 1 to {MAX_PIXELS} in all")
    if image.mode not in (*_GRAY_8, *_GRAY_16, *_COLOR_8):
        raise ValueError(f"mode {image.mode} has no fixed range of values; convert it to 8 bits, or to gray of 16 bits")
    return image


def _header(image: Image.Image) -> ImageHeader:
    width, height = image.size
    gray = image.mode in (*_GRAY_8, *_GRAY_16) or (image.mode == "P" and _has_gray_palette(image))
    return ImageHeader((width, height) if _orientation(image) >= 5 else (height, width), 1 if gray else 3)


def _has_gray_palette(image: Image.Image) -> bool:
    """Whether the palette, which is part of the header, holds grays only."""
    if image.palette is None:
        return False
    table = np.frombuffer(bytes(image.palette.palette), np.uint8)
    # How the formats lay it out: TIFF all reds, then all greens; BMP with a fourth byte; the others three in turn.
    layout = {"RGB;L": (3, -1), "BGRX": (-1, 4)}.get(image.palette.rawmode or "RGB", (-1, 3))
    colors = table.reshape(layout)
    colors = colors.T if layout[0] == 3 else colors[:, :3]  # [entries, 3]
    return bool((colors == colors[:, :1]).all())


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation that `image.size` does not show yet: 1 to 8, from 5 on height and width change places."""
    if isinstance(image, TiffImagePlugin.TiffImageFile) and ExifTags.Base.Orientation in image.tag_v2:
        return 1  # Pillow has turned the size already
    try:
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation)  # the PNG plugin's own would decode
    except Exception:  # metadata that is damaged says nothing; the pixels may be fine
        return 1
    return value if isinstance(value, int) and 2 <= value <= 8 else 1


def _pixels(image: Image.Image, channels: int, at_least: tuple[int, int] | None) -> np.ndarray:
    orientation = _orientation(image)
    if at_least is not None and isinstance(image, JpegImagePlugin.JpegImageFile):
        height, width = at_least if orientation < 5 else at_least[::-1]
        image.draft(None, (width, height))  # None: the mode stays, so that gray is made from RGB at every scale
    image.load()
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        orientation = 1  # turned by Pillow as it was loaded
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
    """Stored pixels [H, W, C] as they are to be seen. Source: EXIF 2.32, tag 0x0112."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values
