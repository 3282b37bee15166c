"""Frozen weights keep their bits under every optimizer; a frozen norm computes in training as in evaluation."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthetic_data import make_recipe, make_sources, randomized

from fcnjax.padded import Padded
from fcnjax.training import OptimizerSettings, Trainer, make_model
from fcnjax.training.settings.learning_settings import OPTIMIZERS
from fcnjax.training.step.freezing import frozen_names
from fcnjax.training.step.optimizer import make_optimizer
from fcnjax.training.step.step import merge, split

FIRST = {"blocks.0.layers.0.kernel", "blocks.0.layers.1.scale", "blocks.0.layers.1.bias"}
STATISTICS = {"blocks.0.layers.1.mean", "blocks.0.layers.1.variance"}
HEAD = {"head.layers.0.kernel", "head.layers.0.bias"}


@pytest.fixture(scope="module")
def model():
    return make_model(make_recipe(), make_sources()["train"], 0)


@pytest.mark.parametrize(
    ("patterns", "wanted"),
    [
        (["conv1"], FIRST | STATISTICS),
        (["blocks.0"], FIRST | STATISTICS),
        (["conv[1]"], FIRST | STATISTICS),
        (["head"], HEAD),
        (
            ["conv1.layers.1", "head.layers.0.bias"],
            (FIRST | STATISTICS | HEAD) - {"blocks.0.layers.0.kernel", "head.layers.0.kernel"},
        ),
        (["*.scale"], {"blocks.0.layers.1.scale", "blocks.1.layers.1.scale"}),
        (["conv1.*.kernel"], {"blocks.0.layers.0.kernel"}),
        (["blocks.?.layers.0.kernel"], {"blocks.0.layers.0.kernel", "blocks.1.layers.0.kernel"}),
    ],
)
def test_patterns(model, patterns, wanted):
    assert frozen_names(model, patterns) == wanted


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["conv1", "stage1"], r"'stage1' matches no weight; give patterns such as a block \(conv1, conv2, head\)"),
        (["conv"], "'conv' matches no weight"),
        (["*"], "must leave weights to train"),
    ],
)
def test_refused_patterns(model, patterns, message):
    with pytest.raises(ValueError, match=message):
        frozen_names(model, patterns)


@pytest.mark.parametrize(("name", "batching"), [*zip(OPTIMIZERS, ("bucket", "mixed") * 2, strict=True)])
def test_frozen_arrays_keep_their_bits_and_the_others_move(name, batching):
    optimizer = {"name": name, "weight_decay": 0.5, "clip_norm": 1.0}
    recipe = make_recipe(freeze=["conv1"], optimizer=optimizer, batching=batching, ema_decay=0.7)
    trainer = Trainer(recipe, make_sources())
    state = trainer.initial_state(0)
    begun = jax.tree.map(np.array, (state.weights, state.statistics))
    *_, done = itertools.islice(trainer.fit(state, 0), 3)  # the rate of the first step is 0
    assert done.state.average is not None
    for arrays in (
        (done.state.weights, done.state.statistics),
        (done.state.average.weights, done.state.average.statistics),
    ):
        for before, after in zip(begun, arrays, strict=True):
            for key, array in after.items():
                same = np.array_equal(before[key], array)
                assert same == (key in FIRST | STATISTICS), key


def test_a_frozen_block_computes_in_training_what_it_computes_in_evaluation():
    recipe = make_recipe(freeze=["conv1"])
    trainer = Trainer(recipe, make_sources())
    state = randomized(trainer.initial_state(0))
    network = merge(trainer.graphdef, state.weights, state.statistics)
    batch = Padded.stack([jnp.ones((8, 9, 1)), jnp.arange(80.0).reshape(10, 8, 1)])
    trained, evaluated = (network.blocks[0](batch, train=train, keys=None) for train in (True, False))
    np.testing.assert_array_equal(trained.values, evaluated.values)
    second = [network.blocks[1](trained, train=train, keys=None).values for train in (True, False)]
    assert not np.allclose(*second)  # its norm is not frozen


def test_a_head_that_alone_would_train_first_must_not_be_frozen(model):
    with pytest.raises(ValueError, match="must not freeze the whole head with config.optimizer.head_only=0.5"):
        frozen_names(model, ["head"], 0.5)
    assert frozen_names(model, ["head.layers.0.bias"], 0.5)


def test_the_depth_of_a_block_does_not_depend_on_what_is_frozen():
    weights = {f"blocks.{index}.kernel": jnp.ones((2, 2)) for index in range(3)} | {"head.kernel": jnp.ones((2, 2))}
    settings = OptimizerSettings(name="sgd", learning_rate=1.0, warmup=0, schedule="constant", layer_decay=0.5)
    steps = []
    for frozen in ((), ("blocks.2.kernel",)):
        optimizer = make_optimizer(settings, 10, frozen)
        updates, _ = optimizer.update(weights, optimizer.init(weights), weights)
        steps.append(np.asarray(updates["blocks.0.kernel"] / updates["head.kernel"]))
    np.testing.assert_array_equal(*steps)
    np.testing.assert_allclose(steps[0], 0.125)


def test_the_optimizer_holds_no_state_for_frozen_weights(model):
    weights = split(model)[1]
    optimizer = make_optimizer(OptimizerSettings(), 10, FIRST)
    sizes = {leaf.shape for leaf in jax.tree.leaves(optimizer.init(weights))}
    assert weights["blocks.0.layers.0.kernel"].shape not in sizes
    assert weights["blocks.1.layers.0.kernel"].shape in sizes


def test_frozen_first_blocks_cost_no_backward_pass():
    """The compiled step, in multiply-adds as XLA counts them."""

    def flops(**changes) -> float:
        trainer = Trainer(make_recipe(**changes), make_sources())
        job = trainer.programs.largest(trainer.programs.for_training(trainer.plan(0), 0))
        return job.programs.compile(job.shape, *job.args).cost_analysis()["flops"]

    assert flops(freeze=["conv1", "conv2"]) < 0.7 * flops()
