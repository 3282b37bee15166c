"""Every format is recognized by its content, what is known and not read is named, and random bytes are no image."""

import io

import numpy as np
import pytest
from files_of_all_kinds import images_of_all_formats, pillow_file, writes_avif
from PIL import Image

from fcnjax.data import UnreadableExample, decode_image
from fcnjax.data.decoding.image_files import read_header
from fcnjax.data.decoding.image_formats import FORMATS, format_of
from fcnjax.data.decoding.unreadable import Refusal

RGB = np.random.default_rng(1).integers(0, 256, (21, 34, 3), np.uint8)


def test_every_format_is_recognized_by_its_content():
    files = images_of_all_formats(np.random.default_rng(0))
    assert {name.split()[0] for name in files} >= set(FORMATS) - {"AVIF"}
    for name, content in files.items():
        assert format_of(content[:1024]) == name.split()[0]
        assert decode_image(io.BytesIO(content), None).shape[:2] == read_header(io.BytesIO(content)).size


@pytest.mark.parametrize("file_format", ["PPM", "TGA", "PCX", "SGI", "JPEG2000"])
def test_lossless_formats_come_back_exactly(file_format):
    options = {"irreversible": False} if file_format == "JPEG2000" else {}
    for values in (RGB, RGB[..., 0]):
        content = pillow_file(values, file_format, **options)
        np.testing.assert_array_equal(decode_image(io.BytesIO(content), None), values.reshape(21, 34, -1))


def test_targa_needs_neither_footer_nor_suffix():
    for image, options in ((RGB, {}), (RGB, {"compression": "tga_rle"}), (Image.fromarray(RGB).convert("P"), {})):
        content = pillow_file(image, "TGA", **options)
        assert content.endswith(b"TRUEVISION-XFILE.\0")
        without = content[:-26]
        expected = decode_image(io.BytesIO(content), 3)
        np.testing.assert_array_equal(decode_image(io.BytesIO(without), 3), expected)


def test_targa_of_1_bit_and_gray_pfm_come_back_exactly():
    bits = RGB[..., 0] > 127
    found = decode_image(io.BytesIO(pillow_file(bits, "TGA")), None)
    np.testing.assert_array_equal(found[..., 0], 255 * bits)
    with pytest.raises(UnreadableExample, match="not supported: TGA of 1 bit with run lengths; convert it"):
        decode_image(io.BytesIO(pillow_file(bits, "TGA", compression="tga_rle")), None)
    floats = 3 * RGB[..., 0].astype(np.float32) - 7
    np.testing.assert_array_equal(decode_image(io.BytesIO(pillow_file(floats, "PPM")), None)[..., 0], floats)


def test_gray_of_16_bits_keeps_its_precision_in_every_format():
    wide = RGB[..., 0].astype(np.uint16) * 257 + 3
    for file_format in ("PPM", "JPEG2000", "PNG"):
        content = pillow_file(wide, file_format, **({"irreversible": False} if file_format == "JPEG2000" else {}))
        values = decode_image(io.BytesIO(content), 1)[..., 0]
        np.testing.assert_allclose(values, wide / 65535, rtol=1e-6, err_msg=file_format)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF", "SGI"])
def test_four_channels_keep_alpha(file_format):
    rgba = np.dstack([RGB, RGB[..., 1]])
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    content = pillow_file(rgba, file_format, **options)
    np.testing.assert_array_equal(decode_image(io.BytesIO(content), 4), rgba)


def test_two_channels_are_gray_and_alpha_and_palettes_have_four_with_transparency():
    gray = Image.merge("LA", [Image.fromarray(RGB[..., 0]), Image.fromarray(RGB[..., 1])])
    np.testing.assert_array_equal(decode_image(io.BytesIO(pillow_file(gray, "PNG")), 2), RGB[..., :2])
    palette = Image.fromarray(RGB).convert("P")
    clear = decode_image(io.BytesIO(pillow_file(palette, "PNG", transparency=int(np.asarray(palette)[0, 0]))), 4)
    assert clear[0, 0, 3] == 0
    with pytest.raises(UnreadableExample, match="has 3 bands, not 4"):
        decode_image(io.BytesIO(pillow_file(palette, "PNG")), 4)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (b"\0\0\0\x18ftypheic", "not supported: HEIC; convert it"),
        (b"\0\0\0\x18ftypisom", "not supported: a video; extract"),
        (b'<?xml version="1.0"?>\n<svg>', "not supported: SVG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "not supported: a document"),
        (b"PK\3\4", "not supported: an archive"),
        (b"RIFF\0\0\0\0WAVEfmt ", "not supported: a recording"),
        (b"II*\0\x10\0\0\0CR\2\0", "not supported: raw data of a camera"),
        (b"\0" * 128 + b"DICM", "not supported: DICOM"),
        (b"PF\n3 3\n1.0\n", "not supported: PAM, or PFM in color"),
        (b"P1 is what they said", "not an image"),
        (b"\x89PNG\r\n\x1a\nno more", "damaged PNG: its header cannot be read"),
    ],
)
def test_what_is_known_and_what_is_damaged_are_told_apart(start, says):
    with pytest.raises(UnreadableExample, match=says):
        read_header(io.BytesIO(start))


def test_avif_is_read_or_named_with_the_version_that_reads_it():
    if writes_avif():
        assert decode_image(io.BytesIO(pillow_file(RGB, "AVIF", quality=100)), None).shape == RGB.shape
    else:
        with pytest.raises(UnreadableExample, match="not supported: AVIF, .*install Pillow 11.3"):
            read_header(io.BytesIO(b"\0\0\0\x18ftypavif"))


def test_reasons_of_one_cause_are_equal():
    draw = np.random.default_rng(2)
    contents = [pillow_file(draw.integers(0, 256, (20 + side, 30, 3), np.uint8), "PNG") for side in range(9)]
    reasons = set()
    for content in contents:
        with pytest.raises(UnreadableExample) as caught:
            decode_image(io.BytesIO(content[: len(content) // 2]), 3)
        reasons.add(caught.value.reason)
    assert reasons == {"damaged PNG: image file is truncated"}


def test_random_bytes_are_no_image():
    draw = np.random.default_rng(3)
    for _ in range(3000):
        content = draw.bytes(64) if draw.integers(2) else b"\0" + draw.bytes(63)
        try:
            format_of(content)
        except Refusal:
            continue
        assert content.startswith(b"BM")  # two letters are too few to tell; the rest of the header tells
        with pytest.raises(UnreadableExample, match="damaged BMP"):
            read_header(io.BytesIO(content))
