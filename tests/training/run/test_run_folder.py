"""Which folders may become or resume a run: field by field of the config, and file by file."""

import copy
import json

import pytest
from synthetic_data import make_recipe

from fcnjax.sealed import write_sealed
from fcnjax.training import Recipe
from fcnjax.training.run.preparation import check_trainer
from fcnjax.training.run.run_folder import CONFIG, RunFolder

# The fields that an interrupted run may change, because they do not change what it computes. Another field in this
# list needs a proof that a run resumed with another value ends with the same bits.
FREE = {
    "loader": {"threads", "workers", "prefetch"},
    "log": {"every_steps", "tensorboard"},
    "profile": {"start", "steps"},
    "": {"checkpoint_every", "checkpoint_steps", "checkpoint_last", "checkpoint_best", "checkpoint_failure"}
    | {"checkpoint_damaged", "shard_weights"},
}
# Whole runs that differ in these fields only may share a trainer.
PACE = {"seed", "validate_every", "loader", "log", "profile"} | FREE[""] - {"shard_weights"}


def fields(recipe: Recipe) -> list[tuple[str, str]]:
    """Returns group and name of every field; the group of the recipe itself is empty."""
    tree = recipe.to_dict()
    groups = [(group, name) for group, values in tree.items() if isinstance(values, dict) for name in values]
    return groups + [("", name) for name, value in tree.items() if not isinstance(value, dict)]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    path, recipe = tmp_path_factory.mktemp("runs") / "run", make_recipe()
    with RunFolder(path, recipe) as folder:
        folder.begin({})
    return path, recipe


@pytest.mark.parametrize(("group", "name"), fields(make_recipe()))
def test_only_fields_that_change_no_result_may_differ_when_a_run_is_resumed(interrupted, group, name):
    path, recipe = interrupted
    config = recipe.to_dict()
    (config[group] if group else config)[name] = "another value"
    before = (path / "config.json").read_text()
    (path / "config.json").write_text(json.dumps(config))
    try:
        if name in FREE.get(group, ()):
            RunFolder(path, recipe)
        else:
            full = f"{group}.{name}" if group else name
            with pytest.raises(FileExistsError, match=f"another config \\({full} was 'another value' and is "):
                RunFolder(path, recipe)
    finally:
        (path / "config.json").write_text(before)


def test_a_run_of_a_version_with_another_field_is_refused_naming_it(tmp_path):
    write_sealed(tmp_path / CONFIG, {**make_recipe().to_dict(), "compile_cost": 0.5})
    with pytest.raises(FileExistsError, match=r"another config \(compile_cost was 0.5 and is None\)"):
        RunFolder(tmp_path, make_recipe())


@pytest.mark.parametrize("name", Recipe.field_names())
def test_runs_share_a_trainer_only_if_they_have_the_same_steps(trainer, name):
    changed, other = copy.copy(trainer.recipe), copy.copy(trainer)
    object.__setattr__(changed, name, "another value")
    if name in PACE:
        check_trainer(trainer, changed)
        return
    other.recipe = changed
    with pytest.raises(ValueError, match="trainer: must have the recipe to train"):
        check_trainer(other, trainer.recipe)


OWN = ("data.json", "metrics.jsonl", "speed.jsonl", "result.json", "not_finite.json")


@pytest.mark.parametrize("name", [*OWN, "checkpoints", "weights", "tensorboard", "notes.txt"])
def test_a_folder_with_anything_but_a_run_is_refused(tmp_path, name):
    """A file that a run would write, too, does not make a folder a run: only its config does."""
    (tmp_path / name).write_text("{}\n") if "." in name else (tmp_path / name).mkdir()
    with pytest.raises(FileExistsError, match="must be empty or hold an interrupted run; choose another"):
        RunFolder(tmp_path, make_recipe())
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_run_that_another_process_began_in_between_is_refused(tmp_path):
    waiting = RunFolder(tmp_path / "run", make_recipe())
    with RunFolder(tmp_path / "run", make_recipe(epochs=7)) as other:
        other.begin({})
    with pytest.raises(FileExistsError, match="epochs"), waiting:
        pass
    with RunFolder(tmp_path / "run", make_recipe(epochs=7)):  # the lock was given back
        pass
