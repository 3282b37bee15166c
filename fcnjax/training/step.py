"""The functional step: weights, statistics and optimiser state in, the same out.

NNX modules define the network; a step merges plain arrays into one, differentiates, and splits it again. Weights and
statistics are flat dictionaries by name, such as "blocks.0.layers.0.kernel". Axes: B batch, K classes.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, traverse_util

from fcnjax.data import mix
from fcnjax.models import Classifier
from fcnjax.padded import Padded

Arrays = dict[str, jax.Array]
Loss = Callable[[jax.Array, jax.Array], jax.Array]  # logits [B, K], labels [B] -> loss of each example [B]

Augment = Callable[[Padded, jax.Array], Padded]  # batch, one key per example [B] -> batch of the same sizes


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that a step changes.

    Attributes:
      step: int32 [], number of steps done.
      weights: trainable arrays by name.
      statistics: running statistics by name.
      optimizer: optax state.
    """

    step: jax.Array
    weights: Arrays
    statistics: Arrays
    optimizer: Any


class Targets(NamedTuple):
    """What a step needs to know of the rows of a batch besides their values.

    Attributes:
      labels: int32 [B].
      ids: int32 [B], of the examples within their data set; randomness is keyed by them.
    """

    labels: np.ndarray | jax.Array
    ids: np.ndarray | jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Sums over the real examples of a batch, and their logits.

    Attributes:
      loss: float32 [], summed.
      correct: int32 [].
      count: int32 [], real examples.
      logits: float32 [B, K].
      real: bool [B], which rows hold an example.
      labels: int32 [B], as they were given: of all hosts' rows, like the others.
    """

    loss: jax.Array
    correct: jax.Array
    count: jax.Array
    logits: jax.Array
    real: jax.Array
    labels: jax.Array


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns softmax cross-entropy [B] of logits (or log-probabilities) [B, K] and labels [B]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def split(model: Classifier) -> tuple[nnx.GraphDef[Classifier], Arrays, Arrays]:
    """Returns a network's structure, its weights and its running statistics."""
    graphdef, weights, statistics = nnx.split(model, nnx.Param, nnx.BatchStat)
    return graphdef, _flat(weights), _flat(statistics)


def merge(graphdef: nnx.GraphDef[Classifier], weights: Arrays, statistics: Arrays) -> Classifier:
    """Returns the network of a structure, weights and running statistics: the inverse of `split`."""
    return nnx.merge(graphdef, _nested(weights), _nested(statistics))


Gradient = Callable[..., tuple[jax.Array, Arrays, Arrays]]


def make_gradient(
    graphdef: nnx.GraphDef[Classifier],
    loss: Loss = cross_entropy,
    augment: Augment = lambda batch, keys: batch,
    mixup: float = 0.0,
) -> Gradient:
    """Returns `gradient(weights, statistics, batch, targets, clock, total) -> (mean loss, statistics, gradients)`.

    `clock` is uint32 [2], seed and epoch. With an example's id they make its PRNG key, so that what is random for an
    example depends neither on its place in a batch nor on the step. `total` is the number of examples that the mean is
    taken over, float32 []: those of the whole step, of which the batch may be a part; None takes the batch's own.

    Args:
      graphdef: the network's structure.
      loss: of each example.
      augment: changes the batch first.
      mixup: of `fcnjax.data.mix`; 0 mixes nothing.
    """

    def objective(weights: Arrays, statistics: Arrays, batch: Padded, targets: Targets, keys: jax.Array, total):
        model = merge(graphdef, weights, statistics)
        labels = jnp.asarray(targets.labels)
        batch, partner, weight = mix(batch, keys, mixup) if mixup else (batch, None, 1.0)
        logits = model(batch, train=True, keys=keys).astype(jnp.float32)
        losses = loss(logits, labels)
        if partner is not None:
            losses = weight * losses + (1 - weight) * loss(logits, labels[partner])
        losses = jnp.where(batch.real, losses, 0.0)
        total = jnp.sum(batch.real) if total is None else total
        return jnp.sum(losses) / jnp.maximum(total, 1), _flat(nnx.state(model, nnx.BatchStat))

    def gradient(weights: Arrays, statistics: Arrays, batch: Padded, targets: Targets, clock: jax.Array, total=None):
        key = jax.random.fold_in(jax.random.key(clock[0]), clock[1])
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, targets.ids)
        differentiate = jax.value_and_grad(objective, has_aux=True)
        (mean, moved), gradients = differentiate(weights, statistics, augment(batch, keys), targets, keys, total)
        return mean, moved, gradients

    return gradient


