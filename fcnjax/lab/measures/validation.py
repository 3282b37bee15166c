"""What pilots are tested on, and their loss.

The code of this module is part of the keys of pilots, and that of `fcnjax.lab.tuning` is not: what is done with their
numbers may change, and they need not run again.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from scipy.special import log_softmax

from fcnjax.data import Source
from fcnjax.lab.experiment import ChangeSources
from fcnjax.lab.measures.trained_run import Measured, TrainedRun

LOSS = "validation loss"


@dataclasses.dataclass(frozen=True)
class OnValidation:
    """Changes the splits of a pilot: the validation examples take the place of the test examples.

    Attributes:
        change: what the arm itself changes before that.
    """

    change: ChangeSources | None = None

    def __call__(self, sources: Mapping[str, Source], seed: int) -> Mapping[str, Source]:
        """Returns the splits of a pilot."""
        changed = dict(sources) if self.change is None else dict(self.change(sources, seed))
        return changed | {"test": changed["validation"]}


@dataclasses.dataclass(frozen=True)
class ValidationLoss:
    """Measures the mean cross-entropy of the examples that a pilot is tested on; it may be infinite or NaN."""

    def __call__(self, run: TrainedRun) -> Measured:
        """Returns the loss as a number."""
        known = run.labels >= 0
        log_probabilities = log_softmax(run.scores()[known].astype(np.float64), axis=1)
        return Measured({}, {LOSS: -float(log_probabilities[np.arange(known.sum()), run.labels[known]].mean())})
