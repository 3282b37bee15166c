import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from size_tables import size_tables

from fcnjax.data import ArraySource, Example, ResizedSource, SizePolicy
from fcnjax.data.sources.resized import resample

CAPS = st.one_of(st.none(), st.integers(1, 60))
TABLES = size_tables(max_extent=200, axes=(2,))


@given(size_tables(), st.sampled_from(["refuse", "upsample", "pad"]))
@settings(max_examples=40)
def test_native_is_the_identity(sizes, below):
    if sizes.shape[1] != 2 and below == "upsample":
        below = "pad"
    np.testing.assert_array_equal(SizePolicy(below=below).sizes(sizes), sizes)


@given(TABLES, CAPS, CAPS, st.integers(1, 5))
@settings(max_examples=100)
def test_caps_hold_and_aspects_are_kept(sizes, max_area, max_side, multiple):
    max_area = None if max_area is None else max_area * 50
    ours = SizePolicy(max_area, max_side, multiple_of=multiple).sizes(sizes, multiple)
    assert ours.dtype == np.int32
    assert (ours % multiple == 0).all()
    free = (ours > multiple).all(axis=1)  # the others are held up by one multiple
    if max_area is not None:
        assert (ours[free].prod(axis=1) <= max_area).all()
    if max_side is not None:
        assert (ours <= max(max_side, multiple)).all()
    for native, size in zip(sizes, ours, strict=True):
        # One factor explains both extents: each, rounded down to the multiple, is what the table says.
        factor = min(1, np.sqrt((max_area or np.inf) / native.prod()), (max_side or np.inf) / native.max())
        exact = native * factor
        assert (np.abs(size - np.maximum(exact, multiple)) < multiple + 1e-6).all()
        assert (size <= np.maximum(exact, multiple) + 1e-6).all()


@given(TABLES, st.integers(1, 30), st.integers(1, 30), st.integers(1, 5), CAPS)
@settings(max_examples=100)
def test_the_minimum_holds_and_what_is_large_enough_stays(sizes, height, width, multiple, max_side):
    capped = SizePolicy(max_side=max_side, multiple_of=multiple).content_sizes(sizes)
    least = [-(-extent // multiple) * multiple for extent in (height, width)]
    low = (capped < least).any(axis=1)
    for below in ("upsample", "pad"):
        ours = SizePolicy(max_side=max_side, multiple_of=multiple, below=below).sizes(sizes, (height, width))
        assert (ours >= (height, width)).all()
        assert (ours % multiple == 0).all()
        np.testing.assert_array_equal(ours[~low], capped[~low])
        if below == "pad":
            np.testing.assert_array_equal(ours, np.maximum(capped, least))
            continue
        for native, size in zip(sizes[low], ours[low], strict=True):
            factor = max(least[0] / native[0], least[1] / native[1])
            assert (size >= native * factor - 1e-6).all()
            assert (size < native * factor + multiple).all()
    if low.any():
        with pytest.raises(ValueError, match=f"{low.sum()} of {len(sizes)} examples are below the minimum"):
            SizePolicy(max_side=max_side, multiple_of=multiple).sizes(sizes, (height, width))


def test_what_is_too_small_is_listed_by_name():
    sizes = np.array([[40, 40], [3, 50], [50, 7], [9, 9], [8, 8]])
    with pytest.raises(ValueError, match="sizes: 4 of 5") as error:
        SizePolicy().sizes(sizes, 10, names=["a.png", "b.png", "c.png", "d.png", "e.png"])
    assert str(error.value) == (
        "sizes: 4 of 5 examples are below the minimum 10 (b.png 3x50, c.png 50x7, d.png 9x9, ...); set "
        "below='upsample' or below='pad', leave them out, or choose a network that needs less"
    )


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize(
    ("settings", "says"),
    [({"max_area": 5}, "max_area"), ({"max_side": 5}, "max_side"), ({"below": "upsample"}, "below='upsample'")],
)
def test_signals_and_volumes_are_padded_but_not_resampled(axes, settings, says):
    sizes = np.full((2, axes), 7)
    with pytest.raises(ValueError, match=f"{says}: only images .* are resampled, .* {axes} spatial axes"):
        SizePolicy(**settings).sizes(sizes)
    assert (SizePolicy(below="pad").sizes(sizes, 9) == 9).all()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"max_area": 0}, "max_area=0: must be 1 or more"),
        ({"multiple_of": 0}, "multiple_of=0: must be"),
        ({"below": "x"}, "below='x': must be one of 'refuse'"),
    ],
)
def test_bad_settings_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        SizePolicy(**settings)


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
    np.testing.assert_array_equal(values[5:10], source[1].values)  # 11 rows more: 5 before, 6 behind
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


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_reducing_is_antialiased(dtype):
    """The finest chequerboard becomes gray; picking every third pixel would keep it black and white."""
    board = (np.indices((90, 90)).sum(axis=0) % 2 * 200).astype(dtype)[..., None]
    assert np.abs(resample(board, (30, 30)).astype(float) - 100)[1:-1, 1:-1].max() < 12


class Reader(ArraySource):
    """As image files do: returns something smaller than native where less is needed, and says who it is."""

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
