"""Audio files: their length from the header alone, and their samples as one channel at one rate.

Axes: L samples along time, C = 1. The one idea: `read_length` promises a length and `decode_audio` keeps it to the
sample, however the resampler rounds.
"""

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from fcnjax.data.files.image_files import check_bytes, name_of
from fcnjax.data.sources.source import UnreadableExample

MAX_SAMPLES = 2**28  # 1 GiB as float32; 93 minutes at 48 kHz
MAX_BYTES = 8 * MAX_SAMPLES  # of a file: float64 samples


def read_length(file: Path | BinaryIO, sample_rate: int | None = None) -> int:
    """Returns L, the number of samples that `decode_audio` returns for the same arguments, from the header.

    Args:
        file: A path, or a binary stream; a stream is read from its current position.
        sample_rate: samples per second after resampling, 1 or more; None keeps the file's own.

    Returns:
        ceil(native length x sample_rate / native rate).

    Raises:
        UnreadableExample: if the content is not audio that libsndfile knows (WAV, FLAC, OGG, MP3, AIFF, ...), holds no
            samples, or claims more than `MAX_SAMPLES`.
        OSError: if the file cannot be read.
        ValueError: if `sample_rate` is below 1.
    """
    _check_rate(sample_rate)
    if isinstance(file, Path):
        with file.open("rb") as stream:
            try:
                # libsndfile reads the descriptor itself: through Python callbacks it would print an error and read on.
                with soundfile.SoundFile(stream.fileno(), closefd=False) as sound:
                    return _promised(name_of(file), sound, sample_rate)
            except soundfile.SoundFileError:
                pass  # the content or the disk failed: the plain read below distinguishes the two
    with _open(file) as sound:
        return _promised(name_of(file), sound, sample_rate)


def read_rate(file: Path) -> int:
    """Returns the samples per second of an audio file, from its header.

    Raises:
        UnreadableExample: if the content is not audio.
        OSError: if the file cannot be read.
    """
    with file.open("rb") as stream:
        try:
            with soundfile.SoundFile(stream.fileno(), closefd=False) as sound:
                return sound.samplerate
        except soundfile.SoundFileError as error:
            raise UnreadableExample(name_of(file), f"not an audio file: {error}") from None


def decode_audio(file: Path | BinaryIO, sample_rate: int | None = None) -> np.ndarray:
    """Returns the samples of an audio file as the mean of its channels, resampled if `sample_rate` is given.

    The same file decodes to the same values in every thread and process.

    Args:
        file: A path, or a binary stream; a stream is read from its current position.
        sample_rate: samples per second of the result, 1 or more; None keeps the file's own.

    Returns:
        float32 [L, 1], -1 to 1 for integer formats; L is what `read_length` returns.

    Raises:
        UnreadableExample: as for `read_length`; or if there are fewer samples than the header claims, or a value is not
            finite.
        OSError: if the file cannot be read.
        ValueError: if `sample_rate` is below 1.

    Source: the SoX resampler library, quality "HQ".

    >>> file = io.BytesIO()
    >>> soundfile.write(file, np.zeros((1000, 2)), 44100, format="WAV")
    >>> _ = file.seek(0)
    >>> decode_audio(file, sample_rate=16000).shape
    (363, 1)
    """
    _check_rate(sample_rate)
    name = name_of(file)
    with _open(file) as sound:
        length = _promised(name, sound, sample_rate)
        frames, native_rate = sound.frames, sound.samplerate
        try:
            values = sound.read(dtype="float32", always_2d=True)  # [native L, native C]
        except (soundfile.SoundFileError, ValueError) as error:
            raise UnreadableExample(name, f"its samples cannot be decoded: {error}") from None
    if len(values) != frames:
        raise UnreadableExample(name, f"ends after {len(values)} of the {frames} samples its header claims")
    if not np.isfinite(values).all():
        raise UnreadableExample(name, "holds values that are not finite")
    mono = values.mean(axis=1, dtype=np.float64).astype(np.float32)  # float64: a sum of float32 may overflow
    if sample_rate not in (None, native_rate):
        mono = _resampled(name, mono, native_rate, sample_rate, length)
    return mono[:, None]


def _resampled(name: str, mono: np.ndarray, native_rate: int, sample_rate: int, length: int) -> np.ndarray:
    """Returns float32 [length]; the resampler's own length may differ by a sample."""
    try:
        resampled = soxr.resample(mono, native_rate, sample_rate, quality="HQ")[:length]
    except (RuntimeError, ValueError) as error:
        raise UnreadableExample(name, f"cannot be resampled from {native_rate} to {sample_rate} Hz: {error}") from None
    if not np.isfinite(resampled).all():
        raise UnreadableExample(name, "holds values too large to resample")
    return np.pad(resampled, (0, length - len(resampled)))


class _Content(io.BytesIO):
    """Bytes in which an impossible seek does nothing: libsndfile can only print an error that its callback raises."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


def _check_rate(sample_rate: int | None) -> None:
    if sample_rate is not None and sample_rate < 1:
        raise ValueError(f"sample_rate={sample_rate}: must be 1 Hz or more, or None for the file's own rate.")


def _open(file: Path | BinaryIO) -> soundfile.SoundFile:
    """Returns the content of a file, read at once, so that every later failure is about the content."""
    try:
        if isinstance(file, Path):
            with file.open("rb") as stream:
                check_bytes(stream, MAX_BYTES)
                content = stream.read()
        else:
            content = file.read()
    except OSError as error:
        error.filename = error.filename or name_of(file)
        raise
    if not content:
        raise UnreadableExample(name_of(file), "an empty file")
    try:
        return soundfile.SoundFile(_Content(content))
    except soundfile.SoundFileError as error:
        reason = getattr(error, "error_string", str(error))
        raise UnreadableExample(name_of(file), f"not an audio file: {reason}") from None


def _promised(name: str, sound: soundfile.SoundFile, sample_rate: int | None) -> int:
    """Checks the header and returns the length after resampling, exact in integers."""
    if sound.frames < 1 or sound.samplerate < 1 or sound.channels < 1:
        raise UnreadableExample(name, "holds no samples")
    length = -(-sound.frames * (sample_rate or sound.samplerate) // sound.samplerate)
    if max(length, sound.frames * sound.channels) > MAX_SAMPLES:
        raise UnreadableExample(
            name,
            f"its header claims {sound.frames} samples in {sound.channels} channels at {sound.samplerate} Hz, "
            f"{length} after resampling; at most {MAX_SAMPLES} are allowed",
        )
    return length
