"""The mean of a contrast over test examples and runs, with a standard error that covers new examples and new runs.

A value belongs to one test example and one run. Values of one example are alike in all runs, and values of one run
share its weights, so the errors are clustered both ways: an interval covers the mean over all examples and seeds that
might have been drawn.

Axes: M values, one per test example and run.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.sandwich_covariance import cov_cluster_2groups

RARE = 10  # where fewer examples vary, a standard error from so few says little: it gets a floor
_SAME = 1e-3  # values that differ by less, in the unit of the metric, count as equal


@dataclass(frozen=True)
class Estimate:
    """The mean of a contrast and how far it may be off.

    Attributes:
        mean: mean over all values, in the unit of the metric; NaN if there are none.
        se: standard error; NaN if it is unknown, because there is only one run or one example.
        df: degrees of freedom of Student's t.
        examples: number of different examples.
        runs: number of runs.
        count: number of values.
        components: variances `example`, `run` and `residual` of a single value, at least 0; NaN if unknown.
    """

    mean: float
    se: float
    df: float
    examples: int
    runs: int
    count: int
    components: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def known(self) -> bool:
        """Whether there is a standard error."""
        return math.isfinite(self.se)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Returns the lower and the upper bound of the mean; NaN if the standard error is unknown.

        Raises:
            ValueError: if `confidence` is outside (0, 1).

        >>> low, high = Estimate(0.01, 0.002, 14, 1597, 15, 4791).interval()
        >>> round(low, 4), round(high, 4)
        (0.0057, 0.0143)
        """
        if not 0 < confidence < 1:
            raise ValueError(f"confidence={confidence}: must be inside (0, 1); use 0.95 for 95 %.")
        if not self.known:
            return math.nan, math.nan
        half = float(stats.t.isf((1 - confidence) / 2, self.df)) * self.se
        return self.mean - half, self.mean + half


def clustered_mean(
    values: ArrayLike, examples: ArrayLike, runs: ArrayLike, *, blocks: int = 0, unit: float = 1.0
) -> Estimate:
    """Returns the mean of `values` with the standard error for new examples and new runs.

    The variance is the largest of three: clustered by example and run, by example only, and by run only. The first is
    a difference and may come out too small, even negative.

    The standard error has a floor where fewer than `RARE` examples have a value other than the most common one: that
    of two examples which differ by `unit` in all runs, `2 * unit / examples`. Otherwise examples that never disagree
    would prove that they never will, with an interval of width zero. With two, the 95 % interval reaches at least as
    far as the exact bound for no disagreement: 1.0 % of 400 examples with 1,000 runs, 1.1 % with 15, where the exact
    bound is 0.9 % (0.75 % on one side); with one, it would reach 0.5 %.

    Args:
        values: [M], in any unit.
        examples: int [M], id of the example of each value.
        runs: int [M], number of the run of each value.
        blocks: number of blocks of neighboring ids whose values may be alike, which take the place of single examples
            in the standard error; 0 leaves every example on its own.
        unit: how much one example can contribute to the mean of a single run, such as 1 for an accuracy or the
            difference of two; the unit of the floor.

    Returns:
        The estimate. `df` is the smaller number of clusters minus 1.

    Raises:
        ValueError: if the lengths differ, a value is not finite, or `blocks` or `unit` is out of range.

    Source: Cameron, Gelbach and Miller, "Robust inference with multiway clustering", JBES 29 (2011), section 2; for the
    floor Hanley and Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 249 (1983).

    >>> same = clustered_mean(np.zeros(400), np.arange(400), np.arange(400) % 15)
    >>> round(same.se, 4), round(same.interval()[1], 4)
    (0.005, 0.0107)
    """
    x, example_of, run_of = _checked(values, examples, runs, blocks, unit)
    ids, rank = np.unique(example_of, return_inverse=True)
    clusters = rank * blocks // len(ids) if 0 < blocks < len(ids) else rank
    run_number = np.unique(run_of, return_inverse=True)[1]
    counts = len(ids), len(np.unique(run_of)), len(x)
    df = min(len(np.unique(clusters)), counts[1]) - 1
    mean = float(x.mean()) if len(x) else math.nan
    if df < 1:
        return Estimate(mean, math.nan, 0, *counts, dict.fromkeys(("example", "run", "residual"), math.nan))
    fit = OLS(x, np.ones(len(x))).fit()
    variance = max(0.0, *(float(each[0, 0]) for each in cov_cluster_2groups(fit, clusters, run_number)))
    floor = 2 * unit / len(ids) if variance == 0 or _varying(x, rank, unit) < RARE else 0.0
    return Estimate(mean, max(math.sqrt(variance), floor), df, *counts, _components(x, rank, run_number))


