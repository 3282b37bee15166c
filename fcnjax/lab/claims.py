"""Claims: sentences that are computed from `Results`, so that they change with the numbers.

A claim holds (True), does not hold (False), or is not decided by these data (None). An interval that contains zero
decides nothing: it shows neither that there is a difference nor that there is not.
"""

from dataclasses import dataclass

import numpy as np

from fcnjax.lab.measures import SizeBins, accuracy_by_bin, compare_functions, step_time_ratios
from fcnjax.lab.results import Results
from fcnjax.lab.statistics import Interval, mean_interval, number, paired_interval, proportion_difference, scientific


@dataclass(frozen=True)
class Claim:
    """A sentence that the data support, contradict or leave open.

    Attributes:
        statement: the sentence, without its period.
        holds: True, False, or None if these data do not decide it.
        evidence: the numbers behind it, and what they do not cover.
    """

    statement: str
    holds: bool | None
    evidence: str

    @property
    def verdict(self) -> str:
        """`holds` in words: "holds", "does not hold" or "not decided"."""
        return {True: "holds", False: "does not hold", None: "not decided"}[self.holds]


def same_function(
    results: Results,
    a: str,
    b: str,
    tolerance: float = 1e-5,
    loss_steps: int = 50,
    loss_tolerance: float = 1e-4,
) -> Claim:
    """Returns the claim that arms `a` and `b` compute one function of their parameters, up to rounding.

    Args:
        results: what was measured.
        a: name of the first arm.
        b: name of the second arm.
        tolerance: largest relative difference of the initial logits that counts as rounding.
        loss_steps: number of first steps whose losses are compared.
        loss_tolerance: largest relative difference of the losses of one step that counts as rounding.

    Returns:
        The claim. It holds if both differences are within their tolerance for every seed. The differences after
        training, which amplifies rounding, are part of the evidence and do not decide.

    Raises:
        ValueError: if an arm is unknown.

    Source: derived here.
    """
    found = compare_functions(results, a, b, loss_steps)
    holds = found.initial <= tolerance and found.loss <= loss_tolerance  # False for NaN
    titles = _titles(results, a, b)
    statement = f"{titles[0]} and {titles[1]} {'are' if holds else 'are not'} one function within rounding"
    share = "none" if found.differing == 0 else f"{found.differing}"
    evidence = (
        f"Largest relative difference over {_seeds(results)}: logits at initialization {scientific(found.initial)} "
        f"(allowed {tolerance:.0e}), losses of the first {found.loss_steps} steps {scientific(found.loss)} "
        f"(allowed {loss_tolerance:.0e}). After training: logits {scientific(found.final)} relative "
        f"({scientific(found.final_absolute)} absolute), {share} of {found.predictions} test predictions differ."
    )
    return Claim(statement, bool(holds), evidence)


def accuracy_difference(results: Results, arm: str, baseline: str, confidence: float = 0.95) -> Claim:
    """Returns the claim that `arm` is more or less accurate than `baseline`, whichever the data show.

    Args:
        results: what was measured.
        arm: name of the arm.
        baseline: name of the arm it is compared with, seed by seed.
        confidence: coverage of the interval in (0, 1).

    Returns:
        The claim. It holds if the interval of the paired difference excludes 0, or if the accuracies are equal seed by
        seed. It is not decided if the interval contains 0, if there is only one seed, or if every seed gives the same
        difference other than 0, which leaves its spread unknown.

    Raises:
        ValueError: if an arm is unknown.

    Source: `paired_interval`.
    """
    difference = paired_interval(results.accuracies(arm), results.accuracies(baseline), confidence)
    title, reference = _titles(results, arm, baseline)
    statement, holds = _difference_words(difference, title, reference, _seeds(results))
    evidence = (
        f"Paired difference {_points(difference)} {_over(results, confidence)}; this covers how seeds vary on one "
        f"fixed test set of {results.test_count} examples (one example: {number(100 / results.test_count)} points)."
    )
    return Claim(statement, holds, evidence)


def _difference_words(difference: Interval, title: str, reference: str, seeds: str) -> tuple[str, bool | None]:
    pair = f"{title} and {reference}"
    if not difference.known:
        return f"Whether {pair} differ in accuracy is unknown: {seeds} gives no interval", None
    if difference.degenerate and difference.mean == 0:
        return f"{pair} have the same accuracy with each of {seeds}", True
    if difference.degenerate:
        return f"Whether {pair} differ in accuracy is open: each of {seeds} gives the same difference", None
    if difference.contains(0.0):
        return f"The accuracies of {pair} are statistically indistinguishable with {seeds}", None
    return f"{title} is {'more' if difference.mean > 0 else 'less'} accurate than {reference}", True


