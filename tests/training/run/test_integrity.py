"""No damaged file of a run is ever used without a word: each is named, or what it held is computed again."""

import contextlib
import dataclasses
import itertools
import json
import os
import random
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from damages import DAMAGES, damage, flip
from interruptions import Interruption, interrupt_after
from synthetic_data import make_recipe, make_sources

from fcnjax.sealed import write_sealed
from fcnjax.training import Trainer, load_run, train
from fcnjax.training.data_digest import data_digest
from fcnjax.training.run.finished import load_state
from fcnjax.training.run.run_folder import WRITTEN, RunFolder, read_config


def interrupted(trainer: Trainer, folder: Path, after: int, **changes) -> Path:
    """Returns the folder of a run that was ended after so many steps."""
    with pytest.MonkeyPatch.context() as patch:
        interrupt_after(patch, trainer, after)
        with pytest.raises(Interruption):
            train(dataclasses.replace(trainer.recipe, **changes), folder, trainer=trainer, progress=False)
    return folder


def resume(trainer: Trainer, folder: Path, **changes):
    return train(dataclasses.replace(trainer.recipe, **changes), folder, trainer=trainer, progress=False)


@pytest.fixture(scope="module")
def whole(trainer, tmp_path_factory):
    """The result of an uninterrupted run."""
    return resume(trainer, tmp_path_factory.mktemp("whole") / "run", checkpoint_last=3)


@pytest.fixture(scope="module")
def cut(trainer, tmp_path_factory) -> Path:
    """A run of 9 steps, ended after 8, with checkpoints of steps 3 and 6."""
    folder = interrupted(trainer, tmp_path_factory.mktemp("cut") / "run", 8, checkpoint_last=3)
    assert {entry.name for entry in (folder / "checkpoints").iterdir()} == {"3", "6"}
    return folder


@pytest.fixture
def copy(cut, tmp_path) -> Path:
    return shutil.copytree(cut, tmp_path / "copy")


def largest(folder: Path) -> Path:
    """Returns the file that holds most of the weights."""
    return max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)


def assert_same(run, whole, folder: Path) -> None:
    assert (folder / "metrics.jsonl").read_bytes() == whole.folder.metrics_path.read_bytes()
    jax.tree.map(np.testing.assert_array_equal, run.state, whole.state)


def test_a_flipped_bit_in_the_latest_checkpoint_is_named_and_the_older_one_taken(trainer, whole, copy, capsys):
    file = largest(copy / "checkpoints/6")
    flip(file)
    run = resume(trainer, copy, checkpoint_last=3)
    said = capsys.readouterr().err
    assert f"{file}: is damaged (its content does not match its checksum)" in said
    assert f"It is kept as {copy / 'damaged/6'}. The run resumes from step 3." in said
    assert_same(run, whole, copy)
    assert (copy / "checkpoints/6").is_dir()  # saved again
    assert (copy / "damaged/6").is_dir()


def test_a_damaged_checkpoint_can_be_refused(trainer, copy):
    flip(largest(copy / "checkpoints/6"))
    with pytest.raises(ValueError, match="is damaged .*set config.checkpoint_damaged=skip to resume from a whole one"):
        resume(trainer, copy, checkpoint_damaged="refuse")
    assert (copy / "checkpoints/6").is_dir()


@pytest.mark.parametrize("damage", ["truncated", "incomplete", "emptied", "unsealed"])
def test_an_older_checkpoint_stands_in_for_a_broken_one(trainer, whole, copy, damage, capsys):
    latest = copy / "checkpoints/6"
    if damage == "truncated":
        largest(latest).write_bytes(largest(latest).read_bytes()[:100])
    elif damage == "incomplete":
        largest(latest).unlink()
    else:
        shutil.rmtree(latest / "state")
        (latest / "checksums.json").unlink()
        if damage == "emptied":
            shutil.rmtree(latest)
            latest.mkdir()
    assert_same(resume(trainer, copy, checkpoint_last=3), whole, copy)
    said = capsys.readouterr().err
    assert str(latest) in said
    assert "The run resumes from step 3." in said
    assert max(map(len, said.splitlines())) < 800


