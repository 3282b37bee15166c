"""The functional step: padding, the order of rows and fillers must not change it, and equal orders share results."""

import itertools
from collections.abc import Sequence

import jax
import numpy as np
import pytest
from synthetic_data import make_examples, make_recipe, relative

from fcnjax.data import ArraySource
from fcnjax.padded import Padded
from fcnjax.training import Trainer, make_model
from fcnjax.training.build import SPLITS
from fcnjax.training.step.step import Targets, TrainState, all_finite, make_gradient, make_train_step, merge, split

STEPS = 50


def begin(sources, **head) -> tuple[Trainer, TrainState, np.ndarray]:
    """A trainer, its initial state, and the initial logits of the test split."""
    trainer = Trainer(make_recipe(head=head, epochs=20, max_buckets=1, model={"channels": (6, 8)}), sources)
    state = trainer.initial_state(3)
    return trainer, state, trainer.evaluate(state, "test").logits


@pytest.mark.parametrize(("hidden", "first", "second"), [((), 0, 1), ((8,), 2, 3)])
def test_orders_that_are_one_function_train_alike(sources, hidden, first, second):
    logits, losses = [], []
    for pool_at in (first, second):
        trainer, state, initial = begin(sources, hidden=hidden, pool_at=pool_at)
        logits.append(initial)
        losses.append([float(loss) for (_, loss, *_), _ in zip(trainer.fit(state, 3), range(STEPS), strict=False)])
    losses = np.array(losses)
    assert losses.shape == (2, STEPS)
    assert relative(logits[1], logits[0]) <= 1e-5
    assert np.abs(losses[1] / losses[0] - 1).max() <= 1e-4
    assert losses[0, -8:].mean() < 0.8 * losses[0, :8].mean()  # it does learn: equal losses are not an accident


def test_orders_on_two_sides_of_the_activation_are_not_one_function(sources):
    """The measure above can tell two functions apart."""
    logits, other = (begin(sources, hidden=(8,), pool_at=pool_at)[2] for pool_at in (0, 2))
    assert relative(other, logits) > 1e-2


def test_a_pool_with_weights_of_its_own_is_trained(sources):
    trainer, state, _ = begin(sources, pool="attention", pool_heads=2, pool_at=0)
    assert state.weights["head.pool.kernel"].shape == (8, 2)
    np.testing.assert_array_equal(state.weights["head.pool.kernel"], 0)
    losses, kernel = [], np.zeros(())
    for after, loss, *_ in itertools.islice(trainer.fit(state, 3), STEPS):
        losses.append(float(loss))
        kernel = np.array(after.weights["head.pool.kernel"])  # the next step donates the state
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])
    assert np.abs(kernel).min() > 0


class Setting:
    """A network and step with every kind of randomness, at a large rate of gradient descent: updates are gradients."""

    def __init__(self, **model):
        recipe = make_recipe(
            model={"dropout": 0.4, **model},
            head={"hidden": (6,), "dropout": 0.3, "pool_at": 2},
            optimizer={"name": "sgd", "learning_rate": 0.5, "warmup": 0.0, "momentum": 0.0, "weight_decay": 0.0},
            augment={"rotation": 10.0, "scale": 0.1, "shear": 0.1, "shift": 0.1},
            batch_size=5,
        )
        self.examples, self.labels = make_examples(5, seed=9)
        source = ArraySource(self.examples, self.labels, tuple("abc"))
        trainer = Trainer(recipe, dict.fromkeys(SPLITS, source))
        self.graphdef, self.state = trainer.graphdef, trainer.initial_state(0)
        self.step = jax.jit(make_train_step(make_gradient(trainer.graphdef, augment=recipe.augment), trainer.optimizer))

    def run(
        self, order: Sequence[int] = range(5), shape=(16, 18), rows: int = 5, seed_and_epoch=(0, 0)
    ) -> tuple[TrainState, float]:
        """One step on the examples in a given order and padded shape, followed by filler rows."""
        batch = Padded.stack([self.examples[i] for i in order], shape, rows)
        labels, ids = np.zeros(rows, np.int32), np.full(rows, -1, np.int32)
        labels[: len(order)] = [self.labels[i] for i in order]
        ids[: len(order)] = [40 + i for i in order]
        state, loss = self.step(self.state, batch, Targets(labels, ids), np.array(seed_and_epoch, np.uint32))
        return state, float(loss)


