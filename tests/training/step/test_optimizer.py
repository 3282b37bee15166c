import dataclasses
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from synthetic_data import make_recipe, make_sources

from fcnjax.training import OptimizerSettings, learning_rate_at, make_model
from fcnjax.training.settings.learning_settings import OPTIMIZERS
from fcnjax.training.step.optimizer import make_optimizer, make_schedule
from fcnjax.training.step.step import split

STEPS, PEAK = 40, 0.3
PLAIN = {"schedule": "constant", "warmup": 0.0, "weight_decay": 0.0}


@pytest.mark.parametrize("warmup", [0.0, 0.25])
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_schedules_rise_linearly_and_then_fall_as_a_cosine_or_stay(schedule, warmup):
    """Against the formulas, at every step."""
    rate = make_schedule(OptimizerSettings(learning_rate=PEAK, schedule=schedule, warmup=warmup), STEPS)
    rising = round(warmup * STEPS)
    for step in range(STEPS + 1):
        if step < rising:
            wanted = PEAK * step / rising
        elif schedule == "constant":
            wanted = PEAK
        else:
            wanted = PEAK * (1 + math.cos(math.pi * (step - rising) / (STEPS - rising))) / 2
        assert float(rate(step)) == pytest.approx(wanted, rel=1e-5, abs=1e-7), step


def test_a_step_schedule_falls_at_its_shares_of_the_run_warm_up_or_not():
    settings = OptimizerSettings(learning_rate=PEAK, schedule="step", boundaries=(0.5, 0.75), factor=0.2)
    wanted = [PEAK] * 20 + [0.2 * PEAK] * 10 + [0.04 * PEAK] * 10
    for warmup, rising in ((0.0, 0), (0.25, 10)):
        rates = [learning_rate_at(dataclasses.replace(settings, warmup=warmup), STEPS, step) for step in range(STEPS)]
        np.testing.assert_allclose(rates[rising:], wanted[rising:], rtol=1e-6)
        np.testing.assert_allclose(rates[:rising], PEAK * np.arange(rising) / 10, rtol=1e-6)


def test_boundaries_on_one_step_of_a_short_run_each_count():
    settings = OptimizerSettings(learning_rate=1.0, schedule="step", warmup=0.0, boundaries=(0.5, 0.51), factor=0.1)
    np.testing.assert_allclose([learning_rate_at(settings, 4, step) for step in range(4)], [1, 1, 0.01, 0.01])


