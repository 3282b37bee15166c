"""Values of results and plans as JSON: floats in full precision, and texts for the ones that JSON does not have."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def encoded(value: Any) -> Any:
    """Returns a value as JSON holds it: mappings sorted by key, tuples and arrays as lists, `nan` and `inf` as texts.

    Dataclasses and named tuples become mappings.

    >>> encoded({"b": (1, float("nan")), "a": None})
    {'a': None, 'b': [1, 'nan']}

    Raises:
        TypeError: if a value is of another type.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return encoded({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return encoded(value._asdict())  # type: ignore[attr-defined]
    if isinstance(value, Mapping):
        return {str(name): encoded(value[name]) for name in sorted(value, key=str)}
    if isinstance(value, np.ndarray | np.generic):
        return encoded(value.tolist())
    if isinstance(value, list | tuple):
        return [encoded(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"value={value!r}: must be a number, a text, None, or a list or mapping of these.")


def decoded_number(value: Any) -> Any:
    """Returns a number that `encoded` wrote; None stays None.

    >>> decoded_number("-inf"), decoded_number(0.5)
    (-inf, 0.5)
    """
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def digest_of(value: Any) -> str:
    """Returns 16 hexadecimal digits that identify a value; the order of keys does not matter."""
    text = json.dumps(encoded(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
