"""Numbers derived from `Results` that claims, tables and figures share, so that each is computed in one place."""

from dataclasses import dataclass

import numpy as np

from fcnjax.lab.results import Results
from fcnjax.lab.statistics import Interval, max_relative_difference, proportion_interval


@dataclass(frozen=True)
class FunctionComparison:
    """How far two arms that should be one function are apart, the worst over all seeds.

    Attributes:
        a: name of the first arm.
        b: name of the second arm, the reference of the relative differences.
        initial: relative difference of the logits before training, see `max_relative_difference`.
        loss: largest relative difference of the losses of one step, over the first ``loss_steps`` steps.
        loss_steps: number of steps compared; fewer than asked for when the runs are shorter.
        final: relative difference of the logits after training.
        final_absolute: the same in the unit of the logits.
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
    """Returns how far arms ``a`` and ``b`` are apart, seed by seed, at initialization, early and after training.

    Args:
        results: what was measured.
        a: name of the first arm.
        b: name of the second arm.
        loss_steps: number of first steps whose losses are compared, at least 1.

    Returns:
        The largest differences over all seeds; NaN wherever a run holds NaN.

    Raises:
        ValueError: an unknown arm, or ``loss_steps`` below 1.

    Source: derived here.
    """
    if loss_steps < 1:
        raise ValueError(f"loss_steps {loss_steps} compares nothing: use 1 or more.")
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
    return float(np.max(differences))  # unlike max(), lets a NaN through


@dataclass(frozen=True, eq=False)
class SizeBins:
    """Test examples grouped by size.

    Attributes:
        sides: side of every example [N], the geometric mean of its extents, in the unit of the sizes.
        index: bin of every example [N], 0 for the smallest.
        edges: boundaries between bins [bins + 1], ascending.
        unit: unit of the sides, for labels.
    """

    sides: np.ndarray
    index: np.ndarray
    edges: np.ndarray
    unit: str

    @property
    def counts(self) -> np.ndarray:
        """Number of examples in every bin [bins]."""
        return np.bincount(self.index, minlength=len(self.edges) - 1)

    @property
    def labels(self) -> tuple[str, ...]:
        """Range of sides that each bin really holds, such as ``"16.0 to 20.5"``."""
        held = [self.sides[self.index == i] for i in range(len(self.edges) - 1)]
        return tuple(f"{side.min():.1f} to {side.max():.1f}" if np.ptp(side) else f"{side[0]:.1f}" for side in held)


def size_bins(results: Results, bins: int = 5) -> SizeBins:
    """Groups the test examples into bins of about equal count by their side, ``sqrt(H * W)`` for images.

    Args:
        results: what was measured.
        bins: number of bins asked for, at least 1; fewer come back where many examples share one side.

    Returns:
        The bins, none of them empty.

    Raises:
        ValueError: ``bins`` below 1.

    Source: derived here.
    """
    if bins < 1:
        raise ValueError(f"bins {bins} groups nothing: use 1 or more.")
    sizes = results.sizes.astype(np.float64)
    sides = np.exp(np.mean(np.log(sizes), axis=1)).round(6)  # equal extents must give equal sides
    edges = np.unique(np.quantile(sides, np.linspace(0, 1, bins + 1)))
    index = np.clip(np.searchsorted(edges, sides, side="right") - 1, 0, max(len(edges) - 2, 0))
    kept, index = np.unique(index, return_inverse=True)
    edges = np.append(edges[kept], edges[-1])
    return SizeBins(sides, index, edges, results.experiment.size_unit)


def accuracy_by_bin(results: Results, arm: str, bins: SizeBins, confidence: float = 0.95) -> tuple[Interval, ...]:
    """Returns the accuracy of ``arm`` in every bin, averaged over seeds, with its Wilson interval over test examples.

    The interval counts every example once, whatever the number of seeds: seeds agree on most examples, so more seeds do
    not stand for more examples. With few examples in a bin this is the larger uncertainty.

    Args:
        results: what was measured.
        arm: name of the arm.
        bins: from `size_bins` of the same results.
        confidence: coverage in (0, 1).

    Returns:
        One interval per bin, in [0, 1].

    Raises:
        ValueError: an unknown arm.

    Source: `proportion_interval`.
    """
    rates = results.correct(arm).mean(axis=0)  # [N]
    sums = np.bincount(bins.index, weights=rates, minlength=len(bins.counts))
    return tuple(
        proportion_interval(min(float(total), float(count)), int(count), confidence)
        for total, count in zip(sums, bins.counts, strict=True)
    )


def step_time_ratios(results: Results, arm: str, baseline: str) -> np.ndarray:
    """Returns the step time of ``arm`` over that of ``baseline`` [rounds], within each interleaved round."""
    return np.array(results.cost(arm).step_ms) / np.array(results.cost(baseline).step_ms)
