"""Model folders: readable without fcnjax, without a path of the machine, and refused if their parts do not agree."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from safetensors import numpy as safetensors

import fcnjax
from fcnjax.data import ArraySource
from fcnjax.training import Recipe
from fcnjax.training.run.run_folder import read_config
from fcnjax.training.standalone import write_model


@pytest.fixture
def model(photos, tmp_path):
    """A copy of a model folder, to damage."""
    return shutil.copytree(photos.path / "model", tmp_path / "model")


def changed(path, **changes):
    about = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(about | changes))


def test_a_model_folder_describes_itself_in_the_layout_of_model_hubs(photos):
    path = photos.path / "model"
    assert {entry.name for entry in path.iterdir()} == {"README.md", "config.json", "model.safetensors"}
    about = json.loads((path / "config.json").read_text())
    assert about["library_name"] == "fcnjax"
    assert about["classes"] == ["bright", "dark one"]
    before, source = about["preprocessing"], about["provenance"]
    assert (before["channels"], before["axes"], before["values"]) == (3, 2, [0.0, 1.0])
    assert (before["mean"], before["std"]) == ([0.5, 0.4, 0.3], [0.2, 0.3, 0.4])
    test = photos.run.test
    assert (source["test"]["correct"], source["test"]["count"]) == (test.correct, test.count)
    assert source["examples"] == {"train": 16, "validation": 4, "test": 12}
    arrays = safetensors.load_file(path / "model.safetensors")
    weights, statistics = photos.run.state.evaluated
    assert arrays.keys() == weights.keys() | statistics.keys()
    for name, array in {**weights, **statistics}.items():
        np.testing.assert_array_equal(arrays[name], array)
    for file in path.iterdir():
        assert str(photos.path.parent).encode() not in file.read_bytes()


def test_the_card_says_what_the_model_is_for_and_how_accurate_it_is(photos):
    card = (photos.path / "model" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: fcnjax\n")
    for part in ("`bright`, `dark one`", "16 examples", f"{photos.run.test.accuracy:.2%}", "| positions | accuracy |"):
        assert part in card
    assert 'resized by {"max_side": 24}' in card


def test_weights_of_another_network_or_class_list_are_refused_by_name(model):
    changed(model, classes=["bright", "dark one", "third"])
    with pytest.raises(ValueError, match=r"holds 'head\..*' of shape .* instead of .* fcn with 3 classes"):
        fcnjax.load(model)
    changed(model, classes=["bright", "dark one"], model={"name": "nin"})
    with pytest.raises(ValueError, match=r"model.safetensors: .* describes nin with 2 classes. Restore"):
        fcnjax.load(model)


def test_arrays_that_are_missing_or_have_another_dtype_are_refused_by_name(model):
    arrays = safetensors.load_file(model / "model.safetensors")
    name = next(iter(arrays))
    safetensors.save_file({key: array for key, array in arrays.items() if key != name}, model / "model.safetensors")
    with pytest.raises(ValueError, match=f"lacks {name!r}"):
        fcnjax.load(model)
    safetensors.save_file({**arrays, name: arrays[name].astype(np.float16)}, model / "model.safetensors")
    with pytest.raises(ValueError, match=f"holds {name!r} as float16 instead of float32"):
        fcnjax.load(model)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format": 99}, "has format 99, and fcnjax .* reads 1 to 1"),
        ({"library_name": "timm"}, "must describe a model of fcnjax, not of 'timm'"),
        ({"preprocessing": {}}, "does not describe a network .lacks 'channels'"),
        ({"model": {"name": "fnc"}}, "does not describe a network .*did you mean 'fcn'"),
    ],
)
def test_a_description_that_cannot_be_used_is_refused(model, changes, sentence):
    changed(model, **changes)
    with pytest.raises(ValueError, match=sentence):
        fcnjax.load(model)


def test_damaged_files_are_refused_by_name(model):
    tensors = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(tensors[: len(tensors) // 2])
    with pytest.raises(ValueError, match=r"model.safetensors: cannot be read"):
        fcnjax.load(model)
    (model / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json: must hold JSON"):
        fcnjax.load(model)


def test_a_folder_without_a_model_says_how_to_get_one(photos, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must be a run or a model folder .* train one with 'fcnjax train'"):
        fcnjax.load(tmp_path)
    run = shutil.copytree(photos.path, tmp_path / "run")
    shutil.rmtree(run / "model")
    with pytest.raises(FileNotFoundError, match="must be a finished run .* repeat its 'fcnjax train' command"):
        fcnjax.load(run)


def test_logits_that_are_not_numbers_do_not_stop_the_card(photos, tmp_path):
    recipe, test = Recipe.from_config(read_config(photos.path)), photos.run.test
    logits = test.logits.copy()
    logits[0] = np.nan
    sources = {"train": ArraySource([np.zeros((20, 20, 3), np.uint8)], [0], ("bright", "dark one"))}
    test = dataclasses.replace(test, logits=logits)
    write_model(tmp_path, recipe, sources, photos.run.state, {}, test)
    card = (tmp_path / "README.md").read_text()
    assert sum(int(row.split("|")[3]) for row in card.splitlines() if " to " in row and row[0] == "|") == 11
    assert fcnjax.load(tmp_path).classes == ("bright", "dark one")
