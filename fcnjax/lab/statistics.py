"""Intervals that say what they do not know.

A mean over seeds gets a Student t interval, a proportion of test examples a Wilson interval. One sample has no
interval: its bounds are NaN and its words say "unknown", never a crash and never a width of zero.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A mean and the interval around it.

    Attributes:
        mean: the center, in the unit of the samples.
        low: lower bound; NaN when the interval is unknown.
        high: upper bound; NaN when the interval is unknown.
        n: number of samples behind it.
        confidence: coverage in (0, 1).
    """

    mean: float
    low: float
    high: float
    n: int
    confidence: float = 0.95

    @property
    def known(self) -> bool:
        """Whether the bounds are numbers."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def degenerate(self) -> bool:
        """Whether the width is zero: the samples did not vary, which does not show that others would not."""
        return self.known and self.low == self.high

    def contains(self, value: float) -> bool | None:
        """Says whether ``value`` lies within the bounds (ends included), or None when they are unknown."""
        return self.low <= value <= self.high if self.known else None

    def words(self, scale: float = 1.0, digits: int = 2, signed: bool = False) -> str:
        """Writes ``mean [low, high]``.

        Args:
            scale: factor applied first, such as 100 for per cent.
            digits: decimals, at least 0.
            signed: whether positive numbers carry a plus sign, as differences should.

        Returns:
            One line of text.

        Example:
            >>> mean_interval([0.97, 0.98, 0.99]).words(scale=100)
            '98.00 [95.52, 100.48]'
            >>> mean_interval([0.97]).words(scale=100)
            '97.00 [unknown, n = 1]'
        """
        if not self.known:
            return f"{number(self.mean * scale, digits, signed)} [unknown, n = {self.n}]"
        low, high = (number(bound * scale, digits, signed) for bound in (self.low, self.high))
        return f"{number(self.mean * scale, digits, signed)} [{low}, {high}]"


def number(value: float, digits: int = 2, signed: bool = False) -> str:
    """Writes ``value`` with ``digits`` decimals; what rounds to zero is written without a sign."""
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return text.lstrip("+-") if not text.strip("+-0.") else text


def scientific(value: float) -> str:
    """Writes a relative difference with two significant digits; exactly zero is written ``0``."""
    return "0" if value == 0 else f"{value:.1e}"


def mean_interval(x: ArrayLike, confidence: float = 0.95) -> Interval:
    """Returns the mean of ``x`` with its Student t interval.

    Use it for independent repetitions, such as one accuracy per seed; for a proportion of examples use
    `proportion_interval`. Samples that are all equal give an interval of width zero: nothing varied, as seen.

    Args:
        x: samples [n], n >= 1, any unit.
        confidence: coverage in (0, 1).

    Returns:
        The interval; its bounds are NaN when n is 1 or a sample is not finite.

    Raises:
        ValueError: ``x`` is empty or not one-dimensional, or ``confidence`` is outside (0, 1).

    Source: Student, "The probable error of a mean", Biometrika 6 (1908).
    """
    samples = np.asarray(x, dtype=np.float64)
    _require_confidence(confidence)
    if samples.ndim != 1 or samples.size == 0:
        raise ValueError(f"x has shape {samples.shape}: an interval needs one-dimensional samples, at least one.")
    n = samples.size
    if np.all(samples == samples[0]):  # the rounded mean of equal numbers need not equal them
        mean, half = float(samples[0]), 0.0 if n > 1 else math.nan
    elif not np.all(np.isfinite(samples)):
        mean, half = math.nan, math.nan
    else:
        mean = float(samples.mean())
        quantile = float(stats.t.ppf((1 + confidence) / 2, n - 1))
        half = quantile * float(samples.std(ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n, confidence)


def paired_interval(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Interval:
    """Returns the mean of ``a - b`` with its Student t interval over the pairs.

    Args:
        a: samples [n], one per seed.
        b: samples [n] of the same seeds in the same order.
        confidence: coverage in (0, 1).

    Returns:
        The interval of the differences, in the unit of the samples.

    Raises:
        ValueError: the shapes differ, or as in `mean_interval`.

    Example:
        >>> paired_interval([0.98, 0.97], [0.97, 0.96]).words(digits=3, signed=True)
        '+0.010 [+0.010, +0.010]'

    Source: as `mean_interval`, on differences.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    _require_same_shape(first, second)
    differences = first - second
    if differences.size and np.all(np.isfinite(differences)):
        rounding = 4 * np.finfo(np.float64).eps * max(np.max(np.abs(first)), np.max(np.abs(second)))
        if np.ptp(differences) <= rounding:  # 0.98 - 0.97 is not 0.97 - 0.96
            differences = np.full_like(differences, differences[0])
    return mean_interval(differences, confidence)


