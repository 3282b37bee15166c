"""How figures look and how they are saved. It imports matplotlib, so import it only in code that draws."""

import io
import warnings
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fcnjax.atomic import write_bytes

# Okabe and Ito's palette, which stays distinct with color blindness, and a brown.
BLUE, ORANGE, GREEN, PURPLE, RED, SKY, BLACK, BROWN = PALETTE = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#D55E00",
    "#56B4E9",
    "#000000",
    "#8C6D31",
)
GRAY = "#8a8a8a"  # for background elements


def tidy(axes: Axes, grid: Literal["both", "x"] | None = "both") -> None:
    """Removes the top and right spines, makes the tick labels small, and draws grid lines for the axes in `grid`."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
    if grid is not None:
        axes.grid(True, axis=grid, color="#dddddd", linewidth=0.7)
        axes.set_axisbelow(True)


def save_figure(figure: Figure, path: Path | str, argument: str = "plot") -> Path:
    """Writes a figure through `fcnjax.atomic`, in the format that the path's suffix names, and returns the path.

    Args:
        figure: the figure.
        path: the file.
        argument: name of the argument that gave the path, for the error.

    Raises:
        ValueError: if matplotlib does not write that format.
        OSError: if the file cannot be written.
    """
    path, drawn = Path(path), io.BytesIO()
    known = figure.canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise ValueError(
            f"{argument}={str(path)!r}: must end in one of {', '.join(sorted(known))}; give a path such as plan.png."
        )
    with warnings.catch_warnings():  # a name in letters that the font lacks is shown as boxes
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(drawn, format=path.suffix[1:].lower(), dpi=150)
    return write_bytes(path, drawn.getvalue())
