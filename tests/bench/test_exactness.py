"""The exactness benchmark: it measures small differences where the promise holds, and finds a layer that breaks it."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fcnjax import models
from fcnjax.bench import exactness
from fcnjax.bench.padded_answers import Workload, random_network, relative, smoothed, worst_of
from fcnjax.commands.main import main
from fcnjax.layers import Activation, AveragePool, Layer, MaxPool
from fcnjax.models import MODELS
from fcnjax.padded import Padded

TINY = Workload(batch_size=4, extents=(12, 17), alone=2)


class Leaking(Layer):
    """Adds the mean over the padded shape: an answer then depends on how its example was padded."""

    def transform(self, batch: Padded) -> Padded:
        return batch.replace(batch.values + jnp.mean(batch.values, batch.spatial_axes, keepdims=True))


def leaking(**options) -> models.Classifier:
    model = MODELS["fcn"](channels=(4, 8), **options)
    model.blocks[0].layers.append(Leaking())
    return model


def failing(**options) -> models.Classifier:
    raise RuntimeError("cannot be made\nat all")


@pytest.fixture
def networks(monkeypatch):
    """Adds networks to the registry for one test."""
    for name, make in {"leaking": leaking, "failing": failing}.items():
        monkeypatch.setitem(MODELS, name, make)


def test_a_network_of_this_library_is_exact_and_one_that_reads_its_padding_is_not(networks, tmp_path):
    result = exactness.measure(["fcn", "leaking", "failing"], work=TINY, path=tmp_path / "result.json")
    whole, broken, failed = result["networks"].values()
    assert max(whole["float32"]["worst"].values()) < 1e-5
    assert whole["float32"]["worst"]["gradients"] > 0  # something was compared
    assert min(broken["float32"]["worst"].values()) > 1e-3
    assert failed["float32"]["note"] == "failed: RuntimeError: cannot be made"
    assert json.loads((tmp_path / "result.json").read_text())["networks"] == json.loads(json.dumps(result["networks"]))


def test_every_mode_is_compared_or_says_why_not_and_its_time_is_relative_to_float32():
    (cells,) = exactness.measure(["fcn"], work=TINY)["networks"].values()
    assert list(cells) == ["float32", "float32, tf32", "bfloat16"]
    assert cells["float32"]["time_ratio"] == 1
    assert cells["bfloat16"]["time_ratio"] == pytest.approx(
        cells["bfloat16"]["step_ms"]["median"] / cells["float32"]["step_ms"]["median"]
    )
    assert max(cells["bfloat16"]["worst"].values()) > max(cells["float32"]["worst"].values())
    if jax.default_backend() == "cpu":
        assert cells["float32, tf32"]["note"] == "this cpu has no TF32"


def test_gradients_are_taken_without_jumps_and_the_sizes_stay():
    model = random_network("resnet18", "float32")
    before = model.trace((33, 40))
    assert smoothed(model).trace((33, 40)) == before
    modules = [module for _, module in nnx.iter_modules(model)]
    assert not any(isinstance(module, MaxPool) for module in modules)
    assert sum(isinstance(module, AveragePool) for module in modules) == 1
    slopes = [jax.grad(module.function)(-0.5) for module in modules if isinstance(module, Activation)]
    assert len(slopes) > 8
    assert all(slope != 0 for slope in slopes)  # a ReLU's is 0


def test_weights_biases_and_statistics_are_random_and_of_order_one():
    model = random_network("resnet18", "float32")
    for path, variable in nnx.to_flat_state(nnx.state(model, (nnx.Param, nnx.BatchStat))):
        values = np.asarray(variable[...])
        fan_in = np.prod(values.shape[:-1]) if values.ndim > 1 else 1
        assert 0.1 < np.sqrt(np.mean(np.square(values)) * fan_in) < 3, path
        if path[-1] in ("variance", "scale"):
            assert values.min() >= 0.3


def test_a_difference_is_relative_to_the_largest_value():
    assert relative([1.0, -4.0], [1.5, -4.0]) == 0.125
    assert relative([0.0, 0.0], [0.0, 0.0]) == 0
    assert relative([0.001], [0.002], least=1.0) == pytest.approx(0.001)
    assert relative([1.0, math.nan], [1.0, 2.0]) == math.inf
    small, large = {"a": np.array([1e-6]), "b": np.array([1.0])}, {"a": np.array([2e-6]), "b": np.array([1.0])}
    assert worst_of(small, large) == 0.5
    assert worst_of(small, large, 0.01) == pytest.approx(1e-4)


def test_comparisons_that_do_not_fit_into_the_time_are_left_out_with_a_note():
    (cells,) = exactness.measure(["fcn"], seconds=0, work=TINY)["networks"].values()
    assert cells["float32"] == {"mode": "float32", "note": "left out: its time was over"}


def test_the_command_prints_a_row_for_each_mode(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(Workload, "for_device", lambda: TINY)
    assert main(["fcnjax", "bench", "exactness", "--networks=fcn", f"--json={tmp_path / 'out.json'}"]) == 0
    printed = capsys.readouterr().out
    assert "logits" in printed
    assert "bfloat16" in printed
    assert "--networks=fcn" in json.loads((tmp_path / "out.json").read_text())["command"]
    assert main(["fcnjax", "bench", "exactness", "--networks=fnc"]) == 2
    assert "unknown model 'fnc': did you mean 'fcn'" in capsys.readouterr().err