def test_if_no_checkpoint_is_whole_one_sentence_says_so_and_nothing_is_moved(trainer, copy):
    for step in ("3", "6"):
        flip(largest(copy / "checkpoints" / step))
    with pytest.raises(
        ValueError, match=r"checkpoints/6/.*is damaged .* None of the 2 checkpoints is whole\. Or remove "
    ):
        resume(trainer, copy)
    assert {entry.name for entry in (copy / "checkpoints").iterdir()} == {"3", "6"}


def test_a_checkpoint_that_was_complete_but_not_sealed_when_the_process_died_is_taken(trainer, whole, copy, capsys):
    (copy / "checkpoints/6/checksums.json").unlink()
    assert_same(resume(trainer, copy, checkpoint_last=3), whole, copy)
    assert "damaged" not in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["lost", "changed", "cut"])
def test_metrics_before_the_checkpoint_must_be_those_that_were_written(trainer, copy, damage):
    path = copy / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    if damage == "lost":
        path.write_text("".join(lines[2:]))
    elif damage == "changed":
        path.write_text("".join(["{}".format(lines[0].replace('"step": 1', '"step": 2')), *lines[1:]]))
    else:
        path.write_text("".join(lines[:2]) + lines[2][:10])
    said = r"metrics\.jsonl: is damaged \(its first .* bytes are not those that it had when step 6 was saved\); restore"
    with pytest.raises(ValueError, match=said):
        resume(trainer, copy)


def test_metrics_that_were_removed_are_said_to_be_missing(trainer, whole, copy, capsys):
    (copy / "metrics.jsonl").unlink()
    run = resume(trainer, copy)
    assert "metrics.jsonl: is missing; the rows of steps 1 to 6 are lost." in capsys.readouterr().err
    jax.tree.map(np.testing.assert_array_equal, run.state, whole.state)
    rows = [json.loads(line) for line in (copy / "metrics.jsonl").read_text().splitlines()]
    assert min(row["step"] for row in rows) == 7


def test_a_changed_config_or_record_of_the_data_is_named(trainer, copy):
    for name in ("config.json", "data.json"):
        kept = (copy / name).read_text()
        value = json.loads(kept)
        field = next(field for field in value if field not in ("checksum", "format"))
        (copy / name).write_text(json.dumps({**value, field: {**value[field], "extra": 1}}))
        with pytest.raises(ValueError, match=rf"{name}: is damaged"):
            resume(trainer, copy)
        (copy / name).write_text(kept)


def test_a_flipped_bit_in_the_final_weights_is_named(trainer, whole, tmp_path):
    copy = shutil.copytree(whole.folder.path, tmp_path / "copy")
    load_state(trainer, copy)
    file = largest(copy / "weights")
    flip(file)
    with pytest.raises(ValueError, match=rf"{file}: is damaged"):
        load_state(trainer, copy)


def test_a_damaged_checkpoint_that_is_asked_for_is_named(whole, tmp_path, sources, monkeypatch):
    copy = shutil.copytree(whole.folder.path, tmp_path / "copy")
    monkeypatch.setattr("fcnjax.training.run.preparation.read_sources", lambda recipe, *splits, **options: sources)
    flip(largest(copy / "checkpoints/6"))
    with pytest.raises(ValueError, match="checkpoints/6/.*: is damaged"):
        load_run(copy, "6")
    with pytest.raises(
        FileNotFoundError, match=r"checkpoint=best: the run kept no best .*use last or a step: 3, 6, 9\."
    ):
        load_run(copy, "best")


def test_an_older_run_folder_is_read_and_one_of_a_newer_version_refused(trainer, whole, copy):
    config = read_config(copy)
    (copy / "config.json").write_text(json.dumps(config))  # as the first version wrote it
    for file in copy.rglob("checksums.json"):
        file.unlink()
    assert_same(resume(trainer, copy, checkpoint_last=3), whole, copy)
    write_sealed(copy / "config.json", {"format": WRITTEN + 1, **config})
    with pytest.raises(
        ValueError, match=rf"config\.json: has format {WRITTEN + 1}, and fcnjax .* reads 1 to {WRITTEN}; use"
    ):
        read_config(copy)