@pytest.mark.parametrize(
    ("norm", "pool", "count"),  # two blocks, two layers of the head, and the scores of attention
    [
        ("batch", "mean", 4),
        ("group", "attention", 5),
        ("layer", "auto", 4),
        ("none", "logsumexp_learnable", 4),
    ],
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_acts_on_kernels_only(name, norm, pool, count):
    """With a gradient of zero, only decay remains: -rate * decay * weight; lamb scales that to the weight."""
    recipe = make_recipe(model={"norm": norm}, head={"hidden": (5,), "pool": pool})
    drawn = np.random.default_rng(0)
    weights = split(make_model(recipe, make_sources()["train"], 0))[1]
    weights = {key: jnp.asarray(drawn.normal(size=array.shape).astype(np.float32)) for key, array in weights.items()}
    settings = OptimizerSettings(**PLAIN | {"name": name, "learning_rate": 0.5, "weight_decay": 0.2})
    optimizer = make_optimizer(settings, STEPS)
    nothing = {key: jnp.zeros_like(array) for key, array in weights.items()}
    updates, _ = optimizer.update(nothing, optimizer.init(weights), weights)
    kernels = {key for key in weights if key.endswith("kernel")}
    assert len(kernels) == count
    assert len(weights) > len(kernels)
    factor = {"sgd": 1 + settings.momentum, "lamb": 1 / 0.2}.get(name, 1.0)  # sgd's of the first step
    for key, update in updates.items():
        wanted = -0.5 * 0.2 * factor * np.asarray(weights[key]) if key in kernels else np.zeros(update.shape)
        np.testing.assert_allclose(update, wanted, rtol=1e-5, err_msg=key)


def test_clipping_bounds_the_global_norm():
    """Plain gradient descent at rate 1: its update is minus the clipped gradient."""
    settings = OptimizerSettings(name="sgd", learning_rate=1.0, momentum=0.0, clip_norm=2.0, **PLAIN)
    optimizer = make_optimizer(settings, STEPS)
    weights = {"a.kernel": jnp.ones((2, 2)), "a.bias": jnp.ones(2)}
    for factor, wanted in ((0.1, 0.1 * math.sqrt(6)), (10.0, 2.0)):
        gradients = {key: factor * array for key, array in weights.items()}
        updates, _ = optimizer.update(gradients, optimizer.init(weights), weights)
        norm = math.sqrt(sum(float(jnp.sum(update**2)) for update in updates.values()))
        assert norm == pytest.approx(wanted, rel=1e-5)
        assert float(updates["a.bias"][0]) < 0


def moments(name: str, gradient: np.ndarray, weight: np.ndarray, rate: float, beta1: float, beta2: float) -> np.ndarray:
    """The weight after three steps of adamw or lamb on the same gradient, decay 0.1, by their formulas in float64."""
    first, second = np.zeros_like(weight), np.zeros_like(weight)
    for step in range(1, 4):
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient**2
        direction = first / (1 - beta1**step) / (np.sqrt(second / (1 - beta2**step)) + 1e-8) + 0.1 * weight
        if name == "lamb":
            direction *= np.linalg.norm(weight) / np.linalg.norm(direction)
        weight = weight - rate * direction
    return weight


@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_adamw_and_lamb_follow_their_formulas_with_the_betas_given(name):
    rng = np.random.default_rng(1)
    weight, gradient = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    settings = OptimizerSettings(
        **PLAIN | {"name": name, "learning_rate": 0.1, "weight_decay": 0.1, "beta1": 0.8, "beta2": 0.7}
    )
    optimizer, weights = make_optimizer(settings, STEPS), {"kernel": jnp.asarray(weight, jnp.float32)}
    state = optimizer.init(weights)
    for _ in range(3):
        updates, state = optimizer.update({"kernel": jnp.asarray(gradient, jnp.float32)}, state, weights)
        weights = {"kernel": weights["kernel"] + updates["kernel"]}
    np.testing.assert_allclose(weights["kernel"], moments(name, gradient, weight, 0.1, 0.8, 0.7), rtol=1e-4)


def test_muon_orthogonalizes_kernels_as_matrices_from_taps_and_channels_to_channels():
    """All singular values of a step are nearly equal, however ill-conditioned the gradient; adamw moves the rest."""
    shapes = {
        "blocks.0.layers.0.kernel": (3, 3, 4, 20),  # tall and flat
        "blocks.1.layers.1.kernel": (2, 2, 20, 6),
        "blocks.1.layers.2.kernel": (1, 1, 6, 20),
        "blocks.1.layers.0.kernel": (3, 3, 1, 20),  # depthwise
        "blocks.0.layers.1.scale": (20,),
        "head.layers.0.kernel": (1, 1, 20, 5),
    }
    rng = np.random.default_rng(0)
    gradients = {key: jnp.asarray(rng.normal(size=shape), jnp.float32) for key, shape in shapes.items()}
    gradients = {
        key: jnp.asarray(np.asarray(array) * np.geomspace(0.1, 1, array.shape[-1]), jnp.float32)
        for key, array in gradients.items()
    }
    weights = {key: jnp.ones_like(array) for key, array in gradients.items()}
    optimizer = make_optimizer(OptimizerSettings(name="muon", learning_rate=1.0, **PLAIN), STEPS)
    updates, _ = optimizer.update(gradients, optimizer.init(weights), weights)
    for index, (key, shape) in enumerate(shapes.items()):
        update, gradient = (np.asarray(values[key]).reshape(-1, shape[-1]) for values in (updates, gradients))
        assert np.sum(update * gradient) < 0, key  # downhill
        if index < 3:
            values = np.linalg.svd(update, compute_uv=False) / (0.2 * math.sqrt(max(update.shape)))
            assert 0.4 < values.min() <= values.max() < 1.4, key
        else:
            np.testing.assert_allclose(update, -np.sign(gradient), atol=1e-3, err_msg=key)  # Adam's first step


NAMES = ("blocks.0.layers.0.kernel", "blocks.1.layers.0.kernel", "blocks.2.layers.1.bias", "head.layers.0.kernel")


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_the_rate_falls_by_block_from_the_head_down(name):
    weights = {key: jnp.ones((2, 3)) for key in NAMES}
    gradients = {key: jnp.full((2, 3), 0.1) for key in NAMES}
    settings = OptimizerSettings(**PLAIN | {"name": name, "learning_rate": 0.5, "layer_decay": 0.5})
    optimizer = make_optimizer(settings, STEPS)
    updates, _ = optimizer.update(gradients, optimizer.init(weights), weights)
    steps = [float(updates[key][0, 0] / updates[NAMES[-1]][0, 0]) for key in NAMES]
    np.testing.assert_allclose(steps, [0.125, 0.25, 0.5, 1.0], rtol=1e-6)


def test_the_first_share_of_the_steps_moves_the_head_alone():
    weights = {key: jnp.ones((2, 3)) for key in NAMES}
    settings = OptimizerSettings(**PLAIN | {"learning_rate": 0.5, "weight_decay": 0.1, "head_only": 0.1})
    optimizer = make_optimizer(settings, STEPS)
    state: Any = optimizer.init(weights)
    for step in range(6):
        updates, state = optimizer.update(weights, state, weights)
        moved = {key for key, update in updates.items() if np.any(np.asarray(update))}
        assert moved == (set(NAMES) if step >= 4 else {"head.layers.0.kernel"}), step
