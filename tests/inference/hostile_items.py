"""Files and arrays that could break a prediction: damaged, lying, huge, changing, oddly named, or merely unusual.

Each kind draws an item and says whether it can be predicted: True, False, or None if that depends on the draw.
"""

import io
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from damaged_files import SUFFIXES, whole_file, with_huge_header
from PIL import Image

Draw = np.random.Generator
Drawn = tuple[Any, bool | None]
FORMATS = [name for name in SUFFIXES if name != "WAV"]
NAMES = (
    "new\nline",
    "-dash",
    "--to=x",
    "=1+1",
    "@SUM(A1)",
    "[a]*?",
    "%s{}",
    "é",
    "猫",
    "\u202egpj",
    "tab\t",
    "$HOME",
    "'\"",
    "CON",
)
LONG, RATE = "x" * 250, 4000


def pixels(draw: Draw, mode: str = "RGB", *, size: tuple[int, int] | None = None) -> Image.Image:
    """Returns an image of random pixels in a mode."""
    height, width = size or tuple(draw.integers(12, 30, 2).tolist())
    return Image.fromarray(draw.integers(0, 256, (height, width, 3), np.uint8)).convert(mode)


def content(image: Image.Image, file_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def samples(draw: Draw, count: int | None = None) -> np.ndarray:
    return draw.uniform(-1, 1, count or int(draw.integers(1200, 2000)))


def recording(values: np.ndarray, rate: int = RATE, file_format: str = "WAV", **options: Any) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, values, rate, format=file_format, **options)
    return stream.getvalue()


def some_format(draw: Draw) -> str:
    return FORMATS[draw.integers(len(FORMATS))]


# Kinds of image files: the path without a suffix that may be written, in a folder of its own.


