"""Damaged image and audio files of every kind, and whether bare Pillow and soundfile decode them."""

import io
import warnings
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp", "WAV": ".wav"}


def whole_file(draw: np.random.Generator, file_format: str) -> bytes:
    """Returns the content of a random undamaged file."""
    stream = io.BytesIO()
    if file_format == "WAV":
        subtype = ("PCM_16", "FLOAT")[draw.integers(2)]
        soundfile.write(stream, draw.uniform(-1, 1, draw.integers(1, 2000)), 8000, format="WAV", subtype=subtype)
    else:
        height, width = draw.integers(1, 60, 2)
        values = draw.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(values).convert(("RGB", "L")[draw.integers(2)]).save(stream, file_format)
    return stream.getvalue()


def with_huge_header(content: bytes, file_format: str) -> bytes:
    """Returns the file with a header that claims 100,000 x 100,000 pixels (65,535 if the format has no more bits)."""
    changed = bytearray(content)
    if file_format == "PNG":
        changed[16:24] = (100_000).to_bytes(4, "big") * 2
    elif file_format == "BMP":
        changed[18:26] = (100_000).to_bytes(4, "little") * 2
    elif file_format == "GIF":
        changed[6:10] = b"\xff" * 4
    elif file_format == "JPEG":
        start = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2")) + 5
        changed[start : start + 4] = b"\xff" * 4
    else:
        changed[4:8] = b"\xff" * 4  # RIFF length, TIFF directory
    return bytes(changed)


def damaged_file(draw: np.random.Generator) -> tuple[str, bytes]:
    """Returns the suffix and the content of a random damaged file."""
    file_format = list(SUFFIXES)[draw.integers(len(SUFFIXES))]
    content = whole_file(draw, file_format)
    suffix = SUFFIXES[file_format]
    match draw.integers(7):
        case 0:  # truncated
            content = content[: draw.integers(len(content))]
        case 1:  # another extension
            suffix = list(SUFFIXES.values())[draw.integers(len(SUFFIXES))]
        case 2:
            content = b"" if draw.integers(2) else draw.bytes(draw.integers(1, 3000))
        case 3:
            content = with_huge_header(content, file_format)
        case 4:  # garbage after an intact header
            half = len(content) // 2
            content = content[:half] + draw.bytes(len(content) - half)
        case kind:  # some flipped bits, or many
            values = np.frombuffer(content, np.uint8).copy()
            for _ in range(draw.integers(1, 4) if kind == 5 else 60):
                values[draw.integers(min(len(values), 400))] ^= np.uint8(1 << draw.integers(8))
            content = values.tobytes()
    return suffix, content


def pillow_decodes(content: bytes) -> bool | None:
    """Returns whether Pillow decodes a file; None if our rules are stricter (32-bit modes, other formats)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(content)) as image:
                image.load()
                ours = image.format in ("JPEG", "MPO", "PNG", "GIF", "WEBP", "TIFF", "BMP")
                return True if ours and image.mode not in ("I", "F", "LAB", "HSV") else None
        except Exception:
            return False


def soundfile_decodes(content: bytes) -> bool | None:
    """Returns whether soundfile decodes a file to finite samples; None if its header lies, where our rules differ."""
    data = content.find(b"data", 12)
    if content.startswith(b"RIFF") and 0 <= data < 200:
        claimed, there = int.from_bytes(content[data + 4 : data + 8], "little"), len(content) - data - 8
        if claimed > there or (there and not claimed):
            return None
    try:
        values, _ = soundfile.read(io.BytesIO(content))
    except (soundfile.SoundFileError, ValueError, TypeError):
        return False
    return len(values) > 0 and bool(np.isfinite(values).all())


def write_damaged(root: Path, count: int) -> dict[str, bytes]:
    """Writes `count` damaged files in two classes, the same at every call; returns their contents by name."""
    draw, contents = np.random.default_rng(20), {}
    for label in ("a", "b"):
        (root / label).mkdir()
    for index in range(count):
        suffix, content = damaged_file(draw)
        name = f"{'ab'[index % 2]}/{index:03}{suffix}"
        contents[name] = content
        (root / name).write_bytes(content)
    return contents
