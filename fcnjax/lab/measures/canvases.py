"""Measures what the area of the canvas changes, for the same small objects: `OnCanvases`.

Axes: N test examples, K classes, T canvases, P placements.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from fcnjax.lab.changes import SceneSource
from fcnjax.lab.measures.scores import correct_of
from fcnjax.lab.measures.trained_run import Measured, TrainedRun


@dataclass(frozen=True)
class OnCanvases:
    """Measures the accuracy and the log odds of the true class with each test example on canvases of several sizes.

    Each example keeps its side, and the clutter its density. Values are means over the placements of an example, such
    as "accuracy, 48x48 canvas" and "log odds, 48x48 canvas" (natural logarithm). Their slopes over the binary logarithm
    of the area, by least squares of each example, are "accuracy slope" and "log odds slope": the change when the area
    doubles. The numbers are "parameters" and "multiply-adds", those of an image as large as the largest canvas.

    Attributes:
        sides: height and width of each canvas, in pixels; at least two.
        placements: number of places of each example on each canvas, at least 1.

    Raises:
        ValueError: if there are fewer sides or placements.
    """

    sides: tuple[int, ...]
    placements: int = 2

    def __post_init__(self):
        if len(set(self.sides)) < 2 or self.placements < 1:
            raise ValueError(
                f"sides={self.sides}, placements={self.placements}: must be at least two sizes, which a slope needs, "
                "and one placement."
            )

    def __call__(self, run: TrainedRun) -> Measured:
        """Returns values and numbers.

        Raises:
            TypeError: if the test examples are not scenes.
        """
        test, values = scenes_of(run, "test"), {}
        curves: dict[str, list[np.ndarray]] = {name: [] for name in SCORES}
        for side in self.sides:
            placed = [run.scores(test.on_canvas((side, side), number)) for number in range(self.placements)]
            for name, score in SCORES.items():
                curves[name].append(np.mean([score(logits, run.labels) for logits in placed], axis=0))
                values[f"{name}, {side}x{side} canvas"] = curves[name][-1]
        for name, curve in curves.items():
            values[f"{name} slope"] = np.polyfit(2 * np.log2(self.sides), np.array(curve), 1)[0]
        rows = run.model.trace((max(self.sides),) * 2)
        costs = {"parameters": "parameters", "multiply-adds": "multiply_adds"}
        return Measured(values, {name: float(sum(getattr(row, each) for row in rows)) for name, each in costs.items()})


def scenes_of(run: TrainedRun, split: str) -> SceneSource:
    """Returns a split of a run whose arm makes scenes.

    Raises:
        TypeError: if it does not.
    """
    source = run.sources[split]
    if not isinstance(source, SceneSource):
        raise TypeError(f"arm {run.arm!r}: must have scenes; give it sources=lab.Scenes(...).")
    return source


def log_odds_of(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns log(p / (1 - p)) of the probability p of the true class [N]; NaN without a class."""
    scores, own = logits.astype(np.float64), np.arange(logits.shape[1]) == labels[:, None]
    true, others = (np.asarray(logsumexp(scores, axis=1, b=which)) for which in (own, ~own))
    return np.where(labels >= 0, true - others, np.nan)


SCORES = {"accuracy": correct_of, "log odds": log_odds_of}
