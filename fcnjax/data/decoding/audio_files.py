"""Audio files: their length from the header alone, and their samples at one rate, mixed to one channel or kept apart.

Axes: L samples along time, C channels. The one idea: `read_length` promises a length and `decode_audio` keeps it to the
sample, however the resampler rounds. `audio_headers` says how a header is held against the bytes behind it.
"""

import io
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from fcnjax.data.decoding.audio_headers import (
    CUT,
    NO_AUDIO,
    check_length,
    check_whole,
    kind_of,
    tag_bytes,
    whole_frames,
)
from fcnjax.data.decoding.unreadable import Refusal, UnreadableExample, damaged, name_of, opened, unequal_channels

MAX_SAMPLES = 2**28  # 1 GiB as float32; 93 minutes at 48 kHz
MAX_BYTES = 8 * MAX_SAMPLES  # of a file: float64 samples
BLOCK = 2**16  # samples that are read at once where the length is unknown
CANCELED = 1e-3  # a mean is silence if its root mean square is below this part of that of the channels
AUDIBLE = 1e-3  # amplitude, of at most 1, below which there is little to hear: -60 dB
SILENT = 2**-15  # the smallest step of 16 bits: channels that are silent do not cancel each other
_SEEK_FAILED = 39  # libsndfile's code; soundfile seeks after reading, which a stream without a length does not allow
_START = 512
_READ_WHOLE = ("MP3", "OGG", "FLAC")  # where only all bytes tell whether they are one recording


def read_length(file: Path | BinaryIO, sample_rate: int | None = None, channels: int | None = None) -> int:
    """Returns L, the number of samples that `decode_audio` returns for the same arguments, from the header.

    A FLAC file whose header claims no length is decoded, to count its samples. Of FLAC, OGG and MP3 files all bytes are
    read, to find a second recording behind the first one.

    Args:
        file: A path, or a binary stream; a stream is read from its current position.
        sample_rate: samples per second after resampling, 1 or more; None keeps the file's own.
        channels: as for `decode_audio`.

    Returns:
        ceil(native length x sample_rate / native rate).

    Raises:
        UnreadableExample: if the content is not audio that libsndfile knows (WAV, FLAC, OGG, MP3, AIFF, ...), holds no
            samples, claims more than `MAX_SAMPLES`, is shorter than its header claims (in FLAC, only decoding shows
            it), is several recordings of WAV, AIFF, FLAC, OGG or MP3 end to end, or has another number of channels than
            asked for.
        OSError: if the file cannot be read.
        ValueError: if `sample_rate` or `channels` is below 1.
    """
    _check_arguments(sample_rate, channels)
    sound = _header(file)
    try:
        with sound:
            native = len(_samples(sound)) if _is_unknown(sound) else sound.frames
            _check_channels(sound, channels)
            return _promised(native, sound, sample_rate)
    except Refusal as error:
        raise UnreadableExample(name_of(file), str(error)) from None


def read_rate(file: Path | BinaryIO) -> int:
    """Returns the samples per second of an audio file, from its header.

    Raises:
        UnreadableExample: if the content is not audio.
        OSError: if the file cannot be read.
    """
    with _header(file) as sound:
        return sound.samplerate


