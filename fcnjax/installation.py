"""Whether this package and what it needs are installed, and one sentence if not. It imports only the standard library.

A checkout runs without being installed until something asks for the version of the package, which a run records. That
is asked first, so that nobody waits for data and compilation before the answer.
"""

import importlib.util
import sys
from pathlib import Path

NAME = "fcnjax"
UNUSABLE = 2  # exit code, one of those of `fcnjax.commands.command_line`
NEEDED = (  # one module of each package in `dependencies` of pyproject.toml
    "absl",
    "array_record",
    "filelock",
    "flax",
    "grain",
    "importlib_resources",
    "jax",
    "jinja2",
    "matplotlib",
    "ml_collections",
    "numpy",
    "optax",
    "orbax",
    "PIL",
    "platformdirs",
    "pyarrow",
    "rich",
    "safetensors",
    "sklearn",
    "scipy",
    "statsmodels",
    "soundfile",
    "soxr",
    "tensorboardX",
    "tensorflow_datasets",
    "tifffile",
    "tqdm",
)


class NotInstalledError(ImportError):
    """The package, or a package that it needs, is not installed; the message is one sentence that says what to do."""


def installed_version() -> str:
    """Returns the version of the installed package.

    Raises:
        NotInstalledError: if the package is not installed for this Python, although it can be imported.
    """
    from importlib.metadata import PackageNotFoundError, version  # here: it takes 20 ms

    try:
        return version(NAME)
    except PackageNotFoundError:
        raise NotInstalledError(f"{NAME}: is not installed for {sys.executable}; {_advice()}") from None


def check_dependencies() -> None:
    """Checks that all packages that this one needs are installed; it looks for them and imports none.

    If one is missing while Python is still looking for the module that `python -m` names, the process ends with one
    sentence and exit code 2.

    Raises:
        NotInstalledError: if a package is missing.
    """
    missing = next((name for name in NEEDED if importlib.util.find_spec(name) is None), None)
    if missing is None:
        return
    sentence = f"{NAME}: needs the package of the module {missing!r}, which is not installed for {sys.executable}; "
    sentence += _advice()
    if sys.argv[:1] == ["-m"]:
        print(sentence, file=sys.stderr)
        raise SystemExit(UNUSABLE)
    raise NotInstalledError(sentence, name=missing)


def _advice() -> str:
    root = Path(__file__).resolve().parent.parent
    if (root / "pyproject.toml").is_file():
        return f"run 'make' or '{Path(sys.executable).name} -m pip install -e .' in {root}."
    return "install it with pip, from a checkout or a wheel."
