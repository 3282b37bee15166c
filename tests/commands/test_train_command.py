"""`fcnjax train` of data without a config, and another network in a config that was made for one."""

import numpy as np
import pytest

import fcnjax
from fcnjax.commands.command_line import parse, read_recipe
from fcnjax.commands.main import main
from fcnjax.data import save_npz
from fcnjax.training.settings.default_config import digits_config, photos_config


def resolved(config, *arguments):
    return read_recipe(parse(["test", *arguments], lambda values: None, config).config)


def test_another_network_drops_the_options_of_the_first_and_says_so(capsys):
    recipe = resolved(digits_config(name="mnist"), "--config.model.name=resnet_cifar", "--config.model.depth=8")
    assert (recipe.model.name, recipe.model.channels, recipe.model.norm, recipe.model.depth) == (
        "resnet_cifar",
        None,
        None,
        8,
    )
    said = capsys.readouterr().err
    options = "activation=gelu, channels=(32, 64, 128), norm=batch"
    assert said == f"model.name=resnet_cifar: the options of fcn were dropped ({options})\n"


@pytest.mark.parametrize("form", [["--config.model.name=resnet34"], ["--config.model.name", "resnet34"]])
def test_a_network_of_the_same_family_keeps_them(form, capsys):
    config = photos_config("resnet18", "image_folder")
    config.model.width = 16
    recipe = resolved(config, *form)
    assert (recipe.model.name, recipe.model.width, capsys.readouterr().err) == ("resnet34", 16, "")


def test_options_given_with_the_name_are_kept():
    config = digits_config(name="mnist")
    recipe = resolved(config, "--config.model.activation=silu", "--config.model.name=fcn")
    assert (recipe.model.activation, recipe.model.channels) == ("silu", (32, 64, 128))
    recipe = resolved(
        config, "--config.model.name=resnet18", "--config.model.width=8", "--config.model.border=circular"
    )
    assert (recipe.model.width, recipe.model.border, recipe.model.channels) == (8, "circular", None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.model.name=fcm"], "unknown model 'fcm': did you mean 'fcn'?"),
        (["--config.model.name"], "--config.model.name: must have a value"),
    ],
)
def test_mistaken_networks(arguments, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        resolved(digits_config(name="mnist"), *arguments)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    rng = np.random.default_rng(0)
    values = [rng.integers(0, 255, (9, 8 + n % 4, 1)).astype(np.uint8) for n in range(40)]
    return save_npz(tmp_path_factory.mktemp("npz") / "mine.npz", values, [n % 2 for n in range(40)], ["on", "off"])


def test_a_file_trains_without_a_config_and_the_model_needs_it_no_more(arrays, tmp_path, capsys):
    copy = tmp_path / "mine.npz"
    copy.write_bytes(arrays.read_bytes())
    run = tmp_path / "run"
    changes = ["--config.epochs=1", "--config.model.channels=(4, 4)"]
    assert main(["fcnjax", "train", f"--data={copy}", f"--workdir={run}", *changes]) == 0
    printed = capsys.readouterr().out
    assert " ".join(printed.split()).startswith(f"{copy}: 32 train, 4 validation, 4 test examples in 2 classes class")
    assert "sizes   9x8 to 9x11, median 9x10; 1 channel" in printed
    assert printed.count("32 train,") == 1
    assert "--config.epochs=1" in printed
    assert "as you asked" in printed
    assert f"run folder {run}" in printed
    copy.unlink()
    assert fcnjax.load(run)(np.zeros((30, 9, 1), np.uint8)).class_name in ("on", "off")


@pytest.mark.parametrize("name", ["--data", "--config.data.name"])
def test_refused_data_are_described_first(tmp_path, capsys, name):
    values = np.random.default_rng(0).integers(0, 256, (14, 8, 8, 1)).astype(np.uint8)
    for split, first, last, labels in (("train", 0, 12, [0, 1] * 6), ("test", 12, 14, [0, 2])):
        path = save_npz(tmp_path / "three.npz", list(values[first:last]), labels, ["cat", "dog", "Dog"], split)
    asked = [f"{name}={path}", f"--workdir={tmp_path / 'run'}"]
    more = [] if name == "--data" else ["--config=fcnjax:digits", "--config.data.validation_split=test"]
    assert main(["fcnjax", "train", *more, *asked]) == 2
    out, error = capsys.readouterr()
    assert out.count("1 class has no training example: 'Dog'") == 1
    assert error.startswith("fcnjax train: config.data.absent_classes=refuse: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data=absent"], "--workdir is missing"),
        (["--data=absent", "--workdir=run"], "data=absent: must be a folder with a folder for each class"),
        (["--data=mine.npz", "--workdir=run", "--config=fcnjax:image_folder"], "must be a folder, as in the config"),
        (["--data={arrays}", "--workdir=run", "--config.epoch=1"], "did you mean 'epochs'?"),
        (["--data={arrays}", "--config.init_from", "--workdir=run"], "--config.init_from: must have a value"),
        (["--data={arrays}", "--workdir", "config", "--config.epochs=0"], "config.epochs=0: must be at least 1"),
        (["--data={arrays}", "--workdir=run", "--config.epochs=0"], "config.epochs=0: must be at least 1"),
    ],
)
def test_mistakes(arrays, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["fcnjax", "train", *(argument.format(arrays=arrays) for argument in arguments)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
