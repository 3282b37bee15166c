"""What each metric is in each arm: tables, and a figure of each metric that was measured in several ways.

The name of a metric may say how it was measured: "accuracy, scaled to 16x16" is an "accuracy". All are one kind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fcnjax.figure_style import tidy
from fcnjax.lab.claims import Term
from fcnjax.lab.observations import Observations
from fcnjax.lab.report.figures import WIDE, arm_styles, fold_words
from fcnjax.lab.report.summaries import COSTS, ArmSummary, Summary
from fcnjax.lab.report.tables import Table
from fcnjax.lab.statistics import Estimate, clustered_mean

_WAYS = 3  # a kind of metric has a figure if it was measured in at least so many ways
_ARM, _GAP = 0.11, 0.16  # inches: an arm in a row of a figure, and between two rows


@dataclass(frozen=True, eq=False)
class Metric:
    """One metric of all arms.

    Attributes:
        name: its name, such as "accuracy, scaled to 16x16".
        percent: whether it is an accuracy, or each example is right or wrong: means are shown in per cent.
        estimates: its mean by name of an arm; an arm that was not measured so is missing.
    """

    name: str
    percent: bool
    estimates: Mapping[str, Estimate]

    @property
    def kind(self) -> str:
        """What is measured, such as "accuracy"."""
        return _kind_of(self.name)

    @property
    def way(self) -> str:
        """How it is measured, such as "scaled to 16x16"."""
        return self.name.partition(", ")[2] or "as they are"

    @property
    def scale(self) -> float:
        """Factor of the values that are shown."""
        return 100.0 if self.percent else 1.0


def metrics_of(observations: Observations, arms: Sequence[str]) -> tuple[Metric, ...]:
    """Returns the metrics of some arms, those of one kind together, in the order in which they were measured.

    A metric that only says anew what the table of arms says, or that is not finite, is left out.

    Args:
        observations: the runs.
        arms: names of the arms.
    """
    runs = [run for run in observations.runs if run.arm in arms]
    names = dict.fromkeys(name for run in runs for name in run.values)
    if sum(_kind_of(name) == "accuracy" for name in names) == 1:
        names.pop("accuracy", None)
    kinds = dict.fromkeys(map(_kind_of, names))
    found = [_metrics_of_kind(observations, arms, [n for n in names if _kind_of(n) == kind]) for kind in kinds]
    return tuple(metric for metrics in found for metric in metrics)


def _metrics_of_kind(observations: Observations, arms: Sequence[str], names: Sequence[str]) -> list[Metric]:
    """Returns the metrics of one kind, each of those arms all of whose runs have it."""
    values = {
        name: {
            arm: observations.contrast((Term(arm, name),))
            for arm in arms
            if all(name in run.values for run in observations.of(arm))
        }
        for name in names
    }
    joined = {
        name: np.concatenate([np.zeros(0), *(each.values for each in of.values())]) for name, of in values.items()
    }
    shares = _kind_of(names[0]).endswith("accuracy")  # of an example too, where it is the mean of its placements
    percent = shares or all(np.isin(each, (0.0, 1.0)).all() for each in joined.values())
    metrics = []
    for name, each in joined.items():
        if each.size and np.all(np.isfinite(each)):
            unit = float(np.ptp(each)) or 1.0
            estimates = {arm: clustered_mean(*of, unit=unit) for arm, of in values[name].items() if len(of.values)}
            metrics.append(Metric(name, percent, estimates))
    return metrics


def _kind_of(name: str) -> str:
    return name.partition(", ")[0]


def metric_table(summary: Summary, metrics: Sequence[Metric]) -> Table:
    """Returns the mean and standard error of each metric in each arm.

    Args:
        summary: of all arms; those that are broken on purpose are left out.
        metrics: at least one.
    """
    cells = {
        metric.name + ", %" * metric.percent: [
            _estimate_words(metric, metric.estimates.get(each.arm.name)) for each in summary.intact
        ]
        for metric in metrics
    }
    caption = (
        "Mean ± standard error over test examples and runs, clustered by both. Arms are compared by the contrasts "
        "above, whose values are paired: two means may lie closer than their errors, and differ for certain."
    )
    return _by_arm("metric", cells, summary, caption)


def number_table(summary: Summary, observations: Observations) -> Table | None:
    """Returns each number without sampling error in each arm; None if there are none.

    Args:
        summary: of all arms; those that are broken on purpose are left out.
        observations: the runs.
    """
    runs = [observations.of(each.arm.name) for each in summary.intact]
    names = dict.fromkeys(name for of in runs for run in of for name in run.numbers if name not in COSTS)
    cells = {name: [_range_words([r.numbers[name] for r in of if name in r.numbers]) for of in runs] for name in names}
    caption = "Numbers of the runs that have no sampling error: one value, or the smallest and the largest of all runs."
    return _by_arm("number", cells, summary, caption) if cells else None


def _by_arm(what: str, cells: Mapping[str, Sequence[str]], summary: Summary, caption: str) -> Table:
    """Returns a table of cells, one per arm under each name; its columns are the names or the arms, the fewer of both.

    Args:
        what: heading of the names.
        cells: by name, in the order of the intact arms.
        summary: of all arms.
        caption: what the table shows.
    """
    titles = [each.arm.title for each in summary.intact]
    if len(cells) < len(titles):
        rows = zip(titles, *cells.values(), strict=True)
        return Table(("arm", *cells), tuple(rows), caption)
    return Table((what, *titles), tuple((name, *each) for name, each in cells.items()), caption)


def drawn_kinds(metrics: Sequence[Metric]) -> dict[str, tuple[Metric, ...]]:
    """Returns the metrics of each kind that was measured in at least three ways."""
    kinds = {metric.kind: tuple(each for each in metrics if each.kind == metric.kind) for metric in metrics}
    return {kind: each for kind, each in kinds.items() if len(each) >= _WAYS}


def metric_figure(summary: Summary, metrics: Sequence[Metric], width: float = WIDE) -> Figure:
    """Draws the metrics of one kind: a row for each way of measuring, with the mean and 95 % interval of each arm.

    Args:
        summary: of all arms; those that are broken on purpose, or repeat another one (A/A), are left out.
        metrics: of one kind, at least one.
        width: of the figure, in inches.

    Returns:
        The figure, with the ways from top to bottom in their order.
    """
    arms = [each for each in summary.intact if not each.arm.salt and _has_any(each, metrics)]
    styles, row = arm_styles(summary.experiment), _ARM * len(arms) + _GAP
    columns = 4 if width >= WIDE else 2
    height = 0.8 + 0.22 * -(-len(arms) // columns) + row * len(metrics)  # with the legend
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    for top, metric in enumerate(metrics):
        for place, each in enumerate(arms):
            y = top + (place + 0.5 - len(arms) / 2) * _ARM / row
            _draw_mean(axes, y, metric, metric.estimates.get(each.arm.name), styles[each.arm.name])
        if top:
            axes.axhline(top - 0.5, color="#dddddd", linewidth=0.7)
    axes.set_yticks(range(len(metrics)), [fold_words(each.way, width, 36) for each in metrics], parse_math=False)
    axes.set_ylim(len(metrics) - 0.5, -0.5)
    axes.set_xlabel(metrics[0].kind + " (%)" * metrics[0].percent, fontsize=9.5)
    axes.xaxis.set_major_locator(MaxNLocator(8 if width >= WIDE else 5, steps=[1, 2, 5, 10]))
    tidy(axes, "x")
    axes.tick_params(axis="y", length=0)
    handles = [axes.plot([], [], marker, color=color)[0] for color, marker in (styles[each.arm.name] for each in arms)]
    titles = [fold_words(each.arm.title, width, 28) for each in arms]
    figure.legend(handles, titles, loc="outside lower center", ncols=columns, fontsize=8.5, frameon=False)
    return figure


def _draw_mean(axes: Axes, y: float, metric: Metric, estimate: Estimate | None, style: tuple[str, str]) -> None:
    """Draws the mean of a metric in one arm with its 95 % interval, if it was measured there."""
    if estimate is None:
        return
    color, marker = style
    axes.plot(metric.scale * estimate.mean, y, marker, color=color, markersize=5, markeredgewidth=0)
    ends = np.array(estimate.interval())
    if np.all(np.isfinite(ends)):
        axes.plot(metric.scale * ends, [y, y], color=color, linewidth=1.6, solid_capstyle="butt")


def _has_any(each: ArmSummary, metrics: Sequence[Metric]) -> bool:
    return any(each.arm.name in metric.estimates for metric in metrics)


def _estimate_words(metric: Metric, estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    mean, error = metric.scale * estimate.mean, metric.scale * estimate.se
    words = f"{mean:.2f}" if metric.percent else f"{mean:.3g}"
    if not np.isfinite(error):
        return words
    return f"{words} ± {error:.2f}" if metric.percent else f"{words} ± {error:.1g}"


def _range_words(values: Sequence[float]) -> str:
    """Returns a number, or the smallest and the largest where they differ as they are written."""
    written = [f"{value:.3g}" for value in (min(values), max(values))] if values else ["-"]
    return " to ".join(dict.fromkeys(written))
