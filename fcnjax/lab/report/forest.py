"""The forest plot: every contrast of an experiment with its interval, the margin of its claim, and the verdict."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fcnjax.figure_style import BLACK, BLUE, GRAY, GREEN, RED, tidy
from fcnjax.lab.claims import Equivalence, Exact
from fcnjax.lab.decisions import Decision
from fcnjax.lab.report.figures import WIDE
from fcnjax.lab.report.words import effect_words, verdict_of

_STYLES = {  # verdict -> color, marker, filled
    "holds": (GREEN, "o", True),
    "fails": (RED, "X", True),
    "not decided": (BLUE, "s", False),
    None: (GRAY, "D", False),
}
_ROOM = 0.08  # beside the widest interval, as a share of the axis
_ROW, _LINE, _BAND = 0.42, 0.145, 0.13  # inches: a row, a line of text above a row, half of a margin's box


def contrast_figure(decisions: Sequence[Decision], width: float = WIDE) -> Figure:
    """Draws the contrasts of statistical claims, those of one unit in one panel.

    The gray box of a row is the margin: from minus to plus delta for equivalence, from 0 to delta for superiority. What
    must fail may lie far away; it does not set the scale, and an arrow says where it is.

    Args:
        decisions: those with an estimate are drawn; at least one must have one.
        width: of the figure, in inches.

    Returns:
        The figure, with the claims from top to bottom in their order.

    Raises:
        ValueError: if no decision has an estimate.
    """
    drawn = [d for d in decisions if d.estimate is not None and np.isfinite(d.estimate.mean)]
    units = list(dict.fromkeys(_unit(decision) for decision in drawn))
    if not units:
        raise ValueError(f"decisions={len(decisions)} without an estimate: must be at least 1 with one; leave it out.")
    groups = [[d for d in drawn if _unit(d) == unit] for unit in units]
    wide = width >= WIDE
    places = [_places(group, wide) for group in groups]
    heights = [rows[-1] + _ROW / 2 for rows in places]
    figure = Figure(figsize=(width, sum(heights) + 0.6 * len(groups)), layout="constrained")
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, unit, group, rows, height in zip(panels, units, groups, places, heights, strict=True):
        _set_limits(axes, group)
        for place, decision in zip(rows, group, strict=True):
            _draw_row(axes, place, decision)
            _write_row(axes, place, decision, wide)
        axes.set_xlabel(f"difference ({unit[0]})", fontsize=9.5)
        axes.set_ylim(height, 0)
        axes.set_yticks([])
        tidy(axes, "x" if wide else None)
        axes.xaxis.set_major_locator(MaxNLocator(7 if wide else 5, steps=[1, 2, 5, 10]))
        axes.spines["left"].set_visible(False)
    return figure


def _places(group: Sequence[Decision], wide: bool) -> list[float]:
    """Returns how far below the top the interval of each row is, in inches; on a narrow page its text stands above."""
    places, top = [], 0.0
    for decision in group:
        text = 0.0 if wide else _LINE * (len(_lines(decision)) + 1)
        places.append(top + text + _ROW / 2)
        top += text + _ROW
    return places


def _lines(decision: Decision) -> list[str]:
    return textwrap.wrap(decision.claim.statement, 52, break_on_hyphens=False)


def _unit(decision: Decision) -> tuple[str, float]:
    assert not isinstance(decision.claim, Exact)
    return decision.claim.unit, decision.claim.scale


def _ends(decision: Decision) -> tuple[float, float, float]:
    """Returns mean, low and high in the unit of the claim; an unknown interval has no width."""
    assert not isinstance(decision.claim, Exact)
    assert decision.estimate is not None
    mean, scale = decision.estimate.mean, decision.claim.scale
    low, high = (mean if end is None or not np.isfinite(end) else end for end in (decision.low, decision.high))
    return scale * mean, scale * low, scale * high


def _margin(decision: Decision) -> tuple[float, float]:
    claim = decision.claim
    assert not isinstance(claim, Exact)
    delta = claim.scale * claim.margin
    return (-delta if isinstance(claim, Equivalence) else 0.0), delta


def _set_limits(axes: Axes, group: Sequence[Decision]) -> None:
    """Makes the axis hold the margins and all intervals but those of claims that must fail, if there are others."""
    judged = [d for d in group if not d.claim.control] or list(group)
    ends = [0.0, *(end for d in judged for end in _ends(d)), *(end for d in group for end in _margin(d))]
    room = _ROOM * (max(ends) - min(ends))
    axes.set_xlim(min(ends) - room, max(ends) + room)


def _draw_row(axes: Axes, place: float, decision: Decision) -> None:
    color, marker, filled = _STYLES[decision.verdict]
    axes.fill_between(_margin(decision), place - _BAND, place + _BAND, color="#dfe3e8", linewidth=0, zorder=0)
    axes.plot([0, 0], [place - _ROW / 2, place + _ROW / 2], color=BLACK, linewidth=0.8, zorder=1)
    (mean, low, high), (least, most) = _ends(decision), axes.get_xlim()
    if low <= most and high >= least:
        ends = [max(low, least), min(high, most)]
        axes.plot(ends, [place] * 2, color=color, linewidth=2.6, solid_capstyle="butt")
    if mean < least or mean > most:
        edge, arrow = (least, "<") if mean < least else (most, ">")
        axes.plot(edge, place, arrow, color=color, markersize=8, clip_on=False)
    else:
        face = color if filled else "white"
        axes.plot(mean, place, marker, color=color, markerfacecolor=face, markersize=7.5, markeredgewidth=1.4)


def _write_row(axes: Axes, place: float, decision: Decision, wide: bool) -> None:
    """Writes the statement, and the numbers with the verdict: beside the axis if it is wide, else above the row."""
    verdict = verdict_of(decision)
    numbers, words = effect_words(decision).replace("-", "\u2212"), f"{verdict.symbol} {verdict.short}"
    style = {"fontsize": 8.5, "parse_math": False, "transform": axes.get_yaxis_transform()}
    if wide:
        statement = textwrap.fill(decision.claim.statement, 46, break_on_hyphens=False)
        axes.text(-0.02, place, statement, ha="right", va="center", linespacing=1.15, **style)
        axes.text(1.03, place, f"{numbers}\n{words}", ha="left", va="center", linespacing=1.3, **style)
    else:
        lines = "\n".join([*_lines(decision), f"{numbers}   {words}"])
        axes.text(0, place - _ROW / 2, lines, ha="left", va="bottom", linespacing=1.15, **style)
