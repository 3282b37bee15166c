"""Measures on canvases of several sizes, compared with plain computations of one scene at a time."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats
from tiny_experiment import CONV, GAP, make_normed_runner

from fcnjax import lab
from fcnjax.lab.measures.canvases import log_odds_of
from fcnjax.padded import Padded

SCENES = lab.Scenes(canvas=(12, 18), digit=(6, 8), fragment=3, sparsity=40)
SIDES = (12, 18, 25)


@pytest.fixture(scope="module")
def runner(tmp_path_factory) -> lab.Runner:
    arms = (dataclasses.replace(CONV, sources=SCENES), GAP)
    return make_normed_runner(tmp_path_factory.mktemp("canvases"), *arms)


@pytest.fixture(scope="module")
def run(runner) -> lab.TrainedRun:
    return runner.trained("conv", 0, 1)


def logits_of(run: lab.TrainedRun, values: np.ndarray) -> np.ndarray:
    """Returns the logits of one scene, alone and without padding."""
    return np.asarray(run.model(Padded.stack([np.asarray(values, np.float32)])))[0].astype(np.float64)


def test_values_are_means_over_placements_and_slopes_are_least_squares(run):
    measured, test = lab.OnCanvases(SIDES, placements=3)(run), run.sources["test"]
    for index in range(0, len(run.labels), 2):
        label, curves = run.labels[index], {"accuracy": [], "log odds": []}
        for side in SIDES:
            scenes = [test.on_canvas((side, side), number)[index].values for number in range(3)]
            assert all(scene.shape == (side, side, 1) for scene in scenes)
            logits = [logits_of(run, scene) for scene in scenes]
            chances = [np.exp(each[label]) / np.exp(each).sum() for each in logits]
            curves["accuracy"].append(np.mean([each.argmax() == label for each in logits]))
            curves["log odds"].append(np.mean([math.log(chance / (1 - chance)) for chance in chances]))
            for name, curve in curves.items():
                found = measured.values[f"{name}, {side}x{side} canvas"][index]
                assert found == pytest.approx(curve[-1], rel=1e-3, abs=1e-4)
        for name, curve in curves.items():
            slope = stats.linregress([math.log2(side * side) for side in SIDES], curve).slope
            assert measured.values[f"{name} slope"][index] == pytest.approx(slope, rel=1e-2, abs=1e-4)
    assert len(measured.values) == 2 * (len(SIDES) + 1)


def test_the_slope_is_the_change_when_the_area_doubles(run, monkeypatch):
    def scores(self, source):
        gain = np.log2(source.sizes.prod(axis=1))[:, None]  # of the true class, in logits
        return np.where(np.arange(3) == self.labels[:, None], 0.25 * gain, 0.0)

    monkeypatch.setattr(lab.TrainedRun, "scores", scores)
    slopes = lab.OnCanvases((12, 24))(run).values["log odds slope"]
    np.testing.assert_allclose(slopes, 0.25)


def test_costs_are_those_of_the_largest_canvas(run):
    numbers = lab.OnCanvases((12, 20), placements=1)(run).numbers
    assert numbers["parameters"] == sum(array.size for array in run.state.weights.values())
    positions = 10 * 10
    convolution, linear, pool = positions * 4 * 4 * 4, positions * 4 * 3, positions * 3
    assert numbers["multiply-adds"] == convolution + linear + pool


def test_log_odds_of_sure_answers_are_finite_and_examples_without_a_class_have_none():
    logits = np.array([[90.0, 0.0, -30.0], [0.0, 800.0, 0.0], [1.0, 2.0, 3.0]])
    found = log_odds_of(logits, np.array([0, 0, -1]))
    np.testing.assert_allclose(found[:2], [90.0, -800.0])
    assert np.isnan(found[2])


def test_other_runs_and_settings_are_refused(runner):
    with pytest.raises(TypeError, match="arm 'gap': must have scenes"):
        lab.OnCanvases((12, 18))(runner.trained("gap", 0, 1))
    with pytest.raises(ValueError, match=r"sides=\(12, 12\), placements=2: must be at least two"):
        lab.OnCanvases((12, 12))
    with pytest.raises(ValueError, match="placements=0"):
        lab.OnCanvases((12, 18), placements=0)
