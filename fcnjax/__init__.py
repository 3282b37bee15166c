"""Convolutional classifiers on images and signals at their native sizes, exact under padding."""

import importlib
from typing import TYPE_CHECKING, Any

from fcnjax.installation import check_dependencies

if TYPE_CHECKING:
    from fcnjax import models, pooling
    from fcnjax.data import load_source, plan_buckets
    from fcnjax.heads import Head
    from fcnjax.inference import evaluate, load
    from fcnjax.padded import Padded
    from fcnjax.training import train

check_dependencies()

__version__ = "0.1.0"

__all__ = ["Head", "Padded", "evaluate", "load", "load_source", "models", "plan_buckets", "pooling", "train"]

# Where the names that are not modules are defined. A name or a module is imported when it is first used: JAX and what
# else they need take over a second, in which a command could not say what it is for, or that it was interrupted.
_HOMES = {
    "Head": "fcnjax.heads",
    "Padded": "fcnjax.padded",
    "evaluate": "fcnjax.inference",
    "load": "fcnjax.inference",
    "load_source": "fcnjax.data",
    "plan_buckets": "fcnjax.data",
    "train": "fcnjax.training",
}


def __getattr__(name: str) -> Any:
    """Imports and returns a name of `__all__` or a module of this package, such as `fcnjax.layers`.

    Raises:
        AttributeError: if there is no such name.
    """
    home = _HOMES.get(name, f"{__name__}.{name}")
    try:
        if name.startswith("_"):
            raise ModuleNotFoundError(name=home)
        module = importlib.import_module(home)
    except ModuleNotFoundError as error:
        if error.name != home:
            raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    globals()[name] = getattr(module, name) if name in _HOMES else module
    return globals()[name]


def __dir__() -> list[str]:
    """Returns the names of the package, imported or not."""
    return sorted({*globals(), *__all__})
