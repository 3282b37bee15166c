import json
from collections.abc import Mapping
from typing import Any

import pytest
from synthetic_data import make_recipe

from fcnjax.commands.command_line import parse
from fcnjax.models.frontend import OPTIONS
from fcnjax.training import DataSettings, FrontendSettings, LogSettings, ProfileSettings, Recipe
from fcnjax.training.settings.config_fields import field_help
from fcnjax.training.settings.default_config import config_help, default_config


def dotted(tree: Mapping, prefix: str = "") -> dict[str, Any]:
    """The fields of nested mappings by dotted name."""
    fields = {}
    for name, value in tree.items():
        group = hasattr(value, "items")
        fields |= dotted(value, f"{prefix}{name}.") if group else {prefix + name: value}
    return fields


@pytest.fixture(scope="module")
def digits_config(request: pytest.FixtureRequest):
    path = request.config.rootpath / "configs/digits.py"
    return parse(["test", f"--config={path}"], lambda values: None, config="").config


def test_dictionaries_and_json_give_the_recipe_back():
    recipe = make_recipe(
        head={"hidden": [5, 6], "pool": "gem", "pool_p": 2.0, "pool_heads": 2, "pool_k": 3, "pool_at": 2},
        model={"norm": "group", "dropout": 0.5},
        optimizer={"name": "sgd", "clip_norm": 1.5, "schedule": "step", "boundaries": [0.5, 0.8]},
        loss={"label_smoothing": 0.1, "class_weights": [1, 2, 0.5]},
        ema_decay=0.99,
        remat=True,
        augment={"rotation": 3.0},
        seed=2**32 - 1,
        checkpoint_every=0,
    )
    assert recipe != make_recipe()
    assert Recipe.from_config(recipe.to_dict()) == recipe
    assert Recipe.from_config(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_the_digits_config_says_every_field_and_nothing_else(digits_config):
    recipe = Recipe.from_config(digits_config)
    assert Recipe.from_config(digits_config.to_dict()) == recipe
    assert Recipe.from_config(recipe.to_dict()) == recipe
    assert dotted(digits_config).keys() == dotted(recipe.to_dict()).keys()
    assert recipe.data.name == "any_size_digits"
    assert recipe.model.channels == (32, 64, 128)


def test_fields_that_are_left_out_are_those_of_the_default_config():
    bare, default = Recipe(DataSettings("x")), dotted(default_config(name="x"))
    assert dotted(bare.to_dict()) == default
    groups = {name: {} for name in bare.to_dict() if name != "data" and hasattr(default_config()[name], "items")}
    for config in ({}, groups, default_config(name="x")):
        assert dotted(Recipe.from_config({"data": {"name": "x"}, **config}).to_dict()) == default
    frozen = {  # results have been published with these values
        "optimizer.learning_rate": 5e-3,
        "optimizer.weight_decay": 0.3,
        "optimizer.warmup": 0.1,
        "crop.area": (1.0, 1.0),
        "crop.aspect": (1.0, 1.0),
        "model.channels": (32, 64, 128),
        "model.norm": "batch",
        "model.activation": "gelu",
    }
    assert {name: default[name] for name in frozen} == frozen
    assert {value for name, value in default.items() if name.startswith("augment.")} == {0.0, 0.25}  # erase_area


def test_a_bound_on_crops_alone_crops_nothing():
    assert make_recipe(crop={"at_least": 8}).crop.area == (1.0, 1.0)
    assert make_recipe(crop={"at_least": [8, 9]}).crop.at_least == (8, 9)


def test_fields_of_the_fcn_have_no_default_for_other_networks():
    model = Recipe.from_config({"data": {"name": "x"}, "model": {"name": "resnet18"}}).model
    assert model.options == {}
    assert default_config("resnet18").model.to_dict() == {
        **dict.fromkeys(Recipe.field_names("model.")),
        "name": "resnet18",
    }


def test_a_flatten_dense_head_has_some_of_the_options_and_refuses_the_others():
    given = {"flatten": (3, 3), "hidden": (8,), "activation": "gelu", "dropout": 0.5}
    assert make_recipe(head=given).head.options == given
    with pytest.raises(ValueError, match=r"config\.head\.norm='batch': must be None; a flatten-dense head"):
        make_recipe(head={**given, "norm": "batch"}).head.options  # noqa: B018


def test_every_field_has_help():
    helps = field_help(Recipe)
    assert helps.keys() == dotted(default_config()).keys()
    assert [name for name, text in helps.items() if not text] == []
    told = config_help().splitlines()
    assert "  --config.optimizer.learning_rate=0.005" in told
    assert max(map(len, told)) <= 80


def test_every_field_of_the_front_end_is_an_option_of_it():
    assert set(Recipe.field_names("frontend.")) - {"name"} <= set(OPTIONS)
    assert FrontendSettings("log_mel", mels=40).options == {"mels": 40}
    assert FrontendSettings(mels=40).options is None


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("optimizer.learning_rate=1e-2", 1e-2),
        ("optimizer.learning_rate=1", 1.0),
        ("optimizer.clip_norm=2", 2.0),
        ("head.pool_at=0", 0),
        ("head.hidden=(5,6)", (5, 6)),
        ("head.flatten=(3,3)", (3, 3)),
        ("model.channels=(4,)", (4,)),
        ("model.width=16", 16),
        ("model.width=1.5", 1.5),
        ("crop.at_least=8", 8),
        ("crop.at_least=(8,9)", (8, 9)),
        ("loss.class_weights=balanced", "balanced"),
        ("loss.class_weights=(1,2)", (1.0, 2.0)),
        ("data.data_dir=photos", "photos"),
        ("pixel_budget=1000", 1000),
        ("remat", True),
    ],
)
def test_a_flag_sets_a_field(request, flag, value):
    path = request.config.rootpath / "configs/digits.py"
    config = parse(["test", f"--config={path}", f"--config.{flag}"], lambda values: None, config="").config
    set_value = dotted(Recipe.from_config(config).to_dict())[flag.partition("=")[0]]
    assert set_value == value
    assert type(set_value) is type(value)


