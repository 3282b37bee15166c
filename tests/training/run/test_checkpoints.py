"""Checkpoints: which are kept, what they hold, and what a run does if it cannot write one."""

import dataclasses
import os
import re
import resource
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcnjax.training import load_run, train
from fcnjax.training.run import finished
from fcnjax.training.run.checkpoints import Checkpoints, open_checkpoints, read_checkpoint

# Orbax re-raises the errors of its threads, but pytest considers them unhandled.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
SIZE = 300_000  # float32 numbers: more than 100 kB
NOBODY = 65534  # a user who owns nothing


def drawn(seed: int) -> dict[str, jax.Array]:
    return {"weights": jax.random.normal(jax.random.key(seed), (SIZE,)), "step": jnp.int32(seed)}


@contextmanager
def full_disk():
    """Lets no file grow beyond 100 kB, which fails like a full disk, also in C++ threads."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Makes a folder read-only, also for root, who temporarily becomes another user."""
    mode, root = folder.stat().st_mode, os.geteuid() == 0
    folder.chmod(0o555)
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(mode)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def save_and_wait(checkpoints: Checkpoints, step: int) -> None:
    checkpoints.save(step, drawn(step))
    checkpoints.wait()


def test_the_last_and_the_best_ones_are_kept(tmp_path):
    accuracies = {1: 0.3, 2: 0.9, 3: None, 4: 0.5, 5: 0.9, 6: 0.2, 7: None, 8: 0.1}
    with open_checkpoints(tmp_path / "all", last=2, best=2) as checkpoints:
        for step, accuracy in accuracies.items():
            checkpoints.save(step, drawn(step), accuracy)
    assert sorted(int(path.name) for path in (tmp_path / "all").iterdir()) == [2, 5, 7, 8]
    with open_checkpoints(tmp_path / "all", last=2, best=2) as checkpoints:
        assert (checkpoints.steps, checkpoints.best) == ([2, 5, 7, 8], 5)
        for step in checkpoints.steps:
            jax.tree.map(
                np.testing.assert_array_equal, read_checkpoint(tmp_path / "all", drawn(0), str(step)), drawn(step)
            )
    for which, step in (("best", 5), ("last", 8), ("2", 2)):
        jax.tree.map(np.testing.assert_array_equal, read_checkpoint(tmp_path / "all", drawn(0), which), drawn(step))
    for which in ("3", "first"):
        with pytest.raises(FileNotFoundError, match=rf"checkpoint={which}: must be best, .*all: 2, 5, 7, 8\."):
            read_checkpoint(tmp_path / "all", drawn(0), which)
    with pytest.raises(FileNotFoundError, match="checkpoint=best: .*nothing: none"):
        read_checkpoint(tmp_path / "nothing", drawn(0), "best")


def test_by_default_the_last_one_alone_is_kept(tmp_path):
    with open_checkpoints(tmp_path) as checkpoints:
        for step, accuracy in ((1, 0.9), (2, 0.5), (3, None)):
            checkpoints.save(step, drawn(step), accuracy)
    assert [path.name for path in tmp_path.iterdir()] == ["3"]


def test_what_is_saved_is_the_state_at_that_moment_though_its_memory_is_used_again(tmp_path):
    step = jax.jit(lambda state: jax.tree.map(lambda array: array + 1, state), donate_argnums=0)
    state = drawn(1)
    wanted = jax.tree.map(np.array, state)
    with open_checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        for _ in range(20):
            state = step(state)
        checkpoints.wait()
        jax.tree.map(np.testing.assert_array_equal, read_checkpoint(tmp_path, state, "last"), wanted)


def test_a_full_disk_costs_a_checkpoint_and_not_the_one_before(tmp_path, capsys):
    with open_checkpoints(tmp_path, on_failure="continue") as checkpoints:
        save_and_wait(checkpoints, 1)
        with full_disk():
            save_and_wait(checkpoints, 2)
        said = capsys.readouterr().err
        assert f"{tmp_path / '2'}: the checkpoint could not be written" in said
        assert "The last complete checkpoint is of step 1. The run continues without it." in said
        assert sorted(path.name for path in tmp_path.iterdir()) == ["1"]  # the failed attempt is removed
        jax.tree.map(np.testing.assert_array_equal, read_checkpoint(tmp_path, drawn(0), "last"), drawn(1))
        checkpoints.save(3, drawn(3))  # there is space again
    jax.tree.map(np.testing.assert_array_equal, read_checkpoint(tmp_path, drawn(0), "last"), drawn(3))


