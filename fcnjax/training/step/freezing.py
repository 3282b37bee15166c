"""Arrays that training leaves as they are: chosen by patterns over names, with the norms that keep their statistics.

The one idea: a norm whose weights are all frozen keeps its running statistics and normalizes by them, so that a
frozen block computes in training what it computes in evaluation, dropout aside.
"""

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from fcnjax.layers import BatchNorm
from fcnjax.models import Classifier
from fcnjax.training.step.average import Arrays
from fcnjax.training.step.step import split


def frozen_names(model: Classifier, patterns: Sequence[str], head_only: float = 0.0) -> frozenset[str]:
    """Returns the names of the weights that patterns match, and of the running statistics of norms among them.

    Args:
        model: the network.
        patterns: each matches a name, or the beginning of one that ends before a dot: "stem", "stage[12]",
            "blocks.0", "*.kernel". Names begin with "head", or with the name of a block in place of its index. A batch
            norm keeps its statistics if its scale and bias are both frozen.
        head_only: share of the steps that train the head alone, which must then not be frozen.

    Raises:
        ValueError: if a pattern matches nothing (the message names the blocks), or nothing is left to train.
    """
    _, weights, statistics = split(model)
    blocks = {f"blocks.{index}": block.name for index, block in enumerate(model.blocks)}
    found = set()
    for pattern in patterns:
        matched = {name for name in weights if _matches(pattern, name, blocks)}
        if not matched:
            known = ", ".join([*blocks.values(), "head"])
            raise ValueError(
                f"config.freeze: {pattern!r} matches no weight; give patterns such as a block ({known}) or '*.bias'."
            )
        found |= matched
    if found >= weights.keys():
        raise ValueError(f"config.freeze={tuple(patterns)}: must leave weights to train; leave out 'head', for one.")
    if head_only and not any(name.startswith("head.") for name in weights.keys() - found):
        raise ValueError(
            f"config.freeze={tuple(patterns)}: must not freeze the whole head with config.optimizer.head_only="
            f"{head_only}, as nothing would train at first; set it to 0."
        )
    return frozenset(found | {name for name in statistics if _norm_weights(name) <= found})


def _norm_weights(statistic: str) -> set[str]:
    """Returns the names of the weights of the norm that has a running statistic."""
    norm = statistic.rpartition(".")[0]
    return {f"{norm}.scale", f"{norm}.bias"}


def freeze_norms(model: Classifier, names: Collection[str]) -> None:
    """Makes the batch norms whose running statistics are frozen normalize by them in training too."""
    for path, module in nnx.iter_modules(model):
        if isinstance(module, BatchNorm) and ".".join([*map(str, path), "mean"]) in names:
            module.frozen = True


def without_frozen(inner: optax.GradientTransformation, names: Collection[str]) -> optax.GradientTransformation:
    """Returns an optimizer that updates the weights of other names alone, and holds no state for these."""

    def kept(arrays: Arrays) -> Arrays:
        return {name: array for name, array in arrays.items() if name not in names}

    def init(weights: Arrays) -> optax.OptState:
        return inner.init(kept(weights))

    def update(gradients: Arrays, state: optax.OptState, weights: Arrays) -> tuple[Arrays, optax.OptState]:
        updates, state = inner.update(kept(gradients), state, kept(weights))
        return jax.tree.map(jnp.zeros_like, gradients) | updates, state  # type: ignore[operator]

    return optax.GradientTransformation(init, update)  # type: ignore[arg-type]


def _matches(pattern: str, name: str, blocks: dict[str, str]) -> bool:
    place = ".".join(name.split(".")[:2])
    alias = blocks[place] + name.removeprefix(place) if place in blocks else name
    return any(fnmatchcase(each, pattern) or fnmatchcase(each, f"{pattern}.*") for each in (name, alias))
