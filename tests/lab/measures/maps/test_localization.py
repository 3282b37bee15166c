"""How class maps find objects, compared with plain computations of one scene or one pixel at a time."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage
from tiny_experiment import CONV, GAP, HIDDEN, make_normed_runner

from fcnjax import lab
from fcnjax.inference.example_maps import heat_of
from fcnjax.lab.measures.maps import localization
from fcnjax.lab.measures.maps.localization import THRESHOLDS, best_threshold, boxes_at, centered_boxes, iou_of
from fcnjax.padded import Padded

SCENES = lab.Scenes(canvas=(12, 18), digit=(6, 8), fragment=3, sparsity=40)


def centers_of(scores: np.ndarray) -> list[np.ndarray]:
    """Returns where scores lie behind one convolution of kernel 4, stride 2 and padding 1, in pixels from the edge."""
    return [2 * np.arange(extent) + 1.0 for extent in scores.shape]


NAMES = ("pointing game", "IoU", "box accuracy")


@pytest.fixture(scope="module")
def runner(tmp_path_factory) -> lab.Runner:
    early = lab.Arm("early", "early", {**HIDDEN, "head.pool_at": 0}, sources=SCENES)
    return make_normed_runner(tmp_path_factory.mktemp("found"), dataclasses.replace(CONV, sources=SCENES), GAP, early)


@pytest.fixture(scope="module")
def run(runner) -> lab.TrainedRun:
    return runner.trained("conv", 0, 1)


def painted(box: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Returns which pixels a box of pixels covers."""
    canvas = np.zeros(shape, bool)
    canvas[box[0] : box[2], box[1] : box[3]] = True
    return canvas


def test_the_box_is_that_of_the_largest_region_at_each_threshold():
    heat = np.zeros((10, 20))
    heat[1:3, 2:5] = 0.9  # 6 pixels
    heat[5:9, 10:16] = 0.6  # 24 pixels
    heat[6, 11] = 1.0
    found = boxes_at(heat, [0.5, 0.7, 0.95, 1.1]) * [10, 20, 10, 20]
    assert found.tolist() == [[5, 10, 9, 16], [1, 2, 3, 5], [6, 11, 7, 12], [0, 0, 0, 0]]


def test_corners_do_not_connect_regions():
    assert boxes_at(np.eye(3), [0.5]).tolist() == [[0, 0, 1 / 3, 1 / 3]]


def test_intersection_over_union_counts_pixels():
    rng = np.random.default_rng(0)
    corners = np.sort(rng.integers(0, 12, (60, 2, 2, 2)), axis=2)  # [pair, box, end, axis]
    boxes = np.concatenate([corners[:, :, 0], corners[:, :, 1] + 1], axis=-1)
    for a, b in boxes:
        first, second = painted(a, (13, 13)), painted(b, (13, 13))
        expected = (first & second).sum() / (first | second).sum()
        assert iou_of(a / 13, b / 13) == pytest.approx(expected)
    np.testing.assert_allclose(iou_of(boxes[:, 0], boxes[:, 1]), [iou_of(a, b) for a, b in boxes])


def test_centered_boxes_take_their_share_of_both_sides():
    np.testing.assert_allclose(centered_boxes([0.5, 1.0]), [[0.25, 0.25, 0.75, 0.75], [0, 0, 1, 1]])


def test_maps_are_up_sampled_from_the_centers_of_receptive_fields():
    scores = np.random.default_rng(1).normal(size=(6, 9))
    rows, columns = np.meshgrid(np.arange(13), np.arange(18), indexing="ij")
    centers = [(each + 0.5 - 1.0) / 2 for each in (rows, columns)]  # pixel k is from k to k + 1
    expected = ndimage.map_coordinates(scores, centers, order=1, mode="nearest")
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    np.testing.assert_allclose(heat_of(scores, (13, 18), centers_of(scores)), expected, atol=1e-12)
    assert not heat_of(np.full((6, 9), -3.0), (13, 18), centers_of(scores)).any()


def test_the_threshold_is_the_lowest_of_those_that_are_right_most_often():
    truth = np.array([[0.0, 0.0, 0.4, 0.4], [0.2, 0.2, 0.6, 0.6]])
    tried = np.zeros((2, len(THRESHOLDS), 4))
    tried[0, 3:6], tried[1, 4:8] = truth[0], truth[1]
    assert best_threshold(tried, truth) == THRESHOLDS[4]
    assert best_threshold(np.broadcast_to(truth[:1], (1, len(THRESHOLDS), 4)), truth) == THRESHOLDS[0]


