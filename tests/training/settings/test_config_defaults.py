"""The default of every field of a config: runs and published results depend on them."""

from fcnjax.training import DataSettings, ModelSettings, Recipe
from fcnjax.training.settings.default_config import digits_config, photos_config, sounds_config

UNSET = {  # fields that are None
    "data": ("data_dir", "channels", "sample_rate"),
    "model": ("downsampling", "dropout", "depth", "width", "border", "dtype"),
    "head": ("norm", "dropout", "score_activation", "flatten", "pool_r", "pool_p", "pool_heads", "pool_k", "pool_at"),
    "optimizer": ("clip_norm",),
    "loss": ("class_weights",),
    "size": ("max_area", "max_side", "min_side"),
    "crop": ("at_least",),
    "frontend": tuple(Recipe.field_names("frontend.")),
    "": ("pixel_budget", "ema_decay", "init_from"),
}
ZERO = ("rotation", "scale", "shear", "shift", "flip", "flip_vertical", "brightness", "contrast", "saturation", "hue")
ZERO += ("erase", "gain", "noise", "time_shift")
SET = {
    "data": {"name": "x", "train_split": "train", "validation_split": "validation", "test_split": "test"}
    | {"mean": 0.0, "std": 1.0, "on_error": "refuse", "absent_classes": "refuse", "leakage": "warn"}
    | {"labels": dict.fromkeys(Recipe.field_names("data.labels."))},
    "model": {"name": "fcn", "channels": (32, 64, 128), "norm": "batch", "activation": "gelu"},
    "head": {"hidden": (), "activation": "relu", "log_softmax": False, "kernel": 1, "pool": "mean"},
    "optimizer": {"name": "adamw", "learning_rate": 5e-3, "schedule": "cosine", "warmup": 0.1, "boundaries": ()}
    | {"factor": 0.1, "weight_decay": 0.3, "momentum": 0.9, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
    | {"layer_decay": 1.0, "head_only": 0.0},
    "loss": {"label_smoothing": 0.0},
    "size": {"below": "refuse", "multiple_of": 1},
    "crop": {"area": (1.0, 1.0), "aspect": (1.0, 1.0)},
    "augment": {**dict.fromkeys(ZERO, 0.0), "erase_area": 0.25},
    "frontend": {},
    "loader": {"threads": 2, "workers": 0, "prefetch": 4},
    "log": {"every_steps": 0, "tensorboard": False},
    "profile": {"start": 10, "steps": 0},
    "": {"freeze": (), "seed": 0, "epochs": 10, "mixup": 0.0, "batching": "bucket", "batch_size": 64, "max_buckets": 4}
    | {"multiple_of": 1, "precision": "float32", "deterministic": False, "remat": False, "shard_weights": False}
    | {"validate_every": 1, "checkpoint_every": 1, "checkpoint_steps": 0, "checkpoint_last": 1, "checkpoint_best": 0}
    | {"checkpoint_failure": "stop", "checkpoint_damaged": "skip"},
}


def test_defaults_are_pinned():
    expected = {group: dict.fromkeys(UNSET.get(group, ())) | fields for group, fields in SET.items()}
    expected |= expected.pop("")
    assert Recipe(DataSettings("x")).to_dict() == expected


def changes_of(config) -> dict[str, object]:
    """Returns the fields, as dotted paths, in which the recipe of a config differs from the default one."""

    def flat(tree, prefix=""):
        for name, value in tree.items():
            yield from flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]

    network = Recipe(DataSettings("x"), ModelSettings(config.model.name))
    default = dict(flat(network.to_dict()))
    return {n: v for n, v in flat(Recipe.from_config(config.to_dict()).to_dict()) if v != default[n]}


PHOTOS = {"epochs": 30, "batch_size": 32, "max_buckets": 8, "data.channels": 3}
PHOTOS |= {"data.mean": (0.485, 0.456, 0.406), "data.std": (0.229, 0.224, 0.225)}
PHOTOS |= {"augment.flip": 0.5, "augment.rotation": 5.0, "augment.scale": 0.1, "augment.shift": 0.05}
PHOTOS |= {"optimizer.learning_rate": 1e-3, "optimizer.weight_decay": 0.05}
SOUNDS = {"epochs": 30, "batch_size": 32, "max_buckets": 6, "data.sample_rate": 8000, "frontend.name": "log_mel"}
SOUNDS |= {"frontend.time_masks": 1, "frontend.frequency_masks": 1, "augment.gain": 6.0, "augment.time_shift": 0.1}
SOUNDS |= {"optimizer.learning_rate": 2e-3, "optimizer.weight_decay": 0.05}
DIGITS = {"deterministic": True, "augment.rotation": 6.0, "augment.scale": 0.08, "augment.shear": 0.05}
DIGITS |= {"augment.shift": 0.05}


def test_what_the_bases_of_configs_change_is_pinned():
    assert changes_of(photos_config(name="x")) == PHOTOS
    assert changes_of(digits_config(name="x")) == DIGITS
    assert changes_of(sounds_config(name="x")) == SOUNDS | {"model.channels": (64, 128, 128)}
    assert changes_of(sounds_config("resnet_cifar", name="x")) == SOUNDS
