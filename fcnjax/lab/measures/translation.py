"""Measures the accuracy on test images that are moved sideways: `MovedSideways`.

Axes: N test examples, H height, W width, C channels.
"""

from dataclasses import dataclass

import numpy as np

from fcnjax.data import ChangedSource, Source
from fcnjax.lab.measures.scores import correct_of
from fcnjax.lab.measures.trained_run import Measured, TrainedRun


@dataclass(frozen=True)
class MovedSideways:
    """Measures the accuracy on test images that are moved left or right, such as "accuracy, moved by 4 px".

    The size stays; zeros enter, and what leaves is lost. The side is drawn with the id of an image: it is the same for
    all arms and runs.

    Attributes:
        distances: in pixels, at least 1.
    """

    distances: tuple[int, ...]

    def __call__(self, run: TrainedRun) -> Measured:
        """Returns one metric per distance."""
        test = run.sources["test"]
        scores = {distance: run.scores(moved_sideways(test, distance)) for distance in self.distances}
        return Measured({f"accuracy, moved by {d} px": correct_of(logits, run.labels) for d, logits in scores.items()})


def moved_sideways(source: Source, distance: int) -> Source:
    """Returns images moved left or right by a number of pixels, at their size; the side is drawn with the id."""

    def move(values: np.ndarray, number: int, size: tuple[int, ...]) -> np.ndarray:
        distances = [(distance, 0), (0, distance)][np.random.default_rng(number).integers(2)]  # zeros left, right
        wider = np.pad(values, [(0, 0), distances, (0, 0)])
        return wider[:, distances[1] :][:, : size[1]]

    return ChangedSource(source, source.sizes, move, f"moved by {distance}")
