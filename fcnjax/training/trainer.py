"""Trainer: a recipe made ready, from data to compiled steps. Runs that differ in their seed alone share one.

Axes: N examples, K classes.
"""

import dataclasses
from collections.abc import Iterator
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fcnjax import models, pooling
from fcnjax.data import (
    Batch,
    BucketPlan,
    EpochPlan,
    EvaluationPlan,
    Source,
    StepPlan,
    load_batches,
    load_source,
    plan_buckets,
)
from fcnjax.padded import Padded
from fcnjax.training.compilation import CompiledByShape, jit
from fcnjax.training.optimizer import make_optimizer
from fcnjax.training.recipe import Recipe
from fcnjax.training.step import Targets, TrainState, make_evaluation_step, make_train_step, merge, split

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationResult:
    """Every example of a split counted exactly once.

    Attributes:
      loss: mean cross-entropy.
      correct: number of examples whose largest logit is their label's.
      count: number of examples.
      logits: float32 [N, K], in the order of the source.
    """

    loss: float
    correct: int
    count: int
    logits: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share of correct examples."""
        return self.correct / self.count


class Trainer:
    """Data, rectangles, network and compiled steps of one recipe.

    Args:
      recipe: what to train. Its seed is only a default: `initial_state` and `fit` take one.
      sources: the three splits by name ("train", "validation", "test"); default: loaded as the recipe says.

    Attributes:
      sources: the splits.
      buckets: the rectangles that the sizes of all splits are padded to.
      train_step, evaluation_step: compiled once for each of the rectangles that they meet.

    Raises:
      ValueError: if an example is below the network's minimum size, or a name in the recipe is unknown.
    """

    def __init__(self, recipe: Recipe, sources: dict[str, Source] | None = None):
        self.recipe = recipe
        self.sources = load_sources(recipe) if sources is None else sources
        train = self.sources["train"]
        model = abstract_model(recipe, train)
        for name in SPLITS:
            try:
                model.check_sizes(self.sources[name].sizes)
            except ValueError as error:
                raise ValueError(f"{recipe.data.name}, {name} split: {error}") from None
        sizes = np.concatenate([self.sources[name].sizes for name in SPLITS])
        self.buckets: BucketPlan = plan_buckets(sizes, recipe.max_buckets)
        self.graphdef = split(model)[0]
        self.steps_per_epoch = self.plan(recipe.seed).steps_per_epoch
        self.optimizer = make_optimizer(recipe.optimizer, recipe.epochs * self.steps_per_epoch)
        self.train_step = CompiledByShape(
            make_train_step(self.graphdef, self.optimizer, augment=recipe.augment), donate=(0,)
        )
        self.evaluation_step = CompiledByShape(make_evaluation_step(self.graphdef))
        self._initial_state = jit(self._make_state)

    def describe(self) -> str:
        """Returns what a run will do, known before it starts: data, rectangles, waste, compilations."""
        plan, data = self.plan(self.recipe.seed), self.recipe.data.name
        counts = ", ".join(f"{len(self.sources[name]):,} {name}" for name in SPLITS)
        shapes = ", ".join("x".join(map(str, shape)) for shape in self.buckets.shapes.tolist())
        trained = len({plan.step(step).bucket for step in range(plan.steps_per_epoch)})
        evaluated = len({step.bucket for order in self.evaluation_plans.values() for step in order})
        return (
            f"{data}: {counts} examples in {len(self.sources['train'].class_names)} classes\n"
            f"rectangles {shapes}: padded / real area - 1 = {plan.waste:.2f}, {plan.filler_rows} filler rows an epoch\n"
            f"{self.recipe.epochs} epochs of {plan.steps_per_epoch} steps, up to {plan.batch_size} examples each\n"
            f"programs to compile: {trained} for training, {evaluated} for evaluation"
        )

    def plan(self, seed: int) -> EpochPlan:
        """Returns the order of the training examples for a seed."""
        return EpochPlan(self.sources["train"].sizes, self.buckets, self.recipe.batch_size, seed)

    @cached_property
    def evaluation_plans(self) -> dict[str, EvaluationPlan]:
        """The order in which each split is evaluated."""
        size = self.recipe.batch_size
        return {name: EvaluationPlan(source.sizes, self.buckets, size) for name, source in self.sources.items()}

    def initial_state(self, seed: int) -> TrainState:
        """Returns the state before the first step of the run with this seed."""
        return self._initial_state(np.uint32(seed))

    def _make_state(self, seed: jax.Array) -> TrainState:
        _, weights, statistics = split(make_model(self.recipe, self.sources["train"], seed))
        return TrainState(jnp.int32(0), weights, statistics, self.optimizer.init(weights))

    def fit(self, state: TrainState, seed: int) -> Iterator[tuple[TrainState, jax.Array, int]]:
        """Trains from `state` to the last step of the recipe.

        A step's loss is a device array: whoever reads it only after the next step was dispatched never keeps the
        device waiting.

        Args:
          state: where to go on; it is donated, so do not use it again.
          seed: of the data order and the random layers.

        Yields:
          After each step: the state, the mean loss of the step, the number of real examples in it.
        """
        plan, epochs = self.plan(seed), self.recipe.epochs
        start, stop = int(state.step), epochs * plan.steps_per_epoch
        for step, batch in self._batches("train", plan, start, stop):
            state, loss = self.step(state, seed, step, batch)
            yield state, loss, int((step.rows >= 0).sum())

    def step(self, state: TrainState, seed: int, step: StepPlan, batch: Batch) -> tuple[TrainState, jax.Array]:
        """Runs one step of training; `state` is donated. Returns the new state and the step's mean loss."""
        targets, clock = Targets(batch.labels, batch.ids), np.array([seed, step.epoch], np.uint32)
        return self.train_step(step.shape, state, _padded(batch), targets, clock)

    def typical_batch(self) -> tuple[StepPlan, Batch]:
        """Returns the first training batch in the rectangle that most steps use: one to measure a step with."""
        plan = self.plan(0)
        bucket = int(np.argmax(plan.batches_per_bucket))
        first = next(i for i in range(plan.steps_per_epoch) if plan.step(i).bucket == bucket)
        return next(iter(self._batches("train", plan, first, first + 1)))

    def evaluate(self, state: TrainState, name: str) -> EvaluationResult:
        """Evaluates the split called `name` with the weights and running statistics of a state."""
        plan, source = self.evaluation_plans[name], self.sources[name]
        parts = []
        for step, batch in self._batches(name, plan, 0, len(plan)):
            out = self.evaluation_step(step.shape, state.weights, state.statistics, _padded(batch), batch.labels)
            parts.append((step.rows, out))
        logits = np.zeros((len(source), len(source.class_names)), np.float32)
        for rows, out in parts:
            logits[rows[rows >= 0]] = np.asarray(out.logits)[rows >= 0]
        loss, correct, count = (
            sum(np.asarray(getattr(out, field)).item() for _, out in parts) for field in ("loss", "correct", "count")
        )
        if count != len(source):
            raise AssertionError(f"{name} split: {count} of {len(source)} examples were counted; this is a bug.")
        return EvaluationResult(loss / count, correct, count, logits)

    def model(self, state: TrainState) -> models.Classifier:
        """Returns the network with the weights and running statistics of a state."""
        return merge(self.graphdef, state.weights, state.statistics)

    def _batches(
        self, name: str, plan: EpochPlan | EvaluationPlan, start: int, stop: int
    ) -> Iterator[tuple[StepPlan, Batch]]:
        data, source = self.recipe.data, self.sources[name]
        return load_batches(source, plan, mean=data.mean, std=data.std, start_step=start, stop_step=stop)


