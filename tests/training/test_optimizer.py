import math

import jax.numpy as jnp
import numpy as np
import pytest
from synthetic_data import make_recipe, make_sources

from fcnjax.training import OptimizerSettings, make_model
from fcnjax.training.optimizer import make_optimizer, make_schedule
from fcnjax.training.step import split

STEPS, PEAK = 40, 0.3


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


def test_unknown_names_are_refused_with_the_nearest_one():
    with pytest.raises(ValueError, match="unknown schedule 'cosin': did you mean 'cosine'"):
        make_schedule(OptimizerSettings(schedule="cosin"), STEPS)
    with pytest.raises(ValueError, match="unknown optimizer 'adam': did you mean 'adamw'"):
        make_optimizer(OptimizerSettings(name="adam"), STEPS)


@pytest.mark.parametrize(
    ("norm", "pool", "count"),  # two blocks, two layers of the head, and the scores of attention
    [
        ("batch", "mean", 4),
        ("group", "attention", 5),
        ("layer", "auto", 4),
        ("none", "logsumexp_learnable", 4),
    ],
)
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_weight_decay_acts_on_kernels_only(name, norm, pool, count):
    """With a gradient of zero, decay is all that is left: -rate * decay * weight."""
    recipe = make_recipe(model={"norm": norm}, head={"hidden": (5,), "pool": pool})
    drawn = np.random.default_rng(0)
    weights = split(make_model(recipe, make_sources()["train"], 0))[1]
    weights = {key: jnp.asarray(drawn.normal(size=array.shape).astype(np.float32)) for key, array in weights.items()}
    settings = OptimizerSettings(name=name, learning_rate=0.5, schedule="constant", weight_decay=0.2)
    optimizer = make_optimizer(settings, STEPS)
    nothing = {key: jnp.zeros_like(array) for key, array in weights.items()}
    updates, _ = optimizer.update(nothing, optimizer.init(weights), weights)
    kernels = {key for key in weights if key.endswith("kernel")}
    assert len(kernels) == count
    assert len(weights) > len(kernels)
    nesterov = 1 + settings.momentum if name == "sgd" else 1.0  # of the first step
    for key, update in updates.items():
        wanted = -0.5 * 0.2 * nesterov * np.asarray(weights[key]) if key in kernels else np.zeros(update.shape)
        np.testing.assert_allclose(update, wanted, rtol=1e-5, err_msg=key)


def test_clipping_bounds_the_global_norm():
    """Plain gradient descent at rate 1, whose update is minus the clipped gradient."""
    settings = OptimizerSettings(name="sgd", learning_rate=1.0, schedule="constant", momentum=0.0, clip_norm=2.0)
    optimizer = make_optimizer(settings, STEPS)
    weights = {"a.kernel": jnp.ones((2, 2)), "a.bias": jnp.ones(2)}
    for factor, wanted in ((0.1, 0.1 * math.sqrt(6)), (10.0, 2.0)):
        gradients = {key: factor * array for key, array in weights.items()}
        updates, _ = optimizer.update(gradients, optimizer.init(weights), weights)
        norm = math.sqrt(sum(float(jnp.sum(update**2)) for update in updates.values()))
        assert norm == pytest.approx(wanted, rel=1e-5)
        assert float(updates["a.bias"][0]) < 0
