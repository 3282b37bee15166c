"""Class maps as pictures and tables: an overlay with a title for an image; scores over time for a signal.

Axes: T frames of a signal, K classes. It imports matplotlib, so import it only in code that draws.
"""

import csv
import io
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from fcnjax.figure_style import GRAY, PALETTE, tidy
from fcnjax.inference.example_maps import ExampleMaps
from fcnjax.naming import printable, shortened, spreadsheet_text

NARROWEST = 420  # pixels of a picture, so that its title fits
MARGIN, LARGE, SMALL = 8, 16, 12  # pixels around a title, and of its letters
DRAWN = 5  # classes of a signal, the most probable ones
COLUMNS = 2000  # of a waveform; each is drawn from its lowest to its highest sample


def titled_overlay(maps: ExampleMaps) -> bytes:
    """Returns a PNG: the overlay of the predicted class, under its name and probability and what the colors say."""
    image, found = maps.overlay(), maps.of()
    prediction = maps.prediction
    lines = [
        (f"{shortened(prediction.class_name, 40)}, {prediction.probability:.1%}", LARGE),
        (maps.kind.value, SMALL),
        (f"{maps.unit} {np.nanmin(found):.3g} (no color) to {np.nanmax(found):.3g} (full color)", SMALL),
    ]
    top = MARGIN + sum(size + MARGIN for _, size in lines)
    picture = Image.new("RGB", (max(image.width, NARROWEST), top + image.height), "white")
    picture.paste(image, ((picture.width - image.width) // 2, top))
    pen, at = ImageDraw.Draw(picture), MARGIN
    for words, size in lines:
        pen.text((MARGIN, at), words, "black", _font(size))
        at += size + MARGIN
    return _png(picture)


def _font(size: int) -> ImageFont.FreeTypeFont:
    """Returns the font of our figures, which comes with matplotlib."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), size)


def _png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def frame_table(maps: ExampleMaps) -> bytes:
    """Returns CSV: a row for each frame of a signal, with the time of its center and the score of each class.

    The first column is `seconds`, or `samples` if the rate of the signal is unknown.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    classes = [spreadsheet_text(printable(name)) for name in maps.prediction.classes]
    writer.writerow([_unit_of_time(maps), *classes])
    writer.writerows([f"{time:.6g}", *(f"{each:.6g}" for each in row)] for time, row in _frames(maps))
    return text.getvalue().encode()


def _frames(maps: ExampleMaps) -> list[tuple[float, list[float]]]:
    return list(zip(maps.times.tolist(), maps.maps.tolist(), strict=True))


def _unit_of_time(maps: ExampleMaps) -> str:
    return "samples" if maps.rate is None else "seconds"


def frame_figure(maps: ExampleMaps) -> bytes:
    """Returns a PNG: the waveform of a signal, and below it the scores of the most probable classes over time."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    prediction, values = maps.prediction, maps.read(maps.size)[:, 0]
    title = f"{shortened(prediction.class_name, 60)}, {prediction.probability:.1%}"
    figure.suptitle(title, fontsize=12, parse_math=False)
    starts = np.unique(np.linspace(0, len(values) - 1, COLUMNS).astype(int))
    low, high = (reduce.reduceat(values, starts) for reduce in (np.minimum, np.maximum))
    above.fill_between(starts / (maps.rate or 1.0), low, high, color=GRAY, linewidth=0.8)
    above.set_ylabel("first channel")
    order = np.argsort(-prediction.logits, kind="stable")[:DRAWN].tolist()
    lines = [
        below.plot(maps.times, maps.of(label), ".-", color=color, linewidth=1.4, markersize=4)[0]
        for label, color in zip(order, PALETTE, strict=False)
    ]
    names = [f"{prediction.probabilities[each]:.0%} {shortened(prediction.classes[each], 30)}" for each in order]
    for text in below.legend(lines, names, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1)).get_texts():
        text.set_parse_math(False)
    below.set_ylabel(f"{maps.unit} of a frame")
    below.set_xlabel(f"{_unit_of_time(maps)}; {maps.kind.value}")
    for axes in (above, below):
        tidy(axes)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return content.getvalue()
