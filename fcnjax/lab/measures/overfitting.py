"""Measures how much better a network does on its training examples than on test examples: `Overfitting`.

Axes: N test examples.
"""

from dataclasses import dataclass

import numpy as np

from fcnjax.lab.measures.scores import correct_of, log_loss_of
from fcnjax.lab.measures.trained_run import Measured, TrainedRun


@dataclass(frozen=True)
class Overfitting:
    """Measures the gap between training and test examples, both as in evaluation, without augmentation or dropout.

    The values are "accuracy gap", the mean accuracy of the training examples minus that of each test example, and "log
    loss gap", the log loss of each test example minus the mean of the training examples. The means over training
    examples are the numbers "training accuracy" and "training log loss": a network whose training log loss is still
    high is not trained enough to overfit.
    """

    def __call__(self, run: TrainedRun) -> Measured:
        """Returns the values, NaN for examples that cannot be decoded, and the numbers."""
        train = run.trainer.evaluate(run.state, "train")
        accuracy = float(np.nanmean(correct_of(train.logits, train.labels)))
        log_loss = float(np.nanmean(log_loss_of(train.logits, train.labels)))
        logits = run.scores()
        gaps = {
            "accuracy gap": accuracy - correct_of(logits, run.labels),
            "log loss gap": log_loss_of(logits, run.labels) - log_loss,
        }
        return Measured(gaps, {"training accuracy": accuracy, "training log loss": log_loss})
