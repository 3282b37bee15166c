"""Figures of an evaluation, drawn without pyplot. Import this module only to draw, because it imports matplotlib.

Axes: K classes.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fcnjax.figure_style import BLUE, GRAY, RED, tidy
from fcnjax.naming import shortened
from fcnjax.training.evaluation.groups import accuracy_interval
from fcnjax.training.evaluation.metrics import Metrics, shares, worst_confusions

# Maximum number of classes for which a confusion matrix shows counts, shows names, and has one cell per class pair.
MAX_COUNTED, MAX_NAMED, MAX_CELLS = 12, 40, 250
PAIRS = 15  # mistakes in the list


def confusion_figure(metrics: Metrics, class_names: Sequence[str]) -> Figure:
    """Draws the confusion matrix, with the most frequent mistakes by name beside it.

    Args:
        metrics: the metrics of the evaluation.
        class_names: K names.

    Returns:
        The figure. A cell shows its share of the row, which holds the examples of one class. Up to 12 classes show
        counts, up to 40 names. Above 250, a cell would be smaller than a dot; instead, it shows the largest share in a
        block of neighboring classes, so that no prominent mistake is lost.
    """
    figure = Figure(figsize=(13.5, 6.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    parts = shares(metrics.confusion, metrics.class_counts[:, None].repeat(metrics.classes, 1))
    step = -(-metrics.classes // MAX_CELLS)
    image = left.imshow(
        _largest_of_blocks(np.nan_to_num(parts), step),
        cmap="Blues",
        norm=Normalize(0, 1) if metrics.classes <= MAX_COUNTED else PowerNorm(0.4, 0, 1),  # distinguishes 1 % from 0
        extent=(-0.5, metrics.classes - 0.5, metrics.classes - 0.5, -0.5),
        interpolation="nearest",
    )
    blocks = f"; a cell: the largest of {step} x {step}" if step > 1 else ""
    figure.colorbar(image, ax=left, shrink=0.8, label=f"share of the class{blocks}")
    _label_classes(left, class_names)
    if metrics.classes <= MAX_COUNTED:
        for (row, column), count in np.ndenumerate(metrics.confusion):
            color = "white" if parts[row, column] > 0.5 else "black"
            left.text(column, row, f"{count:,}", ha="center", va="center", fontsize=8, color=color)
    left.set_xlabel("prediction")
    left.set_ylabel("label")
    _draw_mistakes(right, metrics, class_names)
    figure.suptitle(f"{metrics.correct():,} of {metrics.count:,} right ({metrics.accuracy():.2%})", fontsize=11)
    return figure


def reliability_figure(metrics: Metrics) -> Figure:
    """Draws accuracy against the probability of the prediction, and the number of examples at each probability.

    Args:
        metrics: the metrics of the evaluation.

    Returns:
        The figure. The upper panel shows the accuracy in each bin as bars, which end on the diagonal if the network is
        calibrated; the lower panel shows the number of examples of each bin.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017, figure 4.
    """
    table = metrics.calibration
    figure = Figure(figsize=(5.8, 6.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    middles, width = (table.edges[1:] + table.edges[:-1]) / 2, 1 / len(table.counts)
    upper.bar(middles, np.nan_to_num(table.accuracy), 0.92 * width, color=BLUE, label="accuracy")
    upper.plot(table.confidence, table.confidence, "o", color=RED, markersize=5, label="mean probability")
    upper.plot([0, 1], [0, 1], "--", color=GRAY, linewidth=1)
    upper.set_ylim(0, 1)
    upper.set_xlim(0, 1)
    upper.set_ylabel("accuracy")
    upper.legend(loc="upper left", fontsize=9, frameon=False)
    lower.bar(middles, table.counts, 0.92 * width, color=GRAY)
    lower.set_ylabel("examples")
    lower.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    lower.set_xlabel("probability of the prediction")
    figure.suptitle(f"expected calibration error {table.error:.4f}, {metrics.count:,} examples", fontsize=11)
    for axes in (upper, lower):
        tidy(axes)
    return figure


def size_figure(metrics: Metrics, groups: int = 10, confidence: float = 0.95) -> Figure:
    """Draws accuracy against the size of the examples, in groups of about equal count.

    Args:
        metrics: the metrics of the evaluation.
        groups: number of groups to ask for, at least 1 (see `Metrics.by_size`).
        confidence: coverage of the Wilson interval of each group, over test examples, in (0, 1).

    Returns:
        The figure; a horizontal bar spans the areas of a group.
    """
    figure = Figure(figsize=(7.5, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for group in metrics.by_size(groups):
        accuracy = group.correct / group.examples
        lowest, highest = accuracy_interval(group.correct, group.examples, confidence)
        middle = (group.smallest * group.largest) ** 0.5
        low, high = max(accuracy - lowest, 0), max(highest - accuracy, 0)
        spread = [[middle - group.smallest], [group.largest - middle]]
        axes.errorbar(
            middle, accuracy, [[low], [high]], spread, "o", color=BLUE, markersize=6, linewidth=1.5, capsize=2
        )
    if metrics.count:
        axes.axhline(metrics.accuracy(), color=GRAY, linestyle="--", linewidth=1)
        if metrics.areas.max() > 8 * metrics.areas.min():
            axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("positions of the example (length, area or volume)")
    axes.set_ylabel(f"accuracy, with {100 * confidence:.3g} % interval")
    figure.suptitle(f"accuracy by size; dashed: all {metrics.count:,} examples", fontsize=11)
    tidy(axes)
    return figure


def _largest_of_blocks(matrix: np.ndarray, step: int) -> np.ndarray:
    """Returns the largest entry of each block of `step` rows and columns [ceil(K / step), ceil(K / step)]."""
    starts = np.arange(0, len(matrix), step)
    return np.maximum.reduceat(np.maximum.reduceat(matrix, starts, axis=0), starts, axis=1)


def _label_classes(axes: Axes, class_names: Sequence[str]):
    if len(class_names) > MAX_NAMED:
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(10, integer=True))
        return
    names, size = [shortened(name) for name in class_names], 9 if len(class_names) <= 20 else 7
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=size, parse_math=False)


def _draw_mistakes(axes: Axes, metrics: Metrics, class_names: Sequence[str]):
    pairs = worst_confusions(metrics, PAIRS)
    names = [
        f"{shortened(class_names[label])} → {shortened(class_names[prediction])}" for label, prediction, _ in pairs
    ]
    axes.barh(range(len(pairs)), [times for *_, times in pairs], color=RED, height=0.7)
    axes.set_yticks(range(len(pairs)), names, fontsize=8, parse_math=False)
    axes.set_ylim(max(len(pairs), 1) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("times")
    axes.set_title("most frequent mistakes (label → prediction)", fontsize=10)
    tidy(axes)
