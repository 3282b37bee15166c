"""Lengths that a header lacks are counted, and those that it claims must be there: nothing is read short in silence."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from files_of_all_kinds import audio_file, recordings_of_all_formats, with_data_size, without_length

from fcnjax.data import FolderSource, UnreadableExample, decode_audio, read_length
from fcnjax.data.decoding.audio_files import MAX_SAMPLES, read_rate

RNG = np.random.default_rng(0)
SOUND = RNG.uniform(-0.5, 0.5, 16001)  # not a multiple of a block
STEREO = RNG.uniform(-0.5, 0.5, (3000, 2))
ID3 = b"ID3\4\0\0\0\0\0\x0a" + bytes(10)


def both(content: bytes, folder: Path, rate: int | None = None) -> int:
    """Returns the length of a recording, which a file and a stream, and its header and its samples, must agree on."""
    file = folder / "sound.bin"
    file.write_bytes(content)
    lengths = {read_length(file, rate), read_length(io.BytesIO(content), rate)}
    lengths |= {len(decode_audio(file, rate)), len(decode_audio(io.BytesIO(content), rate))}
    (length,) = lengths
    return length


def test_samples_behind_a_header_without_a_length_are_counted(tmp_path, capfd):
    wav, flac = audio_file(SOUND), audio_file(SOUND, file_format="FLAC")
    piped = [with_data_size(wav, size) for size in (0, 2**32 - 1, 0x7FFFF000)] + [without_length(flac)]
    for content in piped:
        assert both(content, tmp_path) == 16001
        assert both(content, tmp_path, 4000) == 8001
        np.testing.assert_allclose(decode_audio(io.BytesIO(content))[:, 0], SOUND, atol=1e-4)
    assert both(without_length(audio_file(STEREO, file_format="FLAC")), tmp_path) == 3000
    assert read_rate(io.BytesIO(piped[-1])) == 8000
    assert capfd.readouterr().err == ""


def test_an_empty_recording_stays_empty(tmp_path):
    empty = audio_file(np.zeros(0))
    for content in (empty, empty + b"LIST\4\0\0\0INFO"):
        with pytest.raises(UnreadableExample, match="holds no samples"):
            both(content, tmp_path)


@pytest.mark.parametrize("file_format", ["WAV", "WAVEX", "RF64", "AIFF", "FLAC", "MP3", "OGG"])
def test_a_recording_that_was_cut_is_damaged(file_format, tmp_path, capfd):
    content = audio_file(SOUND, 16000, file_format)
    assert both(content, tmp_path) == 16001
    kind = {"WAVEX": "WAV", "RF64": "WAV"}.get(file_format, file_format)
    with pytest.raises(UnreadableExample, match=f"damaged {kind}: (ends before the length|its samples cannot)"):
        both(content[: len(content) * 2 // 3], tmp_path)
    assert capfd.readouterr().err == ""


def test_recordings_end_to_end_are_refused_and_tags_are_none(tmp_path, capfd):
    mp3, ogg, wav, flac, aiff = (audio_file(SOUND, 16000, name) for name in ("MP3", "OGG", "WAV", "FLAC", "AIFF"))
    twice = [2 * content for content in (mp3, ogg, wav, flac, aiff, without_length(flac), with_data_size(wav, 0))]
    more = [mp3 + ID3 + mp3, ID3 + flac + flac, wav + b"LIST\4\0\0\0INFO" + wav]
    for content in [*twice, *more]:
        (tmp_path / "sound.bin").write_bytes(content)
        for read in (read_length, decode_audio):
            for file in (tmp_path / "sound.bin", io.BytesIO(content)):
                with pytest.raises(UnreadableExample, match="not supported: several recordings end to end"):
                    read(file)
    for tagged in (ID3 + mp3, ID3 + flac, ID3[:9] + b"\x7f" + bytes(127) + wav, ID3 + ogg):
        assert both(tagged, tmp_path) == 16001
    assert both(mp3 + b"TAG" + bytes(125), tmp_path) == 16001
    assert capfd.readouterr().err == ""


def test_an_ogg_of_one_page_that_was_cut_is_damaged_not_empty(tmp_path):
    ogg = audio_file(SOUND[:900], 16000, "OGG")
    with pytest.raises(UnreadableExample, match="damaged OGG: ends before"):
        both(ogg[:-50], tmp_path)


@pytest.mark.parametrize(
    ("file_format", "subtype"), [("WAV", "GSM610"), ("WAV", "NMS_ADPCM_32"), ("AU", "G721_32"), ("W64", "GSM610")]
)
def test_compressed_speech_is_read_as_counted(file_format, subtype, tmp_path):
    length, sine = 8000, 0.3 * np.sin(np.arange(8000) / 9)
    content = audio_file(sine, 8000, file_format, subtype)
    assert length <= both(content, tmp_path) < length + 400  # whole blocks
    error = decode_audio(io.BytesIO(content))[2000:length, 0] - sine[2000:]
    assert np.abs(error).max() < 0.1


def test_samples_that_the_library_cannot_count_are_not_supported(tmp_path):
    (tmp_path / "sound.bin").write_bytes(audio_file(SOUND, 8000, "AIFF", "DWVW_16"))
    for read in (read_length, decode_audio):
        with pytest.raises(UnreadableExample, match="not supported: samples compressed as DWVW; convert it"):
            read(tmp_path / "sound.bin")


def test_an_mp3_without_a_length_is_read_as_far_as_it_goes(tmp_path):
    mp3 = audio_file(SOUND, 16000, "MP3")
    start = mp3.index(mp3[:2], 100)  # the second frame: the first holds only the length
    assert both(mp3[start:], tmp_path) > 8000
    assert both(2 * mp3[start:], tmp_path) == 2 * both(mp3[start:], tmp_path)


@pytest.mark.parametrize(
    ("file_format", "subtype", "tolerance"),
    [
        ("WAV", "PCM_24", 1e-6),
        ("WAV", "PCM_32", 1e-7),
        ("WAV", "ULAW", 0.05),
        ("WAV", "FLOAT", 0),
        ("FLAC", "PCM_24", 1e-6),
    ],
)
def test_samples_of_every_kind_keep_their_scale(file_format, subtype, tolerance, tmp_path):
    content = audio_file(SOUND.astype(np.float32), 96000, file_format, subtype)
    np.testing.assert_allclose(decode_audio(io.BytesIO(content))[:, 0], SOUND.astype(np.float32), atol=tolerance)
    assert both(content, tmp_path, 16000) == 2667


def test_floats_beyond_one_are_kept():
    assert decode_audio(io.BytesIO(audio_file(np.array([3.5, -7.0]), subtype="FLOAT")))[:, 0].tolist() == [3.5, -7.0]


def test_channels_are_mixed_or_kept_apart():
    file = audio_file(STEREO, subtype="FLOAT")
    exact = STEREO.astype(np.float32)
    np.testing.assert_array_equal(decode_audio(io.BytesIO(file), channels=2), exact)
    for channels in (None, 1):
        np.testing.assert_allclose(
            decode_audio(io.BytesIO(file), channels=channels)[:, 0], exact.mean(axis=1), atol=1e-7
        )
    apart = decode_audio(io.BytesIO(file), 4000, 2)
    assert apart.shape == (1500, 2)
    for channel in range(2):
        alone = decode_audio(io.BytesIO(audio_file(STEREO[:, channel], subtype="FLOAT")), 4000)
        np.testing.assert_allclose(apart[:, channel], alone[:, 0], atol=1e-6)
    for read in (read_length, decode_audio):
        with pytest.raises(UnreadableExample, match="has 2 channels, not 3 as asked; .*channels=2"):
            read(io.BytesIO(file), None, 3)
        with pytest.raises(ValueError, match="channels=0: must be"):
            read(io.BytesIO(file), None, 0)


def test_channels_that_cancel_each_other_are_named_and_silence_is_not(tmp_path):
    opposite = np.stack([STEREO[:, 0], -STEREO[:, 0]], axis=1)
    for label, values in (("a", opposite), ("b", STEREO)):
        (tmp_path / label).mkdir()
        soundfile.write(tmp_path / label / "1.wav", values, 8000)  # int16: the channels do not cancel to the last bit
    says = "its 2 channels cancel each other, so their mean is silence; set channels=2"
    with pytest.raises(ValueError, match=says):
        FolderSource.audio(tmp_path, "all")
    source = FolderSource.audio(tmp_path, "all", on_error="mask")
    with pytest.raises(UnreadableExample, match=says):
        source[0]
    source = FolderSource.audio(tmp_path, "all", channels=2)
    assert (source.channels, source[0].values.shape) == (2, (3000, 2))
    assert not decode_audio(io.BytesIO(audio_file(np.zeros((50, 2))))).any()


def test_every_format_is_counted_as_decoded(tmp_path):
    for content in recordings_of_all_formats(RNG).values():
        both(content, tmp_path, 11025)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (b"\0\0\0\x20ftypM4A ", "not supported: M4A or AAC; convert it to FLAC"),
        (b"\xff\xf1\x50\x80", "not supported: M4A or AAC"),
        (b"\x30\x26\xb2\x75\x8e\x66", "not supported: WMA"),
        (b"\x89PNG\r\n\x1a\n", "not supported: an image"),
        (b"fLaC and nothing else", "damaged FLAC: its header cannot be read"),
        (b"no audio at all", "not an audio file"),
    ],
)
def test_what_is_known_and_what_is_damaged_are_told_apart(start, says):
    for read in (read_length, decode_audio):
        with pytest.raises(UnreadableExample, match=says):
            read(io.BytesIO(start))


def test_an_endless_flac_that_holds_too_much_is_refused(monkeypatch):
    monkeypatch.setattr("fcnjax.data.decoding.audio_files.MAX_SAMPLES", 10_000)
    with pytest.raises(UnreadableExample, match="too many samples"):
        decode_audio(io.BytesIO(without_length(audio_file(np.zeros(200_000), file_format="FLAC"))))
    assert MAX_SAMPLES > 10_000
