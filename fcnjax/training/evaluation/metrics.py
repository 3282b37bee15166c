"""Figures of an evaluation, from the logits of all examples: numpy in float64, and integers for all counts.

Axes: N examples, K classes, D spatial axes. The one idea: each example is reduced once to a rank, a loss, a prediction
and its probability. Every figure is a count or a mean of these, so none depends on batches.
"""

import dataclasses
from functools import cached_property
from typing import NamedTuple

import numpy as np

from fcnjax.data.size_table import areas, quantile_groups

CALIBRATION_BINS = 15
ROWS_AT_ONCE = 4096  # bounds the float64 copies of the logits
WORST = 10  # classes, or pairs of classes, in a list of the worst


class Calibration(NamedTuple):
    """A reliability diagram: examples grouped by the probability of their prediction.

    Attributes:
        edges: float64 [bins + 1], equally spaced from 0 to 1; a bin includes its upper edge and excludes its lower one.
        counts: int64 [bins], number of examples.
        correct: int64 [bins], number of correct predictions.
        confidence: float64 [bins], mean probability of the predictions; NaN for an empty bin.
    """

    edges: np.ndarray
    counts: np.ndarray
    correct: np.ndarray
    confidence: np.ndarray

    @property
    def accuracy(self) -> np.ndarray:
        """Share of correct predictions, float64 [bins]; NaN for an empty bin."""
        return shares(self.correct, self.counts)

    @property
    def error(self) -> float:
        """Expected calibration error, in [0, 1]: |accuracy - confidence|, averaged over examples; NaN without any."""
        if not self.counts.sum():
            return float("nan")
        gaps = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(gaps * self.counts) / self.counts.sum())


class SizeGroup(NamedTuple):
    """Examples of neighboring sizes.

    Attributes:
        smallest: smallest area in the group, in positions (length of a signal, volume of a volume).
        largest: largest area in the group.
        examples: number of examples.
        correct: number of examples with a correct prediction.
    """

    smallest: int
    largest: int
    examples: int
    correct: int


@dataclasses.dataclass(frozen=True, eq=False)
class Metrics:
    """Figures of the n examples that have logits, in their order; made by `measure`.

    Attributes:
        known: bool [N], whether an example has logits, none of them NaN.
        labels: int64 [n], true classes.
        predictions: int64 [n], class of the largest logit; the first class of equal logits.
        ranks: int64 [n], number of classes that rank before the label: larger logits, and equal logits of earlier
            classes; 0 if the prediction is correct.
        probabilities: float64 [n], softmax of the prediction.
        losses: float64 [n], cross-entropy.
        areas: int64 [n], number of positions.
        classes: K.
    """

    known: np.ndarray
    labels: np.ndarray
    predictions: np.ndarray
    ranks: np.ndarray
    probabilities: np.ndarray
    losses: np.ndarray
    areas: np.ndarray
    classes: int

    @property
    def count(self) -> int:
        """n, number of examples that have logits."""
        return len(self.labels)

    @property
    def left_out(self) -> int:
        """N - n, number of examples without logits, which no figure counts."""
        return len(self.known) - self.count

    @property
    def right(self) -> np.ndarray:
        """Whether each prediction is the label, bool [n]."""
        return self.ranks == 0

    @property
    def ks(self) -> tuple[int, ...]:
        """The k for which top-k accuracy is informative: 1, and 5 with more than 5 classes."""
        return (1, 5) if self.classes > 5 else (1,)

    def correct(self, k: int = 1) -> int:
        """Returns the number of examples whose label is among the k largest logits.

        Raises:
            ValueError: if `k` is outside 1 to K.
        """
        if not 1 <= k <= self.classes:
            raise ValueError(f"k={k}: must be 1 to {self.classes}, the number of classes.")
        return int((self.ranks < k).sum())

    def part(self, members: np.ndarray) -> "Metrics":
        """Returns the figures of some of the n examples.

        Args:
            members: bool [n], which ones.
        """
        arrays = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        chosen = {name: array[members] for name, array in arrays.items() if name not in ("known", "classes")}
        return Metrics(known=np.ones(int(members.sum()), bool), classes=self.classes, **chosen)

    @property
    def loss(self) -> float:
        """Mean cross-entropy; NaN without examples."""
        return float(self.losses.mean()) if self.count else float("nan")

    @property
    def mean_probability(self) -> float:
        """Mean probability of the predictions; NaN without examples. Above the accuracy: too sure on average."""
        return float(self.probabilities.mean()) if self.count else float("nan")

    def accuracy(self, k: int = 1) -> float:
        """Returns the share of examples whose label is among the k largest logits; 0 without examples."""
        return self.correct(k) / max(self.count, 1)

    @cached_property
    def calibration(self) -> Calibration:
        """The reliability diagram over 15 bins.

        Source: Guo et al., "On Calibration of Modern Neural Networks", 2017, section 2.
        """
        bins = CALIBRATION_BINS
        edges = np.arange(bins + 1) / bins
        index = np.clip(np.searchsorted(edges, self.probabilities) - 1, 0, bins - 1)
        counts = np.bincount(index, minlength=bins)
        confidence = shares(np.bincount(index, self.probabilities, bins), counts)
        return Calibration(edges, counts, np.bincount(index[self.right], minlength=bins), confidence)

    @cached_property
    def confusion(self) -> np.ndarray:
        """int64 [K, K], number of examples by label (row) and prediction (column)."""
        cells = self.labels * self.classes + self.predictions
        return np.bincount(cells, minlength=self.classes**2).reshape(self.classes, self.classes)

    @cached_property
    def class_counts(self) -> np.ndarray:
        """int64 [K], number of examples of each class."""
        return np.bincount(self.labels, minlength=self.classes)

    @cached_property
    def class_correct(self) -> np.ndarray:
        """int64 [K], number of correct predictions for each class; see `shares` for the accuracy."""
        return np.bincount(self.labels[self.right], minlength=self.classes)

    def by_size(self, groups: int = 4) -> list[SizeGroup]:
        """Returns the examples in groups of about equal count by area, smallest first (see `quantile_groups`).

        Args:
            groups: number of groups to ask for, at least 1; 4 makes quartiles.

        Raises:
            ValueError: if `groups` is below 1.
        """
        index = quantile_groups(self.areas, groups)
        members = [index == group for group in range(index.max(initial=-1) + 1)]
        return [
            SizeGroup(int(self.areas[m].min()), int(self.areas[m].max()), int(m.sum()), int((self.right & m).sum()))
            for m in members
        ]


