"""The average of weights and statistics against a plain loop, and where it is used."""

import dataclasses
import itertools
from typing import Any

import jax
import numpy as np
import pytest
from synthetic_data import make_recipe, relative

from fcnjax.training import Trainer, train
from fcnjax.training.run.checkpoints import open_checkpoints, read_checkpoint
from fcnjax.training.run.finished import load_state
from fcnjax.training.step.step import TrainState

STEPS, DECAY = 9, 0.3  # the warm-up of the decay ends within the steps


def arrays(state) -> dict[str, np.ndarray]:
    return {name: np.array(array, np.float64) for name, array in (state.weights | state.statistics).items()}


@pytest.fixture(scope="module", params=["bucket", "mixed"])
def averaging(request, sources) -> Trainer:
    return Trainer(make_recipe(batching=request.param, ema_decay=DECAY), sources)


def test_the_average_is_that_of_a_plain_loop(averaging):
    state = averaging.initial_state(2)
    wanted, last = arrays(state), state
    for t, done in enumerate(itertools.islice(averaging.fit(state, 2), STEPS)):
        decay = min(DECAY, (1 + t) / (10 + t))
        now = arrays(done.state)
        wanted = {name: decay * wanted[name] + (1 - decay) * now[name] for name in wanted}
        last = done.state
        found = arrays(last.average)
        assert max(relative(found[name] + 1e-9, wanted[name] + 1e-9) for name in wanted) <= 1e-5
    assert any(name.endswith("variance") for name in wanted)  # statistics are averaged too
    apart = [relative(array, arrays(last)[name]) for name, array in wanted.items() if np.abs(array).max() > 1e-3]
    assert max(apart) > 1e-3


def test_evaluation_and_the_network_use_the_average(averaging):
    *_, done = itertools.islice(averaging.fit(averaging.initial_state(2), 2), STEPS)
    state = done.state
    assert state.average is not None
    raw = averaging.evaluate(TrainState(state.step, state.weights, state.statistics, state.optimizer), "test")
    same = TrainState(state.step, state.average.weights, state.average.statistics, state.optimizer)
    found = averaging.evaluate(state, "test")
    np.testing.assert_array_equal(found.logits, averaging.evaluate(same, "test").logits)
    assert relative(raw.logits, found.logits) > 1e-4
    kernel = averaging.model(state).blocks[0].layers[0].kernel[...]
    np.testing.assert_array_equal(kernel, state.average.weights["blocks.0.layers.0.kernel"])


def test_a_run_saves_the_average_and_keeps_it_in_its_checkpoints(sources, tmp_path):
    """A run that is interrupted after an epoch and resumed ends with the same average, bit for bit."""
    recipe = make_recipe(ema_decay=0.9, epochs=2)
    trainer = Trainer(recipe, sources)
    whole = train(recipe, tmp_path / "whole", trainer=trainer, progress=False)

    class Stopped(Exception):
        pass

    class Stopping(Trainer):
        def fit(self, state, seed):
            for number, done in enumerate(super().fit(state, seed)):
                yield done
                if number + 1 > self.steps_per_epoch:
                    raise Stopped

    with pytest.raises(Stopped):
        train(recipe, tmp_path / "cut", trainer=Stopping(recipe, sources), progress=False)
    resumed = train(recipe, tmp_path / "cut", trainer=trainer, progress=False)
    assert whole.state.average is not None
    assert resumed.state.average is not None
    kernel = load_state(trainer, tmp_path / "cut").weights["blocks.0.layers.0.kernel"]
    np.testing.assert_array_equal(kernel, whole.state.average.weights["blocks.0.layers.0.kernel"])
    for name, array in whole.state.average.weights.items():
        np.testing.assert_array_equal(resumed.state.average.weights[name], array)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StateWithoutAverage:
    """The fields that states had before averages were added."""

    step: Any
    weights: Any
    statistics: Any
    optimizer: Any


def test_checkpoints_from_before_there_were_averages_are_read(trainer, tmp_path):
    state = trainer.initial_state(4)
    older = StateWithoutAverage(state.step, state.weights, state.statistics, state.optimizer)
    with open_checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(1, older)
    loaded = read_checkpoint(tmp_path / "checkpoints", trainer.initial_state(5), "last")
    jax.tree.map(np.testing.assert_array_equal, loaded, state)


def test_without_a_decay_the_state_has_no_average(trainer):
    state = trainer.initial_state(0)
    assert state.average is None
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    assert not any("average" in path for path in paths)
    assert jax.tree.structure(state) == jax.tree.structure(jax.tree.map(lambda leaf: leaf, state))