def _padded(batch: Batch) -> Padded:
    return Padded(batch.values, batch.sizes)  # type: ignore[arg-type]  (the compiled step takes them to the device)


def load_sources(recipe: Recipe) -> dict[str, Source]:
    """Returns the three splits that a recipe names."""
    data = recipe.data
    names = (data.train_split, data.validation_split, data.test_split)
    return {key: load_source(data.name, name, data.data_dir) for key, name in zip(SPLITS, names, strict=True)}


def make_model(recipe: Recipe, source: Source, seed: int | jax.Array) -> models.Classifier:
    """Returns the recipe's network for the examples of a source, with the initial weights of a seed."""
    settings = recipe.head

    def pool(channels: int, rngs: nnx.Rngs) -> pooling.Pool:
        return pooling.create(settings.pool, channels=channels, rngs=rngs, **settings.pool_options)

    head = settings.options
    if settings.flatten is None:
        head["pool"] = pool
    return models.create(
        recipe.model.name,
        **recipe.model.options,
        head=head,
        classes=len(source.class_names),
        in_channels=source.channels,
        rank=source.sizes.shape[1],
        rngs=nnx.Rngs(jax.random.key(seed)),
    )


def abstract_model(recipe: Recipe, source: Source) -> models.Classifier:
    """Returns the same network with shapes and types in place of weights: nothing is drawn or compiled."""
    return nnx.eval_shape(lambda: make_model(recipe, source, 0))
