"""Frozen dataclasses from configs, configs from dataclasses, and the help of their fields.

Only the dataclasses define the fields of a config, their defaults, types and help. A field that holds a dataclass is a
group; "optimizer.warmup" is the dotted name of a field in a group.
"""

import dataclasses
import inspect
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ml_collections import ConfigDict, config_dict

from fcnjax.naming import unknown_name

T = TypeVar("T", bound=Any)


def require(holds: bool, name: str, value: Any, allowed: str):
    """Raises ValueError, which names the field, its value and what is allowed, unless the condition holds."""
    if not holds:
        raise ValueError(f"{name}={value!r}: must be {allowed}.")


def require_at_least(minimum: int, settings: Any, *names: str):
    """Raises ValueError unless the named fields of a dataclass are at least `minimum`."""
    for name in names:
        require(getattr(settings, name) >= minimum, name, getattr(settings, name), f"at least {minimum}")


def set_fields(settings: Any) -> dict[str, Any]:
    """Returns the fields of a dataclass that are not None, by name."""
    return {name: value for name, value in dataclasses.asdict(settings).items() if value is not None}


def flat_fields(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the values of nested mappings by dotted name.

    >>> flat_fields({"epochs": 3, "optimizer": {"warmup": 0.1}})
    {'epochs': 3, 'optimizer.warmup': 0.1}
    """
    flat = {}
    for name, value in tree.items():
        flat |= flat_fields(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def field_names(cls: type, group: str = "") -> list[str]:
    """Returns the names of the fields in a group of a dataclass, such as "optimizer.", or "" for all of it."""
    kind: Any = cls
    for name in group.split(".")[:-1]:
        kind = _group(typing.get_type_hints(kind).get(name)) or cls
    return list(typing.get_type_hints(kind))


def field_help(cls: type, prefix: str = "") -> dict[str, str]:
    """Returns the help of each field of a dataclass and its groups by dotted name, from the "Attributes" sections.

    Entries of a section are `name: text` or `name, name: text`; a blank line ends the section.

    >>> from fcnjax.training.settings import Recipe
    >>> field_help(Recipe)["log.tensorboard"]
    'whether the reports are also written as event files, to the folder `tensorboard` of the run.'
    """
    section = (inspect.getdoc(cls) or "").partition("\nAttributes:\n")[2].partition("\n\n")[0]
    texts = {}
    for names, text in re.findall(r"^ {4}([\w, ]+): (.+(?:\n {5,}.+)*)", section, re.MULTILINE):
        texts |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    helps = {}
    for name, hint in typing.get_type_hints(cls).items():
        group = _group(hint)
        helps |= field_help(group, f"{prefix}{name}.") if group else {prefix + name: texts.get(name, "")}
    return helps


def as_config(settings: Any) -> ConfigDict:
    """Returns a `ConfigDict` with the fields, values and types of a dataclass.

    A field that is None takes a value of its other type later, or of any type if it has several; every other field
    keeps the type of its value.
    """
    config = ConfigDict()
    for name, hint in typing.get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        if value is None:
            kinds = {typing.get_origin(option) or option for option in _options(hint)} - {types.NoneType}
            value = config_dict.placeholder(kinds.pop() if len(kinds) == 1 else object)
        config[name] = as_config(value) if dataclasses.is_dataclass(value) else value
    return config


def from_mapping(cls: type[T], config: Mapping[str, Any], prefix: str = "") -> T:
    """Returns an instance of a dataclass with its fields from a `ConfigDict` or nested mappings.

    Args:
        cls: the dataclass; it checks its own values and raises ValueError.
        config: values by field name; a field that is left out takes its default.
        prefix: dotted name of the group of `cls` in the whole config, such as "optimizer.".

    Raises:
        ValueError: if a field is unknown (the message names the nearest one), is missing, or is out of its range.
        TypeError: if a value is not of its field's type.
    """
    if not hasattr(config, "items"):  # a ConfigDict is not a Mapping
        raise TypeError(f"{f'config.{prefix}'.rstrip('.')}={config!r}: must be a group of fields.")
    hints = typing.get_type_hints(cls)
    arguments: dict[str, Any] = {}
    given: dict[str, Any] = dict(config)
    for name, value in given.items():
        if name not in hints:
            raise ValueError(unknown_name("config field", prefix + name, [prefix + known for known in hints]))
        group = _group(hints[name])
        if group is None:
            arguments[name] = _typed(hints[name], value, f"config.{prefix}{name}")
        else:
            arguments[name] = from_mapping(group, value, f"{prefix}{name}.")
    for field in dataclasses.fields(cls):
        if field.name not in arguments and field.default is field.default_factory is dataclasses.MISSING:
            raise ValueError(f"config.{prefix}{field.name}: must be given; it has no default.")
    try:
        return cls(**arguments)
    except ValueError as error:
        raise ValueError(f"config.{prefix}{error}") from None


def _options(hint: Any) -> tuple[Any, ...]:
    """Returns the types that a type hint allows."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _group(hint: Any) -> Any:
    """Returns a type hint if it is a dataclass, else None."""
    return hint if dataclasses.is_dataclass(hint) else None


def _typed(hint: Any, value: Any, name: str) -> Any:
    """Returns `value` as the type of its field: a list becomes a tuple and an int a float if the hint says so."""
    options = _options(hint)
    for option in options:
        origin, inner = typing.get_origin(option), typing.get_args(option)
        if origin in (tuple, Sequence) and isinstance(value, list | tuple):
            if origin is tuple and inner[-1] is not ... and len(value) != len(inner):
                raise ValueError(f"{name}={value!r}: must have {len(inner)} entries.")
            return tuple(_typed(inner[0], entry, f"{name}[{index}]") for index, entry in enumerate(value))
        is_bool = isinstance(value, bool)  # Python counts a bool as an int
        if option is float and isinstance(value, int | float) and not is_bool:
            require(math.isfinite(value), name, value, "a finite number")
            return float(value)
        if isinstance(option, type) and isinstance(value, option) and (option is bool or not is_bool):
            return value
    wanted = " or ".join(getattr(option, "__name__", str(option)) for option in options).replace("NoneType", "None")
    raise TypeError(f"{name}={value!r}: must be of type {wanted}.")
