"""Keys: what a run and a measurement depend on, as a hash, so that only what has changed is done again.

A run is keyed by its resolved config, its draw, its data and the code; a measurement also by the code of its
measures and of what they share.
Versions of Python, JAX and the other packages are recorded with every run, but are not part of its key: an update would
discard all results, most of which it does not change, and `--reproduce` compares them instead. The runner warns if the
runs of an experiment were made with different versions.
"""

import ast
import dataclasses
import hashlib
import inspect
import json
import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fcnjax.lab import draws
from fcnjax.lab.experiment import Arm, Setting
from fcnjax.training import Recipe
from fcnjax.training.data_digest import Digest
from fcnjax.training.settings.recipe import PACE

PACKAGE = Path(__file__).parents[1]
LEFT_OUT = ("lab", "bench", "commands", "inference")  # rooms that no number of a run depends on
SHARED = (
    "measures/trained_run.py",
    "measures/scores.py",
    "measures/maps/features.py",
    "changes/changed_sizes.py",
    "changes/scenes.py",
)  # modules of which other measures use functions
FIRST_PILOT = 1000  # seeds from here on are those of pilots, such as tuning; no run that is reported has them
LENGTH = 24  # hexadecimal digits of a key: 96 bits


def training_seed(seed: int, fold: int, salt: int = 0) -> int:
    """Returns the seed of initial weights, data order and augmentation of a run, in [0, 2**32).

    It is the same for all arms of a draw, so that they are paired, except for arms with another salt.

    Args:
        seed: number of the seed, at least 0.
        fold: number of the fold, at least 0.
        salt: salt of the arm (see `fcnjax.lab.Arm`), at least 0.
    """
    return int(np.random.SeedSequence((seed, fold, salt)).generate_state(1)[0])


def run_key(recipe: Recipe, setting: Setting, arm: Arm, seed: int, fold: int, digest: Digest) -> str:
    """Returns the key of a run.

    Names and titles of arms are not part of it, nor is the number of seeds: a new arm or seed leaves all other keys.

    Args:
        recipe: the resolved recipe of the run, with its own seed.
        setting: determines the draw.
        arm: its salt, and its change of the sources.
        seed: number of the seed.
        fold: number of the fold.
        digest: of the data before they are divided (see `fcnjax.training.data_digest`).
    """
    changes = None if arm.sources is None else described(arm.sources)
    draw = [setting.folds, setting.train_examples, seed, fold, code_of(draws.__file__)]
    return hashed([_config(recipe), recipe.seed, draw, changes, arm.salt, _own_code(), digest])


def measure_key(arm: str, measures: Iterable[Callable[..., Any]]) -> str:
    """Returns what is added to the key of a run to key what is measured of it.

    Args:
        arm: name of the arm, which measures may read.
        measures: the measures.
    """
    shared = [code_of(PACKAGE / "lab" / name) for name in SHARED]
    return hashed([arm, shared, [described(measure) for measure in measures]])[: LENGTH // 2]


def _config(recipe: Recipe) -> dict[str, Any]:
    """Returns the fields of a recipe that determine the steps of a run, without the seed and the place of the data."""
    config = {name: value for name, value in recipe.to_dict().items() if name not in PACE}
    return config | {"data": {name: value for name, value in config["data"].items() if name != "data_dir"}}


def described(function: Callable[..., Any]) -> list[Any]:
    """Returns what identifies a measure or a change of sources: the code of its module, its name and its fields.

    Fields that are functions themselves are described likewise.

    Raises:
        ValueError: if two functions could share the name, or a field has another text in every process.
    """
    is_function = inspect.isfunction(function)
    name = function.__qualname__ if is_function else type(function).__qualname__
    values = dataclasses.fields(function) if dataclasses.is_dataclass(function) else ()
    fields = {each.name: getattr(function, each.name) for each in values}
    texts = {each: described(value) if callable(value) else repr(value) for each, value in fields.items()}
    known = is_function or dataclasses.is_dataclass(function)
    if not known or re.search(r"<lambda>|<locals>| at 0x[0-9a-f]+", f"{name} {texts}"):
        raise ValueError(
            f"{function}: must have a name that keys its results; use a function of a module or a dataclass."
        )
    file = inspect.getsourcefile(function if is_function else type(function))
    if file is None:
        raise ValueError(f"{function}: must be defined in a file, which keys its results.")
    return [code_of(file), name, texts]


def code_hash(package: Path = PACKAGE, left_out: Iterable[str] = LEFT_OUT) -> str:
    """Returns the hash of all modules of a package, except those in folders that are left out.

    Comments, docstrings and the layout of lines do not change it.
    """
    files = sorted(package.rglob("*.py"))
    names = [file.relative_to(package).as_posix() for file in files]
    outside = tuple(f"{folder}/" for folder in left_out)
    return hashed([[n, _code_of(file)] for n, file in zip(names, files, strict=True) if not n.startswith(outside)])


@cache
def _own_code() -> str:
    """Returns the hash of this package as this process found it first."""
    return code_hash()


@cache
def code_of(file: Path | str) -> str:
    """Returns the hash of a module's syntax tree, without docstrings, experiments and what runs it as a program.

    A process reads each file once: it also runs the code as it found it first, whatever the file holds later.
    """
    return _code_of(Path(file))


def _code_of(file: Path) -> str:
    tree = ast.parse(file.read_bytes())
    tree.body = [node for node in tree.body if not _declares(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    return hashed(_plain(tree))


def _plain(part: Any) -> Any:
    """Returns a part of a syntax tree as lists of texts, the same in all versions of Python.

    Fields without content are left out: versions of Python differ in which of them there are.
    """
    if isinstance(part, list):
        return [_plain(each) for each in part]
    if not isinstance(part, ast.AST):
        return repr(part)
    fields = {name: value for name, value in ast.iter_fields(part) if value not in (None, [])}
    return [type(part).__name__, {name: _plain(value) for name, value in fields.items()}]


def _declares(node: ast.stmt) -> bool:
    """Returns whether a statement assigns an experiment, whose claims and findings change no run, or runs it."""
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    called = value.func if isinstance(value, ast.Call) else None
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name == "Experiment" or (isinstance(node, ast.If) and "__name__" in ast.unparse(node.test))


def hashed(value: Any) -> str:
    """Returns a hash of a JSON value, as long as a key."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:LENGTH]
