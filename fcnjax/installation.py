"""Whether this package and what it needs are installed, and one sentence if not. It imports only the standard library.

A checkout runs without being installed until something asks for the version of the package, which a run records. That
is asked first, so that nobody waits for data and compilation before the answer.
"""

import importlib.metadata
import sys
from pathlib import Path
from typing import NoReturn

NAME = "fcnjax"
UNUSABLE = 2  # exit code, one of those of `fcnjax.commands.command_line`
OWN = (NAME, "experiments", "configs", "tests")  # packages of the checkout: one that is missing is a bug


class NotInstalledError(ImportError):
    """The package, or a package that it needs, is not installed; the message is one sentence that says what to do."""


def installed_version() -> str:
    """Returns the version of the installed package.

    Raises:
        NotInstalledError: if the package is not installed for this Python, although it can be imported.
    """
    try:
        return importlib.metadata.version(NAME)
    except importlib.metadata.PackageNotFoundError:
        raise NotInstalledError(f"{NAME}: is not installed for {sys.executable}; {_advice()}") from None


def explain_missing(error: ModuleNotFoundError, *, command: bool | None = None) -> NoReturn:
    """Ends a command that lacks a package with one sentence and exit code 2; elsewhere raises the sentence.

    Args:
        error: of an import in this package.
        command: whether a command is being started; None: whether Python is still looking for the module that `python
            -m` names.

    Raises:
        NotInstalledError: unless a command is being started.
        ModuleNotFoundError: `error`, if the missing module is our own, or has no name.
    """
    missing = (error.name or "").partition(".")[0]
    if not missing or missing in OWN:
        raise error
    sentence = f"{NAME}: needs the package of the module {missing!r}, which is not installed for {sys.executable}; "
    sentence += _advice()
    if command or (command is None and sys.argv[:1] == ["-m"]):
        print(sentence, file=sys.stderr)
        raise SystemExit(UNUSABLE)
    raise NotInstalledError(sentence, name=missing) from error


def _advice() -> str:
    root = Path(__file__).resolve().parent.parent
    if (root / "pyproject.toml").is_file():
        return f"run 'make' or '{Path(sys.executable).name} -m pip install -e .' in {root}."
    return "install it with pip, from a checkout or a wheel."
