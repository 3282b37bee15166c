"""Frozen dataclasses from nested mappings: unknown, missing and mistyped fields become one sentence each."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from fcnjax.naming import unknown_name

T = TypeVar("T", bound=Any)


def require(holds: bool, name: str, value: Any, allowed: str):
    """Raises ValueError for the field `name` unless its value holds what is allowed."""
    if not holds:
        raise ValueError(f"config.{name}={value}: must be {allowed}.")


def set_fields(settings: Any) -> dict[str, Any]:
    """Returns the fields of a dataclass that are not None, by name."""
    return {name: value for name, value in dataclasses.asdict(settings).items() if value is not None}


def field_names(cls: type, group: str = "") -> list[str]:
    """Returns the names of the fields in a group of a dataclass, such as "optimizer." or "" for itself."""
    kind: Any = cls
    for name in group.split(".")[:-1]:
        kind = _group(typing.get_type_hints(kind).get(name)) or cls
    return list(typing.get_type_hints(kind))


def build(cls: type[T], config: Mapping[str, Any], prefix: str = "") -> T:
    """Returns an instance of a dataclass from nested mappings (a `ConfigDict` too); groups of fields are dataclasses.

    Args:
        cls: the dataclass, which checks its own values and raises ValueError.
        config: fields by name.
        prefix: where in the whole config this group stands, such as "optimizer.".

    Raises:
        ValueError: for an unknown field, with the nearest one, a missing one, or a value out of its range.
        TypeError: for a value of another type than the field's.
    """
    if not hasattr(config, "items"):  # a ConfigDict is no Mapping
        raise TypeError(f"{f'config.{prefix}'.rstrip('.')}={config!r}: must be a group of fields.")
    hints = typing.get_type_hints(cls)
    arguments: dict[str, Any] = {}
    given: dict[str, Any] = dict(config)
    for name, value in given.items():
        if name not in hints:
            raise ValueError(unknown_name("config field", prefix + name, [prefix + known for known in hints]))
        kind = _group(hints[name])
        if kind is None or (value is None and hints[name] != kind):
            arguments[name] = _typed(hints[name], value, prefix + name)
        else:
            arguments[name] = build(kind, typing.cast(Any, value), f"{prefix}{name}.")
    missing = [f.name for f in dataclasses.fields(cls) if _required(f) and f.name not in arguments]
    if missing:
        raise ValueError(f"config.{prefix}{missing[0]}: is missing and has no default.")
    try:
        return cls(**arguments)
    except ValueError as error:  # a class that is no part of the recipe alone does not know where it stands
        raise error if str(error).startswith("config.") else ValueError(f"config.{prefix}{error}") from None


def _required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _options(kind: Any) -> tuple[Any, ...]:
    """Returns the types that a field may have."""
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)


def _typed(kind: Any, value: Any, name: str) -> Any:
    """Returns `value` as the field's type: lists become tuples and ints floats where the field says so."""
    options = _options(kind)
    for option in options:
        if typing.get_origin(option) is tuple and isinstance(value, (list, tuple)):
            inner, *others = typing.get_args(option)
            if others != [...] and len(value) != 1 + len(others):
                raise ValueError(f"config.{name}={value!r}: must have {1 + len(others)} entries.")
            return tuple(_typed(inner, entry, f"{name}[{index}]") for index, entry in enumerate(value))
        if option is float and isinstance(value, int | float) and not isinstance(value, bool):
            require(math.isfinite(value), name, value, "a finite number")
            return float(value)
        if isinstance(option, type) and isinstance(value, option) and (option is bool or not isinstance(value, bool)):
            return value
    wanted = " or ".join(getattr(o, "__name__", str(o)) for o in options).replace("NoneType", "None")
    raise TypeError(f"config.{name}={value!r}: must be of type {wanted}.")


def _group(kind: Any) -> Any:
    """Returns the dataclass that a field of this type may hold, or None."""
    return next((option for option in _options(kind) if dataclasses.is_dataclass(option)), None)
