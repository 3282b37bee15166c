"""The front door: data in, a run out; the same call resumes it; what cannot be started is refused before work."""

import dataclasses
import signal

import numpy as np
import pytest

import fcnjax
from fcnjax.data import ArraySource
from fcnjax.training import Recipe
from fcnjax.training.run import start
from fcnjax.training.run.interruption import Terminated
from fcnjax.training.run.run_folder import read_config


def source(seed=0):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(8, 20, (40, 2)).tolist()
    values = [rng.integers(0, 255, (*size, 1)).astype(np.uint8) for size in sizes]
    return ArraySource(values, [index % 2 for index in range(40)], ["left", "right"])


CHANGES = {"epochs": 3, "batch_size": 8, "max_buckets": 1, "checkpoint_steps": 1, "model": {"channels": (4, 4)}}


def test_arrays_train_and_come_back(tmp_path, capsys):
    run = fcnjax.train(source(), tmp_path / "run", progress=False, **CHANGES)
    predictor = fcnjax.load(tmp_path / "run")
    assert predictor.classes == ("left", "right")
    assert predictor(source()[0].values).class_name in predictor.classes
    assert run.test.count == 4
    again = fcnjax.evaluate(tmp_path / "run", {"train": source(), "test": source()})
    assert again.count == 40
    with pytest.raises(ValueError, match=r"must be given as sources: fcnjax.train\(sources, workdir\)"):
        fcnjax.evaluate(tmp_path / "run")


def test_the_same_call_resumes_with_the_recipe_of_the_run(tmp_path, monkeypatch):
    whole = fcnjax.train(source(), tmp_path / "whole", progress=False, **CHANGES)
    fit, stopped = start.Trainer.fit, []

    def interrupted(self, state, seed):
        for number, done in enumerate(fit(self, state, seed)):
            yield done
            if number == 4 and not stopped:
                stopped.append(True)
                signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(start.Trainer, "fit", interrupted)
    with pytest.raises(Terminated):
        fcnjax.train(source(), tmp_path / "run", progress=False, **CHANGES)
    monkeypatch.setattr(start, "choose", None)  # nothing is chosen again
    resumed = fcnjax.train(source(), tmp_path / "run", progress=False)
    for name, array in whole.state.weights.items():
        np.testing.assert_array_equal(array, resumed.state.weights[name])


def test_other_arrays_do_not_resume_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(start.loop, "write_model", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fcnjax.train(source(), tmp_path / "run", progress=False, **CHANGES)
    with pytest.raises(FileExistsError, match="examples of its train split"):
        fcnjax.train(source(seed=1), tmp_path / "run", progress=False)
    with pytest.raises(FileExistsError, match="epochs was 3 and is 4"):
        fcnjax.train(source(), tmp_path / "run", progress=False, epochs=4)


def test_a_folder_that_is_not_free_is_refused_before_the_data_are_read(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="must be empty or hold an interrupted run"):
        fcnjax.train(tmp_path / "absent", tmp_path)


def test_recipes_take_no_changes_and_data_no_trainer(tmp_path):
    recipe = Recipe.from_config({"data": {"name": "any_size_digits"}})
    with pytest.raises(ValueError, match=r"epochs: must be a field of the recipe; use dataclasses.replace"):
        fcnjax.train(recipe, tmp_path / "run", epochs=3)
    with pytest.raises(ValueError, match="trainer: must be None"):
        fcnjax.train(source(), tmp_path / "run", trainer=object())  # type: ignore[arg-type]


def test_the_recipe_is_printed_and_recorded(tmp_path, capsys):
    fcnjax.train(source(), tmp_path / "run", **CHANGES)
    printed = capsys.readouterr()
    assert "--config.epochs=3" in printed.out + printed.err
    assert dataclasses.asdict(Recipe.from_config(read_config(tmp_path / "run")))["data"]["name"] == "arrays"
