"""Weights that training starts from: those of a trained network, with a head for other classes.

Axes: K classes. The one idea: the blocks are taken over whole or not at all; of the head, what fits, and the columns of
its classifier where classes match by name.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fcnjax.data import Source
from fcnjax.models import Classifier
from fcnjax.models.weights.torch_names import classifier_names
from fcnjax.naming import printable, shortened, some
from fcnjax.training.data_digest import INIT, Digest
from fcnjax.training.settings.recipe import Recipe
from fcnjax.training.standalone.model_files import TENSORS, Standalone, read_model
from fcnjax.training.step.average import Average
from fcnjax.training.step.step import TrainState, split

WHOLE, CLASSIFIER, NEW = "whole", "classifier", "new"
LAYERS = ("hidden", "activation", "norm", "kernel", "flatten", "dropout")  # fields that decide the layers of a head


@dataclasses.dataclass(frozen=True, eq=False)
class InitialWeights:
    """Arrays of a trained network for another one.

    Attributes:
        arrays: arrays that are taken over whole, by name.
        columns: arrays of the classifier [..., K] of the trained network, by name.
        pairs: pairs (class of the new network, class of the trained one) that match by name.
        digest: hash of the file of the weights, as an entry of a `Digest`.
        text: what was taken over and what is new, in lines.
    """

    arrays: Mapping[str, np.ndarray]
    columns: Mapping[str, np.ndarray]
    pairs: Sequence[tuple[int, int]]
    digest: Digest
    text: str

    def put(self, state: TrainState) -> TrainState:
        """Returns an initial state with these arrays in place of drawn ones."""
        weights, statistics = (self._put(arrays) for arrays in (state.weights, state.statistics))
        average = None
        if state.average is not None:  # in memory of its own, as steps are given both
            average = Average(*jax.tree.map(jnp.copy, (weights, statistics)))
        return dataclasses.replace(state, weights=weights, statistics=statistics, average=average)

    def _put(self, drawn: Mapping[str, jax.Array]) -> dict[str, Any]:
        return {name: self._array(name, array) for name, array in drawn.items()}

    def _array(self, name: str, drawn: jax.Array) -> Any:
        if name in self.arrays:
            return jax.device_put(self.arrays[name].astype(drawn.dtype), drawn.sharding)
        if name in self.columns and self.pairs:
            new, old = map(list, zip(*self.pairs, strict=True))
            return drawn.at[..., np.array(new)].set(self.columns[name][..., old].astype(drawn.dtype))
        return drawn


def read_initial(recipe: Recipe, source: Source, model: Classifier, place: Path | None = None) -> InitialWeights:
    """Returns the weights that `recipe.init_from` names, for the network of a recipe.

    Args:
        recipe: what to train.
        source: its training examples.
        model: its network, possibly without values.
        place: where these weights are now; None: where the recipe says.

    Raises:
        FileNotFoundError: if there is no model.
        ValueError: if a file of it is damaged, or the blocks of its network are not those of the recipe's.
    """
    try:
        trained = read_model(str(recipe.init_from if place is None else place))
    except FileNotFoundError as error:
        raise FileNotFoundError(str(error).replace("model=", "config.init_from=", 1)) from None
    _, weights, statistics = split(model)
    given = {name: np.asarray(array) for name, array in {**trained.weights, **trained.statistics}.items()}
    wanted: dict[str, Any] = {**weights, **statistics}
    _check_blocks(recipe, trained, given, wanted)
    places = {name: index for index, name in enumerate(source.class_names)}
    pairs = [(places[name], old) for old, name in enumerate(trained.classes) if name in places]
    part_of = _head_parts(recipe, trained, model, classes_differ=trained.classes != source.class_names)
    columns, arrays = {}, {}
    for name in given.keys() & wanted.keys():
        part = part_of(name) if name.startswith("head.") else WHOLE
        if part == CLASSIFIER and given[name].shape[:-1] == wanted[name].shape[:-1]:
            columns[name] = given[name]
        elif part == WHOLE and given[name].shape == wanted[name].shape:
            arrays[name] = given[name]
    new = sorted(wanted.keys() - arrays.keys() - (columns.keys() if pairs else set()))
    sha = hashlib.sha256((trained.path / TENSORS).read_bytes()).hexdigest()
    digest = {INIT: {"examples": sha, "contents": sha, "covers": "all weights"}}
    text = _text(recipe, trained, source, len(arrays), pairs if columns else None, new)
    return InitialWeights(arrays, columns if pairs else {}, pairs, digest, text)


def _text(
    recipe: Recipe,
    trained: Standalone,
    source: Source,
    whole: int,
    pairs: Sequence[tuple[int, int]] | None,
    new: Sequence[str],
) -> str:
    """Returns what was taken over and what is new; `pairs` is None unless the classifier was taken over by columns."""
    head = f"{len(trained.classes)} classes" if trained.classes else "no head"
    lines = [
        f"init_from {printable(recipe.init_from)} ({trained.recipe.model.name}, {head}): {whole} arrays taken over"
    ]
    lines += _differences(recipe, trained)
    if pairs is not None:
        taken = [name for label, name in enumerate(source.class_names) if label in {new for new, _ in pairs}]
        drawn = [name for name in source.class_names if name not in taken]
        lines.append(f"  classes taken over by name: {len(taken)} of {len(source.class_names)}{_in_brackets(taken)}")
        lines.append(f"  new classes: {len(drawn)}{_in_brackets(drawn)}")
    if new:
        lines.append(f"  new arrays: {len(new)}{_in_brackets(new)}")
    return "\n".join(lines)


def describe_frozen(names: Sequence[str] | frozenset[str], weights: Mapping[str, Any]) -> str:
    """Returns which weights and statistics are frozen, in one line."""
    frozen = [name for name in weights if name in names]
    parameters, all_of_them = (sum(int(np.prod(weights[n].shape)) for n in group) for group in (frozen, weights))
    return (
        f"frozen: {len(frozen)} of {len(weights)} weights, {parameters:,} of {all_of_them:,} parameters, and "
        f"{len(names) - len(frozen)} running statistics{_in_brackets(sorted(names))}"
    )


def _check_blocks(
    recipe: Recipe, trained: Standalone, given: Mapping[str, np.ndarray], wanted: Mapping[str, Any]
) -> None:
    """Raises ValueError unless the arrays of the blocks are those of the recipe's network, by name and shape."""
    here, there = trained.recipe.model, recipe.model
    what = f"init_from={printable(recipe.init_from)}"
    if here.name != there.name:
        raise ValueError(f"config.{what}: holds {here.name}; set config.model.name={here.name}, not {there.name}.")
    problems = []
    for name in sorted(name for name in given.keys() | wanted.keys() if not name.startswith("head.")):
        if name not in wanted or name not in given:
            problems.append(f"{name!r} is only in {'the former' if name in given else 'the latter'}")
        elif given[name].shape != wanted[name].shape:
            problems.append(f"{name!r} has the shape {given[name].shape} there and {wanted[name].shape} here")
    if problems:
        before = {field: value for field, value in here.options.items() if there.options.get(field) != value}
        if trained.channels != _in_channels(wanted, trained.channels, problems):
            before["channels of the images"] = trained.channels
        advice = ", ".join(f"{name}={value}" for name, value in before.items()) or "the front end and channels of both"
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise ValueError(
            f"config.{what}: its {shortened(here.name)} is not that of config.model: {problems[0]}{more}; compare "
            f"({advice} there)."
        )


