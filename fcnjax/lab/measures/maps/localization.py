"""Measures how well class maps find the object of a scene: `Localization`.

Axes: N scenes, H height, W width, h and w of the map, K classes, T thresholds. Places are shares of the height and the
width of a scene: a point is (row, column), a box the first row and column and the last ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from fcnjax import pooling
from fcnjax.data.planning.remainders import FILLER
from fcnjax.heads import Head
from fcnjax.inference.example_maps import heat_of
from fcnjax.lab.measures.canvases import scenes_of
from fcnjax.lab.measures.scores import max_relative_difference
from fcnjax.lab.measures.trained_run import Measured, TrainedRun
from fcnjax.padded import Padded
from fcnjax.training.step.step import Arrays, merge

THRESHOLDS = np.arange(1, 20) / 20  # of maps that are scaled to [0, 1]; also the sides of a box in the center
ENOUGH = 0.5  # intersection over union of a box that counts as right


@dataclass(frozen=True)
class Localization:
    """Measures whether the map of the true class finds the object of a test scene.

    The values of each test scene are

    - "pointing game": whether the position with the largest score has its center in the box of the object,
    - "IoU": intersection over union of that box and the smallest box around the largest connected region where the map,
      up-sampled bilinearly and scaled to [0, 1], reaches a threshold,
    - "box accuracy": whether that is at least 0.5.

    The threshold is the one with the best box accuracy on the validation scenes. The same values of two baselines are
    "NAME, center", for the middle of the scene and a box around it, whose share of the sides is chosen alike; and
    "NAME, map of another scene", for the map of the test scene before, with a threshold of its own.

    The class map is the score before the pool: weights that a pool gives to positions are not part of it. The number
    "pooled maps differ" is the largest difference between the logits and the pool of the maps, over the largest logit;
    "threshold" is the threshold.

    Source: pointing game: Zhang et al., "Top-down Neural Attention by Excitation Backprop", 2016, without a tolerance;
    boxes: MaxBoxAcc of Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", 2020, with a
    threshold from other examples; class maps: Zhou et al., "Learning Deep Features for Discriminative Localization",
    2016.
    """

    def __call__(self, run: TrainedRun) -> Measured:
        """Returns values and numbers.

        Raises:
            TypeError: if the examples are not scenes.
            ValueError: if the head of the arm has no class maps.
        """
        validation, test = (_found(run, split) for split in ("validation", "test"))
        tried = np.stack([boxes_at(heat, THRESHOLDS) for heat in validation.heat])  # [N, T, 4]
        numbers = {"pooled maps differ": max_relative_difference(test.pooled, run.scores())}
        values: dict[str, np.ndarray] = {}
        for name, moved in (("", 0), (", map of another scene", 1)):
            threshold = best_threshold(np.roll(tried, moved, axis=0), validation.boxes)
            boxes = np.stack([boxes_at(heat, [threshold])[0] for heat in test.heat])
            values |= _values(np.roll(test.peaks, moved, axis=0), np.roll(boxes, moved, axis=0), test.boxes, name)
            numbers |= {} if moved else {"threshold": threshold}
        share = best_threshold(centered_boxes(THRESHOLDS)[None], validation.boxes)
        return Measured(values | _values(np.full(2, 0.5), centered_boxes([share]), test.boxes, ", center"), numbers)


class _Found(NamedTuple):
    """The maps of the true classes of a split.

    Attributes:
        heat: each up-sampled to its scene and scaled to [0, 1], [H, W].
        peaks: centers of the positions with the largest score [N, 2].
        boxes: of the objects [N, 4].
        pooled: pools of the maps of all classes [N, K].
    """

    heat: list[np.ndarray]
    peaks: np.ndarray
    boxes: np.ndarray
    pooled: np.ndarray


def boxes_at(heat: np.ndarray, thresholds: ArrayLike) -> np.ndarray:
    """Returns the box around the largest connected region of a map [H, W] at each threshold [T, 4]; 0 without one."""
    levels = np.asarray(thresholds)
    found = np.zeros((len(levels), 4))
    for box, level in zip(found, levels, strict=True):
        regions = np.zeros(heat.shape, np.int32)
        if ndimage.label(heat >= level, output=regions):  # their number
            rows, columns = ndimage.find_objects(regions)[np.bincount(regions.ravel())[1:].argmax()]
            box[:] = rows.start, columns.start, rows.stop, columns.stop
    return found / np.tile(heat.shape, 2)


def centered_boxes(shares: ArrayLike) -> np.ndarray:
    """Returns boxes in the middle of a scene [T, 4] that take these shares of the height and the width."""
    half = np.asarray(shares)[:, None] / 2
    return 0.5 + half * np.array([-1, -1, 1, 1])


def iou_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the intersection over the union of boxes [..., 4], in [0, 1]."""
    shared = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    intersection = np.prod(np.maximum(shared, 0), axis=-1)
    areas = [np.prod(box[..., 2:] - box[..., :2], axis=-1) for box in (a, b)]
    return intersection / (areas[0] + areas[1] - intersection)


def best_threshold(tried: np.ndarray, boxes: np.ndarray) -> float:
    """Returns the lowest threshold whose boxes are right most often: [N, T, 4], or [1, T, 4] for all scenes."""
    right = iou_of(tried, boxes[:, None]) >= ENOUGH  # [N, T]
    return float(THRESHOLDS[right.mean(axis=0).argmax()])


def _values(points: np.ndarray, found: np.ndarray, boxes: np.ndarray, name: str) -> dict[str, np.ndarray]:
    """Returns the values of points [N, 2] and boxes [N, 4] that were found."""
    inside = ((boxes[:, :2] <= points) & (points < boxes[:, 2:])).all(axis=1)
    iou = iou_of(found, boxes)
    return {f"pointing game{name}": inside, f"IoU{name}": iou, f"box accuracy{name}": iou >= ENOUGH}


def make_maps(graphdef: Any) -> Callable[..., tuple[Padded, jax.Array]]:
    """Returns `maps(weights, statistics, batch) -> (class maps, their pool [B, K])`."""

    def maps(weights: Arrays, statistics: Arrays, batch: Padded) -> tuple[Padded, jax.Array]:
        model = merge(graphdef, weights, statistics)
        found = model.class_maps(batch)
        assert isinstance(model.head, Head)  # no other has class maps
        return found, pooling.pool(found, model.head.pool).values.reshape(found.batch_size, found.channels)

    return maps


def _found(run: TrainedRun, split: str) -> _Found:
    source, program = scenes_of(run, split), run.compiled(make_maps, run.recipe)
    heat, peaks = [np.zeros(0)] * len(source), np.zeros((len(source), 2))
    pooled = np.zeros((len(source), len(source.class_names)))
    for rows, inputs, labels in run.batches(source):
        maps, scores = program(*run.state.evaluated, inputs)
        real = rows != FILLER
        pooled[rows[real]] = np.asarray(scores)[real]
        for row, each, label in zip(rows[real], maps.unstack(), labels[real], strict=True):
            own = np.asarray(each)[:, :, label]
            centers = run.model.map_centers(own.shape)
            heat[row] = heat_of(own, source.sizes[row].tolist(), centers)
            peaks[row] = [
                along[at] for along, at in zip(centers, np.unravel_index(own.argmax(), own.shape), strict=True)
            ]
    return _Found(heat, peaks / source.sizes, source.boxes / np.tile(source.sizes, 2), pooled)
