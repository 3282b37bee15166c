"""Every format and mode that Pillow writes, against arithmetic on the pixels that went in."""

import errno
import io
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from fcnjax.data import UnreadableExample, decode_image, read_size
from fcnjax.data.decoding.image_files import HEADER_BYTES, MAX_PIXELS, read_header

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (13, 17), np.uint8)
RGB = RNG.integers(0, 256, (13, 17, 3), np.uint8)
ALPHA = RNG.integers(0, 256, (13, 17), np.uint8)
WIDE = RNG.integers(0, 65536, (13, 17), np.uint16)
SMOOTH = np.broadcast_to(np.linspace(0, 255, 160)[:, None, None], (160, 240, 3)).astype(np.uint8)


def encoded(image: Image.Image | np.ndarray, file_format: str, **options) -> io.BytesIO:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, file_format, **options)
    return io.BytesIO(stream.getvalue())


def on_white(values: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return values * share + 255 * (1 - share)


def luma(rgb: np.ndarray) -> np.ndarray:
    return (rgb @ np.array([0.299, 0.587, 0.114]))[..., None]


LOSSLESS = {
    "PNG": ("PNG", {}),
    "TIFF": ("TIFF", {}),
    "TIFF-lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "WebP": ("WEBP", {"lossless": True, "exact": True}),
    "BMP": ("BMP", {}),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_color_comes_back_exactly(name):
    file_format, options = LOSSLESS[name]
    file = encoded(RGB, file_format, **options)
    assert read_header(file)[:2] == ((13, 17), 3)
    file.seek(0)
    np.testing.assert_array_equal(decode_image(file, 3), RGB)
    file.seek(0)
    np.testing.assert_allclose(decode_image(file, 1), luma(RGB), atol=1)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "GIF", "BMP"])
def test_lossless_gray_comes_back_exactly_and_is_known_as_gray(file_format):
    file = encoded(GRAY, file_format)
    assert read_header(file)[:2] == ((13, 17), 1)
    for channels in (1, 3):
        file.seek(0)
        np.testing.assert_array_equal(decode_image(file, channels), np.repeat(GRAY[..., None], channels, -1))


@pytest.mark.parametrize("values", [GRAY, RGB, SMOOTH])
def test_jpeg_is_what_pillow_decodes(values):
    file = encoded(values, "JPEG", quality=95)
    channels = 1 if values.ndim == 2 else 3
    assert read_header(file)[:2] == (values.shape[:2], channels)
    file.seek(0)
    with Image.open(file) as image:
        expected = np.asarray(image).reshape(*values.shape[:2], channels)
    file.seek(0)
    np.testing.assert_array_equal(decode_image(file, channels), expected)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
def test_transparent_color_is_shown_on_white(file_format):
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    file = encoded(Image.fromarray(np.dstack([RGB, ALPHA])), file_format, **options)
    assert read_header(file).channels == 3
    file.seek(0)
    np.testing.assert_allclose(decode_image(file, 3), on_white(RGB, ALPHA), atol=1)


def test_transparent_gray_is_shown_on_white_and_stays_gray():
    file = encoded(Image.merge("LA", [Image.fromarray(GRAY), Image.fromarray(ALPHA)]), "PNG")
    assert read_header(file).channels == 1
    file.seek(0)
    np.testing.assert_allclose(decode_image(file, 1), on_white(GRAY[..., None], ALPHA), atol=1)


@pytest.mark.parametrize("file_format", ["PNG", "GIF"])
def test_palettes_are_looked_up_and_their_transparent_color_is_white(file_format):
    palette = RNG.integers(0, 256, (256, 3), np.uint8)
    indices = RNG.integers(0, 256, (13, 17), np.uint8)
    image = Image.frombytes("P", (17, 13), indices.tobytes())
    image.putpalette(palette.ravel().tolist())
    transparent = int(indices[0, 0])
    expected = palette[indices]
    expected[indices == transparent] = 255
    file = encoded(image, file_format, transparency=transparent)
    assert read_header(file).channels == 3
    file.seek(0)
    np.testing.assert_array_equal(decode_image(file, 3), expected)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bits_of_gray_are_kept(file_format):
    file = encoded(WIDE, file_format)
    assert read_header(file)[:2] == ((13, 17), 1)
    for channels in (1, 3):
        file.seek(0)
        values = decode_image(file, channels)
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, np.repeat(WIDE[..., None] / 65535, channels, -1), rtol=1e-6)


