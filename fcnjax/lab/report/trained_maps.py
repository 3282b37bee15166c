"""A picture of the class maps of trained arms: `ClassMaps`."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fcnjax.data import PartialSource, Source
from fcnjax.data.planning.remainders import FILLER
from fcnjax.heads import activation_maps
from fcnjax.lab.measures import TrainedRun
from fcnjax.lab.report.class_maps import ClassMapRow, class_map_panel
from fcnjax.lab.report.report import Picture, picture
from fcnjax.lab.runner import Runner
from fcnjax.training.compile.compilation import jit

FIRST = 4  # examples that are drawn if all have one size


@dataclass(frozen=True)
class ClassMaps:
    """Draws the class maps of some arms over the smallest, tallest, widest and largest test example of the first draw.

    If all examples have one size, it draws the first four.

    Attributes:
        arms: names of the arms; each must have class maps.
        remark: sentence at the end of the caption.
    """

    arms: tuple[str, ...]
    remark: str = ""

    def __call__(self, runner: Runner, observations: Any) -> Picture:
        """Returns the picture; `observations` are not used."""
        del observations
        seed, fold = runner.seeds[0], runner.folds[0]
        runs = {runner.experiment.arm(arm).title: runner.trained(arm, seed, fold) for arm in self.arms}
        test = next(iter(runs.values())).sources["test"]
        positions, which = _shown(test)
        chosen = PartialSource(test, positions, {})
        drawn = {title: _maps(run, chosen) for title, run in runs.items()}
        rows = []
        for index in range(len(chosen)):
            example = chosen[index]
            maps = {title: found[index][0] for title, found in drawn.items()}
            predictions = {title: found[index][1] for title, found in drawn.items()}
            rows.append(ClassMapRow(example.values, maps, predictions, example.label))
        caption = (
            f"The map of the predicted class, over the {which} (seed {seed}, fold {fold}). The pool of each map gives "
            f"the score of its class. {self.remark}"
        )
        return picture("class_maps", class_map_panel(rows, shared=False), caption.rstrip())


def _shown(source: Source) -> tuple[np.ndarray, str]:
    """Returns the positions of the examples that are drawn, and which ones they are in words."""
    height, width = source.sizes.T.astype(float)
    largest = (height / width, width / height, height * width)
    extremes = np.unique([np.argmin(height * width), *(np.argmax(values) for values in largest)])
    if len(extremes) > 1:
        return extremes, "smallest, tallest, widest and largest test example"
    return np.arange(min(FIRST, len(source))), f"first {FIRST} test examples"


def _maps(run: TrainedRun, source: Source) -> list[tuple[np.ndarray, int]]:
    """Returns the class maps [h, w, K], probabilities if the head makes them, and the predicted class of examples."""
    model = run.model
    if obstacle := model.head.class_maps_obstacle():
        raise ValueError(obstacle)
    program = jit(lambda batch: (activation_maps(model.head, features := model.features(batch)), model.head(features)))
    found: list[tuple[np.ndarray, int]] = [(np.zeros(0), 0)] * len(source)
    for rows, inputs, _ in run.batches(source):
        scores, logits = program(inputs)
        real = rows != FILLER
        for row, values, predicted in zip(rows[real], scores.unstack(), np.argmax(logits, -1)[real], strict=True):
            found[row] = np.asarray(values), int(predicted)
    return found
