"""Training that starts from a trained network: blocks whole or not at all, the head by the names of classes."""

import shutil

import jax
import numpy as np
import pytest
from synthetic_data import make_recipe, make_sources

from fcnjax.data import ArraySource
from fcnjax.training import Recipe, Trainer, describe_run, evaluate, train
from fcnjax.training.run import loop
from fcnjax.training.run.run_folder import read_config
from fcnjax.training.standalone import read_model


def renamed(sources, names, labels=None):
    """The same arrays, of other classes."""
    chosen = {}
    for split, source in sources.items():
        values = [source[index].values for index in range(len(source))]
        old = source.labels.tolist()
        chosen[split] = ArraySource(values, old if labels is None else [labels[each] for each in old], names)
    return chosen


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of classes a, b, c."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    recipe = make_recipe(epochs=1)
    train(recipe, folder, trainer=Trainer(recipe, make_sources()), progress=False)
    return folder


def initial(trained, sources, **changes):
    trainer = Trainer(make_recipe(init_from=str(trained), **changes), sources)
    return trainer, jax.tree.map(np.array, trainer.initial_state(0))


def test_the_same_classes_take_over_the_whole_network(trained):
    model = read_model(trained)
    trainer, state = initial(trained, make_sources())
    for name, array in {**model.weights, **model.statistics}.items():
        np.testing.assert_array_equal({**state.weights, **state.statistics}[name], array)
    count = len(state.weights) + len(state.statistics)
    assert f"{count} arrays taken over" in describe_run(trainer)
    assert "new arrays" not in describe_run(trainer)


def test_the_head_is_taken_over_where_classes_match_by_name(trained):
    model = read_model(trained)
    names = ("c", "x", "a", "y")
    trainer, state = initial(trained, renamed(make_sources(), names, labels=(2, 1, 0)))
    drawn = Trainer(make_recipe(), renamed(make_sources(), names)).initial_state(0)
    for array in ("head.layers.0.kernel", "head.layers.0.bias"):
        old, new = model.weights[array], state.weights[array]
        np.testing.assert_array_equal(new[..., 0], old[..., 2])
        np.testing.assert_array_equal(new[..., 2], old[..., 0])
        np.testing.assert_array_equal(new[..., [1, 3]], drawn.weights[array][..., [1, 3]])
    np.testing.assert_array_equal(state.weights["blocks.1.layers.0.kernel"], model.weights["blocks.1.layers.0.kernel"])
    text = describe_run(trainer)
    assert "classes taken over by name: 2 of 4 (c, a)" in text
    assert "new classes: 2 (x, y)" in text


def test_another_head_is_drawn_and_listed(trained):
    trainer, state = initial(trained, make_sources(), head={"hidden": (5,), "pool": "attention"})
    drawn = Trainer(make_recipe(head={"hidden": (5,), "pool": "attention"}), make_sources()).initial_state(0)
    heads = [name for name in state.weights if name.startswith("head.")]
    assert len(heads) == 5
    for name in heads:
        np.testing.assert_array_equal(state.weights[name], drawn.weights[name])
    assert "new arrays: 5 (head.layers.0.bias" in describe_run(trainer)


@pytest.mark.parametrize("pool", ["auto", "attention"])
def test_a_pool_behind_the_classifier_is_drawn_for_other_classes(tmp_path, pool):
    """Its weights belong to classes: in their old order they would weigh others."""
    recipe = make_recipe(epochs=1, head={"pool": pool})
    train(recipe, tmp_path / "run", trainer=Trainer(recipe, make_sources()), progress=False)
    old, names = read_model(tmp_path / "run").weights, ("c", "a", "b")
    _, same = initial(tmp_path / "run", make_sources(), head={"pool": pool})
    trainer, other = initial(tmp_path / "run", renamed(make_sources(), names, labels=(1, 2, 0)), head={"pool": pool})
    pooled = [name for name in old if name.startswith("head.pool.")]
    assert pooled
    for name in pooled:
        np.testing.assert_array_equal(same.weights[name], old[name])
        assert name in trainer.initial.text
    assert any(not np.array_equal(other.weights[name], old[name]) for name in pooled)


def test_a_layer_of_another_head_is_not_taken_for_one_of_the_same_shape(trained):
    trainer, state = initial(trained, renamed(make_sources(), ("x", "y", "z")), head={"hidden": (3,)})
    assert not np.array_equal(
        state.weights["head.layers.0.kernel"], read_model(trained).weights["head.layers.0.kernel"]
    )
    assert "new arrays: 4 (head.layers.0.bias" in describe_run(trainer)


def test_another_activation_and_size_policy_are_said(trained):
    trainer, _ = initial(trained, make_sources(), model={"activation": "gelu"}, size={"max_area": 100})
    text = describe_run(trainer)
    assert "its config.model.activation was relu, and is gelu now" in text
    assert "its config.size was" in text


