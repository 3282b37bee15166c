import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from size_tables import size_tables

from fcnjax.data import RandomCrop

SHARES = st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(lambda pair: tuple(sorted(pair)))
ASPECTS = st.tuples(st.floats(0.2, 1), st.floats(1, 5))
CROPS = st.builds(RandomCrop, SHARES, ASPECTS, st.one_of(st.none(), st.integers(1, 20)))
SEEDS, EPOCHS = st.integers(0, 2**70), st.integers(0, 10**6)


@given(CROPS, SEEDS, EPOCHS, size_tables())
@settings(max_examples=100)
def test_boxes_lie_inside_and_keep_the_minimum(crop, seed, epoch, sizes):
    starts, crops = crop.boxes(seed, epoch, np.arange(len(sizes)), sizes)
    assert crops.dtype == np.int32
    assert (starts >= 0).all()
    assert (starts + crops <= sizes).all()
    assert (crops >= np.minimum(crop.at_least or 1, sizes)).all()
    np.testing.assert_array_equal(crops, crop.sizes(seed, epoch, np.arange(len(sizes)), sizes))


@given(CROPS, SEEDS, EPOCHS, size_tables(), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_what_is_drawn_for_an_example_does_not_depend_on_the_others(crop, seed, epoch, sizes, random):
    ids = np.array(random.sample(range(2**31 - 1), len(sizes)))
    starts, crops = crop.boxes(seed, epoch, ids, sizes)
    order = np.array(random.sample(range(len(sizes)), len(sizes)))
    np.testing.assert_array_equal(crop.sizes(seed, epoch, ids[order], sizes[order]), crops[order])
    for row in order[:5].tolist():
        alone = crop.boxes(seed, epoch, ids[row : row + 1], sizes[row : row + 1])
        np.testing.assert_array_equal(alone, (starts[row : row + 1], crops[row : row + 1]))


@given(SEEDS, EPOCHS, size_tables())
@settings(max_examples=30)
def test_the_whole_area_at_its_own_aspect_changes_nothing(seed, epoch, sizes):
    crop = RandomCrop(area=(1.0, 1.0))
    starts, crops = crop.boxes(seed, epoch, np.arange(len(sizes)), sizes)
    np.testing.assert_array_equal(crops, sizes)
    assert (starts == 0).all()


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_shares_are_uniform_and_aspects_stay_in_range(axes):
    """20,000 draws: the mean share is known to 0.0015; rounding extents of 1000 moves a share by 0.003 at most."""
    crop = RandomCrop(area=(0.35, 1.0), aspect=(0.75, 4 / 3))
    sizes = np.full((20_000, axes), 1000)
    factors = crop.sizes(1, 2, np.arange(len(sizes)), sizes) / sizes
    shares = np.sort(factors.prod(axis=1))
    assert np.abs(shares - np.linspace(0.35, 1.0, len(shares))).max() < 0.02  # Kolmogorov-Smirnov, p about 1e-4
    for axis in range(axes - 1):
        later = factors[:, axis + 1 :].prod(axis=1) ** (1 / (axes - 1 - axis))
        ratio = later / factors[:, axis]
        assert 0.74 < ratio.min() < 0.78 if axis == 0 else ratio.min() > 0.74
        assert ratio.max() < 1.35
        if axes == 2:  # symmetric up and down
            assert abs(np.log(ratio).mean()) < 0.005
            assert abs(np.corrcoef(ratio, factors.prod(axis=1))[0, 1]) < 0.03


def test_places_are_uniform_and_independent_of_axis():
    crop = RandomCrop(area=(0.25, 0.25), aspect=(1, 1))
    sizes = np.full((20_000, 2), 18)
    starts, crops = crop.boxes(0, 0, np.arange(len(sizes)), sizes)
    assert (crops == 9).all()
    for axis in range(2):
        counts = np.bincount(starts[:, axis], minlength=10)
        assert ((counts - 2000) ** 2 / 2000).sum() < 35  # chi squared, 9 degrees: p about 6e-5
    assert abs(np.corrcoef(starts.T)[0, 1]) < 0.03


def test_epochs_seeds_and_ids_draw_differently():
    sizes = np.full((500, 2), 1000)
    crop, ids = RandomCrop(area=(0.35, 1.0)), np.arange(500)
    draws = [crop.sizes(*where, sizes)[:, 0] for where in [(0, 0, ids), (0, 1, ids), (1, 0, ids), (0, 0, ids + 500)]]
    assert np.abs(np.corrcoef(draws) - np.eye(4)).max() < 0.2


def test_draws_are_frozen():
    """If these numbers change, every run crops differently, and a resumed run differs from an uninterrupted one."""
    crop, sizes = RandomCrop(area=(0.35, 1.0), aspect=(3 / 4, 4 / 3)), np.array([[480, 640], [30, 20], [7, 9]])
    starts, crops = crop.boxes(0, 1, np.array([0, 1, 2**31 - 1]), sizes)
    assert (starts.tolist(), crops.tolist()) == (
        [[1, 4], [1, 5], [0, 2]],
        [[477, 631], [19, 12], [6, 7]],
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"area": (0.0, 1.0)}, r"area=\(0.0, 1.0\): must be"),
        ({"area": (0.5, 1.1)}, r"area=\(0.5, 1.1\): must be"),
        ({"area": (0.9, 0.5)}, "area=.*: must be"),
        ({"aspect": (1.1, 1.5)}, r"aspect=\(1.1, 1.5\): must include 1"),
        ({"at_least": 0}, "at_least=0: must be 1 or more"),
    ],
)
def test_bad_settings_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        RandomCrop(**arguments)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ids": np.arange(2)}, r"ids.shape=\(2,\): must be \[N\] .* of shape \(3, 2\)"),
        ({"seed": -1}, "seed=-1: must be"),
        ({"epoch": -1}, "epoch=-1: must be"),
    ],
)
def test_bad_arguments_are_refused(change, says):
    arguments = {"seed": 0, "epoch": 0, "ids": np.arange(3), "sizes": np.ones((3, 2), int)} | change
    with pytest.raises(ValueError, match=says):
        RandomCrop().sizes(**arguments)
    with pytest.raises(ValueError, match="one for each axis"):
        RandomCrop(at_least=(1, 2, 3)).sizes(0, 0, np.arange(3), np.ones((3, 2), int))