def truncated(draw: Draw, path: Path) -> Drawn:
    file_format = some_format(draw)
    data = content(pixels(draw), file_format)
    return written(path.with_suffix(SUFFIXES[file_format]), data[: draw.integers(len(data) // 2)]), False


def garbled(draw: Draw, path: Path) -> Drawn:
    file_format = some_format(draw)
    data = bytearray(whole_file(draw, file_format))
    for _ in range(draw.integers(1, 60)):
        data[draw.integers(len(data))] = draw.integers(256)
    return written(path.with_suffix(SUFFIXES[file_format]), bytes(data)), None


def without_bytes(draw: Draw, path: Path) -> Drawn:
    return written(path.with_suffix(SUFFIXES[some_format(draw)]), b""), False


def huge_claim(draw: Draw, path: Path) -> Drawn:
    file_format = ("PNG", "BMP", "GIF", "JPEG")[draw.integers(4)]
    return written(path.with_suffix(".png"), with_huge_header(content(pixels(draw), file_format), file_format)), False


def claim_below_the_limit(draw: Draw, path: Path) -> Drawn:
    data = bytearray(content(pixels(draw), "PNG"))
    data[16:24] = (11_000).to_bytes(4, "big") * 2
    return written(path.with_suffix(".png"), bytes(data)), False


def large_but_small_on_disk(draw: Draw, path: Path) -> Drawn:
    return written(path.with_suffix(".png"), content(Image.new("1", (3000, 2500)), "PNG")), True


def sparse(draw: Draw, path: Path) -> Drawn:
    start = (b"\xff\xd8", b"II*\0", b"RIFF", b"no image")[draw.integers(4)]
    file = written(path.with_suffix(".jpg"), start)
    os.truncate(file, 2**40)  # a terabyte of zeros that takes no space
    return file, False


def other_suffix(draw: Draw, path: Path) -> Drawn:
    return written(
        path.with_suffix((".jpg", ".gif", ".txt", "", ".wav")[draw.integers(5)]), content(pixels(draw), "PNG")
    ), True


def other_content(draw: Draw, path: Path) -> Drawn:
    data = (
        b"no image\n",
        b"<svg/>",
        b"%PDF-1.7\n",
        b"PK\3\4",
        b"\0" * 70_000,
        b"MM",
        b"RIFF\0\0\0\0WEBP",
        b"BM",
        b"\x89PNG",
    )
    return written(path.with_suffix(".jpg"), data[draw.integers(len(data))]), False


def other_mode(draw: Draw, path: Path) -> Drawn:
    mode, file_format = (
        ("CMYK", "JPEG"), ("P", "PNG"), ("P", "GIF"), ("RGBA", "PNG"), ("LA", "PNG"), ("1", "PNG"), ("1", "TIFF"),
        ("L", "BMP"), ("YCbCr", "JPEG"), ("CMYK", "TIFF"), ("RGBA", "WEBP"), ("L", "JPEG"), ("P", "BMP"),
    )[draw.integers(13)]  # fmt: skip
    return written(path.with_suffix(SUFFIXES[file_format]), content(pixels(draw, mode), file_format)), True


def sixteen_bits(draw: Draw, path: Path) -> Drawn:
    image = Image.fromarray(draw.integers(0, 2**16, (20, 14)).astype(np.uint16))
    return written(path.with_suffix(".png"), content(image, ("PNG", "TIFF")[draw.integers(2)])), True


def mode_without_a_range(draw: Draw, path: Path) -> Drawn:
    image = Image.fromarray(draw.normal(size=(20, 14)).astype((np.float32, np.int32)[draw.integers(2)]))
    return written(path.with_suffix(".tif"), content(image, "TIFF")), False


def animated(draw: Draw, path: Path) -> Drawn:
    file_format = ("GIF", "WEBP", "PNG", "TIFF")[draw.integers(4)]
    frames = [pixels(draw, size=(20, 14)) for _ in range(3)]
    data = content(frames[0], file_format, save_all=True, append_images=frames[1:])
    return written(path.with_suffix(SUFFIXES[file_format]), data), True


def turned(draw: Draw, path: Path) -> Drawn:
    exif = Image.Exif()
    exif[0x0112] = int(draw.integers(0, 12))  # some are no orientation
    return written(path.with_suffix(".jpg"), content(pixels(draw), "JPEG", exif=exif)), True


def long_metadata(draw: Draw, path: Path) -> Drawn:
    return written(path.with_suffix(".jpg"), content(pixels(draw), "JPEG", icc_profile=draw.bytes(200_000))), True


def bytes_after_the_end(draw: Draw, path: Path) -> Drawn:
    file_format = ("PNG", "JPEG", "GIF", "BMP")[draw.integers(4)]
    return written(path.with_suffix(".png"), content(pixels(draw), file_format) + draw.bytes(5000)), True


def tiny(draw: Draw, path: Path) -> Drawn:
    size = ((1, 1), (1, 3000), (3000, 1), (1, 20_000), (2, 2))[draw.integers(5)]
    return written(path.with_suffix(".png"), content(pixels(draw, size=size), "PNG")), False  # below the minimum


def odd_name(draw: Draw, path: Path) -> Drawn:
    name = (*NAMES, LONG, os.fsdecode(b"\xff\xfe"))[draw.integers(len(NAMES) + 2)]
    return written(path.parent / f"{name}.png", content(pixels(draw), "PNG")), True


def folder_as_file(draw: Draw, path: Path) -> Drawn:
    path.with_suffix(".jpg").mkdir()
    return path.with_suffix(".jpg"), False


def link(draw: Draw, path: Path) -> Drawn:
    file, kind = path.with_suffix(".png"), draw.integers(4)
    whole = written(path.parent / "whole.png", content(pixels(draw), "PNG"))
    file.symlink_to((path.parent / "absent.png", file.name, "/dev/zero", whole)[kind])  # the second is to itself
    return file, kind == 3


def pipe_or_socket(draw: Draw, path: Path) -> Drawn:
    file = path.parent / "s.png"
    if draw.integers(2):
        os.mkfifo(file)
    else:
        before = os.getcwd()
        os.chdir(file.parent)  # the path of a socket has at most 108 bytes
        try:
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(file.name)
        finally:
            os.chdir(before)
    return file, False


def not_allowed(draw: Draw, path: Path) -> Drawn:
    file = written(path.with_suffix(".png"), content(pixels(draw), "PNG"))
    file.chmod(0)
    return file, os.access(file, os.R_OK)


def no_path(draw: Draw, path: Path) -> Drawn:
    return ("null\0.png", "", "/" + "y" * 5000, "a/" * 3000, str(path / "under" / "a.jpg"))[draw.integers(5)], False


# Kinds of recordings.


def damaged_recording(draw: Draw, path: Path) -> Drawn:
    file_format = ("WAV", "FLAC", "OGG", "AIFF")[draw.integers(4)]
    data = bytearray(recording(samples(draw), file_format=file_format))
    if draw.integers(2):
        return written(path.with_suffix(".wav"), bytes(data[: draw.integers(40)])), False
    for _ in range(draw.integers(1, 60)):
        data[draw.integers(min(len(data), 300))] = draw.integers(256)
    return written(path.with_suffix(".flac"), bytes(data)), None


def other_recording(draw: Draw, path: Path) -> Drawn:
    options: dict[str, Any] = (
        {"subtype": "PCM_U8"}, {"subtype": "PCM_24"}, {"subtype": "DOUBLE"}, {"file_format": "FLAC"},
        {"file_format": "OGG"}, {"rate": 8000}, {"file_format": "MP3", "rate": 8000},
    )[draw.integers(7)]  # fmt: skip
    values = samples(draw, 8000)
    return written(path.with_suffix(".wav"), recording(np.stack([values, 0.5 * values], 1), **options)), True


def values_that_are_no_samples(draw: Draw, path: Path) -> Drawn:
    values = samples(draw)
    values[draw.integers(len(values))] = (np.nan, np.inf, -np.inf)[draw.integers(3)]
    return written(path.with_suffix(".wav"), recording(values, subtype="FLOAT")), False


def absurd_header(draw: Draw, path: Path) -> Drawn:
    data = bytearray(recording(samples(draw)))
    place, bytes_, numbers = (
        (22, 2, (0, 1024, 65535)),  # channels
        (24, 4, (0, 1, 2**31 - 1, 2**32 - 1)),  # samples per second
        (32, 2, (0, 65535)),  # bytes of a sample of all channels
        (34, 2, (0, 1, 999)),  # bits of a sample
        (16, 4, (0, 2**32 - 1)),  # bytes of the header
    )[draw.integers(5)]
    data[place : place + bytes_] = numbers[draw.integers(len(numbers))].to_bytes(bytes_, "little")
    return written(path.with_suffix(".wav"), bytes(data)), None


def empty_recording(draw: Draw, path: Path) -> Drawn:
    data = (b"", recording(np.zeros(0)), recording(np.zeros(10)), b"no sound", content(pixels(draw), "PNG"))
    return written(path.with_suffix(".wav"), data[draw.integers(len(data))]), False


def sparse_recording(draw: Draw, path: Path) -> Drawn:
    file = written(path.with_suffix(".wav"), (b"", recording(samples(draw)))[draw.integers(2)])
    os.truncate(file, 2**40)
    return file, None


# Kinds of arrays and objects.


def array(draw: Draw, path: Path) -> Drawn:
    del path
    shape = (*draw.integers(12, 30, 2).tolist(), 3)
    dtype = (np.uint8, np.float32, np.float64, np.float16)[draw.integers(4)]
    values = draw.uniform(0, 1, shape) * (255 if dtype is np.uint8 else 1)
    return values.astype(dtype)[:: -1 if draw.integers(2) else 1], True


def refused_array(draw: Draw, path: Path) -> Drawn:
    del path
    good = draw.uniform(0, 1, (20, 14, 3))
    one = good.copy()
    one[3, 4, 1] = (np.nan, np.inf, 1e300, -1e9)[draw.integers(4)]
    items = (
        one, good[..., 0], good[..., :2], good[None], good.transpose(2, 0, 1), good[:0], good[:, :0], 255 * good,
        good > 0.5, good.astype(np.int64), good.astype(complex), good.astype(object), good.astype(str), np.zeros((0,)),
        np.float64(3.0), np.zeros((20, 14, 3), "datetime64[s]"), np.zeros((20, 14, 3), [("r", "u1")]), None,
        object(), {}, 3, b"a.png",
        [["ragged"], [1, 2]],
    )  # fmt: skip
    return items[draw.integers(len(items))], False


def image_in_memory(draw: Draw, path: Path) -> Drawn:
    if draw.integers(2):
        return pixels(draw, ("RGB", "L", "P", "CMYK", "1", "LA")[draw.integers(6)]), True
    data = content(pixels(draw, size=(29, 29)), "JPEG")
    return Image.open(io.BytesIO(data[: len(data) - 200])), False  # Pillow decodes it later


Kind = Callable[[Draw, Path], Drawn]
IMAGES: tuple[Kind, ...] = (
    truncated, garbled, garbled, without_bytes, huge_claim, claim_below_the_limit, large_but_small_on_disk, sparse,
    other_suffix, other_content, other_mode, other_mode, sixteen_bits, mode_without_a_range, animated, turned,
    long_metadata, bytes_after_the_end, tiny, odd_name, odd_name, folder_as_file, link, pipe_or_socket, not_allowed,
    no_path, array, image_in_memory,
)  # fmt: skip
RECORDINGS: tuple[Kind, ...] = (
    damaged_recording, damaged_recording, other_recording, values_that_are_no_samples, absurd_header, absurd_header,
    empty_recording, sparse_recording, folder_as_file, pipe_or_socket,
)  # fmt: skip


def draw_items(kinds: tuple[Kind, ...], count: int, folder: Path, seed: int = 21) -> list[Drawn]:
    """Returns items of all kinds in turn, the same for a seed, each with whether it can be predicted."""
    draw, drawn = np.random.default_rng(seed), []
    for number in range(count):
        (folder / str(number)).mkdir(parents=True)
        drawn.append(kinds[number % len(kinds)](draw, folder / str(number) / "file"))
    return drawn


def change(draw: Draw, file: Path, how: int) -> None:
    """Changes a file in one of six ways, so that what was read of its header is not true any more."""
    data = file.read_bytes()
    file.unlink()
    match how % 6:
        case 0:
            file.write_bytes(data[: len(data) // 2])
        case 1:
            file.write_bytes(content(pixels(draw, size=(31, 37)), "PNG"))
        case 2:
            file.mkdir()
        case 3:
            os.mkfifo(file)
        case 4:
            file.write_text("no image")
        case _:
            pass  # it is gone