def test_lists_become_tuples_and_integers_floats_where_the_field_says_so():
    recipe = make_recipe(head={"hidden": [4, 5], "pool_r": 2}, optimizer={"learning_rate": 1}, augment={"shear": 1})
    assert recipe.head.hidden == (4, 5)
    assert isinstance(recipe.head.hidden, tuple)
    for value in (recipe.optimizer.learning_rate, recipe.head.pool_r, recipe.augment.shear):
        assert isinstance(value, float)
    assert isinstance(recipe.epochs, int)
    hash(recipe)  # a list in the recipe would make this raise


@pytest.mark.parametrize(
    ("changes", "given", "nearest"),
    [
        ({"epoch": 3}, "epoch", "epochs"),
        ({"batchsize": 3}, "batchsize", "batch_size"),
        ({"optimizer": {"learning_rat": 1.0}}, "optimizer.learning_rat", "optimizer.learning_rate"),
        ({"head": {"pol_at": 1}}, "head.pol_at", "head.pool_at"),
        ({"augment": {"rotate": 1.0}}, "augment.rotate", "augment.rotation"),
    ],
)
def test_an_unknown_field_names_the_nearest_one(changes, given, nearest):
    with pytest.raises(ValueError, match="unknown config field") as caught:
        make_recipe(**changes)
    message = str(caught.value)
    assert f"unknown config field {given!r}: did you mean {nearest!r}?" in message
    assert "\n" not in message


def test_a_missing_field_is_named():
    with pytest.raises(ValueError, match=r"^config\.data: must be given; it has no default\.$"):
        Recipe.from_config({"epochs": 1})
    with pytest.raises(ValueError, match=r"^config\.data\.name: must be given; it has no default\.$"):
        Recipe.from_config({"data": {"mean": 0.5}})


