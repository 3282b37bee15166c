"""Figures of `Results`, drawn without pyplot: every function returns a new `matplotlib.figure.Figure`.

An arm has the same color and marker in every figure. Arms with equal results stay visible, since each has its own row
or panel.
"""

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fcnjax.figure_style import GRAY, PALETTE, tidy
from fcnjax.lab.experiment import Experiment
from fcnjax.lab.measures import SizeBins, accuracy_by_bin
from fcnjax.lab.results import Results
from fcnjax.lab.statistics import mean_interval

_MARKERS = "osD^vPX*"


def arm_styles(experiment: Experiment) -> dict[str, tuple[str, str]]:
    """Returns the color and the marker of each arm, by name; a combination repeats only after 56 arms."""
    return {
        name: (PALETTE[i % len(PALETTE)], _MARKERS[(i + i // len(PALETTE)) % len(_MARKERS)])
        for i, name in enumerate(experiment.names)
    }


def accuracy_figure(results: Results, confidence: float = 0.95) -> Figure:
    """Draws the test accuracy of each arm: one dot per seed, and the mean with its interval above them.

    Args:
        results: what was measured.
        confidence: coverage of the intervals over seeds, in (0, 1); with one seed no interval is drawn.

    Returns:
        The figure, with the arms from top to bottom in their order.
    """
    arms, styles = results.experiment.arms, arm_styles(results.experiment)
    figure = Figure(figsize=(8.5, 1.1 + 0.58 * len(arms)), layout="constrained")
    axes = figure.add_subplot()
    for row, arm in enumerate(arms):
        color, marker = styles[arm.name]
        accuracies = 100 * results.accuracies(arm.name)
        interval = mean_interval(accuracies, confidence)
        if interval.known:
            axes.plot([interval.low, interval.high], [row - 0.14] * 2, color=color, linewidth=3, solid_capstyle="butt")
        axes.plot(interval.mean, row - 0.14, marker, color=color, markersize=9, markeredgecolor="white")
        spread = row + 0.1 + 0.08 * _ranks_among_equals(accuracies)  # separates equal accuracies
        axes.plot(accuracies, spread, "o", color=color, markersize=5, markeredgecolor="white", markeredgewidth=0.5)
    axes.set_yticks(range(len(arms)), [arm.title for arm in arms], parse_math=False)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    percent = f"{100 * confidence:.3g} %"
    axes.set_xlabel(f"test accuracy (%): mean with {percent} interval over seeds; small dots: single seeds")
    tidy(axes, "x")
    return figure


def size_figure(results: Results, bins: SizeBins, confidence: float = 0.95) -> Figure:
    """Draws accuracy against the size of the test examples: one panel per arm, with the other arms in gray behind.

    Args:
        results: what was measured.
        bins: from `size_bins`.
        confidence: coverage of the band over test examples, in (0, 1) (see `accuracy_by_bin`).

    Returns:
        The figure. A bin is drawn at the median side of its examples, and all panels share their axes.
    """
    sides = [float(np.median(sides)) for sides in bins.members]
    by_bin = {name: accuracy_by_bin(results, name, bins, confidence) for name in results.experiment.names}
    curves = {name: np.array([100 * interval.mean for interval in by_bin[name]]) for name in by_bin}
    figure, panels = _panels(results.experiment, np.array(sides), curves)
    for name, axes in panels.items():
        color, marker = arm_styles(results.experiment)[name]
        low, high = [100 * i.low for i in by_bin[name]], [100 * i.high for i in by_bin[name]]
        axes.fill_between(sides, low, high, color=color, alpha=0.2, linewidth=0)
        axes.plot(sides, curves[name], color=color, marker=marker, markersize=5, linewidth=2)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    figure.supxlabel(f"side of the test example ({bins.unit})", fontsize=10)
    figure.supylabel("test accuracy (%)", fontsize=10)
    return figure


def loss_figure(results: Results) -> Figure:
    """Draws the training loss: one panel per arm, with its seeds as thin lines, their mean, and the other arms in gray.

    Args:
        results: what was measured.

    Returns:
        The figure. Losses are averaged over a short window of steps; the axis is logarithmic if all are above 0.
    """
    experiment = results.experiment
    shortest = min(len(run.losses) for run in results.runs)
    window = max(1, shortest // 40)
    kernel = np.full(window, 1 / window)
    seeds = {
        name: np.stack([np.convolve(loss[:shortest], kernel, mode="valid") for loss in results.losses(name)])
        for name in experiment.names
    }
    steps = np.arange(shortest - window + 1) + 1 + (window - 1) / 2  # the middle of each window
    means = {name: losses.mean(axis=0) for name, losses in seeds.items()}
    figure, panels = _panels(experiment, steps, means)
    for name, axes in panels.items():
        color, _ = arm_styles(experiment)[name]
        axes.plot(steps, seeds[name].T, color=color, linewidth=0.6, alpha=0.45)
        axes.plot(steps, means[name], color=color, linewidth=2)
        if all(np.all(losses > 0) for losses in seeds.values()):
            axes.set_yscale("log")
    figure.supxlabel("training step", fontsize=10)
    figure.supylabel(f"training loss (mean of {window} steps)" if window > 1 else "training loss", fontsize=10)
    return figure


def _panels(experiment: Experiment, x: np.ndarray, curves: dict[str, np.ndarray]) -> tuple[Figure, dict[str, Axes]]:
    """Returns a figure with one panel per arm, in which its title and the gray curves of the others are drawn."""
    count = len(experiment.arms)
    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(8.5, 0.7 + 2.35 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, arm in zip(grid.flat, experiment.arms, strict=False):
        for other in experiment.names:
            if other != arm.name:
                axes.plot(x, curves[other], color=GRAY, linewidth=0.8, alpha=0.6)
        axes.set_title(textwrap.fill(arm.title, 34, break_on_hyphens=False), fontsize=9, parse_math=False)
        tidy(axes, "both")
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    return figure, dict(zip(experiment.names, grid.flat, strict=False))


def _ranks_among_equals(values: np.ndarray) -> np.ndarray:
    """Returns how many equal values come before each value."""
    return np.array([int(np.sum(np.isclose(values[:i], value))) for i, value in enumerate(values)])