def measure(logits: np.ndarray, labels: np.ndarray, sizes: np.ndarray) -> Metrics:
    """Returns the figures of an evaluation.

    Args:
        logits: floating [N, K]; rows with NaN (examples that could not be decoded) are left out, and counted as such.
        labels: integer [N], 0 to K - 1; any value if the logits are NaN.
        sizes: integer [N, D], extents of the examples.

    Raises:
        ValueError: if the shapes do not match, or a label is outside 0 to K - 1.

    >>> metrics = measure(np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 0]), np.array([[8, 9], [7, 7]]))
    >>> metrics.correct(), metrics.count, metrics.confusion.tolist()
    (1, 2, [[1, 1], [0, 0]])
    """
    logits, labels, sizes = np.asarray(logits), np.asarray(labels), np.asarray(sizes)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or sizes.ndim != 2 or len(sizes) != len(logits):
        raise ValueError(
            f"logits.shape={logits.shape}, labels.shape={labels.shape}, sizes.shape={sizes.shape}: must be [N, K], [N] "
            "and [N, D]; give logits, labels and sizes of the same examples."
        )
    known = np.logical_not(np.isnan(logits).any(axis=1))
    rows, classes = np.flatnonzero(known), logits.shape[1]
    wanted = labels[rows].astype(np.int64)
    outside = rows[(wanted < 0) | (wanted >= classes)]
    if len(outside):
        first = int(outside[0])
        raise ValueError(f"labels[{first}]={labels[first]}: must be 0 to {classes - 1}, one of the {classes} classes.")
    parts = [
        _per_example(logits[rows[i : i + ROWS_AT_ONCE]], wanted[i : i + ROWS_AT_ONCE])
        for i in range(0, max(len(rows), 1), ROWS_AT_ONCE)
    ]
    predictions, ranks, probabilities, losses = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Metrics(known, wanted, predictions, ranks, probabilities, losses, areas(sizes[rows]), classes)


def _per_example(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns prediction, rank, probability and loss [n] of logits [n, K] and labels [n]."""
    logits = logits.astype(np.float64)
    predictions = logits.argmax(axis=1)
    own = np.take_along_axis(logits, labels[:, None], axis=1)  # [n, 1]
    first = np.arange(logits.shape[1]) < labels[:, None]
    ranks = ((logits > own) | ((logits == own) & first)).sum(axis=1)
    largest = logits.max(axis=1)
    normalizer = np.log(np.exp(logits - largest[:, None]).sum(axis=1))  # log-sum-exp minus the largest logit
    return predictions, ranks, np.exp(-normalizer), normalizer + (largest - own[:, 0])


def shares(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    """Returns parts / wholes as float64; NaN where a whole is 0."""
    return np.divide(parts, wholes, out=np.full(np.shape(wholes), np.nan), where=np.asarray(wholes) > 0)


def worst_classes(metrics: Metrics, max_count: int = WORST) -> list[int]:
    """Returns up to `max_count` classes with mistakes, least accurate first, and larger ones first in a tie."""
    accuracy = shares(metrics.class_correct, metrics.class_counts)
    order = np.lexsort((-metrics.class_counts, accuracy))
    return order[accuracy[order] < 1][:max_count].tolist()


def worst_confusions(metrics: Metrics, max_count: int = WORST) -> list[tuple[int, int, int]]:
    """Returns up to `max_count` mistakes (label, prediction, count), most frequent first, ties in class order."""
    wrong = ~metrics.right
    cells = metrics.labels[wrong] * metrics.classes + metrics.predictions[wrong]
    distinct, counts = np.unique(cells, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:max_count]
    labels, predictions = np.divmod(distinct[order], metrics.classes)
    return list(zip(labels.tolist(), predictions.tolist(), counts[order].tolist(), strict=True))