@pytest.mark.parametrize("killed_after", range(4))
def test_a_kill_between_the_files_of_a_start_is_no_obstacle(trainer, tmp_path, monkeypatch, killed_after):
    replace, done = os.replace, itertools.count()

    def killing(*paths):
        if next(done) == killed_after:
            raise Interruption
        replace(*paths)

    monkeypatch.setattr(os, "replace", killing)
    with contextlib.suppress(Interruption), RunFolder(tmp_path / "run", trainer.recipe) as folder:
        folder.begin(data_digest(trainer.sources))
    monkeypatch.undo()
    with RunFolder(tmp_path / "run", trainer.recipe) as folder:
        folder.begin(data_digest(trainer.sources))
    assert (tmp_path / "run/data.json").exists()


def test_a_run_that_never_began_leaves_nothing(trainer, tmp_path):
    with RunFolder(tmp_path / "run", trainer.recipe):
        assert (tmp_path / "run/.lock").exists()
    assert not (tmp_path / "run").exists()


TRIALS, SAMPLE = 200, 15


def check_damage(trainer, whole, original: Path, folder: Path, rng: random.Random, capsys) -> None:
    """Damages one file, resumes or evaluates, and demands the undamaged result or a message that names the file."""
    shutil.copytree(original, folder)
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != ".lock")
    file, how = rng.choice(files), rng.choice(DAMAGES)
    damage(file, how, rng)
    capsys.readouterr()
    finished = (folder / "result.json").exists()
    what = f"{how} {file.relative_to(folder)}"
    problem = ""
    try:
        state = load_state(trainer, folder) if finished else resume(trainer, folder, checkpoint_last=3).state
    except (ValueError, OSError) as error:
        problem = str(error)
    if problem:
        # Without its result, a run is not finished; some libraries name the folder of a file.
        assert str(file) in problem or str(file.parent) in problem or file.name == "result.json", f"{what}: {problem}"
        assert len(problem) < 800
        return
    said = capsys.readouterr().err
    wanted = whole.state
    assert all(map(np.array_equal, jax.tree.leaves(state.weights), jax.tree.leaves(wanted.weights))), what
    assert all(map(np.array_equal, jax.tree.leaves(state.statistics), jax.tree.leaves(wanted.statistics))), what
    same_metrics = (folder / "metrics.jsonl").exists() and (
        (folder / "metrics.jsonl").read_bytes() == whole.folder.metrics_path.read_bytes()
    )
    assert finished or same_metrics or str(file) in said, what


def fuzz(trainer, whole, cut, tmp_path, capsys, trials: int, seed: int) -> None:
    rng = random.Random(seed)
    for trial in range(trials):
        original = rng.choice((cut, cut, whole.folder.path))
        check_damage(trainer, whole, original, tmp_path / str(trial), rng, capsys)
        shutil.rmtree(tmp_path / str(trial))


def test_a_sample_of_damages_is_never_silent(trainer, whole, cut, tmp_path, capsys):
    fuzz(trainer, whole, cut, tmp_path, capsys, SAMPLE, 0)


@pytest.mark.long
def test_no_damage_is_silent(trainer, whole, cut, tmp_path, capsys):
    fuzz(trainer, whole, cut, tmp_path, capsys, TRIALS, 1)


def test_cached_buckets_that_were_damaged_are_planned_again(tmp_path):
    recipe = make_recipe()
    first = Trainer(recipe, make_sources(), cache_dir=tmp_path)
    (file,) = tmp_path.glob("plan-*.json")
    value = json.loads(file.read_text())
    value["batch_sizes"] = [1 for _ in value["shapes"]]
    file.write_text(json.dumps(value))
    again = Trainer(recipe, make_sources(), cache_dir=tmp_path)
    np.testing.assert_array_equal(again.buckets.shapes, first.buckets.shapes)
    assert str(again.buckets.batch_sizes) == str(first.buckets.batch_sizes)
