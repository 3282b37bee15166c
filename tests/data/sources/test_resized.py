import pickle

import numpy as np
import pytest
from cubic_resampling import cubic_resampled

from fcnjax.data import ArraySource, Example, ResizedSource, SizePolicy
from fcnjax.data.sources.resized import resample


@pytest.fixture
def source() -> ArraySource:
    rng = np.random.default_rng(0)
    shapes = [(40, 30, 3), (5, 50, 3), (16, 16, 3)]
    arrays = [rng.integers(0, 256, shape).astype(np.uint8) for shape in shapes]
    return ArraySource(arrays, [0, 1, 1], ["cat", "dog"])


@pytest.mark.parametrize(
    "policy", [SizePolicy(below="pad"), SizePolicy(max_side=20, below="upsample"), SizePolicy(max_area=99, below="pad")]
)
def test_examples_have_the_sizes_of_the_table(source, policy):
    resized = ResizedSource(source, policy, minimum=(8, 6))
    assert (len(resized), resized.channels, resized.class_names) == (3, 3, ("cat", "dog"))
    np.testing.assert_array_equal(resized.ids, source.ids)
    for index in range(3):
        example = resized[index]
        assert (example.id, example.label) == source[index][::2]
        assert example.values.shape == (*resized.sizes[index].tolist(), 3)
        assert example.values.dtype == np.uint8
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(resized))[0].values, resized[0].values)


def test_native_examples_are_handed_through(source):
    resized = ResizedSource(source, SizePolicy())
    assert all(resized[index].values is source[index].values for index in range(3))


def test_zeros_stand_around_what_is_too_small(source):
    values = ResizedSource(source, SizePolicy(below="pad"), minimum=16)[1].values
    assert values.shape == (16, 50, 3)
    np.testing.assert_array_equal(values[5:10], source[1].values)  # 11 more rows: 5 before, 6 after
    assert not values[:5].any()
    assert not values[10:].any()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_resampling_is_linear_in_each_channel(channels, dtype):
    """Channels do not mix, a constant stays one, and a ramp stays a ramp inside."""
    ramp = np.broadcast_to(np.linspace(20, 200, 61)[:, None, None], (61, 40, channels)) + np.arange(channels)
    values = np.round(ramp).astype(dtype)
    down = resample(values, (31, 25)).astype(float)
    centers = (np.arange(31) + 0.5) * 61 / 31 - 0.5
    wanted = np.interp(centers, np.arange(61), np.linspace(20, 200, 61))[:, None, None] + np.arange(channels)
    np.testing.assert_allclose(down[3:-3], np.broadcast_to(wanted[3:-3], down[3:-3].shape), atol=1.2)
    np.testing.assert_array_equal(
        resample(np.full((9, 7, channels), 77, dtype), (4, 13)), np.full((4, 13, channels), 77)
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.uint8, 1.5), (np.float32, 1e-2)])
@pytest.mark.parametrize("size", [(9, 31), (40, 13), (70, 50)])
def test_resampling_is_cubic(dtype, tolerance, size):
    values = np.random.default_rng(0).integers(70, 180, (23, 29, 2)).astype(dtype)  # no overshoot reaches 0 or 255
    expected = np.stack([cubic_resampled(values[..., channel], size) for channel in range(2)], -1)
    assert 0 < expected.min() < expected.max() < 255
    np.testing.assert_allclose(resample(values, size), expected, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_reducing_is_antialiased(dtype):
    """The finest checkerboard becomes gray; picking every third pixel would keep it black and white."""
    board = (np.indices((90, 90)).sum(axis=0) % 2 * 200).astype(dtype)[..., None]
    assert np.abs(resample(board, (30, 30)).astype(float) - 100)[1:-1, 1:-1].max() < 12


class Reader(ArraySource):
    """Like image files, returns less than the native size if that suffices, and has names."""

    names = ("a.jpg", "b.jpg", "c.jpg")
    unreadable = {"d.jpg": "truncated"}  # noqa: RUF012 (a constant of the class)

    def read(self, index: int, at_least: tuple[int, ...]) -> Example:
        self.asked = at_least
        example = self[index]
        half = example.values[::2, ::2]
        return example._replace(values=half) if all(np.array(half.shape[:2]) >= at_least) else example


def test_reads_no_more_than_needed_and_keeps_names():
    rng = np.random.default_rng(0)
    reader = Reader([rng.integers(0, 256, shape).astype(np.uint8) for shape in [(40, 30, 3), (9, 9, 3)]], [0, 1])
    resized = ResizedSource(reader, SizePolicy(max_side=20, below="pad"), minimum=16)
    assert resized[0].values.shape == (20, 16, 3)
    assert reader.asked == (20, 15)
    np.testing.assert_array_equal(resized[0].values[:, :15], reader[0].values[::2, ::2])  # nothing left to resample
    assert (resized.names, resized.unreadable) == (Reader.names, Reader.unreadable)
    with pytest.raises(ValueError, match="b.jpg 9x9"):
        ResizedSource(reader, SizePolicy(), minimum=16)


def test_members_that_the_inner_source_leaves_out_have_their_defaults(source):
    resized = ResizedSource(source, SizePolicy())
    assert (resized.names, resized.unreadable, resized.name_of(1)) == (None, {}, "example 1")
    np.testing.assert_array_equal(resized.labels, source.labels)
