"""Damaged files of every format: each gives values or one sentence, memory stays bounded, and nothing is printed."""

import io
import resource
import sys
import warnings
from functools import partial

import numpy as np
import pytest
from files_of_all_kinds import check_reason, images_of_all_formats, mutated, recordings_of_all_formats, values_or_reason
from PIL import Image

from fcnjax.data import FolderSource, UnreadableExample, as_source, decode_audio, decode_image, read_length
from fcnjax.data.decoding.image_files import read_header

MEMORY = 3 << 29  # bytes that the process may grow by: a header may claim up to 2^27 pixels, of 4 bytes
COUNTS = (24, pytest.param(500, marks=pytest.mark.long))


def peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def check_silence(capfd) -> None:
    """Asserts that nothing was printed, but by libtiff and libmpg123: of damaged samples they tell nobody else."""
    known = ("TIFF", "_TIFF", "MissingRequired", "[src/libmpg123/", "Note: ")
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if not line.startswith(known)] == []


@pytest.mark.parametrize("count", COUNTS)
def test_damaged_images_give_values_or_a_sentence(count, capfd):
    draw, before, verdicts = np.random.default_rng(20), peak_bytes(), set()
    for _ in range(count // 12):
        for content in images_of_all_formats(draw).values():
            damaged = mutated(draw, content)
            asked = (None, 1, 3, 4)[draw.integers(4)]
            found = []
            for read in (
                lambda damaged=damaged, asked=asked: decode_image(io.BytesIO(damaged), asked),
                lambda damaged=damaged, asked=asked: as_source([({"bytes": damaged}, 0)], channels=asked)[0].values,
            ):
                try:
                    found.append(read())
                except UnreadableExample as error:
                    check_reason(error)
                    found.append(error.reason)
            if isinstance(found[0], str):
                assert found[0] == found[1]
            else:
                np.testing.assert_array_equal(*found)
            verdicts.add(isinstance(found[0], str))
            try:
                header = read_header(io.BytesIO(damaged), asked)
            except UnreadableExample as error:
                check_reason(error)
                assert isinstance(found[0], str)
                continue
            assert asked in (None, header.channels)
    assert verdicts == {True, False}
    assert peak_bytes() - before < MEMORY
    check_silence(capfd)


@pytest.mark.parametrize("count", COUNTS)
def test_damaged_images_that_pillow_holds_give_values_or_a_sentence(count, capfd):
    draw = np.random.default_rng(21)
    for _ in range(count // 12):
        for content in images_of_all_formats(draw).values():
            damaged = mutated(draw, content)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    image = Image.open(io.BytesIO(damaged))
            except Exception:
                continue
            if image.width * image.height < 2**22:
                try:
                    assert as_source([(image, 0)])[0].values.ndim == 3
                except UnreadableExample as error:
                    check_reason(error)
    check_silence(capfd)


@pytest.mark.parametrize("count", COUNTS)
def test_damaged_recordings_give_samples_or_a_sentence(count, tmp_path, capfd):
    draw, before, verdicts, file = np.random.default_rng(22), peak_bytes(), set(), tmp_path / "sound.bin"
    for _ in range(count // 8):
        for content in recordings_of_all_formats(draw).values():
            damaged = mutated(draw, content)
            file.write_bytes(damaged)
            asked, rate = (None, 2)[draw.integers(2)], (None, 8000)[draw.integers(2)]
            try:
                values = decode_audio(file, rate, asked)
            except UnreadableExample as error:
                check_reason(error)
                values = None
            verdicts.add(values is None)
            try:
                length = read_length(file, rate, asked)
            except UnreadableExample as error:
                check_reason(error)
                assert values is None
                continue
            assert values is None or values.shape == (length, asked or 1)
    assert verdicts == {True, False}
    assert peak_bytes() - before < MEMORY
    check_silence(capfd)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", ["images", "audio"])
def test_a_folder_of_damaged_files_reads_each_or_lists_it_as_the_decoder_does(count, kind, tmp_path, capfd):
    draw, root, expected = np.random.default_rng(23), tmp_path / "data", {}
    whole = images_of_all_formats if kind == "images" else recordings_of_all_formats
    decode = (lambda file: decode_image(file, 3)) if kind == "images" else decode_audio
    for label in "ab":
        (root / label).mkdir(parents=True)
    for number in range(count // 12):
        for index, content in enumerate(whole(draw).values()):
            name = f"{'ab'[index % 2]}/{number:03}_{index}.bin"
            (root / name).write_bytes(mutated(draw, content))
            expected[name] = values_or_reason(partial(decode, root / name))
    reasons = {name: found for name, found in expected.items() if isinstance(found, str)}
    channels = 3 if kind == "images" else None
    make = partial(getattr(FolderSource, kind), root, "all", channels=channels, on_error="mask", cache_dir=tmp_path)
    verified, trusted = make(verify=True), make(verify=False)
    assert 0 < len(reasons) < len(expected)
    assert verified.unreadable == reasons
    assert trusted.unreadable.items() <= reasons.items()
    for source in (verified, trusted):
        for index, name in enumerate(source.names):
            found = values_or_reason(lambda source=source, index=index: source[index].values)
            np.testing.assert_array_equal(found, expected[name], err_msg=name)
    check_silence(capfd)
