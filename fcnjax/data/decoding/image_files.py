"""Image files: their size from the header alone, and their pixels from any mode they are stored in.

Axes: H height, W width, C channels. The one idea: a file is first read into memory and then parsed, so that it is clear
what failed: the disk while reading (`OSError`), or the content afterwards (`UnreadableExample`).
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
from PIL import ExifTags, Image, JpegImagePlugin, TiffImagePlugin

from fcnjax.data.decoding.image_formats import HEADER_FIRST, format_of
from fcnjax.data.decoding.tiff_files import TiffBands, open_bands
from fcnjax.data.decoding.unreadable import (
    Refusal,
    UnreadableExample,
    damaged,
    name_of,
    opened,
    unequal_channels,
    unlogged,
)

MAX_PIXELS = 2**27  # 512 MiB as uint8 RGBA; a file that claims more is treated as a decompression bomb
MAX_BYTES = 8 * MAX_PIXELS  # of a file: four channels of 16 bits for each pixel
HEADER_BYTES = 2**16
_TOO_MANY = f"its header claims too many pixels, or none; a total of 1 to {MAX_PIXELS:,} is allowed"

Result = TypeVar("Result")
_GRAY_8 = ("1", "L", "LA", "La")
_GRAY_16 = ("I;16", "I;16L", "I;16B", "I;16N")
_COLOR_8 = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
_GRAYS, _RGB = (0, 1), 2  # of TIFF: what the bands are


class ImageHeader(NamedTuple):
    """The header of an image file.

    Attributes:
        size: (H, W) in pixels as the image is displayed, after EXIF orientation.
        channels: 1 if the file holds gray values or a palette of grays, 3 if it holds colors, transparent or not; the
            number of bands of a TIFF file that has others; or the number that was asked for.
        several: whether the file has more pages or frames than the first one, which is read.
    """

    size: tuple[int, int]
    channels: int
    several: bool = False


def read_size(file: Path | BinaryIO) -> tuple[int, int]:
    """Returns (H, W) of an image in pixels, after EXIF orientation; see `read_header`."""
    return read_header(file).size


def read_header(file: Path | BinaryIO, channels: int | None = None) -> ImageHeader:
    """Returns the header of an image without decoding pixels, so damaged pixels go unnoticed.

    Reads only the first 64 KiB of a JPEG, PNG, BMP, JPEG 2000, PPM, QOI or TGA file if they suffice, and all bytes of
    another file. EXIF data of a PNG counts if it precedes the pixels, where writers usually put it.

    Args:
        file: A path, or a binary stream; a stream is read from its current position.
        channels: C that `decode_image` will be asked for; a file that cannot give it is refused here. None: any.

    Returns:
        The header.

    Raises:
        UnreadableExample: if the content is not an image of `FORMATS`, is of a kind that is not supported (see
            `decode_image`), claims more than `MAX_PIXELS`, or has more than `MAX_BYTES`.
        OSError: if the file cannot be read.
    """
    name = name_of(file)
    with opened(file, MAX_BYTES) as stream:
        start = stream.read(HEADER_BYTES)
        kind = _understood(name, "file", lambda: _format_of(start))  # the rest may be large
        if kind in HEADER_FIRST and len(start) == HEADER_BYTES:
            try:
                return _understood(name, kind, lambda: _whole_header(start, kind, channels))
            except UnreadableExample:
                pass  # long metadata: the header does not end within these bytes
        content = start + stream.read()
    return _understood(name, kind, lambda: _whole_header(content, kind, channels))


def decode_image(file: Path | BinaryIO, channels: int | None, at_least: tuple[int, int] | None = None) -> np.ndarray:
    """Returns the pixels of an image, or of the first frame of an animation, after EXIF orientation.

    Transparent pixels are blended with white. Palettes, 1-bit, CMYK and YCbCr become RGB or gray; gray becomes RGB by
    repetition, RGB becomes gray with the weights of ITU-R 601-2 (Pillow's "L"). Pillow reduces colors of 16 bits per
    channel to 8 bits; gray of 16 bits keeps its precision.

    PFM files of gray hold floats. TIFF files may have any number of bands of uint8, uint16 or floats. Bands beyond the
    colors of RGB are bands of the data unless the file says that the fourth is alpha. Signed integers, and integers of
    32 bits or more, have no fixed range of values and are not supported. Of several pages the first one is read.

    Args:
        file: A path, or a binary stream; a stream is read from its current position.
        channels: C. 1 (gray) and 3 (RGB) convert, and drop bands beyond RGB. Another number must be that of the file's
            bands; 2 and 4 keep alpha as the last one. None: as `read_header` says.
        at_least: (H, W) that is sufficient for the caller, each 1 or more. A JPEG may then be decoded at 1/2, 1/4 or
            1/8 of its size, several times faster, as long as no extent falls below it. None decodes at the native size.

    Returns:
        uint8 [H, W, C], 0 to 255; float32 [H, W, C], 0 to 1, for gray of 16 bits and bands of uint16; float32 [H, W, C]
        as they are in the file for floats.

    Raises:
        UnreadableExample: as for `read_header`; or if the pixels are damaged, or floats not finite.
        OSError: if the file cannot be read.
        ValueError: if `channels` or `at_least` is out of range.

    >>> file = io.BytesIO()
    >>> Image.new("L", (40, 30), 255).save(file, "JPEG")
    >>> _ = file.seek(0)
    >>> decode_image(file, channels=3, at_least=(10, 10)).shape
    (15, 20, 3)
    """
    if channels is not None and channels < 1:
        raise ValueError(f"channels={channels}: must be 1 (gray), 3 (RGB), the number of bands, or None.")
    if at_least is not None and min(at_least) < 1:
        raise ValueError(f"at_least={at_least}: must be a height and a width of 1 or more.")
    with opened(file, MAX_BYTES) as stream:
        content = stream.read()
    name = name_of(file)
    kind = _understood(name, "file", lambda: _format_of(content[:HEADER_BYTES]))
    return _understood(name, kind, lambda: _pixels(_open(content, kind, channels), channels, at_least))


def image_values(image: Image.Image, channels: int | None = None, name: str = "") -> np.ndarray:
    """Returns the pixels of an image that Pillow holds, as `decode_image` does those of a file.

    Args:
        image: the image; it may be one that Pillow has opened and not yet decoded.
        channels: as for `decode_image`.
        name: its name in errors; empty: that of its file, if Pillow knows it.

    Raises:
        UnreadableExample: if its mode has no fixed range of values (32-bit), or its pixels are damaged.
    """
    name = name or str(getattr(image, "filename", "") or "image")
    return _understood(name, image.format or "image", lambda: _pixels(_checked(image), channels, None))


def _understood(name: str, kind: str, understand: Callable[[], Result]) -> Result:
    """Returns the result of `understand`; all its errors concern the content, because the bytes are in memory."""
    try:
        with _pillow_silent(), unlogged():
            return understand()
    except Refusal as error:
        raise UnreadableExample(name, str(error)) from None
    except Image.DecompressionBombError:
        raise UnreadableExample(name, _TOO_MANY) from None
    except Image.UnidentifiedImageError:
        raise UnreadableExample(name, damaged(kind, "its header cannot be read")) from None
    except Exception as error:  # damaged content makes Pillow raise a dozen types, some by accident
        raise UnreadableExample(name, damaged(kind, error)) from None


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


def _format_of(start: bytes) -> str:
    if not start:
        raise Refusal("an empty file")
    return format_of(start)


def _open(content: bytes, kind: str, channels: int | None) -> Image.Image | TiffBands:
    """Returns an image after reading and checking its header: as bands if it has some that Pillow would not give."""
    if kind != "TIFF":
        return _checked(Image.open(io.BytesIO(content), formats=(kind,)))
    try:
        image = Image.open(io.BytesIO(content), formats=(kind,))
    except Image.DecompressionBombError:
        raise
    except Exception:  # it knows no such kind of values, or no such header
        return open_bands(content, MAX_PIXELS, MAX_BYTES)
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    signed = 2 in image.tag_v2.get(TiffImagePlugin.SAMPLEFORMAT, ())  # which Pillow does not tell apart in 8 bits
    if signed or image.mode in ("I", "F") or _needs_bands(image, channels):
        return open_bands(content, MAX_PIXELS, MAX_BYTES)
    return _checked(image)


def _needs_bands(image: TiffImagePlugin.TiffImageFile, channels: int | None) -> bool:
    """Returns whether Pillow would not give all bands of a TIFF file; if 1 or 3 are asked, RGB is all of them."""
    meaning = image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION)
    more = image.tag_v2.get(TiffImagePlugin.SAMPLESPERPIXEL, 1) > len(image.getbands())
    return more and (meaning in _GRAYS or (meaning == _RGB and channels not in (1, 3)))


def _checked(image: Image.Image) -> Image.Image:
    """Returns an image whose size and mode can be read."""
    width, height = image.size
    if min(width, height) < 1 or width * height > MAX_PIXELS:
        raise Refusal(_TOO_MANY)
    gray_16 = image.mode == "I" and image.format == "PPM"  # Pillow gives it the range of 16 bits
    if image.mode not in (*_GRAY_8, *_GRAY_16, *_COLOR_8, "F") and not gray_16:
        raise Refusal(
            f"not supported: mode {image.mode}, which has no fixed range of values; convert it to 8 bits, to gray of "
            "16 bits, or to float32"
        )
    return image


def _whole_header(content: bytes, kind: str, channels: int | None) -> ImageHeader:
    image = _open(content, kind, channels)
    return _header(image, channels)._replace(several=_has_several(image))


def _has_several(image: Image.Image | TiffBands) -> bool:
    """Returns whether a file has more pages or frames than the first one; a TIFF image is of no use afterwards."""
    if isinstance(image, TiffBands):
        return image.several
    try:
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            image.seek(1)
            return True
        return image.format != "MPO" and getattr(image, "is_animated", False)  # photographs with a preview
    except Exception:  # there is none, or it is damaged: it is not read
        return False


def _header(image: Image.Image | TiffBands, channels: int | None) -> ImageHeader:
    if isinstance(image, TiffBands):
        if channels is not None:
            image.check(channels)
        height, width = image.size
        return ImageHeader((width, height) if image.orientation >= 5 else (height, width), channels or image.bands)
    width, height = image.size
    if channels not in (None, 1, 3):
        _mode_of(image, channels)
    gray = image.mode in (*_GRAY_8, *_GRAY_16, "F", "I") or (image.mode == "P" and _has_gray_palette(image))
    return ImageHeader((width, height) if _orientation(image) >= 5 else (height, width), channels or (1 if gray else 3))


def _mode_of(image: Image.Image, channels: int) -> str:
    """Returns the mode of 8 bits that has so many channels, of which alpha is one unless there are 1 or 3.

    Raises:
        Refusal: if the image has another number of them.
    """
    if channels in (1, 3):
        return "L" if channels == 1 else "RGB"
    gray = image.mode in (*_GRAY_8, *_GRAY_16, "F", "I")
    mode = {(True, True): "LA", (True, False): "L", (False, True): "RGBA", (False, False): "RGB"}[
        gray, image.has_transparency_data
    ]
    if len(mode) != channels:
        raise unequal_channels(len(mode), channels, "bands")
    return mode


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


def _pixels(image: Image.Image | TiffBands, channels: int | None, at_least: tuple[int, int] | None) -> np.ndarray:
    channels = channels or _header(image, None).channels
    if isinstance(image, TiffBands):
        return np.ascontiguousarray(_turned(image.values(channels), image.orientation))
    orientation = _orientation(image)
    if at_least is not None and isinstance(image, JpegImagePlugin.JpegImageFile):
        height, width = at_least if orientation < 5 else at_least[::-1]
        image.draft(None, (width, height))  # None keeps the mode, so that gray is made from RGB at every scale
    image.load()
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        orientation = 1  # Pillow has turned the pixels
    mode = _mode_of(image, channels)
    if image.mode in (*_GRAY_16, "F", "I"):
        gray = np.asarray(image).astype(np.float32)  # [H, W]
        if not np.isfinite(gray).all():
            raise Refusal("holds values that are not finite; replace them, such as those that mark missing data")
        gray = gray if image.mode == "F" else gray / np.float32(65535)
        values = np.repeat(gray[..., None], channels, axis=-1)
    else:
        if image.has_transparency_data and mode in ("L", "RGB"):
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        values = np.asarray(_with_alpha(image) if mode in ("LA", "RGBA") else image.convert(mode))
        values = values.reshape(*values.shape[:2], channels)
    return np.ascontiguousarray(_turned(values, orientation))


def _with_alpha(image: Image.Image) -> Image.Image:
    """Returns an image with its transparency as the last band: of mode "LA" for gray, else "RGBA"."""
    gray = image.mode in _GRAY_8
    image = image.convert("RGBA")  # of whatever kind the transparency is; gray to RGB and back is exact
    return Image.merge("LA", [image.getchannel("R"), image.getchannel("A")]) if gray else image


def _turned(values: np.ndarray, orientation: int) -> np.ndarray:
    """Returns stored pixels [H, W, C] as they are displayed. Source: EXIF 2.32, tag 0x0112."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values
