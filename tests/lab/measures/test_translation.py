"""Images moved sideways, pixel by pixel, and the accuracy on them, one image at a time."""

import numpy as np
import pytest
from tiny_experiment import GAP, make_normed_runner

from fcnjax import lab
from fcnjax.data import ArraySource, PartialSource
from fcnjax.lab.measures.translation import moved_sideways
from fcnjax.padded import Padded


def moved(values: np.ndarray, by: int) -> np.ndarray:
    """Returns an image moved to the right by a number of pixels, or to the left if it is below 0."""
    result = np.zeros_like(values)
    for column in range(values.shape[1]):
        if 0 <= column - by < values.shape[1]:
            result[:, column] = values[:, column - by]
    return result


def test_images_move_left_or_right_with_zeros_by_their_id():
    rng = np.random.default_rng(0)
    values = [rng.integers(1, 255, (5, width, 1)).astype(np.uint8) for width in rng.integers(4, 9, 40)]
    source = ArraySource(values, [0, 1] * 20, first_id=7)
    changed, sides = moved_sideways(source, 3), []
    for index in range(len(source)):
        found = changed[index].values
        assert found.dtype == np.uint8
        assert changed.sizes[index].tolist() == list(found.shape[:2]) == source.sizes[index].tolist()
        left, right = (np.array_equal(found, moved(values[index], by)) for by in (-3, 3))
        assert left != right
        sides.append(left)
    assert 10 < sum(sides) < 30
    part = PartialSource(source, np.array([2, 30]), {})
    for index, whole in enumerate((2, 30)):  # the side does not depend on the place
        np.testing.assert_array_equal(moved_sideways(part, 3)[index].values, changed[whole].values)
    assert moved_sideways(source, 2).contents != changed.contents != source.contents


@pytest.mark.long
def test_accuracy_is_that_of_each_moved_image(tmp_path):
    run = make_normed_runner(tmp_path, GAP).trained("gap", 0, 1)
    measured = lab.MovedSideways((1, 4))(run)
    assert measured.values.keys() == {"accuracy, moved by 1 px", "accuracy, moved by 4 px"}
    for distance in (1, 4):
        changed = moved_sideways(run.sources["test"], distance)
        for index in range(len(run.labels)):
            logits = np.asarray(run.model(Padded.stack([changed[index].values])))[0]
            found = measured.values[f"accuracy, moved by {distance} px"][index]
            assert found == (logits.argmax() == run.labels[index])
