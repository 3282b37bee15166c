"""The functional step: weights, statistics and optimizer state in, the same out.

NNX modules define the network; a step merges plain arrays into one, differentiates, and splits it again. Weights and
statistics are flat dictionaries by name, such as "blocks.0.layers.0.kernel". Axes: B batch, K classes.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, traverse_util

from fcnjax.data import draw_mixture, mix
from fcnjax.models import Classifier
from fcnjax.padded import Padded
from fcnjax.training.step.average import Average, moved_average
from fcnjax.training.step.loss import ExampleWeights, Loss, cross_entropy

Arrays = dict[str, jax.Array]
Augment = Callable[[Padded, jax.Array], Padded]  # batch, one key per example [B] -> batch of the same sizes


@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that a step changes; as a pytree without `average` where it is None, so that checkpoints do not name it.

    Attributes:
        step: int32 [], number of steps done.
        weights: trainable arrays by name.
        statistics: running statistics by name.
        optimizer: optax state.
        average: of weights and statistics over the steps, or None where none is kept.
    """

    step: jax.Array
    weights: Arrays
    statistics: Arrays
    optimizer: Any
    average: Average | None = None

    @property
    def evaluated(self) -> tuple[Arrays, Arrays]:
        """Weights and running statistics that evaluation uses and a run saves: the average where there is one."""
        kept = self if self.average is None else self.average
        return kept.weights, kept.statistics

    def tree_flatten_with_keys(self) -> tuple[list[tuple[Any, Any]], None]:
        """Returns the fields that are no None, as JAX wants them."""
        names = ("step", "weights", "statistics", "optimizer", *(() if self.average is None else ("average",)))
        return [(jax.tree_util.GetAttrKey(name), getattr(self, name)) for name in names], None

    @classmethod
    def tree_unflatten(cls, _: None, fields: Sequence[Any]) -> "TrainState":
        """Returns the state of those fields."""
        return cls(*fields)


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
    example_weights: ExampleWeights | None = None,
) -> Gradient:
    """Returns the function that differentiates the loss.

    `gradient(weights, statistics, batch, targets, seed_and_epoch, total) -> (mean loss, statistics, gradients)`

    `seed_and_epoch` is uint32 [2]. With an example's id they make its PRNG key, so that what is random for an
    example depends neither on its place in a batch nor on the step. `total` is what the sum of losses is divided by,
    float32 []: the number of examples of the whole step, or the sum of their weights (see `make_total`), of which the
    batch may be a part; None takes the batch's own.

    Args:
        graphdef: the network's structure.
        loss: of each example.
        augment: changes the batch first.
        mixup: of `fcnjax.data.mix`; 0 mixes nothing.
        example_weights: weight of each example in the mean, that of a mixture is mixed as its loss is; None weighs all
            alike.
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
        if total is None:
            total = _total(example_weights, batch.real, labels, partner, weight)
        total = jnp.maximum(total, 1) if example_weights is None else jnp.where(total > 0, total, 1.0)
        return jnp.sum(losses) / total, _flat(nnx.state(model, nnx.BatchStat))

    def gradient(
        weights: Arrays, statistics: Arrays, batch: Padded, targets: Targets, seed_and_epoch: jax.Array, total=None
    ):
        keys = _example_keys(seed_and_epoch, targets)
        differentiate = jax.value_and_grad(objective, has_aux=True)
        (mean, moved), gradients = differentiate(weights, statistics, augment(batch, keys), targets, keys, total)
        return mean, moved, gradients

    return gradient


def make_total(
    example_weights: ExampleWeights, mixup: float = 0.0
) -> Callable[[jax.Array, Targets, jax.Array], jax.Array]:
    """Returns `total(sizes, targets, seed_and_epoch) -> sum of the weights of the real examples`;
    `sizes` are those of the batch, int32 [B, D].

    Args:
        example_weights: as for `make_gradient`.
        mixup: as for `make_gradient`.
    """

    def total(sizes: jax.Array, targets: Targets, seed_and_epoch: jax.Array) -> jax.Array:
        real = jnp.all(jnp.asarray(sizes) > 0, axis=1)
        mixed = draw_mixture(real, _example_keys(seed_and_epoch, targets), mixup) if mixup else (None, 1.0)
        return _total(example_weights, real, jnp.asarray(targets.labels), *mixed)

    return total


def _total(
    example_weights: ExampleWeights | None, real: jax.Array, labels: jax.Array, partner: jax.Array | None, weight
) -> jax.Array:
    """Returns what a sum of losses is divided by: a count, or a sum of weights mixed as the losses are."""
    if example_weights is None:
        return jnp.sum(real)
    weights = example_weights(labels)
    if partner is not None:
        weights = weight * weights + (1 - weight) * weights[partner]
    return jnp.sum(jnp.where(real, weights, 0.0))


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
        ema_decay: of the state's average (see `moved_average`), which must have one then; None leaves it as it is.
    """

    def step(
        state: TrainState, batch: Padded, targets: Targets, seed_and_epoch: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        mean, statistics, gradients = gradient(state.weights, state.statistics, batch, targets, seed_and_epoch)
        return _moved(state, statistics, gradients, optimizer, ema_decay), mean

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
    """Returns `accumulate(state, sums, batch, targets, seed_and_epoch, total) -> (state, sums)`, for part of a step.

    Weights stay as they are; running statistics, where there are any, move with every part.
    """

    def accumulate(
        state: TrainState, sums: Sums, batch: Padded, targets: Targets, seed_and_epoch: jax.Array, total: jax.Array
    ) -> tuple[TrainState, Sums]:
        mean, statistics, gradients = gradient(state.weights, state.statistics, batch, targets, seed_and_epoch, total)
        added = jax.tree.map(jnp.add, sums, Sums(mean, gradients))
        return dataclasses.replace(state, statistics=statistics), added

    return accumulate


def make_update(
    optimizer: optax.GradientTransformation, ema_decay: float | None = None
) -> Callable[[TrainState, Sums], tuple[TrainState, jax.Array, Sums]]:
    """Returns `update(state, sums) -> (state, mean loss, sums of zero)`, the end of a step made of parts.

    Args: as for `make_train_step`.
    """

    def update(state: TrainState, sums: Sums) -> tuple[TrainState, jax.Array, Sums]:
        moved = _moved(state, state.statistics, sums.gradients, optimizer, ema_decay)
        return moved, sums.loss, jax.tree.map(jnp.zeros_like, sums)

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
    """Returns whether every number in a pytree of arrays is finite, bool []."""
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
