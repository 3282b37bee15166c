"""A network for signals as one for images of height 1, with and without a front end, and what breaks it."""

import dataclasses

import numpy as np
import pytest
from tiny_experiment import CLASSES, COUNTS, make_experiment, make_recipe, make_runner

from fcnjax import lab
from fcnjax.data import save_npz
from fcnjax.lab.measures import signals_as_images
from fcnjax.layers import Convolution

NONE = dict.fromkeys(("model.channels", "model.norm", "model.activation"))
RESNET = {"model.name": "resnet_cifar", "model.depth": 8, "model.width": 4, **NONE}
BANDS = {"frontend.name": "log_mel", "frontend.sample_rate": 100, "frontend.mels": 3}
MELS = {**BANDS, "frontend.window": 0.16, "frontend.hop": 0.04, "frontend.time_masks": 1}
ARMS = (
    lab.Arm("resnet", "ResNet", RESNET),
    lab.Arm("mels", "ResNet behind a front end", {**RESNET, **MELS}),
    lab.Arm("even", "fcn with four taps", {"head.pool_at": 0}),
)
ONE, TWO = "logits differ, as images of height 1", "logits differ, as images of height 2"


@pytest.fixture(scope="module")
def runner(tmp_path_factory) -> lab.Runner:
    """Runs on noisy signals of several lengths."""
    folder, rng = tmp_path_factory.mktemp("signals"), np.random.default_rng(0)
    for split, count in COUNTS.items():
        labels = np.arange(count) % 3
        values = [(rng.normal(size=(rng.integers(40, 60), 1)) + label).astype(np.float32) for label in labels]
        save_npz(folder / "noise.npz", values, labels, CLASSES, split)
    return make_runner(folder, experiment=make_experiment(arms=ARMS), recipe=make_recipe(folder))


@pytest.mark.parametrize("arm", ["resnet", "mels"])
def test_height_1_is_the_signal_and_height_2_is_not(runner, arm):
    run = runner.trained(arm, 0, 1)
    measured = lab.AsImages(arm)(run)
    assert measured is not None
    assert measured.numbers.keys() == {ONE, TWO}
    assert 0 <= measured.numbers[ONE] < 1e-13
    assert measured.numbers[TWO] > 1e-2


@pytest.mark.parametrize("arm", ["resnet", "mels"])
def test_the_signals_have_the_logits_of_the_run(runner, monkeypatch, arm):
    run, found = runner.trained(arm, 0, 1), {}
    original = signals_as_images._scores

    def noted(run, inputs, height):
        found.setdefault(height, []).append(original(run, inputs, height))
        return found[height][-1]

    monkeypatch.setattr(signals_as_images, "_scores", noted)
    lab.AsImages(arm, examples=len(run.labels))(run)
    for height in (0, 1):
        logits = np.concatenate(found[height])
        assert logits.dtype == np.float64
        logits = logits[np.any(logits != 0, axis=1)]  # without filler rows
        expected = np.array(sorted(run.scores().tolist()))
        np.testing.assert_allclose(sorted(logits.tolist()), expected, rtol=1e-3, atol=1e-3)


def test_a_kernel_in_another_row_is_noticed(runner, monkeypatch):
    run, original = runner.trained("resnet", 0, 1), signals_as_images._widened

    def moved(arrays, wanted):
        widened = original(arrays, wanted)
        return {name: np.roll(each, 1, axis=0) if each.ndim == 4 else each for name, each in widened.items()}

    monkeypatch.setattr(signals_as_images, "_widened", moved)
    measured = lab.AsImages("resnet")(run)
    assert measured is not None
    assert measured.numbers[ONE] > 1e-2


def test_padding_that_is_not_zero_above_an_image_is_noticed(runner, monkeypatch):
    run, original = runner.trained("resnet", 0, 1), Convolution.transform

    def replicated(layer, batch):
        if batch.rank < 2:
            return original(layer, batch)
        border, layer.border = layer.border, "replicate"
        try:
            return original(layer, batch)
        finally:
            layer.border = border

    monkeypatch.setattr(Convolution, "transform", replicated)
    measured = lab.AsImages("resnet")(dataclasses.replace(run, programs={}))
    assert measured is not None
    assert measured.numbers[ONE] > 1e-2


def test_even_kernels_have_no_middle_row_and_other_arms_are_left_out(runner):
    run = runner.trained("even", 0, 1)
    with pytest.raises(ValueError, match=r"kernel of 4 taps: must be odd, to be the middle row"):
        lab.AsImages("even")(run)
    assert lab.AsImages("resnet")(run) is None


def test_runs_share_compiled_programs(runner):
    first, second = runner.trained("resnet", 0, 0), runner.trained("resnet", 0, 1)
    lab.AsImages("resnet")(first)
    count = len(first.programs)
    lab.AsImages("resnet")(second)
    assert second.programs is first.programs
    assert len(first.programs) == count