def all_above(results: Results, threshold: float) -> Claim:
    """Returns the claim that the mean accuracy of every arm is above `threshold`.

    Args:
        results: what was measured.
        threshold: accuracy in [0, 1].

    Returns:
        The claim, with the lowest mean and the lowest single run as evidence.

    Raises:
        ValueError: if `threshold` is outside [0, 1].

    Source: derived here.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold={threshold}: must be in [0, 1]; use 0.96 for 96 %.")
    arms = results.experiment.arms
    means = {arm.name: float(np.mean(results.accuracies(arm.name))) for arm in arms}
    above = sum(bool(mean > threshold) for mean in means.values())
    lowest = min(arms, key=lambda arm: means[arm.name])
    worst = min(results.runs, key=lambda run: run.accuracy)
    count = "All" if above == len(arms) else f"Only {above} of" if above else "None of the"
    statement = f"{count} {len(arms)} arms are above {number(100 * threshold, 1)} % mean test accuracy"
    evidence = (
        f"Lowest mean {number(100 * means[lowest.name])} % ({lowest.title}); lowest single run "
        f"{number(100 * worst.accuracy)} % ({results.experiment.arm(worst.arm).title}, seed {worst.seed})."
    )
    return Claim(statement, above == len(arms), evidence)


def cost_ratio(results: Results, arm: str, baseline: str) -> Claim:
    """Returns the claim that compares the costs of `arm` and `baseline`: head multiply-adds and step time.

    Args:
        results: what was measured.
        arm: name of the arm.
        baseline: name of the arm it is compared with.

    Returns:
        The claim. It holds, since the multiply-adds are counted, unless the head of the baseline needs no
        multiply-adds. If the range over rounds of the step time ratio contains 1, the claim says that the step times do
        not differ.

    Raises:
        ValueError: if an arm is unknown.

    Source: derived here.
    """
    title, reference = _titles(results, arm, baseline)
    mine, theirs = results.cost(arm).head_multiply_adds, results.cost(baseline).head_multiply_adds
    ratios = step_time_ratios(results, arm, baseline)
    low, high = float(ratios.min()), float(ratios.max())
    time = (
        f"step time ratio {np.median(ratios):.2f} (median of {len(ratios)} interleaved rounds, {low:.2f} to {high:.2f})"
    )
    if len(ratios) == 1:
        words = "and its step time was measured only once"
    elif low <= 1 <= high:
        words = "and its step time differs by less than the spread of the rounds"
    else:
        words = f"and its step takes {np.median(ratios):.2f} times as long"
    evidence = f"{mine:,.0f} against {theirs:,.0f} head multiply-adds per test image; {time}."
    if theirs == 0:
        return Claim(
            f"{title} needs {mine:,.0f} head multiply-adds where {reference} needs none, {words}", None, evidence
        )
    return Claim(
        f"{title} needs {mine / theirs:.3g} times the head multiply-adds of {reference}, {words}", True, evidence
    )


def size_effect(results: Results, arm: str, bins: SizeBins, confidence: float = 0.95) -> Claim:
    """Returns the claim that `arm` is more or less accurate on the smallest than on the largest test examples.

    Args:
        results: what was measured.
        arm: name of the arm.
        bins: from `size_bins`, at least two.
        confidence: coverage of the intervals in (0, 1).

    Returns:
        The claim. It holds if the interval of the difference, over test examples, excludes 0; it is not decided
        otherwise.

    Raises:
        ValueError: if the arm is unknown, or there are fewer than two bins.

    Source: `proportion_difference`.
    """
    labels, accuracies = bins.labels, accuracy_by_bin(results, arm, bins, confidence)
    if len(labels) < 2:
        raise ValueError(f"bins.labels={labels}: must be at least 2 bins; ask `size_bins` for more groups.")
    (title,) = _titles(results, arm)
    difference = proportion_difference(accuracies[0], accuracies[-1])
    small, large = (f"{labels[i]} {bins.unit}".strip() for i in (0, -1))
    if difference.contains(0.0):
        sizes = "on the smallest and the largest test examples"
        statement = f"The accuracies of {title} {sizes} are statistically indistinguishable"
    else:
        word = "less" if difference.mean < 0 else "more"
        statement = f"{title} is {word} accurate on the smallest test examples than on the largest"
    evidence = (
        f"{number(100 * accuracies[0].mean)} % at side {small} ({bins.counts[0]} examples) against "
        f"{number(100 * accuracies[-1].mean)} % at {large} ({bins.counts[-1]} examples), mean of {_seeds(results)}: "
        f"{_points(difference)} ({100 * confidence:.3g} % interval over test examples)."
    )
    return Claim(statement, None if difference.contains(0.0) else True, evidence)


def accuracy_words(results: Results, arm: str, confidence: float = 0.95) -> str:
    """Returns the mean test accuracy of `arm` in per cent, with its interval over seeds, as text."""
    return mean_interval(results.accuracies(arm), confidence).words(scale=100)


def _titles(results: Results, *names: str) -> tuple[str, ...]:
    return tuple(f'"{results.experiment.arm(name).title}"' for name in names)  # titles may hold commas


def _seeds(results: Results) -> str:
    count = len(results.seeds)
    return f"{count} seed" if count == 1 else f"{count} seeds"


def _points(difference: Interval) -> str:
    mean, bounds = difference.words(scale=100, signed=True).split(" ", 1)
    return f"{mean} percentage points {bounds}"


def _over(results: Results, confidence: float) -> str:
    return f"({100 * confidence:.3g} % interval over {_seeds(results)})"
