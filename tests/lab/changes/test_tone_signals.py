"""Signals without a file: drawn with the id, of their class's pitch, and whole among noise."""

import numpy as np
import pytest

from fcnjax import lab
from fcnjax.data import ArraySource, PartialSource
from fcnjax.lab.changes import Tones


@pytest.fixture
def images() -> ArraySource:
    """60 images of 10 classes; only their ids and labels matter."""
    return ArraySource([np.zeros((3, 4, 1), np.uint8)] * 60, np.arange(60) % 10, first_id=5)


def test_the_pitch_of_a_tone_is_that_of_its_class(images):
    change = Tones(0.01, shortest=380)
    signals = change({"train": images}, 0)["train"]
    pitches = 0.06 * 6 ** (np.arange(10) / 9)  # from 0.06 to 0.36 cycles per sample
    off = []
    for index in range(60):
        values = signals[index].values[:, 0].astype(np.float64)
        spectrum = np.abs(np.fft.rfft(values * np.hanning(len(values)), 2**14))
        found = spectrum.argmax() / 2**14
        assert np.abs(np.log(pitches / found)).argmin() == images.labels[index]
        off.append(np.log(found / pitches[images.labels[index]]) / np.log(6) * 9)
        assert np.std(values) == pytest.approx(1, rel=0.05)
    assert np.abs(off).max() < 0.26
    assert np.abs(off).max() > 0.2  # in steps between classes: they are drawn from a quarter to either side
    assert -0.1 < np.mean(off) < 0.1


def test_tones_are_functions_of_the_id_and_have_the_promised_sizes(images):
    signals = lab.tones(2.0)({"train": images, "test": images}, 3)["train"]
    again = lab.tones(2.0)({"train": PartialSource(images, np.array([7, 30]), {})}, 4)["train"]
    lengths = signals.sizes[:, 0]
    assert signals.sizes.shape == (60, 1)
    assert (signals.channels, signals.class_names) == (1, images.class_names)
    assert 96 <= lengths.min() < 120 < 320 < lengths.max() <= 384
    for index in range(60):
        example = signals[index]
        assert example.values.shape == (lengths[index], 1)
        assert example.values.dtype == np.float32
        assert (example.id, example.label) == images[index][::2]
    for index, whole in enumerate((7, 30)):
        np.testing.assert_array_equal(again[index].values, signals[whole].values)
    assert not np.array_equal(signals[0].values[:96], signals[10].values[:96])  # of one class
    quiet = lab.tones(0.0)({"train": images}, 3)["train"]
    noise = np.concatenate([signals[index].values - quiet[index].values for index in range(60)])
    assert np.std(noise) == pytest.approx(2.0, rel=0.02)
    assert abs(np.mean(noise)) < 0.05
    assert signals.contents != quiet.contents


def test_signals_stay_as_they_are_and_a_further_change_follows(images):
    signals = lab.tones(1.0)({"train": images}, 0)
    assert lab.tones(2.0)(signals, 0)["train"] is signals["train"]
    shuffled = lab.tones(1.0, lab.shuffled_labels())({"train": images}, 8)["train"]
    expected = lab.shuffled_labels()(signals, 8)["train"]
    assert shuffled.labels.tolist() == expected.labels.tolist() != images.labels.tolist()
    np.testing.assert_array_equal(shuffled[2].values, signals["train"][2].values)  # the pitch is that of the true class


def test_a_signal_among_noise_is_whole_somewhere_and_the_rest_is_as_loud(images):
    signals = lab.tones(1.0)({"train": images}, 0)["train"]
    longer = lab.among_noise(0.25)({"train": signals}, 5)["train"]
    places, shares, louder = [], [], []
    for index in range(60):
        values, inside = longer[index].values, signals[index].values
        assert values.shape == (longer.sizes[index][0], 1)
        free = len(values) - len(inside)
        starts = [start for start in range(free + 1) if np.array_equal(values[start : start + len(inside)], inside)]
        assert len(starts) == 1
        shares.append(len(inside) / len(values))
        places.append(starts[0] / max(free, 1))
        rest = np.delete(values, np.arange(starts[0], starts[0] + len(inside)))
        louder += [np.std(rest) / np.sqrt(np.mean(inside**2))] if len(rest) > 50 else []
    assert 0.24 < min(shares) < 0.35
    assert 0.9 < max(shares) <= 1
    assert min(places) < 0.15 < 0.85 < max(places)
    assert np.mean(louder) == pytest.approx(1, abs=0.03)
    again = lab.among_noise(0.25)({"train": PartialSource(signals, np.array([9]), {})}, 6)["train"]
    np.testing.assert_array_equal(again[0].values, longer[9].values)
    assert longer.contents != signals.contents != lab.among_noise(0.5)({"train": signals}, 5)["train"].contents
