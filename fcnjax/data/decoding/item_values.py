"""Images and recordings as objects: Pillow images, decoders, and the dictionaries of Hugging Face `datasets`.

Axes: H height, W width, L samples, C channels. The one idea: an object that stands for a file gives the values that the
file would give in a folder.
"""

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from fcnjax.data.decoding.audio_files import decode_audio, mixed, read_rate, resampled
from fcnjax.data.decoding.image_files import decode_image, image_values
from fcnjax.data.decoding.unreadable import Refusal, UnreadableExample

FULL_SCALE = 32768  # of 16-bit samples


def holds_media(item: Any, key: str | None = None) -> bool:
    """Returns whether an object stands for an image or a recording, rather than an array; see `media_values`.

    Args:
        item: the object.
        key: its name in an example; bytes alone count only if it is "image" or "audio".
    """
    if isinstance(item, Mapping):
        return "bytes" in item or "path" in item or {"array", "sampling_rate"} <= set(item)
    if isinstance(item, bytes):
        return key in ("image", "audio")
    return isinstance(item, Image.Image) or hasattr(item, "get_all_samples")


def is_recording(item: Any) -> bool:
    """Returns whether an object that holds media is a recording by its type alone."""
    return hasattr(item, "get_all_samples") or (isinstance(item, Mapping) and "array" in item)


def media_values(
    item: Any, name: str, *, audio: bool, channels: int | None = None, sample_rate: int | None = None
) -> tuple[np.ndarray, int | None]:
    """Returns the values of an image or recording, and its samples per second if it is a recording that tells them.

    Args:
        item: a Pillow image; the bytes of a file; a mapping with "bytes" or "path" of a file, as Hugging Face's `Image`
            and `Audio` features have it undecoded, or with "array", [L] or [C, L] with C of at most L, and
            "sampling_rate"; or an object whose `get_all_samples()` has `data` [C, L] and `sample_rate`, such as
            torchcodec's `AudioDecoder`.
        name: its name in errors.
        audio: whether a file is a recording; else it is an image.
        channels: C, as for `decode_image` or `decode_audio`.
        sample_rate: samples per second after resampling; None keeps those of the recording.

    Raises:
        UnreadableExample: if it cannot be decoded.
        OSError: if its file cannot be read.
    """
    if isinstance(item, Image.Image):
        return image_values(item, channels, name), None
    if hasattr(item, "get_all_samples"):
        try:
            samples = item.get_all_samples()
        except Exception as error:  # of whatever type the decoder has
            raise UnreadableExample(name, f"cannot be decoded: {str(error) or type(error).__name__}") from None
        return _mixed(samples.data, samples.sample_rate, name, channels, sample_rate)
    if isinstance(item, Mapping) and "array" in item:
        shape = np.shape(item["array"])
        if len(shape) == 2 and shape[0] > shape[1]:
            raise UnreadableExample(
                name, f"must hold samples [L] or [C, L], not {shape[0]} channels of {shape[1]} samples; give array.T"
            )
        return _mixed(item["array"], item["sampling_rate"], name, channels, sample_rate)
    content = item if isinstance(item, bytes) else item.get("bytes")
    path = None if isinstance(item, bytes) else item.get("path")
    if content is None and path is None:
        raise UnreadableExample(name, "has neither bytes nor a path")
    if content is not None:
        return _file_values(io.BytesIO(content), name, audio, channels, sample_rate)
    return _file_values(Path(path), f"{name}, {path}", audio, channels, sample_rate)  # type: ignore[arg-type]  # not None


def _file_values(
    file: Path | BinaryIO, name: str, audio: bool, channels: int | None, sample_rate: int | None
) -> tuple[np.ndarray, int | None]:
    try:
        if not audio:
            return decode_image(file, channels), None
        values = decode_audio(file, sample_rate, channels)
        if not isinstance(file, Path):
            file.seek(0)
        return values, sample_rate or read_rate(file)
    except UnreadableExample as error:
        raise UnreadableExample(name, error.reason) from None


def _mixed(
    samples: Any, rate: Any, name: str, channels: int | None, sample_rate: int | None
) -> tuple[np.ndarray, int | None]:
    """Returns samples [L] or [C, L] as [L, C], resampled if asked for, and their rate."""
    samples = np.asarray(samples)
    try:
        if samples.ndim not in (1, 2) or samples.dtype.kind not in "iuf" or not samples.size:
            raise Refusal(f"must hold samples [L] or [C, L] of numbers, not {samples.dtype} {samples.shape}")
        values, rate = mixed(as_signal(samples.T), channels), int(rate)
        if sample_rate in (None, rate):
            return values, rate
        return resampled(values, rate, sample_rate), sample_rate
    except (Refusal, ValueError) as error:
        raise UnreadableExample(name, str(error)) from None


def as_signal(samples: Any) -> np.ndarray:
    """Returns samples [L] or [L, C] as float32 [L, C]; integers are divided by the full scale of their type.

    That is 2^7 for int8, 2^15 for int16 and 2^31 for int32; unsigned integers have zero in the middle of their range,
    as in 8-bit WAV files. 64 bits, which TFDS and Python's integers have, hold 16-bit samples.

    Raises:
        ValueError: if samples of 64 bits exceed 16 bits, whose full scale is then not known.
    """
    samples = np.asarray(samples)
    middle, scale = 0, 1
    if np.issubdtype(samples.dtype, np.integer):
        scale = 2 ** (8 * samples.dtype.itemsize - 1) if samples.dtype.itemsize < 8 else FULL_SCALE
        middle = scale if samples.dtype.kind == "u" and samples.dtype.itemsize < 8 else 0
        if samples.dtype.itemsize == 8 and samples.size and max(-int(samples.min()), int(samples.max())) > FULL_SCALE:
            raise ValueError(
                f"samples of {samples.dtype} from {samples.min()} to {samples.max()}: must be of 16 bits; divide them "
                "by their full scale, such as 2.0**31, or give them as int32."
            )
    values = samples.reshape(len(samples), math.prod(samples.shape[1:]))
    exact = np.float32 if scale <= FULL_SCALE else np.float64  # the middle of 32 bits is not exact in float32
    return ((values.astype(exact) - middle) / scale).astype(np.float32)
