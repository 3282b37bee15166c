"""How well an experiment can decide its claims, before it runs.

Power is the probability that a claim gets its verdict. It is computed for Student's t and the first step of Holm's
procedure, where a p-value has to be below 0.05 divided by the number of claims.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats
from statsmodels.stats.power import ttest_power

from fcnjax.lab.claims import Claim, Superiority
from fcnjax.lab.statistics import RARE, clustered_mean, varying_share

ALPHA = 0.05  # chance of any wrong verdict in an experiment
SUFFICIENT = 0.8  # a claim with less power is exploratory


def planned_power(claim: Claim, se: float, claims: int, df: float = math.inf) -> float:
    """Returns the probability that `claim` gets its verdict.

    A superiority claim holds with this probability if the contrast equals its margin, and fails with the same
    probability if the contrast is 0. An equivalence claim holds with at least this probability if the contrast is 0.

    Args:
        claim: a statistical claim.
        se: standard error that is expected, above 0, as from `predicted_se`; NaN if it is unknown.
        claims: number of claims that Holm's procedure corrects, at least 1.
        df: degrees of freedom, as from `predicted_df`.

    Returns:
        The power; 0 if the standard error is unknown or `df` is below 1.

    Raises:
        ValueError: if `se` is not above 0 or `claims` is below 1.

    Source: `statsmodels.stats.power.ttest_power`; for equivalence the bound of Bonferroni for the two one-sided tests.

    >>> from fcnjax.lab.claims import Equivalence, Superiority, difference
    >>> f"{planned_power(Superiority('A beats B', difference('a', 'b')), 0.003, 1):.3f}"
    '0.915'
    >>> f"{planned_power(Equivalence('A equals B', difference('a', 'b')), 0.003, 1):.3f}"
    '0.830'
    """
    _check(se, claims)
    if math.isnan(se) or df < 1:
        return 0.0
    one_sided = _one_sided_power(claim.margin / se, claims, df)
    return one_sided if isinstance(claim, Superiority) else max(0.0, 2 * one_sided - 1)


def detectable(se: float, df: float, claims: int) -> float:
    """Returns the smallest difference from a bound that is found with power 0.8, in the unit of `se`.

    Args:
        se: standard error, at least 0; NaN if it is unknown.
        df: degrees of freedom.
        claims: number of claims that Holm's procedure corrects, at least 1.

    Returns:
        The difference; infinity if the standard error is unknown or `df` is below 1.

    Raises:
        ValueError: if `se` is not above 0 or `claims` is below 1.

    >>> f"{100 * detectable(0.0018, 14, 1):.2f} points"
    '0.54 points'
    """
    _check(se, claims)
    if math.isnan(se) or df < 1:
        return math.inf
    upper = 4 * (_quantile(claims, df) + 1)  # power there is 1: t is below half of it far less often than 0.2
    found = optimize.brentq(lambda effect: _one_sided_power(effect, claims, df) - SUFFICIENT, 0.0, upper)
    return float(np.asarray(found)) * se


def predicted_se(components: Mapping[str, float], examples: int, seeds: int, folds: int, unit: float = 1.0) -> float:
    """Returns the standard error to expect of a contrast.

    Args:
        components: variances of a pilot, from `pilot_components`.
        examples: number of test examples of all folds, at least 1.
        seeds: number of seeds; each example is tested once per seed.
        folds: number of folds of a seed.
        unit: as in `clustered_mean`, whose floor holds here too.

    Returns:
        The standard error, above 0; NaN if a variance is unknown.

    Raises:
        ValueError: if a number is below 1.

    >>> round(predicted_se({"example": 0.0108, "run": 0.0, "residual": 0.0263}, 1597, 3, 5), 4)
    0.0035
    """
    for name, count in (("examples", examples), ("seeds", seeds), ("folds", folds)):
        if count < 1:
            raise ValueError(f"{name}={count}: must be at least 1.")
    variance = components["example"] / examples + components["run"] / (seeds * folds)
    variance += components["residual"] / (examples * seeds)
    rare = components.get("varying", 1.0) * examples < RARE
    return max(math.sqrt(variance), 2 * unit / examples if rare or variance == 0 else 0.0)


def predicted_df(examples: int, seeds: int, folds: int) -> int:
    """Returns the degrees of freedom of that standard error: the smaller number of clusters minus 1."""
    return min(examples, seeds * folds) - 1


def pilot_components(values: ArrayLike, examples: ArrayLike, runs: ArrayLike, unit: float = 1.0) -> dict[str, float]:
    """Returns what `predicted_se` needs to know of a pilot: variances, and the share of examples that vary.

    A small pilot may see no disagreement where there is some. If fewer than `RARE` of its examples vary, the residual
    variance is raised by that of one example more, `unit ** 2 / examples`.

    Args:
        values: [M], the contrast of each example and pilot run.
        examples: int [M].
        runs: int [M], of at least two runs.
        unit: as in `clustered_mean`.

    Returns:
        The variances `example`, `run` and `residual`, NaN if there is only one run or example, and `varying`, the share
        of examples with a value other than the most common one, in [0, 1].
    """
    estimate = clustered_mean(values, examples, runs, unit=unit)
    share = varying_share(values, examples, unit=unit)
    found = {**estimate.components, "varying": share}
    if share * estimate.examples < RARE:
        found["residual"] += unit**2 / max(estimate.examples, 1)
    return found


def pilot_run_variance(values: ArrayLike, examples: ArrayLike, runs: ArrayLike) -> float:
    """Returns the moment estimate of the variance between pilot runs, without the floors of `pilot_components`.

    Args:
        values: [M], the contrast of each example and pilot run.
        examples: int [M].
        runs: int [M].

    Returns:
        The variance, below 0 where runs differ less than by chance; NaN if there is only one run or example.
    """
    x, run_of = np.asarray(values, np.float64), np.asarray(runs)
    residual = clustered_mean(x, examples, run_of).components["residual"]
    if math.isnan(residual):
        return math.nan
    groups = [x[run_of == run] for run in np.unique(run_of)]
    between = float(np.var([group.mean() for group in groups], ddof=1))
    return between - residual * float(np.mean([1 / len(group) for group in groups]))


def shared_variances(variances: Mapping[str, float]) -> dict[str, float]:
    """Returns the variance to plan with for each of several contrasts that are alike.

    Two runs say little about the variance between runs, and too small a value promises power that the runs will not
    have: each takes the larger one of its own estimate and the mean of all.

    Args:
        variances: estimate of each by name, as from `pilot_run_variance`; one that is NaN stays unknown, and leaves the
            mean of the others as it is.

    >>> shared_variances({"a": 0.25, "b": -0.125, "c": float("nan")})
    {'a': 0.25, 'b': 0.0625, 'c': nan}
    """
    known = [variance for variance in variances.values() if not math.isnan(variance)]
    mean = float(np.mean(known)) if known else 0.0
    return {name: math.nan if math.isnan(own) else max(0.0, own, mean) for name, own in variances.items()}


def _quantile(claims: int, df: float) -> float:
    """Returns the t at which a test at Holm's first step rejects: p is twice the smaller of two."""
    return float(stats.t.isf(ALPHA / (2 * claims), df))


def _one_sided_power(effect: float, claims: int, df: float) -> float:
    """Returns the power of one of the two tests of a claim for a true effect, in standard errors."""
    return float(ttest_power(effect, 1, ALPHA / (2 * claims), df=df, alternative="larger"))


def _check(se: float, claims: int) -> None:
    if se <= 0 or math.isinf(se):
        raise ValueError(f"se={se}: must be above 0 and finite, or NaN if it is unknown.")
    if claims < 1:
        raise ValueError(f"claims={claims}: must be at least 1.")
