"""A picture of a few training examples of each class, as the network sees them. It imports matplotlib.

Axes: S the spatial axes of an example (H, W of images, L of signals), C channels. Images keep their aspect; of volumes
the middle slice is shown, of signals the waveform, with the square root of the amplitude: what is quiet can be seen.
"""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from fcnjax.data.overview.pixel_moments import scaled_values
from fcnjax.data.sources.contents import sample_positions
from fcnjax.data.sources.source import Source, UnreadableExample
from fcnjax.figure_style import BLACK, GRAY
from fcnjax.naming import joined, shortened

EACH = 12  # examples of a class
MAX_CLASSES = 24
DPI = 150  # as `save_figure` writes it: a pixel of a thumbnail is one of the picture
IMAGE, SIGNAL = (96, 96), (48, 132)  # height and width of the room of an example, in pixels
LEFT, TOP, GAP, CAPTION = 210, 44, 8, 15  # pixels: names of classes, title, between examples, size below an example
INK, FRAME, PAPER = 40, 215, 255  # gray values of waveforms, of the frame around a picture, and of the background


class Shown(NamedTuple):
    """One example on the sheet: its picture uint8 [H, W, 3], its size [D], and its row and column."""

    picture: np.ndarray
    size: tuple[int, ...]
    row: int
    column: int


def contact_sheet(source: Source, name: str) -> Figure:
    """Returns a picture of up to 12 examples of each class, evenly spread; a row is a class.

    Args:
        source: the examples, at the sizes of the size policy. Their labels are known.
        name: of the data set, for the title.

    Returns:
        The figure. Of more than 24 classes, 24 are shown, evenly spread. Values that fill less than half of 0 to 1, or
        are outside of it, are stretched; of two channels the first is shown, of more than three the first three. The
        title says so. What cannot be decoded is left out.

    Raises:
        ValueError: if the labels are unknown.
    """
    if source.labels is None:
        raise ValueError("labels: must be known to show the classes; give a source that has them.")
    labels = np.asarray(source.labels)
    classes = sample_positions(len(source.class_names), MAX_CLASSES)
    members = [np.flatnonzero(labels == label) for label in classes]
    read = [[_values(source, int(each[at])) for at in sample_positions(len(each), EACH)] for each in members]
    signals = source.sizes.shape[1] == 1
    room = SIGNAL if signals else IMAGE
    low, high = _range([values for row in read for values in row if values is not None], signals)
    shown = []
    for row, examples in enumerate(read):
        kept = [values for values in examples if values is not None]
        for column, values in enumerate(kept):
            picture = _waveform(values, high) if signals else _thumbnail(_image(values, low, high))
            shown.append(Shown(picture, values.shape[:-1], row, column))
    names = [(shortened(source.class_names[label]), len(each)) for label, each in zip(classes, members, strict=True)]
    cut = f"; {len(classes)} of {len(source.class_names):,} classes" if len(classes) < len(source.class_names) else ""
    cut += "" if signals or (low, high) == (0, 1) else f"; {low:.2g} is black, {high:.2g} is white"
    channels = source.channels
    cut += f"; channel{'s 1 to 3' if channels > 3 else ' 1'} of {channels}" if channels not in (1, 3) else ""
    title = f"{shortened(name, 90)}: training examples{cut}"
    return _figure(shown, names, title, room)


def _figure(shown: list[Shown], names: list[tuple[str, int]], title: str, room: tuple[int, int]) -> Figure:
    columns = max((each.column for each in shown), default=0) + 1
    step = room[0] + CAPTION + GAP, room[1] + GAP
    height, width = TOP + step[0] * len(names), max(LEFT + step[1] * columns, 900)
    canvas = np.full((height, width, 3), PAPER, np.uint8)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for picture, size, row, column in shown:
        top, left = TOP + row * step[0], LEFT + column * step[1]
        bottom, middle = top + room[0], left + room[1] // 2  # pictures stand on one line, in the middle of their rooms
        start, end = middle - picture.shape[1] // 2, middle + (picture.shape[1] + 1) // 2
        canvas[bottom - picture.shape[0] - 1 : bottom + 1, start - 1 : end + 1] = FRAME
        canvas[bottom - picture.shape[0] : bottom, start:end] = picture
        axes.text(middle, bottom + 3, joined(size), fontsize=4.5, color=GRAY, ha="center", va="top")
    for row, (name, count) in enumerate(names):
        at = TOP + row * step[0] + room[0]
        axes.text(12, at - 14, name, fontsize=6.5, color=BLACK, ha="left", va="bottom", parse_math=False)
        axes.text(12, at, f"{count:,}", fontsize=6, color=GRAY, ha="left", va="bottom")
    axes.text(12, TOP / 2 - 4, title, fontsize=7.5, color=BLACK, ha="left", va="center", parse_math=False)
    axes.imshow(canvas, extent=(0, width, height, 0), interpolation="none", aspect="auto")
    return figure


def _values(source: Source, index: int) -> np.ndarray | None:
    """Returns the values [*S, C] of an example; None if it cannot be decoded."""
    try:
        return source[index].values
    except UnreadableExample:
        return None


def _range(examples: list[np.ndarray], signals: bool) -> tuple[float, float]:
    """Returns the values that are shown as black and as white; of signals, 0 and the largest amplitude."""
    if not examples:
        return 0.0, 1.0
    if signals:
        return 0.0, max(float(np.abs(scaled_values(each)).max()) for each in examples)
    ends = [np.percentile(scaled_values(each[..., :3]), (0.5, 99.5)) for each in examples]
    low, high = float(min(end[0] for end in ends)), float(max(end[1] for end in ends))
    return (0.0, 1.0) if low >= 0 and 0.5 <= high <= 1 else (min(low, 0.0), high)


def _image(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns an image, or the middle slice of a volume, as uint8 [H, W, 3]."""
    if values.ndim == 4:
        values = values[len(values) // 2]
    values = values[..., :3] if values.shape[-1] >= 3 else values[..., :1]
    if values.dtype != np.uint8 or (low, high) != (0, 1):
        stretched = (scaled_values(values) - low) / max(high - low, 1e-12)
        values = np.rint(np.clip(stretched, 0, 1) * 255).astype(np.uint8)
    return np.broadcast_to(values, (*values.shape[:2], 3))


def _thumbnail(image: np.ndarray) -> np.ndarray:
    """Returns an image that fits its room, its aspect kept; small ones show their pixels."""
    height, width = image.shape[:2]
    factor = min(IMAGE[0] / height, IMAGE[1] / width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    way = Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BOX if factor > 0.5 else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size, way))


def _waveform(values: np.ndarray, peak: float) -> np.ndarray:
    """Returns the waveform of a signal's first channel: in each column the span of its samples."""
    height, width = SIGNAL
    samples = scaled_values(values[:, 0]).astype(np.float64) / max(peak, 1e-12)
    samples = np.sign(samples) * np.sqrt(np.abs(samples))
    starts = np.arange(width) * len(samples) // width
    ends = np.maximum((np.arange(width) + 1) * len(samples) // width, starts + 1)
    picture = np.full((height, width), PAPER, np.uint8)
    rows = np.arange(height)
    for column, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        part = (1 - samples[start:end]) / 2 * (height - 1)
        picture[(rows >= np.floor(part.min())) & (rows <= np.ceil(part.max())), column] = INK
    return np.repeat(picture[..., None], 3, axis=-1)
