"""Numbers derived from `Results` that claims, tables and figures share.

Axes: N test examples, D spatial axes. Each number is computed in one place, so that a claim and a table cannot differ.
"""

from dataclasses import dataclass

import numpy as np

from fcnjax.data.size_table import areas, quantile_groups
from fcnjax.lab.results import Results
from fcnjax.lab.statistics import Interval, max_relative_difference, proportion_interval


@dataclass(frozen=True)
class FunctionComparison:
    """The differences between two arms that should be one function; each number is the largest over all seeds.

    Attributes:
        a: name of the first arm.
        b: name of the second arm, the reference of the relative differences.
        initial: relative difference of the logits before training (see `max_relative_difference`).
        loss: largest relative difference of the losses of one step, over the first `loss_steps` steps.
        loss_steps: number of steps compared; fewer than requested if the runs are shorter.
        final: relative difference of the logits after training.
        final_absolute: absolute difference of the logits after training.
        differing: number of test predictions that differ, over all seeds.
        predictions: number of test predictions compared, over all seeds.
    """

    a: str
    b: str
    initial: float
    loss: float
    loss_steps: int
    final: float
    final_absolute: float
    differing: int
    predictions: int


def compare_functions(results: Results, a: str, b: str, loss_steps: int = 50) -> FunctionComparison:
    """Returns the differences between arms `a` and `b`: before training, in the first steps, and after training.

    Args:
        results: what was measured.
        a: name of the first arm.
        b: name of the second arm.
        loss_steps: number of first steps whose losses are compared, at least 1.

    Returns:
        The largest differences over all seeds; a difference is NaN if a run holds NaN.

    Raises:
        ValueError: if an arm is unknown, or `loss_steps` is below 1.

    Source: derived here.
    """
    if loss_steps < 1:
        raise ValueError(f"loss_steps={loss_steps}: must be at least 1; use the default, 50.")
    pairs = list(zip(results.runs_of(a), results.runs_of(b), strict=True))
    steps = min(loss_steps, *(len(run.losses) for pair in pairs for run in pair))
    return FunctionComparison(
        a=a,
        b=b,
        initial=_worst([max_relative_difference(x.initial_logits, y.initial_logits) for x, y in pairs]),
        loss=_worst([_step_difference(x.losses[:steps], y.losses[:steps]) for x, y in pairs]),
        loss_steps=steps,
        final=_worst([max_relative_difference(x.final_logits, y.final_logits) for x, y in pairs]),
        final_absolute=_worst([float(np.max(np.abs(x.final_logits - y.final_logits))) for x, y in pairs]),
        differing=sum(int(np.sum(x.predictions != y.predictions)) for x, y in pairs),
        predictions=len(pairs) * results.test_count,
    )


def _step_difference(a: np.ndarray, b: np.ndarray) -> float:
    return _worst([max_relative_difference(x, y) for x, y in zip(a, b, strict=True)])


def _worst(differences: list[float]) -> float:
    return float(np.max(differences))  # unlike max(), propagates NaN


@dataclass(frozen=True, eq=False)
class SizeBins:
    """Test examples grouped by size.

    Attributes:
        sides: [N], side of each example: the geometric mean of its extents.
        index: int [N], bin of each example, 0 for the smallest; no bin is empty.
        unit: unit of the sides, such as `px`.
    """

    sides: np.ndarray
    index: np.ndarray
    unit: str

    @property
    def counts(self) -> np.ndarray:
        """Number of examples of each bin, int [bins]."""
        return np.bincount(self.index)

    @property
    def members(self) -> tuple[np.ndarray, ...]:
        """Sides of the examples of each bin."""
        return tuple(self.sides[self.index == i] for i in range(len(self.counts)))

    @property
    def labels(self) -> tuple[str, ...]:
        """Range of sides of each bin, such as `16.0 to 20.5`."""
        return tuple(
            f"{sides.min():.1f} to {sides.max():.1f}" if np.ptp(sides) else f"{sides[0]:.1f}" for sides in self.members
        )


def size_bins(results: Results, groups: int = 5) -> SizeBins:
    """Returns the test examples in bins of about equal count, by their area.

    Args:
        results: what was measured.
        groups: number of bins to ask for, at least 1; there are fewer if many examples share an area.

    Returns:
        The bins, none of them empty (see `quantile_groups`).

    Raises:
        ValueError: if `groups` is below 1.
    """
    positions = areas(results.sizes)
    sides = positions ** (1 / results.sizes.shape[1])  # sqrt(height * width) of images
    return SizeBins(sides, quantile_groups(positions, groups), results.experiment.size_unit)


def accuracy_by_bin(results: Results, arm: str, bins: SizeBins, confidence: float = 0.95) -> tuple[Interval, ...]:
    """Returns the accuracy of `arm` in each bin, averaged over seeds, with its Wilson interval over test examples.

    The interval counts every example once, whatever the number of seeds: seeds agree on most examples, so more seeds
    are not more examples. In a bin of few examples, this uncertainty is larger than the one over seeds.

    Args:
        results: what was measured.
        arm: name of the arm.
        bins: from `size_bins` of the same results.
        confidence: coverage in (0, 1).

    Returns:
        One interval per bin, in [0, 1].

    Raises:
        ValueError: if the arm is unknown.

    Source: `proportion_interval`.
    """
    rates = results.correct(arm).mean(axis=0)  # [N]
    sums = np.bincount(bins.index, weights=rates)
    return tuple(
        proportion_interval(min(float(total), float(count)), int(count), confidence)
        for total, count in zip(sums, bins.counts, strict=True)
    )


def step_time_ratios(results: Results, arm: str, baseline: str) -> np.ndarray:
    """Returns the step time of `arm` over that of `baseline` in each interleaved round [rounds]."""
    return np.array(results.cost(arm).step_ms) / np.array(results.cost(baseline).step_ms)
