"""Measures what zeros around the test examples change: `ZeroPadding`.

Axes: N test examples, K classes, B rows of a batch.
"""

from dataclasses import dataclass

import numpy as np

from fcnjax.data import PartialSource, Source, scaled
from fcnjax.data.planning.remainders import FILLER
from fcnjax.lab.changes import with_zeros
from fcnjax.lab.measures.scores import brier_score_of, correct_of, log_loss_of, max_relative_difference
from fcnjax.lab.measures.trained_run import Measured, TrainedRun
from fcnjax.padded import Padded
from fcnjax.training.step.step import make_evaluation_step

# Sizes of images in one padded batch, as shares of the largest bucket; the same in all runs of an arm.
MASKED = np.array([(0.6, 0.6), (1.0, 0.6), (0.6, 1.0), (0.85, 0.75)])


@dataclass(frozen=True)
class ZeroPadding:
    """Measures what zeros after the ends of the test examples change, if nothing masks them.

    Each example gets zeros until its area has grown by a share, as if it were padded in a batch. For each share the
    values are "log loss", "Brier score", "accuracy" and "logit shift", the largest change of a logit, all followed by
    ", SHARE of zeros". The slopes of log loss and Brier score over the share, by least squares of each example, are
    "log loss slope" and "Brier score slope". The number "logits differ, masked" is the largest difference between the
    logits of some images alone, at their own size, and in one padded batch with masks, over the largest logit; "logits
    differ, not masked" is the largest logit shift of the largest share of zeros, over the largest logit.

    Attributes:
        shares: padded over real area minus one; 0 is always measured besides.
        arms: the arms that are measured; empty for all.
    """

    shares: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)
    arms: tuple[str, ...] = ()

    def __call__(self, run: TrainedRun) -> Measured | None:
        """Returns values and the number; None for an arm that is not measured."""
        if self.arms and run.arm not in self.arms:
            return None
        test, values = run.sources["test"], {}
        logits = {0.0: run.scores(), **{share: run.scores(_grown(test, share)) for share in self.shares}}
        curves = {name: [] for name in SCORES}
        for share, found in logits.items():
            for name, score in SCORES.items():
                curves[name].append(score(found, run.labels))
                values[f"{name}, {share:g} of zeros"] = curves[name][-1]
            values[f"accuracy, {share:g} of zeros"] = correct_of(found, run.labels)
            values[f"logit shift, {share:g} of zeros"] = np.abs(found - logits[0.0]).max(axis=1)
        for name, curve in curves.items() if self.shares else ():
            values[f"{name} slope"] = np.polyfit(list(logits), np.array(curve), 1)[0]
        numbers = {"logits differ, masked": _masked_difference(run)}
        if self.shares:
            shift = values[f"logit shift, {max(self.shares):g} of zeros"].max()
            numbers["logits differ, not masked"] = float(shift / np.abs(logits[0.0]).max())
        return Measured(values, numbers)


def _grown(source: Source, share: float) -> Source:
    """Returns examples with zeros until their area has grown by a share, equally along all axes."""
    factor = (1 + share) ** (1 / source.sizes.shape[1])
    return with_zeros(source, np.ceil(source.sizes * factor).astype(np.int32))


def _masked_difference(run: TrainedRun) -> float:
    """Returns how far logits of images alone and in one padded batch differ, over the largest; NaN if one is NaN."""
    chosen = PartialSource(run.sources["test"], np.arange(len(MASKED)), {})
    program = run.compiled(make_evaluation_step, run.recipe)
    alone, together = [], []
    sizes = np.ceil(MASKED * run.trainer.buckets.shapes[-1]).astype(np.int32)
    for rows, inputs, labels in run.batches(scaled(chosen, sizes)):
        real = rows != FILLER
        together.extend(np.asarray(program(*run.state.evaluated, inputs, labels).logits)[real])
        for example, label in zip(inputs.unstack(), labels[real], strict=True):
            own = Padded.stack([np.asarray(example)])
            alone.append(program(*run.state.evaluated, own, label[None]).logits[0])
    return max_relative_difference(together, alone)


SCORES = {"log loss": log_loss_of, "Brier score": brier_score_of}
