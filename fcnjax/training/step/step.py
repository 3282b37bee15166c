"""The functional training step: takes weights, statistics and optimizer state, and returns their new values.

NNX modules define the network. A step merges plain arrays into a module, differentiates its loss, and splits it again.
Weights and statistics are flat dictionaries by name, such as "blocks.0.layers.0.kernel". Axes: B batch, K classes.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, traverse_util

from fcnjax.data import mix
from fcnjax.models import Classifier
from fcnjax.padded import Padded
from fcnjax.training.step.average import Arrays, Average, moved_average
from fcnjax.training.step.loss import ExampleWeights, Loss, cross_entropy

Augment = Callable[[Padded, jax.Array], Padded]  # batch, one key per example [B] -> batch of the same sizes


@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that a step changes. As a pytree it omits an `average` of None, which checkpoints then do not name.

    Attributes:
        step: int32 [], number of completed steps.
        weights: trainable arrays by name.
        statistics: running statistics by name.
        optimizer: optax state.
        average: of weights and statistics over the steps; None if the run does not keep one.
    """

    step: jax.Array
    weights: Arrays
    statistics: Arrays
    optimizer: Any
    average: Average | None = None

    @property
    def evaluated(self) -> tuple[Arrays, Arrays]:
        """The weights and running statistics that evaluation uses and a run saves; the average if the run keeps one."""
        kept = self if self.average is None else self.average
        return kept.weights, kept.statistics

    def tree_flatten_with_keys(self) -> tuple[list[tuple[Any, Any]], None]:
        """Returns the fields with their names, without an `average` of None (pytree protocol)."""
        names = ("step", "weights", "statistics", "optimizer", *(() if self.average is None else ("average",)))
        return [(jax.tree_util.GetAttrKey(name), getattr(self, name)) for name in names], None

    @classmethod
    def tree_unflatten(cls, _: None, fields: Sequence[Any]) -> "TrainState":
        """Returns the state with these fields (pytree protocol)."""
        return cls(*fields)


class Targets(NamedTuple):
    """Labels, ids and weights of the rows of a batch.

    Attributes:
        labels: int32 [B].
        ids: int32 [B], ids of the examples within their data set, which key all random draws.
        weights: float32 [B], weight of each example in the mean loss; None, which is no array of a step, if all weigh
            the same.
    """

    labels: np.ndarray | jax.Array
    ids: np.ndarray | jax.Array
    weights: np.ndarray | jax.Array | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Sums over the real examples of a batch, and their logits.

    Attributes:
        loss: float32 [], summed.
        correct: int32 [], number of examples classified correctly.
        count: int32 [], number of real examples.
        logits: float32 [B, K].
        real: bool [B], which rows hold an example.
        labels: int32 [B], as given. Like the other arrays, they cover the rows of all hosts.
    """

    loss: jax.Array
    correct: jax.Array
    count: jax.Array
    logits: jax.Array
    real: jax.Array
    labels: jax.Array


def split(model: Classifier) -> tuple[nnx.GraphDef[Classifier], Arrays, Arrays]:
    """Returns a network's structure, its weights and its running statistics."""
    graphdef, weights, statistics = nnx.split(model, nnx.Param, nnx.BatchStat)
    return graphdef, _flat(weights), _flat(statistics)


def merge(graphdef: nnx.GraphDef[Classifier], weights: Arrays, statistics: Arrays) -> Classifier:
    """Returns the network with this structure, weights and running statistics: the inverse of `split`."""
    return nnx.merge(graphdef, _nested(weights), _nested(statistics))


Gradient = Callable[..., tuple[jax.Array, Arrays, Arrays, jax.Array]]


def make_gradient(
    graphdef: nnx.GraphDef[Classifier],
    loss: Loss = cross_entropy,
    augment: Augment = lambda batch, keys: batch,
    mixup: float = 0.0,
    example_weights: ExampleWeights | None = None,
    *,
    divide: bool = True,
) -> Gradient:
    """Returns the function that differentiates the loss.

    `gradient(weights, statistics, batch, targets, seed_and_epoch) -> (loss, statistics, gradients, total)`

    `seed_and_epoch` is uint32 [2]. Seed, epoch and an example's id determine its PRNG key, so the random draws for an
    example depend neither on its place in a batch nor on the step. `total`, float32 [], is the number of real examples,
    or the sum of their weights: that of an example is that of its class times its own in `targets`. With mixup, the
    weight of a mixture is mixed like its loss.

    Args:
        graphdef: the network's structure.
        loss: the loss of each example.
        augment: changes the batch before the network sees it.
        mixup: Beta parameter of `fcnjax.data.mix`; 0: no mixing.
        example_weights: weight of the class of each example in the mean; None: equal weights.
        divide: whether the loss is divided by `total`. A step made of several parts adds up undivided losses and
            gradients, and divides once (see `make_update`).
    """

    def objective(weights: Arrays, statistics: Arrays, batch: Padded, targets: Targets, keys: jax.Array):
        model = merge(graphdef, weights, statistics)
        labels = jnp.asarray(targets.labels)
        own = None if targets.weights is None else jnp.asarray(targets.weights)
        batch, partner, share = mix(batch, keys, mixup) if mixup else (batch, None, 1.0)
        logits = model(batch, train=True, keys=keys).astype(jnp.float32)
        losses = _weighted(loss(logits, labels), own)
        if partner is not None:
            mates = None if own is None else own[partner]
            losses = share * losses + (1 - share) * _weighted(loss(logits, labels[partner]), mates)
        summed = jnp.sum(jnp.where(batch.real, losses, 0.0))
        total = _total(example_weights, batch.real, labels, own, partner, share)
        return summed / _divisor(total) if divide else summed, (_flat(nnx.state(model, nnx.BatchStat)), total)

    def gradient(weights: Arrays, statistics: Arrays, batch: Padded, targets: Targets, seed_and_epoch: jax.Array):
        keys = _example_keys(seed_and_epoch, targets)
        differentiate = jax.value_and_grad(objective, has_aux=True)
        (value, (moved, total)), gradients = differentiate(weights, statistics, augment(batch, keys), targets, keys)
        return value, moved, gradients, total

    return gradient


