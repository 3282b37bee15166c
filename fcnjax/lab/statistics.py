"""Confidence intervals over seeds and over test examples, and relative differences.

A mean over seeds has Student's t interval; a proportion of test examples has Wilson's interval. One sample gives no
interval: the bounds are NaN and are printed as "unknown".

The t interval is `scipy.stats.t.interval`. This module implements what scipy lacks: Wilson's interval of a fractional
number of successes (`binomtest` takes whole numbers only), and an interval of the difference of two proportions.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval.

    Attributes:
        mean: the mean or the proportion, in the unit of the samples.
        low: lower bound; NaN if the interval is unknown.
        high: upper bound; NaN if the interval is unknown.
        n: number of samples.
        confidence: coverage in (0, 1).
    """

    mean: float
    low: float
    high: float
    n: int
    confidence: float = 0.95

    @property
    def known(self) -> bool:
        """Whether both bounds are finite."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def degenerate(self) -> bool:
        """Whether the width is zero: these samples did not vary, but other samples might."""
        return self.known and self.low == self.high

    def contains(self, value: float) -> bool | None:
        """Returns whether `value` lies within the bounds, which are included; None if they are unknown."""
        return self.low <= value <= self.high if self.known else None

    def words(self, scale: float = 1.0, digits: int = 2, signed: bool = False) -> str:
        """Returns the interval as the text `mean [low, high]`.

        Args:
            scale: factor applied first, such as 100 for per cent.
            digits: number of decimals, at least 0.
            signed: whether positive numbers carry a plus sign, as differences should.

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
    """Returns `value` as text with `digits` decimals; a number that rounds to zero has no sign."""
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return text.lstrip("+-") if not text.strip("+-0.") else text


def scientific(value: float) -> str:
    """Returns `value` as text with two significant digits; exactly zero is `0`."""
    return "0" if value == 0 else f"{value:.1e}"


def mean_interval(x: ArrayLike, confidence: float = 0.95) -> Interval:
    """Returns the mean of `x` with its Student t interval.

    Use it for independent repetitions, such as one accuracy per seed; for a proportion of examples use
    `proportion_interval`. Equal samples give an interval of width zero.

    Args:
        x: samples [n], n >= 1, in any unit.
        confidence: coverage in (0, 1).

    Returns:
        The interval; its bounds are NaN if n is 1 or a sample is not finite.

    Raises:
        ValueError: if `x` is empty or not one-dimensional, or `confidence` is outside (0, 1).

    Source: Student, "The probable error of a mean", Biometrika 6 (1908).
    """
    samples = np.asarray(x, dtype=np.float64)
    _check_confidence(confidence)
    if samples.ndim != 1 or samples.size == 0:
        raise ValueError(f"x of shape {samples.shape}: must be [n] with n at least 1; pass one number per seed.")
    n = samples.size
    if np.all(samples == samples[0]):  # scipy returns NaN; and the rounded mean of equal numbers may differ from them
        mean = float(samples[0])
        low = high = mean if n > 1 else math.nan
    elif not np.all(np.isfinite(samples)):
        mean = low = high = math.nan
    else:  # not `ttest_1samp`, which warns about nearly equal samples
        mean = float(samples.mean())
        low, high = map(float, stats.t.interval(confidence, n - 1, mean, stats.sem(samples)))
    return Interval(mean, low, high, n, confidence)


def paired_interval(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Interval:
    """Returns the mean of `a - b` with its Student t interval over the pairs.

    Args:
        a: samples [n], one per seed.
        b: samples [n] of the same seeds in the same order.
        confidence: coverage in (0, 1).

    Returns:
        The interval of the differences, in the unit of the samples.

    Raises:
        ValueError: if the shapes differ, or as in `mean_interval`.

    Source: as in `mean_interval`, on differences.

    >>> paired_interval([0.98, 0.97], [0.97, 0.96]).words(digits=3, signed=True)
    '+0.010 [+0.010, +0.010]'
    """
    first, second = _same_shape(a, b)
    differences = first - second
    if differences.size and np.all(np.isfinite(differences)):
        rounding = 4 * np.finfo(np.float64).eps * max(np.max(np.abs(first)), np.max(np.abs(second)))
        if np.ptp(differences) <= rounding:  # 0.98 - 0.97 is not 0.97 - 0.96 in float64
            differences = np.full_like(differences, differences[0])
    return mean_interval(differences, confidence)


def proportion_interval(successes: float, count: int, confidence: float = 0.95) -> Interval:
    """Returns a proportion of test examples with its Wilson interval.

    Use it for the variation between draws of test examples, which `mean_interval` over seeds does not cover.

    Args:
        successes: number of successes in [0, count]; fractional if it is a mean over seeds.
        count: number of examples, at least 1.
        confidence: coverage in (0, 1).

    Returns:
        The interval, within [0, 1]; its `mean` is the proportion, not the center, and its `n` is `count`.

    Raises:
        ValueError: if `count` is below 1, `successes` outside [0, count] or `confidence` outside (0, 1).

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    _check_confidence(confidence)
    if count < 1 or not 0 <= successes <= count:
        raise ValueError(f"successes={successes}, count={count}: must be 0 <= successes <= count and count >= 1.")
    z = float(stats.norm.ppf((1 + confidence) / 2))
    p = successes / count
    center = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return Interval(p, max(0.0, min(p, center - half)), min(1.0, max(p, center + half)), count, confidence)


def proportion_difference(a: Interval, b: Interval) -> Interval:
    """Returns the difference `a - b` of two proportions of different examples, with its interval.

    Args:
        a: from `proportion_interval`.
        b: from `proportion_interval`, on other examples, with the same confidence.

    Returns:
        The interval of the difference; its `n` is the smaller count.

    Raises:
        ValueError: if the confidences differ.

    Source: Newcombe, "Interval estimation for the difference between independent proportions", Statistics in Medicine
    17 (1998), method 10.
    """
    if a.confidence != b.confidence:
        raise ValueError(
            f"a.confidence={a.confidence}, b.confidence={b.confidence}: must be equal; "
            "compute both proportions with one confidence."
        )
    mean = a.mean - b.mean
    low = mean - math.hypot(a.mean - a.low, b.high - b.mean)
    high = mean + math.hypot(a.high - a.mean, b.mean - b.low)
    return Interval(mean, low, high, min(a.n, b.n), a.confidence)


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
    first, second = _same_shape(a, b)
    if first.size == 0:
        raise ValueError(f"a of shape {first.shape}: must hold at least one value.")
    difference, scale = float(np.max(np.abs(first - second))), float(np.max(np.abs(second)))
    if scale == 0:
        return 0.0 if difference == 0 else math.inf if difference > 0 else math.nan
    return difference / scale


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence}: must be inside (0, 1); use 0.95 for 95 %.")


def _same_shape(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Returns both as float64 arrays; raises ValueError if their shapes differ."""
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"a of shape {first.shape}, b of shape {second.shape}: must have equal shapes, to be paired.")
    return first, second