@pytest.mark.parametrize("on_failure", ["stop", "continue"])
def test_a_folder_that_is_read_only_all_at_once_keeps_its_last_checkpoint(open_folder, capsys, on_failure):
    with open_checkpoints(open_folder, on_failure=on_failure) as checkpoints:
        save_and_wait(checkpoints, 1)
        running = set(threading.enumerate())
        with read_only(open_folder):
            said = rf"{open_folder / '2'}: the checkpoint could not be written .*Permission denied"
            if on_failure == "stop":
                with pytest.raises(OSError, match=said):
                    save_and_wait(checkpoints, 2)
            else:
                save_and_wait(checkpoints, 2)
                assert re.search(said, capsys.readouterr().err)
    assert set(threading.enumerate()) <= running, "threads remain, and the process would wait for them at its end"
    assert sorted(path.name for path in open_folder.iterdir()) == ["1"]
    jax.tree.map(np.testing.assert_array_equal, read_checkpoint(open_folder, drawn(0), "last"), drawn(1))


def test_a_full_disk_stops_a_run_that_is_to_stop(tmp_path):
    with open_checkpoints(tmp_path) as checkpoints:
        save_and_wait(checkpoints, 1)
        with full_disk():
            checkpoints.save(2, drawn(2))
            said = r"2: the checkpoint could not be written .*File too large.*step 1\. Free disk space"
            with pytest.raises(OSError, match=said):
                checkpoints.wait()
    jax.tree.map(np.testing.assert_array_equal, read_checkpoint(tmp_path, drawn(0), "last"), drawn(1))


@pytest.mark.parametrize("on_failure", ["stop", "continue"])
def test_a_run_whose_checkpoint_fails_does_as_it_is_told(trainer, tmp_path, monkeypatch, on_failure):
    """The second of three checkpoints cannot be written."""
    recipe = dataclasses.replace(trainer.recipe, checkpoint_failure=on_failure)
    save, path = Checkpoints.save, tmp_path / "run"

    def on_full_disk(self, step, state, *given):
        if step == 6:
            self.wait()
            with full_disk():
                save(self, step, drawn(6), *given)
                self.wait()
        else:
            save(self, step, state, *given)

    monkeypatch.setattr(Checkpoints, "save", on_full_disk)
    if on_failure == "continue":
        run = train(recipe, path, trainer=trainer, progress=False)
        assert run.test.count == 11
        assert (path / "result.json").exists()
        return
    with pytest.raises(OSError, match="6: the checkpoint could not be written"):
        train(recipe, path, trainer=trainer, progress=False)
    like = trainer.initial_state(recipe.seed)
    assert int(read_checkpoint(path / "checkpoints", like, "last").step) == 3
    monkeypatch.undo()
    assert train(recipe, path, trainer=trainer, progress=False).test.count == 11


def test_a_run_keeps_its_best_checkpoint_with_config_and_versions(trainer, tmp_path, sources, monkeypatch):
    recipe = dataclasses.replace(trainer.recipe, checkpoint_every=0, checkpoint_steps=2, checkpoint_best=1)
    run = train(recipe, tmp_path / "run", trainer=trainer, progress=False)
    rows = run.folder.read_metrics(run.folder.path, "validation")
    best = max(rows, key=lambda row: (row["accuracy"], row["step"]))["step"]
    with open_checkpoints(run.folder.checkpoints, best=1) as checkpoints:
        assert checkpoints.steps == sorted({best, 9})
        assert checkpoints.best == best
        about = checkpoints._checkpointer.metadata(best).custom_metadata
    assert about["config"]["checkpoint_best"] == 1
    assert about["environment"]["versions"]["jax"] == jax.__version__
    monkeypatch.setattr(finished, "trained_on", lambda *given, **more: trainer)
    monkeypatch.setattr(finished.Recipe, "from_config", lambda config: recipe)
    restored, state = load_run(run.folder.path, "best")
    assert int(state.step) == best
    row = next(row for row in rows if row["step"] == best)
    assert restored.evaluate(state, "validation").correct == row["correct"]
