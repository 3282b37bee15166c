"""TIFF files of tifffile's own making come back band by band; what has no range, or lies, is refused with a reason."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from files_of_all_kinds import CONTIGUOUS, pillow_file, tiff_file

from fcnjax.data import FolderSource, UnreadableExample, decode_image
from fcnjax.data.decoding.image_files import read_header

RNG = np.random.default_rng(0)
BANDS = RNG.integers(0, 256, (13, 17, 5), np.uint8)
WIDE = RNG.integers(0, 2**16, (13, 17, 4)).astype(np.uint16)
FLOATS = RNG.uniform(-3, 300, (13, 17))


def decoded(content: bytes, channels: int | None = None) -> np.ndarray:
    """Returns the values of a file after a comparison with its header."""
    values = decode_image(io.BytesIO(content), channels)
    header = read_header(io.BytesIO(content), channels)
    assert values.shape == (*header.size, header.channels)
    return values


def refused(content: bytes, channels: int | None = None) -> str:
    """Returns the reason why a file is refused, by its header unless its values alone show it."""
    with pytest.raises(UnreadableExample) as caught:
        decode_image(io.BytesIO(content), channels)
    return caught.value.reason


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tile": (16, 16)},
        {"compression": "zlib", "predictor": True, "rowsperstrip": 4},
        {"bigtiff": True, "byteorder": ">"},
    ],
)
def test_bands_come_back_as_they_are(options):
    np.testing.assert_array_equal(decoded(tiff_file(BANDS, **CONTIGUOUS, **options)), BANDS)
    planes = tiff_file(np.moveaxis(BANDS, -1, 0), photometric="minisblack", planarconfig="separate", **options)
    np.testing.assert_array_equal(decoded(planes, 5), BANDS)


def test_16_bits_have_the_range_of_0_to_1_and_floats_their_own():
    np.testing.assert_allclose(decoded(tiff_file(WIDE, **CONTIGUOUS)), WIDE / 65535, rtol=1e-6)
    for dtype in (np.float16, np.float32, np.float64):
        stored = FLOATS.astype(dtype)
        np.testing.assert_array_equal(decoded(tiff_file(stored)), stored[..., None].astype(np.float32))
    np.testing.assert_array_equal(decoded(tiff_file(FLOATS), 3), np.repeat(FLOATS[..., None], 3, -1).astype(np.float32))
    colors = FLOATS[..., None] * [1, 2, 3]
    gray = decoded(tiff_file(colors, photometric="rgb"), 1)
    np.testing.assert_allclose(gray[..., 0], FLOATS * (0.299 + 2 * 0.587 + 3 * 0.114), rtol=1e-5)


def test_bands_beyond_rgb_are_data_unless_the_file_calls_them_alpha():
    four = BANDS[..., :4]
    plain, alpha = (tiff_file(four, photometric="rgb", extrasamples=[kind]) for kind in (0, 2))
    np.testing.assert_array_equal(decoded(plain), four)
    np.testing.assert_array_equal(decoded(plain, 3), four[..., :3])
    np.testing.assert_array_equal(decoded(alpha, 4), four)
    share = four[..., 3:] / 255
    np.testing.assert_allclose(decoded(alpha), four[..., :3] * share + 255 * (1 - share), atol=1)


def test_further_pages_are_known_and_not_read():
    for pages in (BANDS[..., :2], FLOATS[..., None].astype(np.float32), WIDE[..., :3]):
        pages = np.moveaxis(pages, -1, 0)
        header = read_header(io.BytesIO(tiff_file(pages, photometric="minisblack")))
        assert header == ((13, 17), 1, len(pages) > 1)
    assert not read_header(io.BytesIO(tiff_file(BANDS, **CONTIGUOUS))).several


def test_the_first_page_is_read_and_turned():
    pages = RNG.uniform(0, 1, (3, 13, 17)).astype(np.float32)
    turned = tiff_file(pages, photometric="minisblack", extratags=[(274, "H", 1, 6, True)])
    np.testing.assert_array_equal(decoded(turned)[..., 0], np.rot90(pages[0], -1))


@pytest.mark.parametrize(
    ("content", "channels", "says"),
    [
        (tiff_file(BANDS, **CONTIGUOUS), 3, "has 5 bands, not 3 as asked; .* channels=5"),
        (pillow_file(BANDS[..., :3], "PNG"), 4, "has 3 bands, not 4 as asked"),
        (tiff_file(FLOATS), 2, "has 1 band, not 2 as asked"),
        (tiff_file(WIDE.astype(np.uint32), **CONTIGUOUS), None, "not supported: TIFF of uint32, .* save it as uint16"),
        (tiff_file(WIDE[..., 0].astype(np.int16)), None, "not supported: TIFF of int16"),
        (tiff_file(BANDS[..., 0].astype(np.int8)), None, "not supported: TIFF of int8, .* no fixed range"),
        (tiff_file(FLOATS.astype(np.complex64)), None, "not supported: TIFF of this type"),
        (tiff_file(np.full((3, 3), np.nan, np.float32)), None, "not finite"),
        (tiff_file(np.full((3, 3), 1e200)), None, "not finite"),
        (tiff_file(BANDS, **CONTIGUOUS)[:300], None, "damaged TIFF: "),
    ],
)
def test_what_cannot_be_read_is_named_with_what_to_do(content, channels, says):
    with pytest.raises(UnreadableExample, match=says):
        decode_image(io.BytesIO(content), channels)


def entry(tag: int, kind: int, *values: int) -> bytes:
    return struct.pack("<HHI", tag, kind, len(values)) + b"".join(struct.pack("<I", value) for value in values)


def float_tiff(data: bytes, *, height: int, width: int, compression: int) -> bytes:
    """Returns a TIFF file of float32, of one strip."""
    tags = [(256, width), (257, height), (258, 32), (259, compression), (262, 1), (273, 8), (277, 1), (278, height)]
    tags += [(279, len(data)), (339, 3)]
    directory = struct.pack("<H", len(tags)) + b"".join(entry(tag, 4, value) for tag, value in tags) + b"\0" * 4
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


def test_compressions_that_need_another_library_are_named_and_bombs_are_bounded():
    sound = float_tiff(zlib.compress(np.ones((4, 4), np.float32).tobytes()), height=4, width=4, compression=8)
    assert (decoded(sound) == 1).all()
    assert refused(float_tiff(b"\0" * 64, height=4, width=4, compression=34925)).startswith("not supported: TIFF with")
    bomb = float_tiff(zlib.compress(bytes(2**26 + 2**22)), height=4, width=4, compression=8)
    tracemalloc.start()
    try:
        assert refused(bomb) == "damaged TIFF: its values fill more memory than its header claims"
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()
    assert "too many" in refused(float_tiff(b"\0" * 64, height=2**16, width=2**16, compression=1))


def test_a_folder_has_the_bands_of_most_files_and_names_the_others(tmp_path):
    for name in ("a/1", "a/2", "b/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.tif").write_bytes(tiff_file(BANDS, **CONTIGUOUS))
    assert FolderSource.images(tmp_path, "all").channels == 5
    (tmp_path / "b/gray.png").write_bytes(pillow_file(BANDS[..., 0], "PNG"))
    source = FolderSource.images(tmp_path, "all", on_error="mask")
    assert (source.channels, source[0].values.shape) == (5, (13, 17, 5))
    assert source.unreadable == {
        "b/gray.png": "has 1 band, not 5 as asked; leave it out, or set channels=1 for all files"
    }
    with pytest.raises(ValueError, match="(?s)3 of 4 files.*has 5 bands, not 1 as asked"):
        FolderSource.images(tmp_path, "all", channels=1)
