"""How names, sizes and errors are written in messages and tables: one wording for each."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

LONGEST = 400  # characters of the message of another library that are shown
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last four: full width


def printable(text: object, keep: str = "") -> str:
    r"""Returns a text in which characters that are not printable are escaped as in a Python string.

    For names that come from data, such as those of files and classes, wherever they are printed: on a terminal, raw
    ones could clear the screen, hide text or begin a line of their own.

    Args:
        text: the text, or an object such as an error, whose `str` is taken.
        keep: characters that are not escaped, such as a newline in a text that has several lines.

    >>> print(printable("cat\x1b[2J\ndog"))
    cat\x1b[2J\ndog
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in keep else repr(one)[1:-1] for one in text)


def writable(text: str) -> str:
    r"""Returns a text that UTF-8 can write: bytes of a file's name that are not UTF-8 are escaped.

    >>> print(writable("caf\udce9"))
    caf\udce9
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def spreadsheet_text(text: str) -> str:
    """Returns a text for a cell of a CSV file: an apostrophe precedes what a spreadsheet would run as a formula.

    Numbers stay as they are, and the text is `writable`.

    >>> spreadsheet_text("=HYPERLINK(A1)"), spreadsheet_text("-0.5"), spreadsheet_text("cat")
    ("'=HYPERLINK(A1)", '-0.5', 'cat')

    Source: OWASP, "CSV Injection".
    """
    text = writable(text)
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isprintable()  # Python also reads numbers that follow a tab


def unknown_name(kind: str, name: Any, known: Iterable[str]) -> str:
    """Returns the sentence for a name that does not exist: the name, the nearest known one, and all known ones.

    Args:
        kind: the kind of thing that the name denotes, such as "pool".
        name: the unknown name.
        known: the names that exist.

    >>> unknown_name("pool", "maen", ["mean", "max"])
    "unknown pool 'maen': did you mean 'mean'? Known: max, mean."
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5) if isinstance(name, str) else []
    hint = f": did you mean {near[0]!r}?" if near else "."
    return f"unknown {printable(kind)} {name!r}{hint} Known: {printable(', '.join(names)) or 'none'}."


def check_name(kind: str, name: Any, known: Iterable[str]):
    """Raises ValueError, with the sentence of `unknown_name`, unless `name` is one of the `known` names."""
    if not isinstance(name, str) or name not in known:
        raise ValueError(unknown_name(kind, name, known))


def check_options(kind: str, options: Iterable[str], function: Callable[..., Any]):
    """Checks that the names in `options` are parameters of `function`.

    Args:
        kind: the kind of the options, such as "option of the head".
        options: names of the options that a user gave.
        function: the function that takes the options; its parameters `self` and `rngs` are not options.

    Raises:
        ValueError: if a name is not a parameter; the message names the nearest parameter.
    """
    known = [name for name in inspect.signature(function).parameters if name not in ("self", "rngs")]
    for name in options:
        if name not in known:
            raise ValueError(unknown_name(kind, name, known))


def shortened(name: str, max_length: int = 24) -> str:
    """Returns a printable name for a table or a figure, with an ellipsis if it has more than `max_length` characters.

    >>> shortened("European fire-bellied toad", 12)
    'European fi…'
    """
    name = printable(name)
    return name if len(name) <= max_length else name[: max_length - 1] + "…"


def some(names: Sequence[str], count: int = 5) -> str:
    """Returns names for a message: the first ones, and how many more there are.

    >>> some(["a", "b", "c", "d"], 2)
    'a, b and 2 more'
    """
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def joined(extents: Iterable[int]) -> str:
    """Returns the extents of a size, joined by "x".

    >>> joined((28, 16))
    '28x16'
    """
    return "x".join(map(str, extents))


def first_line(error: Exception) -> str:
    r"""Returns the first line of an error's message, cut off after 400 characters, or its type if it has none.

    Other libraries write thousands of characters about what they were doing; the cause comes first.

    >>> first_line(ValueError("no such file\nwhile reading"))
    'no such file'
    """
    return shortened((str(error).strip() or type(error).__name__).splitlines()[0], LONGEST)
