"""Every config file: read by its path from any folder, complete, with known names only, and short."""

import sys
from pathlib import Path

import pytest

from fcnjax.commands.command_line import parse, read_recipe
from fcnjax.data.by_name import FOLDERS
from fcnjax.data.tfds.prepare import is_catalog_name, own_builders
from fcnjax.models import MODELS
from fcnjax.training import Recipe
from fcnjax.training.run.run_folder import FREE

FOLDER = Path(__file__).parents[2] / "configs"
FILES = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))


def resolved(name: str, network: str = "") -> Recipe:
    suffix = f":{network}" if network else ""
    given = parse(["test", f"--config={FOLDER / name}.py{suffix}"], lambda values: None, config="")
    return read_recipe(given.config)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(FOLDER))])
    monkeypatch.delitem(sys.modules, "config_config", raising=False)


@pytest.mark.parametrize("name", FILES)
def test_a_config_describes_a_run_on_data_of_its_name(name):
    recipe = resolved(name)
    wanted = {
        "digits": "any_size_digits",
        "free_spoken_digit": "audio_folder",
        "npz_file": "mine.npz",
    }.get(name, name)
    assert recipe.data.name.partition("/")[0] == wanted
    known = is_catalog_name(recipe.data.name) or recipe.data.name in own_builders()
    assert known or recipe.data.name in FOLDERS or recipe.data.name.endswith(".npz")
    splits = [recipe.data.train_split, recipe.data.validation_split, recipe.data.test_split]
    assert len(set(splits)) == 3  # no split serves both training and measurement
    assert recipe.model.name in MODELS
    assert resolved(name, "all_cnn_c").model.name == "all_cnn_c"


@pytest.mark.parametrize("name", FILES)
def test_a_config_is_short_and_says_how_it_is_run(name):
    text = (FOLDER / f"{name}.py").read_text()
    assert text.count("\n") <= 30
    assert f"--config=configs/{name}.py" in " ".join(text.split())


def test_the_digits_config_is_the_one_that_results_were_made_with():
    recipe = {name: value for name, value in resolved("digits").to_dict().items() if not name.startswith(FREE)}
    changed = {"batching": "bucket", "pixel_budget": None, "multiple_of": 1}
    assert {name: value for name, value in recipe.items() if not isinstance(value, dict)} == changed | {
        "init_from": None,
        "freeze": (),
        "mixup": 0.0,
        "ema_decay": None,
        "precision": "float32",
        "deterministic": True,
        "remat": False,
        "seed": 0,
        "epochs": 7,
        "batch_size": 16,
        "max_buckets": 2,
        "validate_every": 1,
    }
    augment = {name: value for name, value in recipe["augment"].items() if value and name != "erase_area"}
    assert augment == {"rotation": 6.0, "scale": 0.08, "shear": 0.05, "shift": 0.05}
    wanted = {"name": "fcn", "channels": (32, 64, 128), "norm": "batch", "activation": "gelu"}
    assert {name: value for name, value in recipe["model"].items() if value is not None} == wanted
    assert (
        recipe["optimizer"]
        | {
            "name": "adamw",
            "learning_rate": 5e-3,
            "schedule": "cosine",
            "warmup": 0.1,
            "weight_decay": 0.3,
            "epsilon": 1e-8,
            "clip_norm": None,
        }
        == recipe["optimizer"]
    )