def found_alone(run: lab.TrainedRun, split: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the up-sampled map of the true class of a scene, alone and without padding, and its peak in pixels."""
    example = run.sources[split][index]
    maps = run.model.class_maps(Padded.stack([np.asarray(example.values, np.float32)])).unstack()[0]
    own = np.asarray(maps)[:, :, example.label]
    peak = 2 * np.array(np.unravel_index(own.argmax(), own.shape)) + 1.0
    return heat_of(own, example.values.shape[:2], centers_of(own)), peak


@pytest.mark.long
def test_values_are_those_of_each_scene_alone(run):
    measured = lab.Localization()(run)
    validation, test = run.sources["validation"], run.sources["test"]
    rights = np.zeros(len(THRESHOLDS))
    for index in range(len(validation)):
        heat, _ = found_alone(run, "validation", index)
        truth = painted(validation.boxes[index], heat.shape)
        for which, box in enumerate(boxes_at(heat, THRESHOLDS) * np.tile(heat.shape, 2)):
            mine = painted(box.round().astype(int), heat.shape)
            rights[which] += (mine & truth).sum() >= 0.5 * (mine | truth).sum()
    threshold = THRESHOLDS[rights.argmax()]
    assert measured.numbers["threshold"] == threshold
    for index in range(len(test)):
        heat, peak = found_alone(run, "test", index)
        box = (boxes_at(heat, [threshold])[0] * np.tile(heat.shape, 2)).round().astype(int)
        mine, truth = painted(box, heat.shape), painted(test.boxes[index], heat.shape)
        iou = (mine & truth).sum() / (mine | truth).sum()
        assert measured.values["IoU"][index] == pytest.approx(iou)
        assert measured.values["box accuracy"][index] == (iou >= 0.5)
        top, left, bottom, right = test.boxes[index]
        inside = top <= peak[0] < bottom and left <= peak[1] < right
        assert measured.values["pointing game"][index] == inside
    assert set(measured.values) == {
        f"{name}{of}" for name in NAMES for of in ("", ", center", ", map of another scene")
    }


def test_maps_of_objects_find_them_and_those_of_another_scene_are_the_ones_before(run, monkeypatch):
    def perfect(run, split):
        source = run.sources[split]
        shapes = [tuple(size) for size in source.sizes.tolist()]
        heat = [painted(box, shape).astype(float) for box, shape in zip(source.boxes, shapes, strict=True)]
        shares = source.boxes / np.tile(source.sizes, 2)
        peaks = (shares[:, :2] + shares[:, 2:]) / 2
        return localization._Found(heat, peaks, shares, run.scores(split))

    monkeypatch.setattr(localization, "_found", perfect)
    measured, test = lab.Localization()(run), run.sources["test"]
    assert all((measured.values[name] == 1).all() for name in NAMES)
    shares = test.boxes / np.tile(test.sizes, 2)
    for index in range(len(test)):
        before, own = shares[index - 1], shares[index]
        assert measured.values["IoU, map of another scene"][index] == pytest.approx(iou_of(before, own))
        middle = (before[:2] + before[2:]) / 2
        inside = (own[:2] <= middle).all() and (middle < own[2:]).all()
        assert measured.values["pointing game, map of another scene"][index] == inside
        center = test.sizes[index] / 2
        box = test.boxes[index]
        inside = (box[:2] <= center).all() and (center < box[2:]).all()
        assert measured.values["pointing game, center"][index] == inside
    validation = run.sources["validation"]
    truth = validation.boxes / np.tile(validation.sizes, 2)
    rights = [(iou_of(box, truth) >= 0.5).mean() for box in centered_boxes(THRESHOLDS)]
    best = centered_boxes([THRESHOLDS[np.argmax(rights)]])
    np.testing.assert_allclose(measured.values["IoU, center"], iou_of(best, shares))


def test_maps_whose_pool_is_not_the_score_are_noticed(run):
    assert 0 <= lab.Localization()(run).numbers["pooled maps differ"] < 1e-6
    moved = dataclasses.replace(run, test=dataclasses.replace(run.test, logits=run.test.logits + 0.1))
    assert lab.Localization()(moved).numbers["pooled maps differ"] > 1e-3


def test_runs_without_scenes_or_class_maps_are_refused(runner):
    with pytest.raises(TypeError, match="arm 'gap': must have scenes"):
        lab.Localization()(runner.trained("gap", 0, 1))
    with pytest.raises(ValueError, match="has no class maps"):
        lab.Localization()(runner.trained("early", 0, 1))
