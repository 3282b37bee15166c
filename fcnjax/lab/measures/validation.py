"""What pilots are tested on, and their loss.

The code of this module is part of the keys of pilots, and that of `fcnjax.lab.tuning` is not: what is done with their
numbers may change, and they need not run again.
"""

import dataclasses
from collections.abc import Mapping

from fcnjax.data import Source
from fcnjax.lab.experiment import ChangeSources
from fcnjax.lab.measures.scores import log_loss_of
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
        losses = log_loss_of(run.scores(), run.labels)
        return Measured({}, {LOSS: float(losses[run.labels >= 0].mean())})