def decode_audio(file: Path | BinaryIO, sample_rate: int | None = None, channels: int | None = None) -> np.ndarray:
    """Returns the samples of an audio file, resampled if `sample_rate` is given.

    The same file decodes to the same values in every thread and process.

    Args:
        file: A path, or a binary stream; a stream is read from its current position.
        sample_rate: samples per second of the result, 1 or more; None keeps the file's own.
        channels: C. None or 1: the mean of the file's channels; another number must be that of the file, whose channels
            are kept apart.

    Returns:
        float32 [L, C], -1 to 1 for integer formats; floats beyond 1 are kept. L is what `read_length` returns.

    Raises:
        UnreadableExample: as for `read_length`; or if a value is not finite, or the channels cancel each other, so that
            their mean is silence.
        OSError: if the file cannot be read.
        ValueError: if `sample_rate` or `channels` is below 1.

    Source: the SoX resampler library, quality "HQ".

    >>> file = io.BytesIO()
    >>> soundfile.write(file, np.zeros((1000, 2)), 44100, format="WAV")
    >>> _ = file.seek(0)
    >>> decode_audio(file, sample_rate=16000).shape
    (363, 1)
    """
    _check_arguments(sample_rate, channels)
    name = name_of(file)
    with opened(file, MAX_BYTES) as stream:
        content = stream.read()
    try:
        with _sound(content) as sound:
            _check_channels(sound, channels)
            if not _is_unknown(sound):
                _promised(sound.frames, sound, sample_rate)
            values, native_rate = _samples(sound), sound.samplerate
            _promised(len(values), sound, sample_rate)
        values = mixed(values, channels)
        if sample_rate not in (None, native_rate):
            values = resampled(values, native_rate, sample_rate)
        return values
    except Refusal as error:
        raise UnreadableExample(name, str(error)) from None


def mixed(values: np.ndarray, channels: int | None) -> np.ndarray:
    """Returns samples [L, native C] as float32 [L, C]: their mean if `channels` is None or 1, else as they are.

    Raises:
        Refusal: if values are not finite, there is another number of channels, or they cancel each other.
    """
    if not np.isfinite(values).all():
        raise Refusal("holds values that are not finite")
    if channels not in (None, 1):
        if values.shape[1] != channels:
            raise unequal_channels(values.shape[1], channels)
        return np.ascontiguousarray(values, np.float32)
    mono = values.mean(axis=1, dtype=np.float64)  # float64: a sum of float32 may overflow
    if values.shape[1] > 1:
        loudness = np.sqrt(np.square(values, dtype=np.float64).mean())
        if loudness > SILENT and np.sqrt(np.square(mono).mean()) < CANCELED * loudness:
            count = values.shape[1]
            raise Refusal(f"its {count} channels cancel each other, so their mean is silence; set channels={count}")
    return mono.astype(np.float32)[:, None]


