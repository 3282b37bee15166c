"""Models become state dicts of PyTorch, and are refused by name where PyTorch's network computes something else."""

import json
import math

import numpy as np
import pytest
from drawn_networks import write_drawn_model
from safetensors import safe_open
from safetensors.numpy import load_file

from fcnjax.commands.command_line import UNUSABLE
from fcnjax.commands.main import main
from fcnjax.training import export_weights, import_weights
from fcnjax.training.standalone import read_model

ATTO = {"model": {"name": "convnext_atto"}}


def long(*values):
    return pytest.param(*values, marks=pytest.mark.long)


@pytest.mark.parametrize(
    ("arch", "library"),
    [
        ("convnext_atto", "timm"),
        ("resnet18", "torchvision"),
        long("resnet50", "timm"),
        long("efficientnet_b0", "torchvision"),
        long("efficientnet_b0", "timm"),
        long("convnext_tiny", "torchvision"),
        long("convnext_tiny", "timm"),
    ],
)
def test_what_is_exported_comes_back_bit_for_bit(arch, library, tmp_path):
    write_drawn_model(tmp_path / "model", {"model": {"name": arch}})
    file, config = export_weights(tmp_path / "model", tmp_path / "w.safetensors", library=library)
    made = import_weights(file, arch, tmp_path / "back")
    assert made.notes[-1] == f"w.json names the network: the arithmetic is that of {arch} here"
    first, second = read_model(tmp_path / "model"), read_model(tmp_path / "back")
    assert first.classes == second.classes
    assert (second.recipe.data.mean, second.recipe.data.std) == ((0.5,) * 3, (0.25,) * 3)
    for ours, theirs in ((first.weights, second.weights), (first.statistics, second.statistics)):
        assert ours.keys() == theirs.keys()
        for name, array in ours.items():
            np.testing.assert_array_equal(array, theirs[name])
    assert config == tmp_path / "w.json"


def test_classes_and_preprocessing_stand_beside_the_weights_and_in_them(tmp_path):
    write_drawn_model(tmp_path / "model", ATTO, channels=1)
    file, config = export_weights(tmp_path / "model", tmp_path / "hub/model.safetensors")
    assert config == tmp_path / "hub/config.json"
    about = json.loads(config.read_text())
    assert (about["architecture"], about["num_classes"], about["model_args"]) == ("convnext_atto", 5, {"in_chans": 1})
    assert about["label_names"][1] == "class 1"
    assert (about["pretrained_cfg"]["mean"], about["pretrained_cfg"]["std"]) == ([0.5], [0.25])
    assert (about["pretrained_cfg"]["first_conv"], about["pretrained_cfg"]["classifier"]) == ("stem.0", "head.fc")
    with safe_open(file, "numpy") as opened:
        metadata = opened.metadata()
    assert (metadata["format"], metadata["library"], json.loads(metadata["config"])) == ("pt", "timm", about)


def test_batch_norms_have_their_counters(tmp_path):
    write_drawn_model(tmp_path / "model", {"model": {"name": "resnet18"}})
    state = load_file(export_weights(tmp_path / "model", tmp_path / "w.safetensors")[0])
    counters = [array for name, array in state.items() if name.endswith("num_batches_tracked")]
    assert len(counters) == sum(name.endswith("running_var") for name in state) == 20
    assert {(array.dtype, array.shape) for array in counters} == {(np.dtype(np.int64), ())}


@pytest.mark.parametrize("head", [{"pool_at": 1}, {"dropout": 0.5}])
def test_a_head_that_computes_the_same_is_exported(head, tmp_path):
    write_drawn_model(tmp_path / "model", {"model": {"name": "resnet18", "dtype": "bfloat16"}, "head": head})
    assert "fc.weight" in load_file(export_weights(tmp_path / "model", tmp_path / "w.safetensors")[0])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model": {"name": "nin"}}, "a network that torchvision and timm do not have, unknown arch.* 'nin'"),
        ({"model": {"name": "resnet18", "border": "reflect"}}, "config.model.border='reflect', and PyTorch's resnet18"),
        ({"model": {"name": "convnext_atto", "width": 8}}, "of shape .*only its default width can be exported"),
        ({**ATTO, "head": {"pool": "max"}}, "head 'max pool -> layer norm -> linear 5', and PyTorch's convnext_atto"),
        ({**ATTO, "head": {"pool_at": 1}}, "'layer norm -> mean pool -> linear 5', .* which is another function"),
        ({**ATTO, "head": {"hidden": (8,)}}, "linear 8 -> relu -> linear 5"),
        ({**ATTO, "head": {"score_activation": "relu"}}, "linear 5 -> relu"),
        ({**ATTO, "head": {"norm": "none"}}, "has the head 'mean pool -> linear 5'"),
        ({**ATTO, "head": {"flatten": (1, 1), "hidden": ()}}, "has the head 'flatten"),
    ],
)
def test_what_pytorchs_network_does_not_compute_is_refused(config, message, tmp_path):
    write_drawn_model(tmp_path / "model", config)
    with pytest.raises(ValueError, match=f"model={tmp_path}/model: .*{message}"):
        export_weights(tmp_path / "model", tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors").exists()


def test_signals_are_refused(tmp_path):
    write_drawn_model(tmp_path / "model", ATTO, channels=1, axes=1)
    with pytest.raises(ValueError, match="takes signals or volumes; only networks for images can be exported"):
        export_weights(tmp_path / "model", tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to=w.safetensors"], "--model is missing"),
        (["--model=model"], "--to is missing: give it, such as --to=photos.safetensors"),
        (["--model=model", "--to=w.pt"], "to=w.pt: must end in .safetensors; change the name."),
        (["--model=none", "--to=w.safetensors"], "model=none: must be a run or a model folder"),
        (
            ["--model=model", "--to=w.safetensors", "--library=keras"],
            "unknown library 'keras'. Known: timm, torchvision",
        ),
        (
            ["--model=model", "--to=w.safetensors", "--library=torchvision"],
            "torchvision has no convnext_atto; export it",
        ),
        (
            ["--model=model", "--to=old.safetensors"],
            "to=old.safetensors: exists; choose another name, or give --overwr",
        ),
        (["--model=model", "--to=mine.safetensors"], "to=mine.json: exists; choose another name"),
    ],
)
def test_mistakes_by_hand_get_one_sentence(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "--model=model" in arguments and "--library=torchvision" in arguments:
        write_drawn_model(tmp_path / "model", ATTO)
    elif "--model=model" in arguments:
        write_drawn_model(tmp_path / "model", {"model": {"name": "fcn"}})
    for name in ("old.safetensors", "mine.json"):
        (tmp_path / name).write_text("old")
    assert main(["fcnjax", "export-weights", *arguments]) == UNUSABLE
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert (tmp_path / "old.safetensors").read_text() == "old"


def test_the_command_replaces_files_only_when_asked(tmp_path, capsys):
    write_drawn_model(tmp_path / "model", ATTO)
    (tmp_path / "w.safetensors").write_text("old")
    arguments = ["--model", f"{tmp_path}/model", "--to", f"{tmp_path}/w.safetensors", "--overwrite"]
    assert main(["fcnjax", "export-weights", *arguments]) == 0
    assert capsys.readouterr().out == f"file {tmp_path}/w.safetensors\nfile {tmp_path}/w.json\n"
    state = load_file(tmp_path / "w.safetensors")
    assert math.prod(state["head.fc.weight"].shape) == 5 * 320
