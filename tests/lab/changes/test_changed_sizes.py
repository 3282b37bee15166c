"""Changes of examples: pure functions of the example, of the promised sizes, and told apart by their contents."""

import numpy as np
import pytest

from fcnjax import lab
from fcnjax.data import ArraySource, Source, cropped, scaled
from fcnjax.data.sources.resized import resample
from fcnjax.lab.changes import AnySize, with_zeros

SIZES = ((12, 9), (7, 20), (30, 31))


@pytest.fixture
def source() -> ArraySource:
    rng = np.random.default_rng(0)
    return ArraySource([rng.integers(1, 255, (*size, 1)).astype(np.uint8) for size in SIZES], [0, 1, 1], first_id=40)


def test_scaled_examples_are_resampled(source):
    changed = scaled(source, (28, 16))
    assert changed.sizes.tolist() == [[28, 16]] * 3
    for index in range(3):
        example = changed[index]
        np.testing.assert_array_equal(example.values, resample(source[index].values, (28, 16)))
        assert (example.id, example.label) == source[index][::2]


def test_cropped_examples_are_the_middle_and_never_larger(source):
    changed = cropped(source, (8, 10))
    assert changed.sizes.tolist() == [[8, 9], [7, 10], [8, 10]]
    np.testing.assert_array_equal(changed[0].values, source[0].values[2:10])
    np.testing.assert_array_equal(changed[1].values, source[1].values[:, 5:15])
    np.testing.assert_array_equal(changed[2].values, source[2].values[11:19, 10:20])


def test_zeros_come_after_the_ends_and_count_as_values(source):
    changed = with_zeros(source, source.sizes + np.array([3, 2]))
    for index, (height, width) in enumerate(SIZES):
        values = changed[index].values
        assert values.shape == (height + 3, width + 2, 1) == (*changed.sizes[index], 1)
        np.testing.assert_array_equal(values[:height, :width], source[index].values)
        assert not values[height:].any()
        assert not values[:, width:].any()
    every = lab.zeros_to((40, 44))(dict.fromkeys(("train", "validation", "test"), source), 3)
    assert all(split.sizes.tolist() == [[40, 44]] * 3 for split in every.values())


def test_sizes_of_any_size_are_those_of_the_id_and_within_the_limits():
    change = lab.any_size(16, 40)
    sizes = np.array([change.size_of(number) for number in range(300)])
    assert (sizes.min(), sizes.max()) == (16, 40)
    assert (sizes.max(axis=1) <= 2 * sizes.min(axis=1)).all()
    assert (np.array([AnySize().size_of(number) for number in range(300)]) == sizes).all()
    assert len({tuple(size) for size in sizes.tolist()}) > 150
    assert abs(np.corrcoef(sizes.T)[0, 1]) < 0.6  # heights and widths are drawn apart, within the aspect


def test_only_training_images_get_any_size(source):
    splits = lab.any_size(8, 16)({"train": source, "validation": source, "test": source}, 7)
    assert splits["train"].sizes.tolist() == [list(lab.any_size(8, 16).size_of(number)) for number in (40, 41, 42)]
    assert splits["test"] is splits["validation"] is source
    assert splits["train"][1].values.shape[:2] == tuple(splits["train"].sizes[1])


@pytest.mark.parametrize(("area", "count"), [(300, 40), (784, 40), (784, 400)])
def test_any_size_of_an_area_has_that_mean_and_the_drawn_sizes_times_a_factor(area, count):
    rng, change = np.random.default_rng(1), lab.any_size_of_area(area, 14, 48)
    images = [rng.integers(0, 255, (10, 10, 1)).astype(np.uint8) for _ in range(count)]
    train = ArraySource(images, [0] * count, first_id=7)
    splits = change({"train": train, "validation": train, "test": train}, 3)
    sizes, drawn = splits["train"].sizes, np.array([lab.any_size(14, 48).size_of(number) for number in train.ids])
    assert sizes.prod(axis=1).mean() == pytest.approx(area, rel=0.005)
    assert 14 <= sizes.min() < sizes.max() <= 48
    free = (sizes > 14) & (sizes < 48)  # not at a limit
    assert free.mean() > 0.5
    factors = (sizes / drawn)[free]
    assert np.all(np.abs(sizes - np.median(factors) * drawn)[free] < 1)  # one factor, and rounding
    assert splits["train"][3].values.shape == (*sizes[3], 1)
    assert splits["test"] is splits["validation"] is train


def test_an_area_outside_of_the_limits_is_refused():
    with pytest.raises(ValueError, match="area=100: must be 196 to 2304"):
        lab.any_size_of_area(100, 14, 48)
    images = ArraySource([np.zeros((5, 5, 1), np.uint8)] * 3, [0] * 3)
    every: dict[str, Source] = {"train": images, "validation": images, "test": images}
    for side in (14, 48):  # the limits themselves are allowed
        assert np.all(lab.any_size_of_area(side**2, 14, 48)(every, 0)["train"].sizes == side)


def test_one_size_is_that_of_training_and_validation_images(source):
    splits = lab.one_size((14, 15))({"train": source, "validation": source, "test": source}, 2)
    for name in ("train", "validation"):
        assert splits[name].sizes.tolist() == [[14, 15]] * 3
        np.testing.assert_array_equal(splits[name][1].values, resample(source[1].values, (14, 15)))
    assert splits["test"] is source


def test_contents_tell_changes_apart(source):
    changes = [source, scaled(source, (9, 9)), cropped(source, (9, 9)), with_zeros(source, (40, 40))]
    changes += [with_zeros(source, (40, 41))]
    assert len({change.contents.sha256 for change in changes}) == len(changes)
    assert scaled(source, (9, 9)).contents == scaled(source, (9, 9)).contents
