"""The result of evaluating a split: every example counts exactly once, whatever the batches.

Axes: N examples, B rows of a batch, K classes, D spatial axes.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType

import numpy as np

from fcnjax.data import Source
from fcnjax.training.evaluation.metrics import Metrics, measure
from fcnjax.training.step.step import Evaluation


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationResult:
    """The evaluation of a split, in which every example counts exactly once.

    Attributes:
        loss: mean cross-entropy.
        correct: number of examples whose largest logit is their label's.
        count: number of examples that were decoded.
        logits: float32 [N, K], in the order of the source; NaN for an example that could not be decoded.
        labels: int32 [N], in the same order; -1 for an example that could not be decoded.
        sizes: int32 [N, D], in the same order, from the source.
        unreadable: number of examples that could not be decoded.
        reasons: by name, why these could not, and why others were left out of the source; with several hosts, those of
            this host.
    """

    loss: float
    correct: int
    count: int
    logits: np.ndarray
    labels: np.ndarray
    sizes: np.ndarray
    unreadable: int = 0
    reasons: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Share of correct examples; 0 without examples."""
        return self.correct / max(self.count, 1)

    @cached_property
    def metrics(self) -> Metrics:
        """All figures of the examples that were decoded.

        Raises:
            FloatingPointError: if a logit of one of them is NaN.
        """
        metrics = measure(self.logits, self.labels, self.sizes)
        if metrics.left_out != self.unreadable:
            raise FloatingPointError(
                f"logits: are NaN for {metrics.left_out - self.unreadable} of {self.count} examples that were decoded; "
                "the weights or statistics of this network are not finite, so train it again."
            )
        return metrics


def collected(
    source: Source,
    parts: Sequence[tuple[np.ndarray, Evaluation]],
    unreadable: int,
    reasons: Mapping[str, str] = MappingProxyType({}),
) -> EvaluationResult:
    """Returns the evaluation of a split from its batches.

    Args:
        source: the split.
        parts: for each batch, the index in the source of each row, int [B], and the output of the evaluation step.
            Rows that the output marks as not real are skipped.
        unreadable: number of examples that could not be decoded, on all hosts.
        reasons: why those of this host could not, by name.
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
        raise AssertionError(f"evaluation: {count} counted + {unreadable} not decoded != {len(source)}; this is a bug.")
    reasons = {**source.unreadable, **reasons}
    return EvaluationResult(loss / max(count, 1), correct, count, logits, labels, source.sizes, unreadable, reasons)