def varying_share(values: ArrayLike, examples: ArrayLike, *, unit: float = 1.0) -> float:
    """Returns the share of examples with a value other than the most common one, in [0, 1].

    Args:
        values: [M].
        examples: int [M].
        unit: as in `clustered_mean`; values that differ by less than a thousandth of it count as equal.
    """
    ids, rank = np.unique(np.asarray(examples), return_inverse=True)
    return _varying(np.asarray(values, dtype=np.float64), rank, unit) / max(len(ids), 1)


def _checked(values, examples, runs, blocks, unit) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, example_of, run_of = np.asarray(values, dtype=np.float64), np.asarray(examples), np.asarray(runs)
    if x.ndim != 1 or not x.shape == example_of.shape == run_of.shape:
        raise ValueError(
            f"values of shape {x.shape}, examples of {example_of.shape}, runs of {run_of.shape}: must be equal, [M]."
        )
    if not np.all(np.isfinite(x)):
        raise ValueError(f"values with {np.sum(~np.isfinite(x))} that are not finite: must all be; leave them out.")
    if blocks < 0:
        raise ValueError(f"blocks={blocks}: must be at least 0; 0 leaves every example on its own.")
    if not 0 < unit < math.inf:
        raise ValueError(f"unit={unit}: must be above 0 and finite.")
    return x, example_of, run_of


def _varying(x: np.ndarray, rank: np.ndarray, unit: float) -> int:
    """Returns how many examples have a value other than the most common one."""
    level = np.round(x / (unit * _SAME))
    levels, counts = np.unique(level, return_counts=True)
    return len(np.unique(rank[level != levels[np.argmax(counts)]])) if len(x) else 0


def _components(x: np.ndarray, rank: np.ndarray, run: np.ndarray) -> dict[str, float]:
    """Returns the variances of `x = mean + example + run + residual`, estimated by moments, at least 0.

    Each sum of squares below has an expected value that is linear in the three variances. If every example is in one
    run only, its effect and the residual cannot be told apart: all of it counts as the example's, which no further
    run would reduce.

    Source: Henderson, "Estimation of variance and covariance components", Biometrics 9 (1953), method 1.
    """
    total, of_example, of_run = len(x), np.bincount(rank), np.bincount(run)
    pairs, together = np.unique(rank * len(of_run) + run, return_counts=True)
    shared, pair_example, pair_run = together**2, pairs // len(of_run), pairs % len(of_run)
    centered = x - x.mean()
    squares = np.array(
        [
            np.sum(centered**2),
            np.sum(np.bincount(rank, centered) ** 2 / of_example),
            np.sum(np.bincount(run, centered) ** 2 / of_run),
        ]
    )
    expected = np.array(  # of the squares without the mean's, per unit of each variance
        [
            [total, total, total],
            [total, np.sum(shared / of_example[pair_example]), len(of_example)],
            [np.sum(shared / of_run[pair_run]), total, len(of_run)],
        ],
        dtype=np.float64,
    ) - np.array([np.sum(of_example**2) / total, np.sum(of_run**2) / total, 1.0])
    if len(of_example) == total:
        example, run_variance = np.linalg.lstsq(expected[[0, 2], :2], squares[[0, 2]])[0]
        found = example, run_variance, 0.0
    else:
        found = np.linalg.lstsq(expected, squares)[0]
    return dict(zip(("example", "run", "residual"), (max(0.0, float(each)) for each in found), strict=True))


def number(value: float, digits: int = 2, signed: bool = False) -> str:
    """Returns `value` as text with `digits` decimals; a number that rounds to zero has no sign."""
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return text.lstrip("+-") if not text.strip("+-0.") else text


def scientific(value: float) -> str:
    """Returns `value` as text with two significant digits; exactly zero is `0`."""
    return "0" if value == 0 else f"{value:.1e}"