def proportion_interval(successes: float, count: int, confidence: float = 0.95) -> Interval:
    """Returns the Wilson interval of a proportion of test examples.

    Use it for what another draw of test examples would change; `mean_interval` over seeds does not cover that.

    Args:
        successes: number of successes in [0, count]; a mean over seeds may be fractional.
        count: number of examples, at least 1.
        confidence: coverage in (0, 1).

    Returns:
        The proportion (not the interval's center) as mean, bounds within [0, 1], ``n = count``.

    Raises:
        ValueError: ``count`` below 1, or ``successes`` outside [0, count].

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    _require_confidence(confidence)
    if count < 1 or not 0 <= successes <= count:
        raise ValueError(
            f"{successes} successes of {count} are no proportion: need 0 <= successes <= count, count >= 1."
        )
    z = float(stats.norm.ppf((1 + confidence) / 2))
    p = successes / count
    center = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return Interval(p, max(0.0, min(p, center - half)), min(1.0, max(p, center + half)), count, confidence)


def proportion_difference(a: Interval, b: Interval) -> Interval:
    """Returns the difference of two proportions of different examples, ``a - b``, with its interval.

    Args:
        a: from `proportion_interval`.
        b: from `proportion_interval`, on other examples, with the same confidence.

    Returns:
        The interval of the difference; its ``n`` is the smaller count.

    Raises:
        ValueError: the two confidences differ.

    Source: Newcombe, "Interval estimation for the difference between independent proportions", Statistics in Medicine
    17 (1998), method 10.
    """
    if a.confidence != b.confidence:
        raise ValueError(f"confidences {a.confidence} and {b.confidence} differ: use one for both proportions.")
    mean = a.mean - b.mean
    low = mean - math.hypot(a.mean - a.low, b.high - b.mean)
    high = mean + math.hypot(a.high - a.mean, b.mean - b.low)
    return Interval(mean, low, high, min(a.n, b.n), a.confidence)


def max_relative_difference(a: ArrayLike, b: ArrayLike) -> float:
    """Returns ``max|a - b| / max|b|``, the largest difference in units of the largest reference value.

    Args:
        a: values of any shape.
        b: reference values of the same shape, at least one.

    Returns:
        0 when both are all zero, infinity when only ``b`` is, NaN when either holds a NaN.

    Raises:
        ValueError: the shapes differ, or are empty.

    Example:
        >>> max_relative_difference([1.0, 2.0], [1.0, 4.0])
        0.5

    Source: derived here.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    _require_same_shape(first, second)
    if first.size == 0:
        raise ValueError("a and b are empty: a largest difference needs at least one value.")
    difference, scale = float(np.max(np.abs(first - second))), float(np.max(np.abs(second)))
    if scale == 0:
        return 0.0 if difference == 0 else math.inf if difference > 0 else math.nan
    return difference / scale


def _require_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is outside (0, 1): 0.95 means 95 %.")


def _require_same_shape(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise ValueError(f"a has shape {a.shape} and b {b.shape}: pairs need equal shapes.")
