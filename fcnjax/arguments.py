"""Checks arguments against the annotations of the function that takes them: one sentence for a value of a wrong type.

The annotations are the specification, so a constructor needs no code of its own for it. Ranges, and what arguments must
have in common, are checked by the function itself.
"""

import collections.abc
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np


def check_arguments(owner: str, function: Callable[..., Any], arguments: Mapping[str, Any]):
    """Checks that arguments have the types with which a function declares its parameters.

    Args:
        owner: what takes the arguments, such as "Convolution"; it ends the beginning of the sentence.
        function: its parameters without annotation, and parameters of types that are not listed in `fits`, take
            anything.
        arguments: values by the name of the parameter; other names are ignored.

    Raises:
        ValueError: if a value has another type. A bool is not an int here; an int is a float; numbers of numpy count.

    >>> def pool(kernel: int | Sequence[int]): ...
    >>> check_arguments("the pool", pool, {"kernel": 3.0})
    Traceback (most recent call last):
    ValueError: kernel=3.0 of the pool: must be a whole number or a sequence of whole numbers.
    """
    for name, kind in _annotations(function).items():
        if name in arguments and not fits(arguments[name], kind):
            name, value, kind = _culprit(name, arguments[name], kind)
            raise ValueError(f"{name}={shown(value)} of {owner}: must be {described(kind)}.")


def check_call(owner: str, function: Callable[..., Any], *args: Any, **kwargs: Any):
    """Checks the arguments of a call by position and name (see `check_arguments`); a wrong number is left to Python."""
    try:
        bound = _signature(function).bind(*args, **kwargs)
    except TypeError:
        return
    check_arguments(owner, function, bound.arguments)


def _culprit(name: str, value: Any, kind: Any) -> tuple[str, Any, Any]:
    """Returns the name, value and type of the first entry that does not fit a sequence; else those of the whole."""
    if typing.get_origin(kind) is collections.abc.Sequence and is_sequence(value):
        (of,) = typing.get_args(kind)
        index = next(index for index, each in enumerate(value) if not fits(each, of))
        return _culprit(f"{name}[{index}]", value[index], of)
    return name, value, kind


def fits(value: Any, kind: Any) -> bool:
    """Returns whether a value has the type of an annotation: a union, a number, a name, a sequence, a class, .."""
    origin, of = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, each) for each in of)
    if kind in _WORDS:
        return _WORDS[kind][2](value)
    if origin is tuple:
        return is_sequence(value) and len(value) == len(of) and all(map(fits, value, of))
    if origin is collections.abc.Sequence:
        return is_sequence(value) and all(fits(each, of[0]) for each in value)
    if origin is collections.abc.Callable:
        return callable(value)
    if origin is collections.abc.Mapping:
        return isinstance(value, Mapping)
    plain = isinstance(kind, type) and origin is None and not getattr(kind, "_is_protocol", False)
    return isinstance(value, kind) if plain else True


def described(kind: Any, several: bool = False) -> str:
    """Returns what an annotation allows in words, such as "a whole number or None"."""
    origin, of = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(described(each, several) for each in of))
    if kind in _WORDS:
        return _WORDS[kind][1] if several else _WORDS[kind][0]
    if origin is tuple:
        return f"{'groups' if several else 'a group'} of {len(of)} {described(of[0], True)}"
    if origin is collections.abc.Sequence:
        return f"{'sequences' if several else 'a sequence'} of {described(of[0], True)}"
    if origin is collections.abc.Callable:
        return "functions" if several else "a function"
    if origin is collections.abc.Mapping:
        return "dictionaries of options" if several else "a dictionary of options"
    name = getattr(kind, "__name__", str(kind))
    if name == "Rngs":
        return "an nnx.Rngs, such as nnx.Rngs(0)"
    return f"{name}s" if several else f"a {name}"


def shown(value: Any, max_length: int = 60) -> str:
    """Returns a value for a message: its repr, or its type if the repr is long or has several lines."""
    text = repr(value)
    return text if len(text) <= max_length and "\n" not in text else f"a {type(value).__name__}"


def is_whole(value: Any) -> bool:
    """Returns whether a value is an int; one of numpy counts, a bool does not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Returns whether a value is an int or a float, of Python, numpy or JAX; a bool is not."""
    scalar = hasattr(value, "dtype") and np.ndim(value) == 0 and value.dtype != bool
    return scalar or (isinstance(value, Real) and not isinstance(value, bool))


def is_sequence(value: Any) -> bool:
    """Returns whether a value is a sequence or an array with an axis; a string is not."""
    if hasattr(value, "dtype"):
        return np.ndim(value) > 0
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


_WORDS: dict[Any, tuple[str, str, Callable[[Any], bool]]] = {  # one, several, whether a value is one
    int: ("a whole number", "whole numbers", is_whole),
    float: ("a number", "numbers", is_number),
    bool: ("True or False", "True or False", lambda value: isinstance(value, bool | np.bool_)),
    str: ("a string", "strings", lambda value: isinstance(value, str)),
    types.NoneType: ("None", "None", lambda value: value is None),
    Any: ("anything", "anything", lambda value: True),
}


def _underlying(function: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.unwrap(function)


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    return _hints(_underlying(function))


@functools.lru_cache(maxsize=256)
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        hints = typing.get_type_hints(function)
    except NameError:  # a layer of somebody else, with names that only type checkers import
        return {}
    kinds = {parameter.name: parameter.kind for parameter in inspect.signature(function).parameters.values()}
    packed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {name: kind for name, kind in hints.items() if name in kinds and kinds[name] not in packed}


@functools.lru_cache(maxsize=256)
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)
