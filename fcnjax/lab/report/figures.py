"""Figures of a report, drawn without pyplot: every function returns a new `matplotlib.figure.Figure`.

Every figure takes the width of the page that shows it, in inches, and lays itself out for it: a phone gets a figure of
its own, not a shrunk one. An arm has the same color and marker in every figure. Arms that are broken on purpose are
left out; they would set the scale. The contrasts have a module of their own, `forest`.
"""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, MaxNLocator, NullLocator

from fcnjax.figure_style import GRAY, PALETTE, tidy
from fcnjax.lab.experiment import Experiment
from fcnjax.lab.report.summaries import ArmSummary, Summary

WIDE, NARROW = 8.5, 4.2  # inches: a desktop, a phone
_MARKERS = "osD^v<>p"
_POINTS = 60  # of a loss curve


def arm_styles(experiment: Experiment) -> dict[str, tuple[str, str]]:
    """Returns the color and the marker of each arm, by name; a combination repeats only after 56 arms."""
    return {
        name: (PALETTE[i % len(PALETTE)], _MARKERS[(i + i // len(PALETTE)) % len(_MARKERS)])
        for i, name in enumerate(experiment.names)
    }


def fold_words(words: str, width: float, characters: int) -> str:
    """Returns words in lines of at most so many characters on a wide page, and of 18 on a narrow one."""
    return textwrap.fill(words, characters if width >= WIDE else 18, break_on_hyphens=False)


def accuracy_figure(summary: Summary, width: float = WIDE) -> Figure:
    """Draws the test accuracy of each arm: its mean with a 95 % interval, and a small dot per seed below.

    Args:
        summary: of all arms.
        width: of the figure, in inches.

    Returns:
        The figure, with the arms from top to bottom in their order.
    """
    arms, styles = [each for each in summary.intact if each.accuracy], arm_styles(summary.experiment)
    figure = Figure(figsize=(width, 0.9 + 0.48 * len(arms)), layout="constrained")
    axes = figure.add_subplot()
    for row, each in enumerate(arms):
        color, marker = styles[each.arm.name]
        estimate = each.accuracy
        assert estimate is not None
        ends = 100 * np.array(estimate.interval())
        if np.all(np.isfinite(ends)):
            axes.plot(ends, [row - 0.12] * 2, color=color, linewidth=3, solid_capstyle="butt")
        axes.plot(100 * estimate.mean, row - 0.12, marker, color=color, markersize=9, markeredgecolor="white")
        spread = row + 0.14 + 0.08 * _ranks_among_equals(each.seed_accuracies)  # separates equal accuracies
        axes.plot(100 * each.seed_accuracies, spread, "o", color=color, markersize=4, markeredgewidth=0)
    axes.set_yticks(range(len(arms)), [fold_words(each.arm.title, width, 32) for each in arms], parse_math=False)
    axes.set_ylim(len(arms) - 0.5, -0.6)
    axes.set_xlabel("test accuracy (%)", fontsize=9.5)
    axes.xaxis.set_major_locator(MaxNLocator(8 if width >= WIDE else 5, steps=[1, 2, 5, 10]))
    tidy(axes, "x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def size_figure(summary: Summary, width: float = WIDE) -> Figure:
    """Draws accuracy against the size of the test examples: one panel per arm, with the other arms in gray behind.

    Args:
        summary: of all arms, with groups of sizes.
        width: of the figure, in inches.

    Returns:
        The figure. A group is drawn at the median side of its examples, and all panels share their axes.

    Raises:
        ValueError: if all examples have one size.
    """
    if summary.sizes is None:
        raise ValueError("sizes=None: must be groups of sizes; leave the figure out where all examples have one size.")
    sides = np.array([np.median(members) for members in summary.sizes.members])
    arms = summary.intact
    curves = [(sides, np.array([100 * part.mean for part in each.by_size])) for each in arms]
    figure, panels = _panels(arms, curves, width)
    for each, (_, curve), axes in zip(arms, curves, panels, strict=True):
        color, marker = arm_styles(summary.experiment)[each.arm.name]
        low, high = 100 * np.clip(np.transpose([part.interval() for part in each.by_size]), 0, 1)
        axes.fill_between(sides, low, high, color=color, alpha=0.2, linewidth=0)
        axes.plot(sides, curve, color=color, marker=marker, markersize=4.5, linewidth=1.8)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    figure.supxlabel(f"side of the test example ({summary.sizes.unit})", fontsize=9.5)
    figure.supylabel("test accuracy (%)", fontsize=9.5)
    return figure


def loss_figure(summary: Summary, width: float = WIDE) -> Figure:
    """Draws the training loss: one panel per arm, with its runs as thin lines, their mean, and the other arms in gray.

    Args:
        summary: of all arms.
        width: of the figure, in inches.

    Returns:
        The figure. Each point is a mean over a sixtieth of the steps; the axis is logarithmic if all are above 0.
    """
    arms = [each for each in summary.intact if each.losses]
    smooth = [[_smoothed(losses) for losses in each.losses] for each in arms]
    means = [_mean_curve(curves) for curves in smooth]
    figure, panels = _panels(arms, means, width)
    values = np.concatenate([losses for curves in smooth for _, losses in curves])
    for each, curves, mean, axes in zip(arms, smooth, means, panels, strict=True):
        color, _ = arm_styles(summary.experiment)[each.arm.name]
        for steps, losses in curves:
            axes.plot(steps, losses, color=color, linewidth=0.5, alpha=0.35)
        axes.plot(*mean, color=color, linewidth=1.8)
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        if np.all(values[np.isfinite(values)] > 0) and np.any(np.isfinite(values)):
            _log_scale(axes)
    figure.supxlabel("training step", fontsize=9.5)
    figure.supylabel("training loss", fontsize=9.5)
    return figure


def _smoothed(losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the middle step of each window, and the mean loss in it."""
    windows = np.array_split(np.arange(len(losses)), min(_POINTS, len(losses)))
    return np.array([w.mean() + 1 for w in windows]), np.array([losses[w].mean() for w in windows])


def _mean_curve(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean of curves over their first common points; folds may differ by a step."""
    count = min(len(steps) for steps, _ in curves)
    return curves[0][0][:count], np.mean([losses[:count] for _, losses in curves], axis=0)


def _log_scale(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(10, numticks=5))
    axes.yaxis.set_major_formatter(LogFormatterSciNotation())
    axes.yaxis.set_minor_locator(NullLocator())  # its ticks would take most of the time of drawing


def _panels(
    arms: Sequence[ArmSummary], curves: Sequence[tuple[np.ndarray, np.ndarray]], width: float
) -> tuple[Figure, list[Axes]]:
    """Returns a figure with one panel per arm, in which its title and the gray curves of the others are drawn."""
    columns = min(4 if width >= WIDE and len(arms) > 6 else 3 if width >= WIDE else 2, len(arms))
    rows = -(-len(arms) // columns)
    high = 1.75 if width >= WIDE else 1.6
    figure = Figure(figsize=(width, 0.5 + high * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for i, (axes, each) in enumerate(zip(grid.flat, arms, strict=False)):
        for j, (x, y) in enumerate(curves):
            if j != i:
                axes.plot(x, y, color=GRAY, linewidth=0.7, alpha=0.55)
        axes.set_title(fold_words(each.arm.title, width, 96 // columns), fontsize=8.5, parse_math=False)
        tidy(axes, "both")
        axes.tick_params(labelsize=8)
    for axes in grid.flat[len(arms) :]:
        axes.set_visible(False)
    for axes in grid.flat[max(0, len(arms) - columns) : len(arms)]:  # also those above an empty place
        axes.tick_params(labelbottom=True)
    return figure, list(grid.flat[: len(arms)])


def _ranks_among_equals(values: np.ndarray) -> np.ndarray:
    """Returns how many equal values come before each value."""
    return np.array([int(np.sum(np.isclose(values[:i], value))) for i, value in enumerate(values)])