def test_the_average_starts_from_them_too(trained):
    _, state = initial(trained, make_sources(), ema_decay=0.9)
    for name, array in state.weights.items():
        np.testing.assert_array_equal(state.average.weights[name], array)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": {"channels": (4, 5)}}, ValueError, r"its fcn is not that of config.model: .*channels=\(4, 4\)"),
        ({"model": {"channels": (4, 4, 4)}}, ValueError, "is only in the latter"),
        (
            {"model": {"name": "resnet_cifar", "channels": None, "activation": None, "depth": 8}},
            ValueError,
            "holds fcn; set config.model.name=fcn",
        ),
        ({"init_from": "absent"}, FileNotFoundError, "config.init_from=absent: must be a run or a model folder"),
    ],
)
def test_other_networks_are_refused_by_name(trained, changes, error, message):
    recipe = {"init_from": str(trained), **changes}
    with pytest.raises(error, match=message):
        Trainer(make_recipe(**recipe), make_sources())


def test_what_happened_to_examples_before_is_compared(trained):
    trainer, _ = initial(trained, make_sources(), data={"mean": 0.5})
    assert "its config.data.mean was 0.0, and is 0.5 now" in describe_run(trainer)


class _StopError(Exception):
    pass


def interrupt(recipe, sources, folder, monkeypatch, after):
    """Trains until a step, and leaves an interrupted run."""
    due = loop._due_after

    def stopping(step, *rest):
        if step == after:
            raise _StopError
        return due(step, *rest)

    trainer = Trainer(recipe, sources)
    with monkeypatch.context() as patched:
        patched.setattr(loop, "_due_after", stopping)
        with pytest.raises(_StopError):
            train(recipe, folder, trainer=trainer, progress=False)


def test_an_interrupted_fine_tuning_ends_with_the_same_bits(trained, tmp_path, monkeypatch):
    source = tmp_path / "source"
    shutil.copytree(trained, source)
    sources = renamed(make_sources(), ("c", "x", "a"))
    recipe = make_recipe(
        init_from=str(source),
        freeze=["conv1"],
        optimizer={"layer_decay": 0.7, "head_only": 0.3},
        checkpoint_steps=2,
        ema_decay=0.9,
    )
    whole = train(recipe, tmp_path / "whole", trainer=Trainer(recipe, sources), progress=False)
    interrupt(recipe, sources, tmp_path / "run", monkeypatch, after=5)
    resumed = train(recipe, tmp_path / "run", trainer=Trainer(recipe, sources), progress=False)
    for name, array in whole.state.weights.items():
        np.testing.assert_array_equal(array, resumed.state.weights[name])
    np.testing.assert_array_equal(whole.test.logits, resumed.test.logits)


def test_other_weights_to_start_from_do_not_resume_a_run(trained, tmp_path, monkeypatch):
    source = tmp_path / "source"
    shutil.copytree(trained, source)
    recipe = make_recipe(init_from=str(source))
    interrupt(recipe, make_sources(), tmp_path / "run", monkeypatch, after=1)
    other = make_recipe(epochs=2)
    shutil.rmtree(source)
    train(other, source, trainer=Trainer(other, make_sources()), progress=False)
    with pytest.raises(FileExistsError, match=r"the weights of config.init_from have changed since it started"):
        train(recipe, tmp_path / "run", trainer=Trainer(recipe, make_sources()), progress=False)


def test_data_without_a_recipe_take_the_network_that_they_start_from(trained, tmp_path, capsys):
    changes = {"epochs": 1, "batch_size": 8, "max_buckets": 2}
    run = train(make_sources(), tmp_path / "run", init_from=trained, **changes)
    recipe = Recipe.from_config(read_config(run.folder.path))
    assert (recipe.model.channels, recipe.data.mean, recipe.init_from) == ((4, 4), 0.0, str(trained))
    said = capsys.readouterr()
    assert "--config.init_from=" in said.out + said.err
    signals = ArraySource([np.ones((30, 1))] * 10, [0, 1] * 5)
    with pytest.raises(ValueError, match="takes examples of 2 spatial axes, and these have 1"):
        train(signals, tmp_path / "signals", init_from=trained)


def test_more_epochs_in_a_new_folder_and_the_first_is_needed_no_more(tmp_path):
    config = {"data": {"name": "any_size_digits", "train_split": "train[:40]", "validation_split": "validation[:20]"}}
    config["data"]["test_split"] = "test[:20]"
    recipe = make_recipe(**config, epochs=1, max_buckets=1)
    first = train(recipe, tmp_path / "first", progress=False)
    second = train(tmp_path / "first", tmp_path / "second", progress=False, epochs=2)
    assert second.folder.path == tmp_path / "second"
    assert int(second.state.step) == 2 * int(first.state.step)
    shutil.rmtree(tmp_path / "first")
    again = evaluate(tmp_path / "second")
    np.testing.assert_array_equal(again.logits, second.test.logits)
    with pytest.raises(ValueError, match="unknown config field 'epoch'"):
        train(tmp_path / "second", tmp_path / "third", epoch=2)
