"""Changes of examples: pure functions of the example, of the promised sizes, and told apart by their contents."""

import numpy as np
import pytest

from fcnjax import lab
from fcnjax.data import ArraySource
from fcnjax.data.sources.resized import resample
from fcnjax.lab.changes import AnySize, cropped, scaled, with_zeros

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


def test_contents_tell_changes_apart(source):
    changes = [source, scaled(source, (9, 9)), cropped(source, (9, 9)), with_zeros(source, (40, 40))]
    changes += [with_zeros(source, (40, 41))]
    assert len({change.contents.sha256 for change in changes}) == len(changes)
    assert scaled(source, (9, 9)).contents == scaled(source, (9, 9)).contents
