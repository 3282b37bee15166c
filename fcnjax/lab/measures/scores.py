"""Measures of the predictions on the test examples: accuracy, log loss, flips, accuracy by area.

Axes: N test examples, K classes.
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax, softmax

from fcnjax.data.planning.remainders import FILLER
from fcnjax.data.size_table import areas, quantile_groups
from fcnjax.lab.measures.trained_run import Measured, TrainedRun
from fcnjax.training.step.step import make_evaluation_step

SHARES = {2: "half", 3: "third", 4: "quarter", 5: "fifth"}


@dataclass(frozen=True)
class Scores:
    """Measures "accuracy", 1 for each test example that is classified correctly and else 0, and "log loss"."""

    def __call__(self, run: TrainedRun) -> Measured:
        """Returns both; NaN for examples that cannot be decoded."""
        logits = run.scores().astype(np.float64)
        if not np.all(np.isfinite(logits[run.labels >= 0])):
            raise FloatingPointError(f"arm {run.arm!r}: its logits must be finite; lower its learning rate.")
        return Measured({"accuracy": correct_of(logits, run.labels), "log loss": log_loss_of(logits, run.labels)})


def correct_of(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns 1 for each example whose largest logit is that of its class, and else 0 [N]; NaN without a class."""
    return np.where(labels >= 0, np.argmax(logits, axis=1) == labels, np.nan)


def log_loss_of(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the cross-entropy of each example [N]; NaN without a class."""
    losses = -log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), np.maximum(labels, 0)]
    return np.where(labels >= 0, losses, np.nan)


def brier_score_of(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the squared distance of the probabilities from the true class, in [0, 2] [N]; NaN without a class.

    Source: Brier, "Verification of forecasts expressed in terms of probability", 1950.
    """
    probabilities = softmax(logits.astype(np.float64), axis=1)
    distance = np.sum((probabilities - np.eye(logits.shape[1])[np.maximum(labels, 0)]) ** 2, axis=1)
    return np.where(labels >= 0, distance, np.nan)


def max_relative_difference(a: ArrayLike, b: ArrayLike) -> float:
    """Returns `max|a - b| / max|b|`, the largest difference relative to the largest reference value.

    Args:
        a: values of any shape, at least one.
        b: reference values of the same shape.

    Returns:
        The ratio, at least 0: 0 if both are zero everywhere, infinity if only `b` is, NaN if either holds a NaN.

    Raises:
        ValueError: if the shapes differ, or the arrays are empty.

    Source: derived here.

    >>> max_relative_difference([1.0, 2.0], [1.0, 4.0])
    0.5
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"a of shape {first.shape}, b of shape {second.shape}: must have equal shapes, to be paired.")
    if first.size == 0:
        raise ValueError(f"a of shape {first.shape}: must hold at least one value.")
    difference, scale = float(np.max(np.abs(first - second))), float(np.max(np.abs(second)))
    if scale == 0:
        return 0.0 if difference == 0 else math.inf if difference > 0 else math.nan
    return difference / scale


@dataclass(frozen=True)
class Flips:
    """Measures "flipped in DTYPE": 1 for each test example whose prediction changes when computed in another dtype.

    Attributes:
        dtype: dtype of the computation, as in `config.model.dtype`.
    """

    dtype: str = "bfloat16"

    def __call__(self, run: TrainedRun) -> Measured:
        """Returns the value of each example and, under the same name, their mean as a number."""
        model = dataclasses.replace(run.recipe.model, dtype=self.dtype)
        program = run.compiled(make_evaluation_step, dataclasses.replace(run.recipe, model=model))
        flipped, predictions = np.full(len(run.labels), np.nan), np.argmax(run.scores(), axis=1)
        for rows, inputs, labels in run.batches():
            real, logits = rows != FILLER, program(*run.state.evaluated, inputs, labels).logits
            flipped[rows[real]] = np.argmax(logits, axis=1)[real] != predictions[rows[real]]
        name = f"flipped in {self.dtype}"
        return Measured({name: flipped}, {name: float(np.nanmean(flipped))})


@dataclass(frozen=True)
class ByArea:
    """Measures the accuracy of examples of similar area, such as "accuracy, smallest third"; NaN for all others.

    The groups have about equal counts over all examples that any run of the arm tests, so that an example has one group
    in all runs. Examples of one area are never divided. Examples outside of these belong to the group of their area.

    Attributes:
        parts: number of groups, 2 to 5.
    """

    parts: int = 3

    def __post_init__(self):
        if self.parts not in SHARES:
            raise ValueError(f"parts={self.parts}: must be 2 to 5.")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the metrics, from the smallest examples to the largest."""
        between = ("middle",) if self.parts == 3 else ("second", "third", "fourth")[: self.parts - 2]
        return tuple(f"accuracy, {place} {SHARES[self.parts]}" for place in ("smallest", *between, "largest"))

    def __call__(self, run: TrainedRun) -> Measured | None:
        """Returns the accuracies; None if too many examples share an area to be divided."""
        known, test = areas(run.pool.sizes), run.sources["test"]
        groups = quantile_groups(known, self.parts)  # [pool]
        if groups.max() + 1 < self.parts:
            return None
        of_pool = dict(zip(run.pool.ids.tolist(), known.tolist(), strict=True))
        given = zip(test.ids.tolist(), areas(test.sizes).tolist(), strict=True)
        largest = [known[groups == group].max() for group in range(self.parts - 1)]
        group = np.searchsorted(largest, [of_pool.get(number, area) for number, area in given])  # [N]
        accuracy = Scores()(run).values["accuracy"]
        return Measured({name: np.where(group == i, accuracy, np.nan) for i, name in enumerate(self.names)})
