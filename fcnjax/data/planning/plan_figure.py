"""A figure of the buckets over the sizes. It has its own file, so that matplotlib is imported only for drawing.

Axes: N examples, D spatial axes, K buckets.
"""

from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fcnjax.data.planning.buckets import BucketPlan
from fcnjax.data.size_table import areas, checked_table, distinct_sizes
from fcnjax.figure_style import PALETTE, RED, SKY, tidy

_AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
MAX_DOTS = 20_000


def plan_figure(sizes: np.ndarray, plan: BucketPlan) -> Figure:
    """Returns a figure of the sizes and the buckets of a plan; each size has the color of its bucket.

    Args:
        sizes: int [N, D], the size table; each size must fit a bucket.
        plan: the buckets.

    Returns:
        For D = 1 a histogram of the lengths with a line at each bucket's length; for D = 2 a dot per distinct size,
        larger if more examples have it, and the outlines of the buckets; for D = 3 the same in three projections.

    Raises:
        ValueError: if a size fits no bucket.
    """
    sizes = checked_table("sizes", sizes, axes=plan.shapes.shape[1])
    pairs = list(combinations(range(sizes.shape[1]), 2)) or [(0, 0)]
    figure = Figure(figsize=(1.2 + 5.3 * len(pairs), 5.2), layout="constrained")
    panels = figure.subplots(1, len(pairs), squeeze=False)[0]
    for axes, (vertical, horizontal) in zip(panels, pairs, strict=True):
        if sizes.shape[1] == 1:
            _draw_lengths(axes, sizes[:, 0], plan)
        else:
            _draw_projection(axes, sizes, plan, vertical, horizontal)
        tidy(axes, grid=None)
    waste = f"padded / real {('length', 'area', 'volume')[sizes.shape[1] - 1]} - 1 = {plan.waste(sizes):.3f}"
    figure.suptitle(f"{len(sizes):,} examples, {len(plan.shapes)} buckets: {waste}", fontsize=10)
    return figure


def _draw_lengths(axes: Axes, lengths: np.ndarray, plan: BucketPlan) -> None:
    axes.hist(lengths, bins=min(120, max(1, len(np.unique(lengths)))), color=SKY)
    for edge in plan.shapes[:, 0].tolist():
        axes.axvline(edge, color=RED, linewidth=1)
    axes.set_xlabel("length (positions); lines: lengths of the buckets")
    axes.set_ylabel("examples")


def _draw_projection(axes: Axes, sizes: np.ndarray, plan: BucketPlan, vertical: int, horizontal: int) -> None:
    names = _AXES[sizes.shape[1]]
    distinct, counts = distinct_sizes(sizes)
    buckets = plan.assign(distinct)
    if len(distinct) > MAX_DOTS:  # evenly spread; more dots would only darken the cloud
        chosen = np.linspace(0, len(distinct) - 1, MAX_DOTS).round().astype(int)
        distinct, counts, buckets = distinct[chosen], counts[chosen], buckets[chosen]
    colors = [PALETTE[bucket % len(PALETTE)] for bucket in buckets]
    dots = 3 + 400 * counts / counts.sum()
    axes.scatter(distinct[:, horizontal], distinct[:, vertical], s=dots, c=colors, alpha=0.6, linewidths=0)
    for bucket in np.argsort(-areas(plan.shapes), kind="stable").tolist():
        height, width = int(plan.shapes[bucket, vertical]), int(plan.shapes[bucket, horizontal])
        color = PALETTE[bucket % len(PALETTE)]
        axes.add_patch(Rectangle((0, 0), width, height, fill=False, edgecolor=color, linewidth=1.3, zorder=0.5))
        if sizes.shape[1] == 2:
            axes.annotate(f"{height}x{width}", (width, height), fontsize=7, ha="right", va="bottom", color=color)
    axes.set_xlim(0, 1.03 * int(plan.shapes[:, horizontal].max()))
    axes.set_ylim(0, 1.03 * int(plan.shapes[:, vertical].max()))
    axes.set_xlabel(f"{names[horizontal]} (positions)")
    axes.set_ylabel(f"{names[vertical]} (positions)")