@pytest.mark.parametrize(
    ("changes", "field", "value", "allowed"),
    [
        ({"epochs": 2.5}, "epochs", "2.5", "int"),
        ({"epochs": True}, "epochs", "True", "int"),
        ({"optimizer": {"learning_rate": "fast"}}, "optimizer.learning_rate", "'fast'", "float"),
        ({"optimizer": {"learning_rate": True}}, "optimizer.learning_rate", "True", "float"),
        ({"optimizer": {"clip_norm": "1"}}, "optimizer.clip_norm", "'1'", "float or None"),
        ({"model": {"channels": 32}}, "model.channels", "32", "tuple"),
        ({"model": {"channels": [32, 6.5]}}, "model.channels[1]", "6.5", "int"),
        ({"head": {"log_softmax": 1}}, "head.log_softmax", "1", "bool"),
        ({"data": {"name": None}}, "data.name", "None", "str"),
        ({"head": 3}, "head", "3", "group of fields"),
        ({"data": "digits"}, "data", "'digits'", "group of fields"),
    ],
)
def test_a_value_of_another_type_is_refused_in_one_sentence(changes, field, value, allowed):
    with pytest.raises(TypeError) as caught:
        make_recipe(**changes)
    message = str(caught.value)
    assert message.startswith(f"config.{field}={value}: must be ")
    assert allowed in message.partition(": must be ")[2]
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("changes", "field", "value", "allowed"),
    [
        ({"seed": -1}, "seed", "-1", "in [0, 2**32)"),
        ({"seed": 2**32}, "seed", "4294967296", "in [0, 2**32)"),
        ({"epochs": 0}, "epochs", "0", "at least 1"),
        ({"batch_size": 0}, "batch_size", "0", "at least 1"),
        ({"max_buckets": 0}, "max_buckets", "0", "at least 1"),
        ({"checkpoint_every": -1}, "checkpoint_every", "-1", "at least 0"),
        ({"data": {"std": 0}}, "data.std", "0.0", "greater than 0"),
        ({"optimizer": {"learning_rate": 0}}, "optimizer.learning_rate", "0.0", "greater than 0"),
        ({"optimizer": {"learning_rate": float("nan")}}, "optimizer.learning_rate", "nan", "a finite number"),
        ({"optimizer": {"warmup": 1}}, "optimizer.warmup", "1.0", "in [0, 1)"),
        ({"optimizer": {"weight_decay": -0.1}}, "optimizer.weight_decay", "-0.1", "at least 0"),
        ({"optimizer": {"momentum": 1}}, "optimizer.momentum", "1.0", "in [0, 1)"),
        ({"optimizer": {"clip_norm": 0}}, "optimizer.clip_norm", "0.0", "greater than 0"),
        ({"optimizer": {"beta2": 1}}, "optimizer.beta2", "1.0", "in [0, 1)"),
        ({"optimizer": {"factor": 0}}, "optimizer.factor", "0.0", "in (0, 1]"),
        ({"optimizer": {"schedule": "step"}}, "optimizer.boundaries", "()", "at least one share of the run"),
        (
            {"optimizer": {"schedule": "step", "warmup": 0.5, "boundaries": [0.5]}},
            "optimizer.boundaries",
            "(0.5,)",
            "at least one share of the run, increasing, greater than warmup=0.5, and below 1",
        ),
        ({"optimizer": {"boundaries": [0.5]}}, "optimizer.boundaries", "(0.5,)", "empty; only schedule"),
        ({"loss": {"label_smoothing": 1}}, "loss.label_smoothing", "1.0", "in [0, 1)"),
        ({"loss": {"class_weights": "even"}}, "loss.class_weights", "'even'", "one number greater than 0 per class"),
        (
            {"loss": {"class_weights": [1, 0]}},
            "loss.class_weights",
            "(1.0, 0.0)",
            "one number greater than 0 per class",
        ),
        ({"ema_decay": 1}, "ema_decay", "1.0", "in [0, 1), or None"),
        ({"augment": {"rotation": 181}}, "augment.rotation", "181.0", "0 to 180"),
        ({"augment": {"shift": -0.5}}, "augment.shift", "-0.5", "0 to 1"),
    ],
)
def test_a_value_out_of_range_is_refused_in_one_sentence(changes, field, value, allowed):
    with pytest.raises(ValueError, match="must be") as caught:
        make_recipe(**changes)
    message = str(caught.value)
    assert message.startswith(f"config.{field}={value}: must be {allowed}")
    assert "\n" not in message


