"""One sentence for a name that does not exist: what was given, what is nearest, what there is; and names cut short."""

import difflib
import inspect
from collections.abc import Callable, Iterable
from typing import Any


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Returns the message for an unknown `name` of a `kind`.

    >>> unknown_name("pool", "maen", ["mean", "max"])
    "unknown pool 'maen': did you mean 'mean'? Known: max, mean."
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f": did you mean {near[0]!r}?" if near else "."
    return f"unknown {kind} {name!r}{hint} Known: {', '.join(names) or 'none'}."


def check_options(kind: str, options: Iterable[str], function: Callable[..., Any]):
    """Raises ValueError if a name in `options` is no parameter of `function`, naming the nearest one."""
    known = [name for name in inspect.signature(function).parameters if name not in ("self", "rngs")]
    for name in options:
        if name not in known:
            raise ValueError(unknown_name(kind, name, known))


def shortened(name: str, longest: int = 24) -> str:
    """Returns a name for a table or a picture: of more than `longest` letters, the first ones and an ellipsis.

    >>> shortened("European fire-bellied toad", 12)
    'European fi…'
    """
    return name if len(name) <= longest else name[: longest - 1] + "…"


def joined(extents: Iterable[int]) -> str:
    """Returns the extents of a size as people write them.

    >>> joined((28, 16))
    '28x16'
    """
    return "x".join(map(str, extents))


def first_line(error: Exception) -> str:
    """Returns the first line of what an error says, or its type's name where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
