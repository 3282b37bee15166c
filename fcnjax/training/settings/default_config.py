"""Configs that the files of `configs/` start from: the default one, and bases for digits, photographs and sounds.

They are part of the package, so that a config file can import them from any folder. Each takes the network, the name
and splits of the data, and the fields that a recipe changes. Numbers of training (epochs, rates, widths) are starting
points; a config file states what was measured with it.
"""

import textwrap
from collections.abc import Sequence
from typing import Any

from ml_collections import config_dict

from fcnjax.training.settings.config_fields import as_config, field_help
from fcnjax.training.settings.data_settings import DataSettings
from fcnjax.training.settings.recipe import ModelSettings, Recipe

Splits = Sequence[str] | None  # of training, validation and test


def default_config(network: str = "fcn", name: str | None = None, splits: Splits = None, **changes: Any) -> Any:
    """Returns a `ConfigDict` of all fields of a `Recipe` with its defaults, which suit small gray images.

    Args:
        network: a key of `fcnjax.models.MODELS`.
        name: name of the data set (see `fcnjax.load_source`); None leaves it for the caller to set.
        splits: names of the training, validation and test split; None takes the defaults of `DataSettings`.
        **changes: values of fields, and dictionaries of them for groups.

    >>> default_config(name="mnist", epochs=3, optimizer={"warmup": 0.2}).optimizer.warmup
    0.2
    """
    config: Any = as_config(Recipe(DataSettings(name or ""), ModelSettings(network)))
    if name is None:
        config.data.name = config_dict.placeholder(str)
    if splits is not None:
        config.data.train_split, config.data.validation_split, config.data.test_split = splits
    config.update(changes)
    return config


def digits_config(network: str = "fcn", name: str | None = None, splits: Splits = None, **changes: Any) -> Any:
    """Returns a config for scanned digits, with affine changes so small that a digit stays the same digit.

    The programs are deterministic: a GPU's compiler would time kernels for longer than these small networks train.

    Args: as for `default_config`.
    """
    config = default_config(network, name, splits, deterministic=True)
    config.augment.update(rotation=6.0, scale=0.08, shear=0.05, shift=0.05)
    config.update(changes)
    return config


def photos_config(network: str = "resnet18", name: str | None = None, splits: Splits = None, **changes: Any) -> Any:
    """Returns a config for color photographs of several hundred pixels a side, each at its own size.

    Args: as for `default_config`.
    """
    config = default_config(network, name, splits, epochs=30, batch_size=32, max_buckets=8)
    with config.ignore_type():  # ImageNet's numbers, one per channel; the default is one number
        config.data.update(channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    config.augment.update(flip=0.5, rotation=5.0, scale=0.1, shift=0.05)
    config.optimizer.update(learning_rate=1e-3, weight_decay=0.05)
    config.update(changes)
    return config


def sounds_config(network: str = "fcn", name: str | None = None, splits: Splits = None, **changes: Any) -> Any:
    """Returns a config for recordings at 8 kHz, each at its own length, as log-mel spectrograms.

    Args: as for `default_config`.
    """
    config = default_config(network, name, splits, epochs=30, batch_size=32, max_buckets=6)
    if network == "fcn":
        config.model.channels = (64, 128, 128)  # each block halves the number of frames
    config.data.sample_rate = 8000
    config.frontend.update(name="log_mel", time_masks=1, frequency_masks=1)
    config.augment.update(gain=6.0, time_shift=0.1)
    config.optimizer.update(learning_rate=2e-3, weight_decay=0.05)
    config.update(changes)
    return config


def config_help() -> str:
    """Returns all fields of a config with their defaults and help, for a terminal of 80 columns.

    >>> [line for line in config_help().splitlines() if "warmup=" in line]
    ['  --config.optimizer.warmup=0.1']
    """
    config = default_config()
    lines = []
    for name, text in field_help(Recipe).items():
        value: Any = config
        for part in name.split("."):
            value = value[part]
        lines.append(f"  --config.{name}={value}")
        lines += textwrap.wrap(text, 80, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)
