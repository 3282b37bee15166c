"""The class map panel: which parts of an image support the class that was predicted.

Axes: H, W, C of an image; h, w of a class map; K classes. The one idea: all images are drawn at one scale, and a map is
stretched over its image.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fcnjax.figure_style import BLACK, GRAY, RED

# In inches: the longest side of the largest image, the narrowest column, the gap between columns, the words above a
# cell, the space of the headings, and the space of the color bar.
_SIDE, _NARROWEST, _GAP, _LINE, _HEADING, _BAR = 1.25, 0.95, 0.2, 0.3, 0.5, 0.7


@dataclass(frozen=True, eq=False)
class ClassMapRow:
    """One example with its class maps.

    Attributes:
        image: [H, W, C], pixels at native size, finite; C is 1 or 3.
        maps: class maps [h, w, K] by arm; the keys are the headings of the columns, the same in every row.
        predictions: predicted class by arm, in [0, K), with the keys of `maps`.
        label: true class.

    Raises:
        ValueError: if a shape, the keys or a class differ from the description above.
    """

    image: np.ndarray
    maps: Mapping[str, np.ndarray]
    predictions: Mapping[str, int]
    label: int

    def __post_init__(self):
        object.__setattr__(self, "image", np.asarray(self.image))
        object.__setattr__(self, "maps", {name: np.asarray(value) for name, value in self.maps.items()})
        if self.image.ndim != 3 or self.image.shape[2] not in (1, 3):
            raise ValueError(f"image of shape {self.image.shape}: must be [H, W, 1] or [H, W, 3].")
        if not self.maps or set(self.maps) != set(self.predictions):
            raise ValueError(
                f"maps of {list(self.maps)}, predictions of {list(self.predictions)}: must be of the same arms."
            )
        for name, value in self.maps.items():
            if value.ndim != 3 or not 0 <= self.predictions[name] < value.shape[2]:
                raise ValueError(
                    f"maps[{name!r}] of shape {value.shape}, predictions[{name!r}]={self.predictions[name]}: "
                    "must be [h, w, K] and a class in [0, K)."
                )

    def predicted_map(self, name: str) -> np.ndarray:
        """Returns the map of the class that the arm `name` predicts [h, w]."""
        return self.maps[name][:, :, self.predictions[name]]


def class_map_panel(rows: Sequence[ClassMapRow], shared: bool = True, unit: str = "class score") -> Figure:
    """Draws one example per row, with the map of the class that each arm predicts beside it.

    A map is stretched over its image, so that its cells roughly cover their receptive fields, with the contour of the
    image on top. Wrong predictions are marked in red and by the word "wrong".

    Args:
        rows: at least one, all with the same arms.
        shared: whether all maps share one color scale and one color bar; otherwise there is one per arm, for arms
            with maps in different units.
        unit: words beside the color bar.

    Returns:
        The figure.

    Raises:
        ValueError: if there are no rows, or their arms differ.

    Source: class activation maps, Zhou et al., "Learning deep features for discriminative localization", CVPR 2016.
    """
    names = list(rows[0].maps) if rows else []
    if not rows or any(list(row.maps) != names for row in rows):
        raise ValueError(
            f"rows with arms {[list(row.maps) for row in rows]}: must be at least one row, with the same arms in all."
        )
    figure, grid = _cells(rows, len(names) + 1)
    scales = {
        name: _scale([row.predicted_map(other) for row in rows for other in (names if shared else [name])])
        for name in names
    }
    for row, line in zip(rows, grid, strict=True):
        _draw_image(line[0], row)
        for name, axes in zip(names, line[1:], strict=True):
            _draw_map(axes, row, name, scales[name])
    _draw_headings(figure, grid, ["image", *names])
    _draw_bars(figure, grid, scales, shared, unit)
    return figure


def _cells(rows: Sequence[ClassMapRow], columns: int) -> tuple[Figure, list[list[Axes]]]:
    """Returns a figure and its axes [rows][columns], each as large as its image at one common scale."""
    scale = _SIDE / max(max(row.image.shape[:2]) for row in rows)  # inches per pixel
    widest = max(row.image.shape[1] for row in rows) * scale
    step = max(widest, _NARROWEST) + _GAP
    heights = [row.image.shape[0] * scale for row in rows]
    total = (columns * step + _GAP, sum(heights) + len(rows) * _LINE + _HEADING + _BAR)
    figure = Figure(figsize=total)
    grid, top = [], total[1] - _HEADING
    for row, height in zip(rows, heights, strict=True):
        top -= _LINE + height
        width = row.image.shape[1] * scale
        lefts = [_GAP + column * step + (step - _GAP - width) / 2 for column in range(columns)]
        places = [(left / total[0], top / total[1], width / total[0], height / total[1]) for left in lefts]
        grid.append([figure.add_axes(place) for place in places])
    return figure, grid


def _scale(maps: list[np.ndarray]) -> Normalize:
    values = np.concatenate([value.ravel() for value in maps])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    reach = max(abs(low), abs(high)) or 1.0
    return Normalize(0.0, reach) if low >= 0 else Normalize(-reach, reach)  # zero is white


def _colors(scale: Normalize) -> str:
    return "Blues" if scale.vmin == 0 else "RdBu"


def _frame(axes: Axes, row: ClassMapRow, words: str, color: str = BLACK) -> tuple[float, float, float, float]:
    """Sets up a cell in pixel coordinates of the image, with words above it, and returns the extent that fills it."""
    height, width, _ = row.image.shape
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(color=GRAY, linewidth=0.6)
    axes.set_title(words, fontsize=8, pad=3, color=color)
    return 0, width, height, 0


def _draw_image(axes: Axes, row: ClassMapRow) -> None:
    height, width, channels = row.image.shape
    place = _frame(axes, row, f"true {row.label}, {height}x{width}")
    low, high = float(row.image.min()), float(row.image.max())
    pixels = (row.image - low) / ((high - low) or 1.0)
    axes.imshow(pixels[:, :, 0] if channels == 1 else pixels, extent=place, cmap="gray", vmin=0, vmax=1, aspect="auto")


def _draw_map(axes: Axes, row: ClassMapRow, name: str, scale: Normalize) -> None:
    right = row.predictions[name] == row.label
    words = f"says {row.predictions[name]}" + ("" if right else " (wrong)")
    place = _frame(axes, row, words, BLACK if right else RED)
    values = row.predicted_map(name)
    axes.imshow(values, extent=place, cmap=_colors(scale), norm=scale, interpolation="nearest", aspect="auto")
    brightness = row.image.mean(axis=2)
    if np.ptp(brightness) > 0 and min(brightness.shape) > 1:  # contour warns if there is nothing to draw
        height, width = brightness.shape
        middle = (float(brightness.min()) + float(brightness.max())) / 2
        x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
        axes.contour(x, y, brightness, levels=[middle], colors=BLACK, linewidths=0.8, alpha=0.8)


def _draw_headings(figure: Figure, grid: list[list[Axes]], headings: list[str]) -> None:
    height = figure.get_figheight()
    for heading, axes in zip(headings, grid[0], strict=True):
        box = axes.get_position()
        words = textwrap.fill(heading, 16, break_on_hyphens=False)
        middle = (box.x0 + box.x1) / 2
        figure.text(
            middle, (height - 0.1) / height, words, ha="center", va="top", fontsize=8.5, weight="bold", parse_math=False
        )


def _draw_bars(figure: Figure, grid: list[list[Axes]], scales: dict[str, Normalize], shared: bool, unit: str) -> None:
    height = figure.get_figheight()
    columns = [[axes.get_position() for axes in column] for column in list(zip(*grid, strict=True))[1:]]
    spans = [(min(box.x0 for box in boxes), max(box.x1 for box in boxes)) for boxes in columns]
    if shared:
        spans = [(spans[0][0], spans[-1][1])]
    for (left, right), scale in zip(spans, scales.values(), strict=False):
        axes = figure.add_axes((left, (_BAR - 0.25) / height, right - left, 0.11 / height))
        bar = figure.colorbar(ScalarMappable(scale, _colors(scale)), cax=axes, orientation="horizontal")
        bar.ax.tick_params(labelsize=7.5)
        bar.locator = MaxNLocator(5 if shared else 3)
        bar.update_ticks()
    middle = (spans[0][0] + spans[-1][1]) / 2
    figure.text(middle, 0.06 / height, f"{unit} of the predicted class", ha="center", va="bottom", fontsize=8.5)