def _weighted(terms: jax.Array, weights: jax.Array | None) -> jax.Array:
    """Returns terms of a sum over examples [B] times the weights of the examples, if these have weights."""
    return terms if weights is None else weights * terms


def _total(
    class_weights: ExampleWeights | None,
    real: jax.Array,
    labels: jax.Array,
    weights: jax.Array | None,
    partner: Any,
    share: Any,
) -> jax.Array:
    """Returns the number of real examples, or the sum of their weights, mixed like the losses; float32 []."""
    if class_weights is not None:
        weights = _weighted(class_weights(labels), weights)
    if weights is None:
        return jnp.sum(real, dtype=jnp.float32)
    mixed = weights if partner is None else share * weights + (1 - share) * weights[partner]
    return jnp.sum(jnp.where(real, mixed, 0.0))


def _divisor(total: jax.Array) -> jax.Array:
    """Returns the divisor of a sum of losses: 1 for a step without examples, which has losses and gradients of 0."""
    return jnp.where(total > 0, total, 1.0)


def _example_keys(seed_and_epoch: jax.Array, targets: Targets) -> jax.Array:
    """Returns one PRNG key per example [B]."""
    key = jax.random.fold_in(jax.random.key(seed_and_epoch[0]), seed_and_epoch[1])
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, targets.ids)


def make_train_step(
    gradient: Gradient, optimizer: optax.GradientTransformation, ema_decay: float | None = None
) -> Callable[..., tuple[TrainState, jax.Array]]:
    """Returns `step(state, batch, targets, seed_and_epoch) -> (state, mean loss over the real examples)`.

    Args:
        gradient: from `make_gradient`.
        optimizer: from optax.
        ema_decay: decay of the state's average (see `moved_average`), which the state must have; None: unchanged.
    """

    def step(
        state: TrainState, batch: Padded, targets: Targets, seed_and_epoch: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        mean, statistics, gradients, _ = gradient(state.weights, state.statistics, batch, targets, seed_and_epoch)
        return _moved(state, statistics, gradients, optimizer, ema_decay), mean

    return step


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sums:
    """Sums over the examples of a step so far, not yet divided.

    Attributes:
        loss: float32 [].
        gradients: by name, like the weights.
        total: float32 [], number of real examples or the sum of their weights.
    """

    loss: jax.Array
    gradients: Arrays
    total: jax.Array

    @classmethod
    def zeros(cls, weights: Arrays) -> "Sums":
        """Returns the sums before the first part of a step."""
        return cls(jnp.zeros(()), jax.tree.map(jnp.zeros_like, weights), jnp.zeros(()))


def make_accumulating_step(gradient: Gradient) -> Callable[..., tuple[TrainState, Sums]]:
    """Returns `accumulate(state, sums, batch, targets, seed_and_epoch) -> (state, sums)`, for one part of a step.

    Weights do not change; running statistics, if the network has any, are updated with every part.

    Args:
        gradient: from `make_gradient(..., divide=False)`.
    """

    def accumulate(
        state: TrainState, sums: Sums, batch: Padded, targets: Targets, seed_and_epoch: jax.Array
    ) -> tuple[TrainState, Sums]:
        loss, statistics, gradients, total = gradient(state.weights, state.statistics, batch, targets, seed_and_epoch)
        added = jax.tree.map(jnp.add, sums, Sums(loss, gradients, total))
        return dataclasses.replace(state, statistics=statistics), added

    return accumulate


def make_update(
    optimizer: optax.GradientTransformation, ema_decay: float | None = None
) -> Callable[[TrainState, Sums], tuple[TrainState, jax.Array, Sums]]:
    """Returns `update(state, sums) -> (state, mean loss, sums of zero)`, the end of a step made of several parts.

    Args:
        optimizer: as for `make_train_step`.
        ema_decay: as for `make_train_step`.
    """

    def update(state: TrainState, sums: Sums) -> tuple[TrainState, jax.Array, Sums]:
        divisor = _divisor(sums.total)
        gradients = {name: array / divisor.astype(array.dtype) for name, array in sums.gradients.items()}
        moved = _moved(state, state.statistics, gradients, optimizer, ema_decay)
        return moved, sums.loss / divisor, jax.tree.map(jnp.zeros_like, sums)

    return update


def _moved(
    state: TrainState,
    statistics: Arrays,
    gradients: Arrays,
    optimizer: optax.GradientTransformation,
    ema_decay: float | None,
) -> TrainState:
    updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.weights)
    weights: Any = optax.apply_updates(state.weights, updates)
    average = state.average
    if ema_decay is not None:
        assert average is not None
        average = moved_average(average, weights, statistics, state.step, ema_decay)
    return TrainState(state.step + 1, weights, statistics, optimizer_state, average)


def all_finite(arrays: Any) -> jax.Array:
    """Returns bool [], whether every number in a pytree of arrays is finite."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(array)) for array in jax.tree.leaves(arrays)]))


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