def resampled(values: np.ndarray, native_rate: int, sample_rate: int) -> np.ndarray:
    """Returns samples [L, C] at another rate, float32 [ceil(L x sample_rate / native_rate), C].

    Raises:
        Refusal: if they are too large, or the rates too far apart.
    """
    length = -(-len(values) * sample_rate // native_rate)
    try:  # the resampler's own length may differ by a sample
        result = soxr.resample(values, native_rate, sample_rate, quality="HQ")[:length]
    except (RuntimeError, ValueError):
        raise Refusal(f"cannot be resampled from {native_rate} to {sample_rate} Hz") from None
    if not np.isfinite(result).all():
        raise Refusal("holds values too large to resample")
    return np.pad(result, ((0, length - len(result)), (0, 0)))


class _Content(io.BytesIO):
    """Bytes in which an impossible seek does nothing: libsndfile can only print an error that its callback raises."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


def _check_arguments(sample_rate: int | None, channels: int | None) -> None:
    if sample_rate is not None and sample_rate < 1:
        raise ValueError(f"sample_rate={sample_rate}: must be 1 Hz or more, or None for the file's own rate.")
    if channels is not None and channels < 1:
        raise ValueError(f"channels={channels}: must be 1 (the mean), the number of the file's channels, or None.")


def _header(file: Path | BinaryIO) -> soundfile.SoundFile:
    """Returns an open recording; of a file that needs no mending, only the header is read."""
    try:
        with opened(file, MAX_BYTES) as stream:
            if isinstance(file, Path):
                start = stream.read(_START)
                kind = kind_of(start)
                stream.seek(0)
                if not tag_bytes(start) and kind not in _READ_WHOLE and check_length(stream, kind) is None:
                    try:
                        # libsndfile reads a descriptor itself: through Python callbacks it would print an error and
                        # read on. It owns a copy, because `stream` is closed here.
                        copy = os.dup(stream.fileno())
                        os.lseek(copy, 0, os.SEEK_SET)
                        sound = soundfile.SoundFile(copy, closefd=True)
                        _check_subtype(sound)
                        if not _is_unknown(sound):
                            return sound
                        sound.close()
                    except soundfile.SoundFileError:
                        pass  # the content or the disk failed: the plain read below distinguishes the two
                    stream.seek(0)
            content = stream.read()
        return _sound(content)
    except Refusal as error:
        raise UnreadableExample(name_of(file), str(error)) from None


def _sound(content: bytes) -> soundfile.SoundFile:
    """Returns a recording in memory, without ID3 tags before it, after its length was checked.

    Raises:
        Refusal: if it is none, or damaged.
    """
    kind, content = kind_of(content), content[tag_bytes(content) :]
    check_whole(content, kind)
    if kind == "MP3":
        content = whole_frames(content)
    elif patch := check_length(io.BytesIO(content), kind):
        place, mended = patch
        content = content[:place] + mended + content[place + len(mended) :]
    try:
        sound = soundfile.SoundFile(_Content(content))
    except soundfile.SoundFileError:  # its words may be those of another thread's file: libsndfile keeps one error
        raise Refusal(NO_AUDIO if kind == "recording" else damaged(kind, "its header cannot be read")) from None
    _check_subtype(sound)
    return sound


def _check_subtype(sound: soundfile.SoundFile) -> None:
    """Raises Refusal for DWVW, of whose whole files libsndfile says that their samples cannot be read."""
    if sound.subtype.startswith("DWVW"):
        sound.close()
        raise Refusal("not supported: samples compressed as DWVW; convert it to FLAC or WAV")


def _is_unknown(sound: soundfile.SoundFile) -> bool:
    """Returns whether the header claims no length: libsndfile then says that it is endless."""
    return sound.frames == 2**63 - 1


def _samples(sound: soundfile.SoundFile) -> np.ndarray:
    """Returns float32 [L, C] of all samples.

    Raises:
        Refusal: if they are damaged, or end before the length of the header.
    """
    try:
        if _is_unknown(sound):
            return _endless(sound)
        # With the number of samples: in ADPCM and GSM 6.10 libsndfile cannot seek, and soundfile would ask for it.
        values = sound.read(sound.frames, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, ValueError):
        raise Refusal(damaged(sound.format, "its samples cannot be decoded to the end")) from None
    if len(values) != sound.frames:
        raise Refusal(damaged(sound.format, CUT))
    return values


def _endless(sound: soundfile.SoundFile) -> np.ndarray:
    blocks, count = [], 0
    while count * sound.channels <= MAX_SAMPLES:
        block = np.full((BLOCK, sound.channels), np.nan, np.float32)
        try:
            read = len(sound.read(out=block))
        except soundfile.LibsndfileError as error:
            if error.code != _SEEK_FAILED:
                raise
            read = int(np.isfinite(block[:, 0]).sum())  # the samples are there; only the position is unknown
        blocks.append(block[:read])
        count += read
        if read < BLOCK:
            break
    return np.concatenate(blocks)


def _check_channels(sound: soundfile.SoundFile, channels: int | None) -> None:
    if channels not in (None, 1, sound.channels):
        raise unequal_channels(sound.channels, channels)


def _promised(frames: int, sound: soundfile.SoundFile, sample_rate: int | None) -> int:
    """Checks the header and returns the length after resampling, exact in integers."""
    if frames < 1 or sound.samplerate < 1 or sound.channels < 1:
        raise Refusal("holds no samples")
    length = -(-frames * (sample_rate or sound.samplerate) // sound.samplerate)
    if max(length, frames * sound.channels) > MAX_SAMPLES:
        raise Refusal(f"its header claims too many samples; at most {MAX_SAMPLES:,} of all channels are allowed")
    return length
