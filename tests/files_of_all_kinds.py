"""Small undamaged image files and recordings of every format, mode and number of channels."""

import importlib.util
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import soundfile
import tifffile
from PIL import Image, features

from fcnjax.data import UnreadableExample

Draw = np.random.Generator
CONTIGUOUS: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig"}


def pillow_file(image: Image.Image | np.ndarray, file_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, file_format, **options)
    return stream.getvalue()


def tiff_file(values: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, **options)
    return stream.getvalue()


def audio_file(values: np.ndarray, rate: int = 8000, file_format: str = "WAV", subtype: str | None = None) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, values, rate, format=file_format, subtype=subtype)
    return stream.getvalue()


def png_of_16_bits_a_color(values: np.ndarray) -> bytes:
    """Returns a PNG file of uint16 [H, W, 3], which Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def writes_avif() -> bool:
    """Returns whether this Pillow has AVIF."""
    return importlib.util.find_spec("PIL.AvifImagePlugin") is not None and features.check("avif")


def images_of_all_modes(draw: Draw) -> dict[str, bytes]:
    """Returns files of the modes that people have, each 9 x 14 pixels before it is turned."""
    rgb = Image.fromarray(draw.integers(0, 256, (9, 14, 3), np.uint8))
    files = {f"{mode}.png": pillow_file(rgb.convert(mode), "PNG") for mode in ("1", "L", "P", "LA", "RGB")}
    rgba = Image.fromarray(draw.integers(0, 256, (9, 14, 4), np.uint8))
    files["RGBA.png"] = pillow_file(rgba, "PNG")
    files["CMYK.jpg"] = pillow_file(rgb.convert("CMYK"), "JPEG")
    files["clear.gif"] = pillow_file(rgb.convert("P"), "GIF", transparency=3)
    files["gray16.png"] = pillow_file(draw.integers(0, 2**16, (9, 14)).astype(np.uint16), "PNG")
    files["rgb48.png"] = png_of_16_bits_a_color(draw.integers(0, 2**16, (9, 14, 3)).astype(np.uint16))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        files[f"exif{orientation}.jpg"] = pillow_file(rgb, "JPEG", exif=exif)
    return files


def images_of_all_formats(draw: Draw) -> dict[str, bytes]:
    """Returns one file of every format that this Pillow writes, and TIFF files that only tifffile reads."""
    height, width = draw.integers(16, 40, 2).tolist()
    rgb = Image.fromarray(draw.integers(0, 256, (height, width, 3), np.uint8))
    names = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "JPEG2000", "PPM", "ICO", "PCX", "SGI", "TGA")
    files = {name: pillow_file(rgb, name) for name in names}
    if writes_avif():
        files["AVIF"] = pillow_file(rgb, "AVIF")
    files["QOI"] = struct.pack(">4sIIBB", b"qoif", width, height, 3, 0)
    files["QOI"] += b"".join(b"\xfe" + pixel.tobytes() for pixel in np.asarray(rgb).reshape(-1, 3)) + b"\0" * 7 + b"\1"
    bands = draw.integers(0, 256, (height, width, 5), np.uint8)
    files["TIFF of bands"] = tiff_file(bands, tile=(16, 16), compression="zlib", **CONTIGUOUS)
    files["TIFF of planes"] = tiff_file(np.moveaxis(bands, -1, 0), photometric="minisblack", planarconfig="separate")
    files["TIFF of floats"] = tiff_file(draw.uniform(0, 1, (height, width)).astype(np.float32))
    return files


def recordings_of_all_formats(draw: Draw) -> dict[str, bytes]:
    """Returns recordings of one and two channels; FLAC also without a length, as written to a pipe."""
    values = draw.uniform(-0.5, 0.5, (int(draw.integers(500, 3000)), 2))
    files = {name: audio_file(values, 16000, name) for name in ("WAV", "FLAC", "OGG", "MP3", "AIFF", "AU")}
    files["FLAC to a pipe"] = without_length(files["FLAC"])
    files["WAV of floats"] = audio_file(values[:, 0], 8000, "WAV", "FLOAT")
    return files


def without_length(flac: bytes) -> bytes:
    """Returns a FLAC file whose header says that the number of samples is unknown."""
    return flac[:21] + bytes([flac[21] & 0xF0]) + b"\0" * 4 + flac[26:]


def with_data_size(wav: bytes, size: int) -> bytes:
    """Returns a WAV file whose header claims some bytes of samples."""
    place = wav.index(b"data") + 4
    return wav[:place] + size.to_bytes(4, "little") + wav[place + 4 :]


def mutated(draw: np.random.Generator, content: bytes) -> bytes:
    """Returns the content cut, changed in a few places, most of them in the header, or with a piece of it repeated."""
    match draw.integers(4):
        case 0:
            return content[: draw.integers(len(content))]
        case 1:
            start, stop = sorted(draw.integers(0, len(content), 2).tolist())
            return content[:stop] + content[start:]
    changed = bytearray(content)
    for _ in range(draw.integers(1, 20)):
        place = draw.integers(min(len(changed), 200) if draw.integers(3) else len(changed))
        changed[place] = draw.choice([0, 1, 127, 128, 255, int(draw.integers(256))])
    return bytes(changed)


def check_reason(error: UnreadableExample) -> None:
    assert error.reason
    assert "\n" not in error.reason
    assert len(error.reason) < 300
    known = ("not supported: ", "damaged ", "not an ", "its ", "holds ", "has ", "an empty file", "cannot be ")
    assert error.reason.startswith(known), error.reason


def values_or_reason(read: Callable[[], np.ndarray]) -> np.ndarray | str:
    """Returns what a reader returns, or the reason why there is nothing to read, which must be one sentence."""
    try:
        return read()
    except UnreadableExample as error:
        check_reason(error)
        return error.reason