def make_train_step(
    gradient: Gradient, optimizer: optax.GradientTransformation
) -> Callable[..., tuple[TrainState, jax.Array]]:
    """Returns `step(state, batch, targets, clock) -> (state, mean loss over the real examples)`."""

    def step(state: TrainState, batch: Padded, targets: Targets, clock: jax.Array) -> tuple[TrainState, jax.Array]:
        mean, statistics, gradients = gradient(state.weights, state.statistics, batch, targets, clock)
        return _moved(state, statistics, gradients, optimizer), mean

    return step


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sums:
    """What the micro-batches of a step have given so far.

    Attributes:
      loss: float32 [].
      gradients: by name, like the weights.
    """

    loss: jax.Array
    gradients: Arrays

    @classmethod
    def zeros(cls, weights: Arrays) -> "Sums":
        """Returns the sums before the first micro-batch."""
        return cls(jnp.float32(0), {name: jnp.zeros_like(array) for name, array in weights.items()})  # type: ignore[arg-type]


def make_accumulating_step(gradient: Gradient) -> Callable[..., tuple[TrainState, Sums]]:
    """Returns `accumulate(state, sums, batch, targets, clock, total) -> (state, sums)`, for one part of a step.

    Weights stay as they are; running statistics, where there are any, move with every part.
    """

    def accumulate(
        state: TrainState, sums: Sums, batch: Padded, targets: Targets, clock: jax.Array, total: jax.Array
    ) -> tuple[TrainState, Sums]:
        mean, statistics, gradients = gradient(state.weights, state.statistics, batch, targets, clock, total)
        added = jax.tree.map(jnp.add, sums, Sums(mean, gradients))
        return dataclasses.replace(state, statistics=statistics), added

    return accumulate


def make_update(
    optimizer: optax.GradientTransformation,
) -> Callable[[TrainState, Sums], tuple[TrainState, jax.Array, Sums]]:
    """Returns `update(state, sums) -> (state, mean loss, sums of zero)`, the end of a step made of parts."""

    def update(state: TrainState, sums: Sums) -> tuple[TrainState, jax.Array, Sums]:
        moved = _moved(state, state.statistics, sums.gradients, optimizer)
        return moved, sums.loss, jax.tree.map(jnp.zeros_like, sums)

    return update


def _moved(
    state: TrainState, statistics: Arrays, gradients: Arrays, optimizer: optax.GradientTransformation
) -> TrainState:
    updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.weights)
    weights = optax.apply_updates(state.weights, updates)
    return TrainState(state.step + 1, weights, statistics, optimizer_state)  # type: ignore[arg-type]


def make_evaluation_step(
    graphdef: nnx.GraphDef[Classifier], loss: Loss = cross_entropy
) -> Callable[[Arrays, Arrays, Padded, jax.Array], Evaluation]:
    """Returns `step(weights, statistics, batch, labels) -> Evaluation`."""

    def step(weights: Arrays, statistics: Arrays, batch: Padded, labels: jax.Array) -> Evaluation:
        logits = merge(graphdef, weights, statistics)(batch).astype(jnp.float32)
        losses = jnp.where(batch.real, loss(logits, labels), 0.0)
        correct = jnp.sum(batch.real & (jnp.argmax(logits, -1) == labels))
        return Evaluation(jnp.sum(losses), correct, jnp.sum(batch.real), logits, batch.real, labels)

    return step


def _flat(state: Any) -> Arrays:
    paths: dict[tuple, Any] = traverse_util.flatten_dict(nnx.to_pure_dict(state))
    return {".".join(map(str, path)): array for path, array in paths.items()}


def _nested(arrays: Arrays) -> dict[Any, Any]:
    paths = {tuple(int(p) if p.isdigit() else p for p in name.split(".")): array for name, array in arrays.items()}
    return traverse_util.unflatten_dict(paths)
