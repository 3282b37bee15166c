"""Measures a trained network at other sizes of the test examples: `AtSizes`.

Axes: N test examples, K classes.
"""

from dataclasses import dataclass

import numpy as np

from fcnjax.data import cropped, scaled
from fcnjax.lab.measures.scores import correct_of
from fcnjax.lab.measures.trained_run import Measured, TrainedRun
from fcnjax.naming import joined
from fcnjax.training import TrainState, reestimated_statistics

HOW = {"scaled": scaled, "cropped": cropped}


@dataclass(frozen=True)
class AtSizes:
    """Measures the accuracy on the test examples brought to other sizes, such as "accuracy, scaled to 28x16".

    Attributes:
        sizes: height and width of each.
        how: "scaled" or "cropped".
        reestimated: whether the statistics of batch norms are measured again, with the training examples brought to
            each size, which must fit a bucket of the run. The metrics are then "accuracy, scaled to 28x16, statistics
            of that size".
        arms: the arms that are measured; empty for all.
    """

    sizes: tuple[tuple[int, int], ...]
    how: str = "scaled"
    reestimated: bool = False
    arms: tuple[str, ...] = ()

    def __call__(self, run: TrainedRun) -> Measured | None:
        """Returns one metric per size; None for an arm that is not measured."""
        if self.arms and run.arm not in self.arms:
            return None
        ending = ", statistics of that size" if self.reestimated else ""
        return Measured(
            {f"accuracy, {self.how} to {joined(size)}{ending}": self._correct(run, size) for size in self.sizes}
        )

    def _correct(self, run: TrainedRun, size: tuple[int, int]) -> np.ndarray:
        change = HOW[self.how]
        if not self.reestimated:
            return correct_of(run.scores(change(run.sources["test"], size)), run.labels)
        trainer = run.trainer.on({name: change(source, size) for name, source in run.sources.items()})
        weights, _ = run.state.evaluated
        state = TrainState(run.state.step, weights, reestimated_statistics(trainer, run.state), run.state.optimizer)
        return correct_of(trainer.evaluate(state, "test").logits, run.labels)
