import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from size_tables import size_tables

from fcnjax.data import SizePolicy

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
    free = (ours > multiple).all(axis=1)  # the others are at the minimum of one multiple
    if max_area is not None:
        assert (ours[free].prod(axis=1) <= max_area).all()
    if max_side is not None:
        assert (ours <= max(max_side, multiple)).all()
    for native, size in zip(sizes, ours, strict=True):
        # One factor explains both extents: each, rounded down to the multiple, is as in the table.
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
        "below='upsample' or below='pad', leave them out, or choose a network that needs less."
    )


def test_what_the_caps_make_too_small_is_listed_with_both_sizes():
    sizes = np.array([[40, 40], [400, 300], [10, 200]])
    with pytest.raises(ValueError, match="2 of 3") as error:
        SizePolicy(max_side=40, min_side=8).sizes(sizes, 35, names=["a", "b\x1b[2J", "c"])
    assert r"(b\x1b[2J 40x30 (resized from 400x300), c 2x40 (resized from 10x200))" in str(error.value)


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
