"""Lengths against integer arithmetic, samples against what was written, pitch against a sine."""

import errno
import io
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from fcnjax.data import UnreadableExample, decode_audio, read_length

RNG = np.random.default_rng(0)


def encoded(values: np.ndarray, rate: int = 8000, file_format: str = "WAV", subtype: str | None = None) -> io.BytesIO:
    stream = io.BytesIO()
    soundfile.write(stream, values, rate, format=file_format, subtype=subtype)
    return io.BytesIO(stream.getvalue())


def sine(frequency: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize(("file_format", "subtype"), [("WAV", "FLOAT"), ("WAV", "PCM_16"), ("FLAC", "PCM_16")])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_samples_come_back_as_the_mean_of_the_channels(file_format, subtype, channels):
    values = RNG.uniform(-1, 1, (50, channels)).astype(np.float32)
    file = encoded(values, 8000, file_format, subtype)
    assert read_length(file) == 50
    file.seek(0)
    decoded = decode_audio(file)
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded, values.mean(axis=1, keepdims=True), atol=1e-7 if subtype == "FLOAT" else 1e-4)


@settings(max_examples=150)
@given(
    length=st.integers(1, 3000),
    native=st.sampled_from([1, 7, 8000, 11025, 16000, 22050, 44100, 48000]) | st.integers(1000, 50000),
    rate=st.none() | st.sampled_from([8000, 16000, 44100]) | st.integers(1000, 50000),
    channels=st.integers(1, 2),
)
def test_the_length_is_as_promised(length, native, rate, channels):
    file = encoded(np.zeros((length, channels)), native)
    promised = read_length(file, rate)
    assert promised == (length if rate is None else ceil(Fraction(length * rate, native)))
    file.seek(0)
    assert decode_audio(file, rate).shape == (promised, 1)


@pytest.mark.parametrize("file_format", ["WAV", "FLAC", "OGG", "MP3"])
def test_every_format_keeps_its_promise(file_format, tmp_path):
    file = tmp_path / "sound.bin"  # the content counts, not the name
    file.write_bytes(encoded(sine(440, 16000), 16000, file_format).getvalue())
    for rate in (None, 16000, 8000, 11025):
        assert decode_audio(file, rate).shape == (read_length(file, rate), 1)


@pytest.mark.parametrize(("native", "rate"), [(8000, 16000), (16000, 8000), (44100, 16000)])
def test_resampling_keeps_the_sine(native, rate):
    resampled = decode_audio(encoded(sine(440, native), native, subtype="FLOAT"), rate)[:, 0]
    inner = slice(rate // 10, -rate // 10)  # the filter rings at both ends
    np.testing.assert_allclose(resampled[inner], sine(440, rate)[inner], atol=2e-3)


def test_resampling_down_removes_what_would_alias():
    resampled = decode_audio(encoded(sine(6000, 16000), 16000, subtype="FLOAT"), 8000)[:, 0]
    assert np.abs(resampled[800:-800]).max() < 1e-3


def test_the_same_file_gives_the_same_bits():
    file = encoded(RNG.uniform(-1, 1, 5000), 44100)
    first = decode_audio(file, 16000)
    file.seek(0)
    assert decode_audio(file, 16000).tobytes() == first.tobytes()


def flac_that_claims(samples: int) -> bytes:
    content = bytearray(encoded(np.zeros(5000), file_format="FLAC").getvalue())
    content[21] = (content[21] & 0xF0) | (samples >> 32)  # STREAMINFO: 36 bits of total samples
    content[22:26] = (samples & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"no audio at all", "not an audio file"),
        (encoded(np.zeros(0)).getvalue(), "holds no samples"),
        (encoded(np.array([0.0, np.nan, 0.0]), subtype="FLOAT").getvalue(), "not finite"),
        (encoded(np.array([0.0, np.inf, 0.0]), subtype="DOUBLE").getvalue(), "not finite"),
        (encoded(np.full((9, 4), 3e38), subtype="FLOAT").getvalue(), "too large to resample"),
        (flac_that_claims(2**35), "claims too many samples"),
        (flac_that_claims(9000), "damaged FLAC: (ends before|its samples cannot)"),
        (
            encoded(RNG.uniform(-1, 1, 5000), file_format="FLAC").getvalue()[:6000],
            "damaged FLAC: (ends before|its samples cannot)",
        ),
    ],
    ids=["nothing", "text", "no samples", "NaN", "infinite", "large", "claims too much", "claims more", "cut"],
)  # explicit names: the files hold the time of day, but all processes must give a test the same name
def test_content_that_is_not_audio_is_named_with_the_reason(content, says, tmp_path):
    file = tmp_path / "some.wav"
    file.write_bytes(content)
    with pytest.raises(UnreadableExample, match=says) as caught:
        decode_audio(file, 11025)
    assert caught.value.name == str(file)


def test_damage_is_raised_and_nothing_is_printed(capfd):
    whole = encoded(RNG.uniform(-1, 1, 4000), file_format="AIFF").getvalue()
    other = encoded(RNG.uniform(-1, 1, 4000), file_format="FLAC").getvalue()
    draw, unreadable = np.random.default_rng(0), 0
    for index in range(400):
        content = bytearray((whole, other)[index % 2])
        for _ in range(4):
            content[draw.integers(120)] ^= 1 << int(draw.integers(8))
        try:
            decode_audio(io.BytesIO(content))
        except UnreadableExample:
            unreadable += 1
    assert 0 < unreadable < 400
    assert capfd.readouterr().err == ""


class FailingDisk(io.BytesIO):
    def read(self, *arguments):
        raise OSError(errno.EIO, "Input/output error")


def test_a_failing_disk_is_not_unreadable_audio(tmp_path):
    disk = FailingDisk()
    disk.name = "on_a_failing_disk.wav"
    for read in (read_length, decode_audio):
        with pytest.raises(OSError, match="on_a_failing_disk") as caught:
            read(disk)
        assert caught.value.errno == errno.EIO
        with pytest.raises(FileNotFoundError, match="absent"):
            read(tmp_path / "absent.wav")


@pytest.mark.parametrize("read", [read_length, decode_audio])
def test_a_rate_out_of_range_is_named(read):
    with pytest.raises(ValueError, match="sample_rate=0: must be"):
        read(encoded(np.zeros(5)), 0)


def test_published_recordings_have_their_published_lengths(shared_data: Path):
    folder, table = shared_data / "free_spoken_digit" / "recordings", shared_data / "sizes" / "fsdd_lengths.csv"
    if not folder.is_dir() or not table.exists():
        pytest.skip(f"no {folder} or no {table}; FCNJAX_SHARED_DATA names the folder that holds them")
    published = np.loadtxt(table, delimiter=",", skiprows=1, dtype=np.int64, ndmin=1)
    lengths = [read_length(file) for file in folder.glob("*.wav")]
    assert sorted(lengths) == sorted(published.tolist())