def _in_channels(wanted: Mapping[str, Any], given: int, problems: Sequence[str]) -> int:
    first = next((name for name in wanted if name.endswith("kernel") and not name.startswith("head.")), None)
    differs = first is not None and any(problem.startswith(repr(first)) for problem in problems)
    return int(wanted[first].shape[-2]) if differs and first is not None else given


def _head_parts(
    recipe: Recipe, trained: Standalone, model: Classifier, *, classes_differ: bool
) -> Callable[[str], str]:
    """Returns the function that says how an array of the head is taken over: whole, by columns of classes, or not.

    Of a head with other layers nothing is taken over, of one with another pool, or with other classes and a pool that
    stands behind the classifier, nothing of the pool.
    """
    old, new = trained.recipe.head, recipe.head
    if any(getattr(old, field) != getattr(new, field) for field in LAYERS):
        return lambda name: NEW
    classifier = classifier_names(split(model)[1])
    behind = not classifier or getattr(model.head, "pool_at", 0) > int(classifier[0].split(".")[2])
    same = (old.pool, old.pool_options, old.pool_at) == (new.pool, new.pool_options, new.pool_at)
    pool = WHOLE if same and not (classes_differ and behind) else NEW

    def part(name: str) -> str:
        if name.startswith("head.pool."):
            return pool
        return CLASSIFIER if classes_differ and name in classifier else WHOLE

    return part


def _differences(recipe: Recipe, trained: Standalone) -> list[str]:
    """Returns a line for each setting of the trained network, and of what comes before it, that is another here."""
    before, now = trained.recipe, recipe
    options = [(field.name, getattr(before.model, field.name)) for field in dataclasses.fields(before.model)]
    pairs = {
        **{f"model.{name}": (value, getattr(now.model, name)) for name, value in options},
        **{f"data.{name}": (getattr(before.data, name), getattr(now.data, name)) for name in ("mean", "std")},
        "data.sample_rate": (before.data.sample_rate, now.data.sample_rate),
        "frontend": (before.frontend.options, now.frontend.options),
        "size": (before.size, now.size),
        "precision": (before.precision, now.precision),
    }
    return [
        f"  its config.{name} was {there}, and is {here} now" for name, (there, here) in pairs.items() if there != here
    ]


def _in_brackets(names: Sequence[str]) -> str:
    return f" ({printable(some(names))})" if names else ""
