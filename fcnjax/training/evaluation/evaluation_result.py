"""What an evaluation of a split gives: every example counted exactly once, whatever the batches.

Axes: N examples, B rows of a batch, K classes, D spatial axes.
"""

import dataclasses
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from fcnjax.data import Source
from fcnjax.training.evaluation.metrics import Metrics, measure
from fcnjax.training.step.step import Evaluation


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationResult:
    """Every example of a split counted exactly once.

    Attributes:
        loss: mean cross-entropy.
        correct: number of examples whose largest logit is their label's.
        count: number of examples.
        logits: float32 [N, K], in the order of the source; NaN where an example could not be decoded.
        labels: int32 [N], likewise; -1 where an example could not be decoded.
        sizes: int32 [N, D], likewise: what the source says of them.
        unreadable: how many could not be decoded.
    """

    loss: float
    correct: int
    count: int
    logits: np.ndarray
    labels: np.ndarray
    sizes: np.ndarray
    unreadable: int = 0

    @property
    def accuracy(self) -> float:
        """Share of correct examples; 0 where there are none."""
        return self.correct / max(self.count, 1)

    @cached_property
    def metrics(self) -> Metrics:
        """All figures of the examples that were decoded.

        Raises:
            FloatingPointError: if the network gives NaN for one of them.
        """
        metrics = measure(self.logits, self.labels, self.sizes)
        if metrics.left_out != self.unreadable:
            raise FloatingPointError(
                f"logits: are NaN for {metrics.left_out - self.unreadable} of {self.count} examples that were decoded; "
                "the weights or statistics of this network are not finite, so train it anew."
            )
        return metrics


def collected(source: Source, parts: Sequence[tuple[np.ndarray, Evaluation]], unreadable: int) -> EvaluationResult:
    """Puts together the evaluated batches of a split.

    Args:
        source: the split.
        parts: for each batch the examples in its rows, int [B] (where it holds one), and what the step gave for them.
        unreadable: how many examples could not be decoded, on all hosts.
    """
    logits = np.full((len(source), len(source.class_names)), np.nan, np.float32)
    labels = np.full(len(source), -1, np.int32)
    for rows, out in parts:
        real = np.asarray(out.real)
        logits[rows[real]], labels[rows[real]] = np.asarray(out.logits)[real], np.asarray(out.labels)[real]
    loss, correct, count = (
        sum(np.asarray(getattr(out, field)).item() for _, out in parts) for field in ("loss", "correct", "count")
    )
    if count + unreadable != len(source):
        told = f"{count} counted and {unreadable} not decoded of {len(source)} examples"
        raise AssertionError(f"evaluation: {told}; this is a bug.")
    return EvaluationResult(loss / max(count, 1), correct, count, logits, labels, source.sizes, unreadable)
