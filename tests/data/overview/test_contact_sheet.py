"""The picture of examples: every class in its row, aspects kept, values as they are."""

import io

import numpy as np
import pytest
from PIL import Image

from fcnjax.data import ArraySource
from fcnjax.data.overview.contact_sheet import GAP, IMAGE, LEFT, MAX_CLASSES, SIGNAL, TOP, contact_sheet
from fcnjax.figure_style import save_figure

STEP = IMAGE[0] + 15 + GAP


def drawn(source, path):
    figure = contact_sheet(source, "mine")
    return np.asarray(Image.open(io.BytesIO(save_figure(figure, path).read_bytes())).convert("RGB")), figure


def titles(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_examples_stand_in_the_row_of_their_class_with_their_aspect_and_values(tmp_path):
    red, blue = np.zeros((40, 80, 3), np.uint8), np.zeros((400, 100, 3), np.uint8)
    red[..., 0], blue[..., 2] = 200, 100
    picture, figure = drawn(ArraySource([red, blue, blue], [0, 1, 1], ["$a$", "\u732b"]), tmp_path / "sheet.png")
    at = (picture == (200, 0, 0)).all(axis=-1).nonzero()
    assert np.ptp(at[0]) + 1 == 48  # 96 wide, half as high
    assert np.ptp(at[1]) + 1 == 96
    assert at[0].max() < TOP + IMAGE[0]
    at = (picture == (0, 0, 100)).all(axis=-1).nonzero()
    assert np.ptp(at[0]) + 1 == 96
    assert at[0].min() == TOP + STEP
    assert len(at[0]) == 2 * 96 * 24
    assert {"$a$", "\u732b", "40x80", "400x100", "mine: training examples"} <= set(titles(figure))


def test_signals_are_waveforms_and_volumes_their_middle_slice(tmp_path):
    ramp = np.linspace(-0.25, 0.25, 5000, dtype=np.float32)[:, None]
    picture, _ = drawn(ArraySource([ramp, ramp * 0], [0, 1]), tmp_path / "signal.png")
    room = picture[TOP : TOP + SIGNAL[0], LEFT : LEFT + SIGNAL[1], 0]
    dark = [np.flatnonzero(column < 100).mean() for column in room.T]
    assert np.all(np.diff(dark) <= 0)  # it rises
    assert dark[0] - dark[-1] > 0.9 * SIGNAL[0]
    volume = np.ones((3, 8, 8, 1), np.float32)
    volume[1] = 0
    picture, _ = drawn(ArraySource([volume, volume], [0, 1]), tmp_path / "volume.png")
    assert (picture[TOP : TOP + IMAGE[0], LEFT : LEFT + IMAGE[1]] == 0).all()


def test_of_many_classes_some_are_shown_and_it_is_said():
    values = [np.full((4, 4, 1), n, np.float32) for n in range(100)]
    shown = titles(contact_sheet(ArraySource(values, range(100)), "mine"))
    assert f"mine: training examples; {MAX_CLASSES} of 100 classes; 0 is black, 99 is white" in shown
    assert {"0", "99"} <= set(shown)


def test_unknown_labels_and_formats_are_refused(tmp_path):
    source = ArraySource([np.ones((4, 4, 1))] * 2, [0, 1])
    with pytest.raises(ValueError, match=r"^show='.*sheet.xyz': must end in one of"):
        save_figure(contact_sheet(source, "mine"), tmp_path / "sheet.xyz", "show")
    source.labels = None
    with pytest.raises(ValueError, match="labels: must be known"):
        contact_sheet(source, "mine")


def test_dark_values_are_stretched_and_it_is_said():
    source = ArraySource([np.full((4, 5, 5), level, np.float32) for level in (0.0, 0.1)] * 2, [0, 1, 0, 1], channels=5)
    (axes,) = contact_sheet(source, "bands").axes
    assert "; 0 is black, 0.1 is white; channels 1 to 3 of 5" in axes.texts[-1].get_text()
    assert np.asarray(axes.images[0].get_array()).min() == 0
