"""Measures what zeros around the test examples change: `ZeroPadding`.

Axes: N test examples, K classes, B rows of a batch.
"""

from dataclasses import dataclass

import numpy as np

from fcnjax.data import PartialSource, Source
from fcnjax.data.planning.remainders import FILLER
from fcnjax.data.sources.contents import sample_positions
from fcnjax.lab.changes import with_zeros
from fcnjax.lab.measures.scores import brier_score_of, correct_of, log_loss_of
from fcnjax.lab.measures.trained_run import Measured, TrainedRun
from fcnjax.padded import Padded
from fcnjax.training.step.step import make_evaluation_step


@dataclass(frozen=True)
class ZeroPadding:
    """Measures what zeros after the ends of the test examples change, if nothing masks them.

    Each example gets zeros until its area has grown by a share, as if it were padded in a batch. For each share the
    values are "log loss", "Brier score", "accuracy" and "logit shift", the largest change of a logit, all followed by
    ", SHARE of zeros". The slopes of log loss and Brier score over the share, by least squares of each example, are
    "log loss slope" and "Brier score slope". The number "logits differ, masked" is the largest change of a logit if a
    batch is padded to twice its extents and masked, over the largest logit; "logits differ, not masked" is the same for
    the largest share of zeros.

    Attributes:
        shares: padded over real area minus one; 0 is always measured besides.
        masked: number of examples that are padded and masked.
        arms: the arms that are measured; empty for all.
    """

    shares: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)
    masked: int = 16
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
        numbers = {"logits differ, masked": _masked_difference(run, self.masked)}
        if self.shares:
            shift = values[f"logit shift, {max(self.shares):g} of zeros"].max()
            numbers["logits differ, not masked"] = float(shift / np.abs(logits[0.0]).max())
        return Measured(values, numbers)


def _grown(source: Source, share: float) -> Source:
    """Returns examples with zeros until their area has grown by a share, equally along all axes."""
    factor = (1 + share) ** (1 / source.sizes.shape[1])
    return with_zeros(source, np.ceil(source.sizes * factor).astype(np.int32))


def _masked_difference(run: TrainedRun, count: int) -> float:
    """Returns how far logits move if a batch has twice the extents, all of it masked, over the largest logit."""
    test = run.sources["test"]
    chosen = np.array(sample_positions(len(test), count))
    program, worst, largest = run.compiled(make_evaluation_step, run.recipe), 0.0, 0.0
    for rows, inputs, labels in run.batches(PartialSource(test, chosen, {})):
        extents = tuple(2 * extent for extent in inputs.values.shape[1:-1])
        wider = Padded.stack([np.asarray(example) for example in inputs.unstack()], extents)
        narrow, wide = (program(*run.state.evaluated, batch, labels).logits for batch in (inputs, wider))
        real = rows != FILLER
        worst = max(worst, float(np.abs(narrow - wide)[real].max()))
        largest = max(largest, float(np.abs(narrow)[real].max()))
    return worst / largest


SCORES = {"log loss": log_loss_of, "Brier score": brier_score_of}
