"""Run folders and resumption: the files of a run, refused requests, and that interruptions do not change a bit."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from interruptions import Interruption, interrupt_after
from synthetic_data import COUNTS, make_recipe

from fcnjax import xla
from fcnjax.padded import Padded
from fcnjax.training import Recipe, Trainer, evaluate, load_run, train
from fcnjax.training.compile.compilation import compile_options
from fcnjax.training.data_digest import data_digest
from fcnjax.training.run import checkpoints, loop
from fcnjax.training.run.checkpoints import Checkpoints
from fcnjax.training.run.finished import load_state
from fcnjax.training.run.run_folder import RunFolder, git_revision, read_config, read_environments
from fcnjax.training.settings.data_settings import DataSettings
from fcnjax.training.standalone import read_model


@pytest.fixture(scope="module")
def finished(trainer, tmp_path_factory):
    """The result of an uninterrupted run."""
    return train(trainer.recipe, tmp_path_factory.mktemp("runs") / "whole", trainer=trainer, progress=False)


def rows_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_folder_says_what_the_run_was_and_what_it_measured(finished, trainer):
    path = finished.folder.path
    names = {entry.name for entry in path.iterdir()}
    names.remove(".lock")
    assert names == {
        "checkpoints",
        "config.json",
        "data.json",
        "environment.json",
        "metrics.jsonl",
        "model",
        "result.json",
        "speed.jsonl",
        "weights",
    }
    assert Recipe.from_config(read_config(path)) == trainer.recipe
    (environment,) = json.loads((path / "environment.json").read_text())  # one entry, for the one process of this run
    assert environment["versions"]["jax"] == jax.__version__
    assert environment["versions"]["numpy"] == np.__version__
    assert environment["git_revision"] == git_revision()
    assert environment["xla"] == {
        "flags": os.environ.get(xla.FLAGS, ""),
        "options": compile_options(),
        "refused": xla.refused(),
    }
    result = json.loads((path / "result.json").read_text())
    assert result.pop("seconds") > 0
    test = finished.test
    assert result == {"test_accuracy": test.accuracy, "correct": test.correct, "count": COUNTS["test"]}


def test_metrics_hold_every_step_and_every_epoch_and_nothing_of_the_clock(finished, trainer):
    rows = rows_of(finished.folder.path)
    assert RunFolder.read_metrics(finished.folder.path, "train") == [row for row in rows if row["event"] == "train"]
    trained = [row for row in rows if row["event"] == "train"]
    steps, epochs = trainer.steps_per_epoch, trainer.recipe.epochs
    assert [(row["step"], row["epoch"]) for row in trained] == [(n + 1, n // steps) for n in range(epochs * steps)]
    for epoch in range(epochs):
        assert sum(row["examples"] for row in trained if row["epoch"] == epoch) == COUNTS["train"]
    assert {tuple(row) for row in trained} == {("event", "step", "epoch", "loss", "examples")}
    order = (["train"] * steps + ["validation"]) * epochs + ["test"]
    assert [row["event"] for row in rows] == order
    assert [row["step"] for row in rows if row["event"] == "validation"] == [steps * (n + 1) for n in range(epochs)]
    test = finished.test
    assert rows[-1] == {
        "event": "test",
        "step": epochs * steps,
        "loss": test.loss,
        "accuracy": test.accuracy,
        "correct": test.correct,
        "count": COUNTS["test"],
    }


def begin(path: Path, recipe: Recipe, trainer: Trainer) -> None:
    """Makes a folder a run that has not trained yet."""
    with RunFolder(path, recipe) as folder:
        folder.begin(data_digest(trainer.sources))


def interrupt_checkpoint(monkeypatch, trainer, after: int):
    """Ends the run when the metrics of an epoch are written and its checkpoint is not."""
    save = Checkpoints.save

    def broken(self, step, *given):
        if step > after:
            raise Interruption
        save(self, step, *given)

    monkeypatch.setattr(Checkpoints, "save", broken)


def interrupt_weights(monkeypatch, trainer, after: int):
    """Ends the run after the test, before the final weights are written."""

    def broken(folder, arrays):
        raise Interruption

    monkeypatch.setattr(loop, "save_arrays", broken)


def interrupt_result(monkeypatch, trainer, after: int):
    """Ends the run before it is marked as finished."""

    def broken(self, result):
        raise Interruption

    monkeypatch.setattr(RunFolder, "finish", broken)


@pytest.mark.parametrize(
    ("checkpoint_every", "interrupt", "after"),
    [
        (1, interrupt_after, 1),  # before the first checkpoint
        (1, interrupt_after, 5),
        (2, interrupt_after, 8),  # metrics go beyond the checkpoint
        (0, interrupt_after, 5),  # no checkpoint: from the start
        (1, interrupt_checkpoint, 3),
        (1, interrupt_weights, 0),
        (1, interrupt_result, 0),
    ],
)
def test_an_interrupted_run_goes_on_and_ends_bit_for_bit_the_same(
    finished, trainer, tmp_path, checkpoint_every, interrupt, after
):
    assert trainer.steps_per_epoch == 3
    recipe = dataclasses.replace(trainer.recipe, checkpoint_every=checkpoint_every)
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, trainer, after)
        with pytest.raises(Interruption):
            train(recipe, tmp_path, trainer=trainer, progress=False)
    assert not (tmp_path / "result.json").exists()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"event": "train", "st')  # a line that the interruption cut short
    begun = []
    with pytest.MonkeyPatch.context() as patch:
        fit = trainer.fit
        patch.setattr(trainer, "fit", lambda state, seed: (begun.append(int(state.step)), fit(state, seed))[1])
        run = train(recipe, tmp_path, trainer=trainer, progress=False)
    last = {interrupt_after: after, interrupt_checkpoint: after}.get(interrupt, 9)
    interval = 3 * checkpoint_every
    assert begun == [last // interval * interval if interval else 0]  # it did not start over
    assert (tmp_path / "metrics.jsonl").read_bytes() == finished.folder.metrics_path.read_bytes()
    jax.tree.map(np.testing.assert_array_equal, run.state, finished.state)
    np.testing.assert_array_equal(run.test.logits, finished.test.logits)
    stored = load_state(trainer, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, stored.weights, finished.state.weights)
    jax.tree.map(np.testing.assert_array_equal, stored.statistics, finished.state.statistics)


@pytest.mark.parametrize(
    ("after", "said"), [(2, "has no checkpoint; the same command starts"), (5, "step 3 is saved in")]
)
def test_an_interruption_by_the_user_says_what_is_saved(trainer, tmp_path, monkeypatch, after, said):
    interrupt_after(monkeypatch, trainer, after, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt, match=rf"^interrupted; .*{said}"):
        train(trainer.recipe, tmp_path, trainer=trainer, progress=False)


def test_weights_that_are_not_finite_do_not_replace_a_good_checkpoint(trainer, tmp_path, monkeypatch):
    """The loss of a step comes from the weights before it, so the weights may be the first to show a failure."""
    step = trainer.step

    def spoilt(state, *rest):
        after, loss = step(state, *rest)
        if int(after.step) == 6:
            weights = after.weights | {"head.layers.0.bias": after.weights["head.layers.0.bias"] * np.float32(np.nan)}
            after = dataclasses.replace(after, weights=weights)
        return after, loss

    monkeypatch.setattr(trainer, "step", spoilt)
    with pytest.raises(FloatingPointError, match=r"^weights not finite after training loss \d+\.\d+ at step 6 "):
        train(trainer.recipe, tmp_path / "run", trainer=trainer, progress=False)
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["3"]
    assert json.loads((tmp_path / "run" / "not_finite.json").read_text())["step"] == 6


def test_each_row_of_metrics_is_in_the_file_at_once(trainer, tmp_path):
    with RunFolder(tmp_path / "run", trainer.recipe) as folder, folder.appending() as write:
        for step in range(3):
            write({"step": step})
            assert [row["step"] for row in rows_of(tmp_path / "run")] == list(range(step + 1))


def test_metrics_that_the_disk_does_not_take_wait_and_come_before_any_checkpoint(trainer, tmp_path, capsys):
    recipe = dataclasses.replace(trainer.recipe, checkpoint_failure="continue")
    with RunFolder(tmp_path / "run", recipe) as folder, folder.appending() as write:
        write({"step": 0})
        disk, folder._file = folder._file, open("/dev/full", "ab", buffering=0)  # noqa: SIM115
        for step in range(1, 500):
            write({"step": step})
        assert not folder.settled()
        folder._file.close()
        folder._file = disk
        assert folder.settled()
        write({"step": 500})
    said = capsys.readouterr().err
    assert said.count("metrics.jsonl: cannot be written") == 1
    assert [row["step"] for row in rows_of(tmp_path / "run")] == list(range(501))
    stopping = RunFolder(tmp_path / "other", trainer.recipe)
    with stopping, stopping.appending() as write:
        disk, stopping._file = stopping._file, open("/dev/full", "ab", buffering=0)  # noqa: SIM115
        with pytest.raises(OSError, match=r"metrics\.jsonl: cannot be written .*Free disk space and repeat"):
            write({"step": 1})
        stopping._file.close()
        stopping._file = disk


def test_checkpoints_are_saved_when_they_are_due_and_not_at_every_validation(trainer, tmp_path, monkeypatch):
    saved, save = [], Checkpoints.save

    def recorded(self, step, *given):
        saved.append(step)
        save(self, step, *given)

    monkeypatch.setattr(Checkpoints, "save", recorded)
    recipe = dataclasses.replace(trainer.recipe, checkpoint_every=2, validate_every=1)
    train(recipe, tmp_path, trainer=trainer, progress=False)
    assert saved == [6]  # after the last step, weights are saved instead


def test_a_run_without_checkpoints_leaves_only_its_weights(finished, trainer, tmp_path):
    recipe = dataclasses.replace(trainer.recipe, checkpoint_every=0)
    run = train(recipe, tmp_path, trainer=trainer, progress=False)
    assert (tmp_path / "metrics.jsonl").read_bytes() == finished.folder.metrics_path.read_bytes()
    assert list((tmp_path / "weights").iterdir())
    assert not (tmp_path / "checkpoints").exists()
    assert [path.name for path in (finished.folder.path / "checkpoints").iterdir()] == ["9"]  # the last one only
    jax.tree.map(np.testing.assert_array_equal, run.state.weights, finished.state.weights)


@pytest.mark.parametrize(("validate_every", "epochs"), [(1, [1, 2, 3]), (2, [2, 3]), (0, [3])])
def test_validation_comes_every_so_many_epochs_and_after_the_last(trainer, tmp_path, validate_every, epochs):
    recipe = dataclasses.replace(trainer.recipe, validate_every=validate_every)
    assert (recipe.epochs, trainer.steps_per_epoch) == (3, 3)
    run = train(recipe, tmp_path, trainer=trainer, progress=False)
    rows = RunFolder.read_metrics(run.folder.path, "validation")
    assert [row["step"] for row in rows] == [3 * epoch for epoch in epochs]


def test_a_finished_run_is_never_overwritten(finished, trainer):
    path = finished.folder.path
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(FileExistsError, match="holds a finished run, which is never overwritten") as caught:
        train(trainer.recipe, path, trainer=trainer, progress=False)
    assert str(path) in str(caught.value)
    assert before == {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_folder_that_holds_no_run_is_refused_and_an_empty_one_is_taken(trainer, tmp_path):
    (tmp_path / "folder").mkdir()
    RunFolder(tmp_path / "folder", trainer.recipe)
    (tmp_path / "thesis.txt").write_text("precious")
    for path, told in (
        (tmp_path, "must be empty or hold an interrupted run"),
        (tmp_path / "thesis.txt", "is not a folder"),
    ):
        with pytest.raises(FileExistsError, match=told):
            train(trainer.recipe, path, trainer=trainer, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "thesis.txt"]


def test_an_interrupted_run_of_another_config_is_refused_naming_what_changed(trainer, tmp_path):
    for times in (1, 2):  # the same config may resume
        begin(tmp_path, trainer.recipe, trainer)
        assert len(read_environments(tmp_path)) == times
    changed = dataclasses.replace(
        trainer.recipe, epochs=4, optimizer=dataclasses.replace(trainer.recipe.optimizer, learning_rate=0.25)
    )
    with pytest.raises(FileExistsError, match="holds an interrupted run of another config") as caught:
        RunFolder(tmp_path, changed)
    message = str(caught.value)
    assert "epochs was 3 and is 4, optimizer.learning_rate was 0.005 and is 0.25" in message
    assert "seed" not in message


def test_a_run_goes_on_however_it_is_loaded_logged_and_profiled(trainer, tmp_path):
    groups = {"loader": {"threads": 3}, "log": {"every_steps": 2}, "profile": {"start": 2}}
    changed = dataclasses.replace(
        trainer.recipe,
        **{name: dataclasses.replace(getattr(trainer.recipe, name), **changes) for name, changes in groups.items()},
    )
    begin(tmp_path, trainer.recipe, trainer)
    run = train(changed, tmp_path, trainer=trainer, progress=False)
    assert read_config(run.folder.path)["log"]["every_steps"] == 2


def test_a_start_that_was_killed_before_it_was_a_run_is_no_obstacle(trainer, tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / "environment.json").write_text("[]\n")
    begin(tmp_path, trainer.recipe, trainer)
    assert read_config(tmp_path)["epochs"] == 3


def test_two_processes_never_work_in_one_folder(trainer, tmp_path):
    code = (
        "import sys; from fcnjax.atomic import locked_folder\n"
        "with locked_folder(sys.argv[1]):\n    print('locked', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(FileExistsError, match=f"workdir={tmp_path}: another process is working in it"):
            train(trainer.recipe, tmp_path, trainer=trainer, progress=False)
        unreadable = dataclasses.replace(trainer.recipe, data=DataSettings("nothing"))
        with pytest.raises(FileExistsError, match="another process is working in it"):
            train(unreadable, tmp_path, progress=False)  # before any data are read
        other.kill()
    begin(tmp_path, trainer.recipe, trainer)  # the lock ends with its process, however the process ends
    wanted = [".lock", "config.json", "data.json", "environment.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == wanted


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("config.json", "[1]", "config.json: must hold a dict, not a list"),
        ("config.json", "{", "config.json: must hold JSON"),
        ("metrics.jsonl", "nothing\n", "metrics.jsonl, line 1: must be JSON"),
    ],
)
def test_damaged_files_are_named(trainer, tmp_path, name, text, told):
    begin(tmp_path, trainer.recipe, trainer)
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=told):
        train(trainer.recipe, tmp_path, trainer=trainer, progress=False)


def test_an_interruption_waits_for_the_end_of_a_save(tmp_path, monkeypatch):
    arrays = {"a": np.arange(4.0)}
    real_save = checkpoints.ocp.save

    def interrupted_save(*given, **options):
        signal.raise_signal(signal.SIGINT)
        real_save(*given, **options)

    monkeypatch.setattr(checkpoints.ocp, "save", interrupted_save)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save_arrays(tmp_path / "arrays", jax.tree.map(jax.numpy.asarray, arrays))
    finally:
        signal.signal(signal.SIGINT, before)
    loaded = checkpoints.load_arrays(tmp_path / "arrays", jax.tree.map(jax.numpy.asarray, arrays))
    np.testing.assert_array_equal(loaded["a"], arrays["a"])


def test_a_trainer_of_another_recipe_is_refused_before_anything_is_written(trainer, tmp_path):
    other = dataclasses.replace(trainer.recipe, seed=7, epochs=4)
    with pytest.raises(ValueError, match="trainer: must have the recipe to train"):
        train(other, tmp_path / "run", trainer=trainer, progress=False)
    assert not (tmp_path / "run").exists()


def test_what_is_loaded_gives_the_figures_of_the_end_of_training(finished, sources, monkeypatch):
    monkeypatch.setattr("fcnjax.training.run.preparation.read_sources", lambda recipe, *splits, **options: sources)
    path = finished.folder.path
    result = evaluate(path)
    for figure in ("loss", "correct", "count"):
        assert getattr(result, figure) == getattr(finished.test, figure)
    np.testing.assert_array_equal(result.logits, finished.test.logits)
    validation = evaluate(str(path), "validation")
    last = RunFolder.read_metrics(path, "validation")[-1]
    assert (validation.loss, validation.correct, validation.count) == (last["loss"], last["correct"], last["count"])
    model = read_model(path).network
    example = sources["test"][4].values
    scores = np.asarray(jax.jit(lambda batch: model(batch))(Padded.stack([example])))[0]
    np.testing.assert_allclose(scores, finished.test.logits[4], atol=1e-5 * np.abs(finished.test.logits).max())


def test_a_folder_without_a_finished_run_cannot_be_loaded(finished, trainer, tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold a run"):
        load_run(tmp_path)
    path = shutil.copytree(finished.folder.path, tmp_path / "copy")
    (path / "result.json").unlink()
    with pytest.raises(FileNotFoundError, match="must hold a finished run; repeat its 'fcnjax train'"):
        load_state(trainer, path)


def test_a_split_that_does_not_exist_is_refused(finished):
    with pytest.raises(ValueError, match="unknown split 'tset': did you mean 'test'?"):
        evaluate(finished.folder.path, "tset")


def test_a_diverging_run_says_where_and_what_to_do(sources, tmp_path):
    recipe = make_recipe(
        model={"norm": "none"},
        optimizer={"name": "sgd", "learning_rate": 1e30, "warmup": 0.0, "weight_decay": 0.0},
        max_buckets=1,
    )
    with pytest.raises(FloatingPointError, match="lower config.optimizer.learning_rate") as caught:
        train(recipe, tmp_path, trainer=Trainer(recipe, sources), progress=False)
    assert "at step " in str(caught.value)
    assert "(epoch 0)" in str(caught.value)
    assert rows_of(tmp_path), "earlier rows are kept"
    assert not (tmp_path / "result.json").exists()
    assert not (tmp_path / "weights").exists()


def test_the_bar_shows_rate_and_time_left(trainer, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(loop, "unusual_range", lambda source: f"{len(source)} odd values.")
    train(trainer.recipe, tmp_path / "named", trainer=trainer)
    shown = capsys.readouterr().err
    assert "named" in shown
    assert " examples/s" in shown
    assert "63/63" in shown  # examples, fillers not counted: 3 epochs of 21
    assert "validation=" in shown
    assert "Note: 21 odd values." in shown