@pytest.mark.parametrize("file_format", ["PNG", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("gray", [True, False])
def test_a_palette_of_grays_is_gray(file_format, gray):
    palette = np.repeat(RNG.permutation(256).astype(np.uint8)[:, None], 3, axis=1)
    if not gray:
        palette[200, 2] ^= 1
    indices = np.resize(np.arange(256, dtype=np.uint8), (16, 17))
    image = Image.frombytes("P", (17, 16), indices.tobytes())
    image.putpalette(palette.ravel().tolist())
    file = encoded(image, file_format)
    assert read_header(file).channels == (1 if gray else 3)
    file.seek(0)
    np.testing.assert_array_equal(decode_image(file, 3), palette[indices])


def test_1_bit_is_black_and_white():
    file = encoded(Image.fromarray(GRAY > 127), "PNG")
    assert read_header(file).channels == 1
    file.seek(0)
    np.testing.assert_array_equal(decode_image(file, 1)[..., 0], np.where(GRAY > 127, 255, 0))


def test_cmyk_is_the_complement_without_black():
    inks = np.dstack([RGB, np.zeros_like(GRAY)])
    file = encoded(Image.frombytes("CMYK", (17, 13), inks.tobytes()), "TIFF")
    np.testing.assert_array_equal(decode_image(file, 3), 255 - RGB)


def test_an_animation_gives_its_first_frame():
    frames = [Image.fromarray(np.full((13, 17), value, np.uint8)) for value in (10, 200)]
    file = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decode_image(file, 1) == 10).all()


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_size_and_pixels(file_format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if file_format == "WEBP" else {}
    file = encoded(RGB, file_format, exif=exif, **options)
    with Image.open(io.BytesIO(file.getvalue())) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert read_size(file) == expected.shape[:2]
    assert (expected.shape[:2] == (17, 13)) == (orientation >= 5)
    file.seek(0)
    np.testing.assert_array_equal(decode_image(file, 3), expected)


@given(wanted=st.tuples(st.integers(1, 300), st.integers(1, 300)), orientation=st.sampled_from([1, 6]))
def test_a_jpeg_for_a_smaller_size_is_at_least_that_large_and_looks_the_same(wanted, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded(SMOOTH, "JPEG", exif=exif, quality=95)
    native = decode_image(file, 3)
    file.seek(0)
    small = decode_image(file, 3, at_least=wanted)
    height, width = small.shape[:2]
    assert height >= min(wanted[0], native.shape[0])
    assert width >= min(wanted[1], native.shape[1])
    scale = min(native.shape[0] // wanted[0], native.shape[1] // wanted[1])
    factor = next((factor for factor in (8, 4, 2) if scale >= factor), 1)
    assert small.shape[:2] == tuple(-(-extent // factor) for extent in native.shape[:2])
    expected = native[: height * factor, : width * factor].reshape(height, factor, width, factor, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(small, expected, atol=4)


def test_only_jpeg_comes_smaller():
    assert decode_image(encoded(SMOOTH, "PNG"), 3, at_least=(10, 10)).shape == SMOOTH.shape


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "BMP"])
def test_the_size_needs_the_header_only(file_format, tmp_path):
    noise = RNG.integers(0, 256, (300, 400), np.uint8)
    content = encoded(noise, file_format).getvalue()
    file = tmp_path / "cut"
    for length in (len(content) - len(content) // 3, 1100):
        file.write_bytes(content[:length])
        assert read_size(file) == (300, 400)
        with pytest.raises(UnreadableExample, match="cut"):
            decode_image(file, 1)


def test_a_header_behind_long_metadata_is_found(tmp_path):
    file = tmp_path / "profile.jpg"
    file.write_bytes(encoded(RGB, "JPEG", icc_profile=bytes(3 * HEADER_BYTES)).getvalue())
    assert read_size(file) == (13, 17)


def test_content_decides_not_the_name(tmp_path):
    file = tmp_path / "picture.png"
    file.write_bytes(encoded(RGB, "BMP").getvalue())
    np.testing.assert_array_equal(decode_image(file, 3), RGB)


def bmp_header(height: int, width: int) -> bytes:
    content = bytearray(encoded(RGB, "BMP").getvalue())
    content[18:26] = width.to_bytes(4, "little") + height.to_bytes(4, "little")
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"no image at all", "not an image.*JPEG"),
        (bmp_header(20_000, 20_000), "claims too many pixels"),
        (bmp_header(1, MAX_PIXELS + 1), "claims too many pixels"),
        (encoded(Image.fromarray(np.ones((3, 3), np.int32)), "TIFF").getvalue(), "not supported: TIFF of int32"),
    ],
)
def test_content_that_is_not_an_image_is_named_with_the_reason(content, says, tmp_path):
    file = tmp_path / "some.jpg"
    file.write_bytes(content)
    for read in (read_size, lambda file: decode_image(file, 3)):
        with pytest.raises(UnreadableExample, match=says) as caught:
            read(file)
        assert caught.value.name == str(file)


class FailingDisk(io.BytesIO):
    def read(self, *arguments):
        raise OSError(errno.EIO, "Input/output error")


def test_a_failing_disk_is_not_an_unreadable_image(tmp_path):
    disk = FailingDisk()
    disk.name = "on_a_failing_disk.jpg"
    for read in (read_size, lambda file: decode_image(file, 3)):
        with pytest.raises(OSError, match="on_a_failing_disk") as caught:
            read(disk)
        assert caught.value.errno == errno.EIO
        with pytest.raises(FileNotFoundError, match="absent"):
            read(tmp_path / "absent.jpg")


@pytest.mark.parametrize(
    ("arguments", "says"), [({"channels": 0}, "channels=0: must be"), ({"channels": 3, "at_least": (0, 5)}, "at_least")]
)
def test_arguments_out_of_range_are_named(arguments, says):
    with pytest.raises(ValueError, match=says):
        decode_image(encoded(RGB, "PNG"), **arguments)


def test_pillow_warns_nobody_in_any_thread_and_the_filters_are_left_as_they_were(tmp_path):
    content = encoded(RGB, "TIFF", exif=Image.Exif()).getvalue()
    offset = int.from_bytes(content[4:8], "little")
    damaged = bytearray(content)
    damaged[offset : offset + 2] = (200).to_bytes(2, "little")  # a directory that claims more entries than it has
    files = {"large.bmp": bmp_header(10_000, 10_000), "tags.tif": bytes(damaged), "fine.tif": content}
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for content in files.values():
            with Image.open(io.BytesIO(content)):
                pass
    assert heard  # otherwise this test proves nothing
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    before, failures = list(warnings.filters), []

    def read(file: Path):
        try:
            for _ in range(50):
                read_size(file)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read, args=(tmp_path / name,)) for name in files for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert warnings.filters == before