LIMITS = {  # field -> (values at the ends of its range, values just outside)
    "data.std": ((1e-9,), (0,)),
    "data.channels": ((1, 3, 5), (0, -1)),
    "data.sample_rate": ((1,), (0,)),
    "data.on_error": (("refuse", "mask"), ("ignore",)),
    "frontend.name": (("log_mel", None), ("mel",)),
    "loader.threads": ((1,), (0,)),
    "loader.workers": ((0,), (-1,)),
    "loader.prefetch": ((1,), (0,)),
    "optimizer.learning_rate": ((1e-12,), (0,)),
    "optimizer.warmup": ((0, 0.999), (-1e-9, 1)),
    "optimizer.momentum": ((0, 0.999), (-1e-9, 1)),
    "optimizer.beta1": ((0, 0.999), (-1e-9, 1)),
    "optimizer.beta2": ((0, 0.999), (-1e-9, 1)),
    "optimizer.factor": ((1e-9, 1), (0, 1.001)),
    "optimizer.weight_decay": ((0,), (-1e-9,)),
    "optimizer.epsilon": ((1e-30,), (0,)),
    "optimizer.clip_norm": ((1e-9, None), (0,)),
    "loss.label_smoothing": ((0, 0.999), (-1e-9, 1)),
    "augment.rotation": ((0, 180), (-1e-9, 180.1)),
    "augment.shift": ((0, 1), (-1e-9, 1.001)),
    "log.every_steps": ((0,), (-1,)),
    "profile.start": ((1,), (0,)),
    "profile.steps": ((0,), (-1,)),
    "seed": ((0, 2**32 - 1), (-1, 2**32)),
    **dict.fromkeys(("epochs", "batch_size", "max_buckets", "multiple_of", "checkpoint_last"), ((1,), (0,))),
    **dict.fromkeys(("validate_every", "checkpoint_every", "checkpoint_steps", "checkpoint_best"), ((0,), (-1,))),
    "mixup": ((0,), (-1e-9,)),
    "pixel_budget": ((1, None), (0,)),
    "ema_decay": ((0, 0.999, None), (-1e-9, 1)),
    "batching": (("bucket", "mixed"), ("mix",)),
    "precision": (("float32", "tf32"), ("bfloat16",)),
    "checkpoint_failure": (("stop", "continue"), ("warn",)),
}


@pytest.mark.parametrize("name", LIMITS)
def test_the_ends_of_a_range_are_allowed_and_what_lies_beyond_is_refused(name):
    group, _, field = name.rpartition(".")
    inside, outside = LIMITS[name]
    for value in inside:
        recipe = make_recipe(**({group: {field: value}} if group else {field: value}))
        assert getattr(getattr(recipe, group) if group else recipe, field) == value
    for value in outside:
        with pytest.raises(ValueError, match=rf"config\.{name}=.*: must be "):
            make_recipe(**({group: {field: value}} if group else {field: value}))


def test_what_is_observed_of_a_run_has_limits():
    recipe = make_recipe(log={"every_steps": 5, "tensorboard": True}, profile={"start": 3, "steps": 2})
    assert (recipe.log, recipe.profile) == (LogSettings(5, True), ProfileSettings(3, 2))
    for name, value in (("log.every_steps", -1), ("profile.start", 0), ("profile.steps", -1)):
        group, field = name.split(".")
        with pytest.raises(ValueError, match=f"config.{name}={value}: must be at least"):
            make_recipe(**{group: {field: value}})
