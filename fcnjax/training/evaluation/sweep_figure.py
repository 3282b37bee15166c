"""The figure of one network at several sizes. Import this module only to draw, because it imports matplotlib."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fcnjax.figure_style import BLUE, PALETTE, tidy
from fcnjax.training.evaluation.groups import Group, accuracy_interval
from fcnjax.training.evaluation.metrics import Metrics
from fcnjax.training.evaluation.size_sweep import AtSize
from fcnjax.training.evaluation.sweep_report import extent

OFFSET = 0.09  # by which the marks of two sizes are apart, in groups


def sweep_figure(sizes: Sequence[AtSize]) -> Figure:
    """Draws accuracy (above) and calibration error (below) against the size, the native area and the aspect ratio.

    Args:
        sizes: the figures at each size.

    Returns:
        The figure, with a column for the sizes and one for each number by which examples are grouped; colors tell up
        to 8 sizes apart, and further ones are in the first column only. Bars are 95 % intervals over examples.
    """
    shown = sizes[: len(PALETTE)]
    groups = [_by_name(each) for each in shown]
    names = list(groups[0])
    figure = Figure(figsize=(4.6 * (1 + len(names)), 6.6), layout="constrained")
    axes = figure.subplots(2, 1 + len(names), sharey="row", sharex="col", squeeze=False)
    for place, each in enumerate(sizes):
        _mark(axes[:, 0], place, each.metrics, PALETTE[place] if place < len(PALETTE) else BLUE)
    axes[1, 0].set_xticks(range(len(sizes)), [each.name for each in sizes], rotation=90 * (len(sizes) > 6))
    axes[1, 0].set_xlabel("size")
    for column, name in enumerate(names, 1):
        for index, found in enumerate(groups):
            for place, group in enumerate(found[name]):
                _mark(axes[:, column], place + OFFSET * (index - (len(groups) - 1) / 2), group.metrics, PALETTE[index])
        axes[1, column].set_xticks(range(len(groups[0][name])), [extent(name, group) for group in groups[0][name]])
        axes[1, column].set_xlabel(f"native {name}" + " (width / height)" * (name == "aspect"))
    axes[0, 0].set_ylabel("accuracy, with 95 % interval")
    axes[1, 0].set_ylabel("expected calibration error")
    axes[0, 0].set_ylim(0, 1.02)
    axes[1, 0].set_ylim(bottom=0)
    for each in axes.flat:
        tidy(each)
    handles = [axes[0, 0].plot([], [], "o", color=PALETTE[i], label=each.name)[0] for i, each in enumerate(shown)]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(shown), fontsize=9, frameon=False)
    return figure


def _by_name(each: AtSize) -> dict[str, list[Group]]:
    found: dict[str, list[Group]] = {}
    for name, group in each.by():
        found.setdefault(name, []).append(group)
    return found


def _mark(column: Sequence[Axes] | np.ndarray, place: float, metrics: Metrics, color: str) -> None:
    """Draws a point in the two panels of a column; nothing without examples."""
    if not metrics.count:
        return
    accuracy, (low, high) = metrics.accuracy(), accuracy_interval(metrics.correct(), metrics.count)
    reach = [[max(accuracy - low, 0)], [max(high - accuracy, 0)]]
    column[0].errorbar(place, accuracy, reach, fmt="o", color=color, markersize=5, linewidth=1.3, capsize=2)
    column[1].plot(place, metrics.calibration.error, "o", color=color, markersize=5)