@pytest.fixture(scope="module", params=["batch", "group"])
def setting(request: pytest.FixtureRequest) -> Setting:
    return Setting(norm=request.param)


def assert_same_step(actual: tuple[TrainState, float], wanted: tuple[TrainState, float]):
    assert actual[1] == pytest.approx(wanted[1], rel=1e-5)
    for field in ("weights", "statistics"):
        for name, array in getattr(wanted[0], field).items():
            assert relative(getattr(actual[0], field)[name], array) <= 1e-5, name


def test_neither_fillers_nor_the_padded_shape_nor_the_order_of_rows_change_a_step(setting):
    wanted = setting.run()
    moved = [relative(wanted[0].weights[name], array) for name, array in setting.state.weights.items() if array.any()]
    assert min(moved) > 1e-3  # every array is trained, so that equal weights mean equal gradients
    assert_same_step(setting.run(order=(3, 1, 4, 0, 2)), wanted)
    assert_same_step(setting.run(order=(4, 2, 0, 1, 3), shape=(21, 19), rows=8), wanted)


def test_randomness_is_keyed_by_seed_epoch_and_example(setting):
    """A step is repeatable, and each of the three changes it."""
    _, loss = setting.run()
    assert setting.run()[1] == loss
    assert setting.run(seed_and_epoch=(1, 0))[1] != pytest.approx(loss, rel=1e-3)
    assert setting.run(seed_and_epoch=(0, 1))[1] != pytest.approx(loss, rel=1e-3)
    renamed = Padded.stack(setting.examples, (16, 18)), Targets(np.array(setting.labels, np.int32), np.arange(5))
    _, other = setting.step(setting.state, *renamed, np.zeros(2, np.uint32))
    assert float(other) != pytest.approx(loss, rel=1e-3)


def test_split_and_merge_are_inverse(trainer):
    state = trainer.initial_state(5)
    graphdef, weights, statistics = split(merge(trainer.graphdef, state.weights, state.statistics))
    assert graphdef == trainer.graphdef
    assert weights.keys() == state.weights.keys()
    assert statistics.keys() == state.statistics.keys()
    assert {"blocks.0.layers.0.kernel", "head.layers.0.kernel", "head.layers.0.bias"} <= weights.keys()
    for name, array in (weights | statistics).items():
        np.testing.assert_array_equal(array, (state.weights | state.statistics)[name])


def test_the_seed_decides_the_initial_weights(trainer):
    first, again, other = (trainer.initial_state(seed).weights for seed in (1, 1, 2))
    name = "blocks.0.layers.0.kernel"
    np.testing.assert_array_equal(first[name], again[name])
    assert relative(other[name], first[name]) > 0.1


def test_the_initial_weights_are_those_of_the_network_made_with_the_seed(trainer):
    made = split(make_model(trainer.recipe, trainer.sources["train"], 4))[1]
    drawn = trainer.initial_state(4).weights
    assert made.keys() == drawn.keys()
    for name, array in made.items():
        np.testing.assert_allclose(drawn[name], array, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("broken", [0, 1, 2])
def test_one_number_that_is_not_finite_in_any_array_is_noticed(broken, value):
    arrays = [np.zeros((2, 3), np.float32), np.ones(4, np.float32), np.float32(5)]
    assert all_finite({"a": arrays[0], "b": arrays[1:]})
    arrays[broken] = np.where(np.arange(arrays[broken].size).reshape(arrays[broken].shape) == 0, value, arrays[broken])
    assert not all_finite({"a": arrays[0], "b": arrays[1:]})
