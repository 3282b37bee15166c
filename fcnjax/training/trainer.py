"""Trainer: a recipe made ready, from data to compiled steps. Runs that differ in their seed alone share one.

Axes: N examples, K classes.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fcnjax import models
from fcnjax.data import (
    Batch,
    EpochPlan,
    EvaluationPlan,
    MixedPlan,
    MixedStep,
    Source,
    StepPlan,
    host_bytes,
    load_batches,
    prefetch_to_device,
)
from fcnjax.data.packing import FILLER
from fcnjax.padded import Padded
from fcnjax.training.average import Average
from fcnjax.training.compilation import CompiledByShape, jit
from fcnjax.training.loss import class_weights_of, make_loss, make_weigh
from fcnjax.training.memory_fit import device_memory_bytes, largest_batch_size, train_step_bytes
from fcnjax.training.optimizer import make_optimizer
from fcnjax.training.preparation import (
    SPLITS,
    abstract_model,
    fit_sources,
    load_sources,
    make_buckets,
    make_crop,
    make_model,
    make_plan,
    rows_of,
)
from fcnjax.training.recipe import Recipe
from fcnjax.training.step import (
    Gradient,
    Sums,
    Targets,
    TrainState,
    make_accumulating_step,
    make_evaluation_step,
    make_gradient,
    make_total,
    make_train_step,
    make_update,
    merge,
    split,
)

DEPTH = 1  # batches on their way to the device while one is computed with


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationResult:
    """Every example of a split counted exactly once.

    Attributes:
      loss: mean cross-entropy.
      correct: number of examples whose largest logit is their label's.
      count: number of examples.
      logits: float32 [N, K], in the order of the source; NaN where an example could not be decoded.
      unreadable: how many those were.
    """

    loss: float
    correct: int
    count: int
    logits: np.ndarray
    unreadable: int = 0

    @property
    def accuracy(self) -> float:
        """Share of correct examples; 0 where there are none."""
        return self.correct / max(self.count, 1)


class StepResult(NamedTuple):
    """What one step of `Trainer.fit` leaves.

    Attributes:
      state: after the step.
      loss: float32 [], the mean over its real examples, on the device.
      examples: how many those were.
      unreadable: how many more were planned, but could not be decoded.
    """

    state: TrainState
    loss: jax.Array
    examples: int
    unreadable: int


class Trainer:
    """Data, rectangles, network and compiled steps of one recipe.

    Args:
      recipe: what to train. Its seed is only a default: `initial_state` and `fit` take one.
      sources: the three splits by name ("train", "validation", "test"), each a `Source` or what `as_source` takes;
        default: loaded as the recipe says.
      cache_dir: where the sizes of files that were read are kept for the next time; None keeps them nowhere.

    Attributes:
      sources: the splits.
      buckets: the rectangles that the sizes of all splits are padded to.
      train_step, accumulate_step, evaluation_step: compiled once for each of the rectangles that they meet.
      unreadable: what could not be decoded so far, by name, with the reason.

    Raises:
      ValueError: if an example is below the network's minimum size, or a name in the recipe is unknown.
    """

    def __init__(
        self, recipe: Recipe, sources: Mapping[str, Any] | None = None, *, cache_dir: Path | str | None = None
    ):
        self.recipe = recipe
        self.sources: dict[str, Source] = (
            load_sources(recipe, cache_dir=cache_dir) if sources is None else fit_sources(recipe, sources)
        )
        train = self.sources["train"]
        model = abstract_model(recipe, train)
        for name in SPLITS:
            try:
                model.check_sizes(self.sources[name].sizes)
            except ValueError as error:
                advice = "Or set config.size.below to upsample or pad."
                raise ValueError(f"{recipe.data.name}, {name} split: {error} {advice}") from None
        self.crop = make_crop(recipe, model.min_size)
        self.buckets = make_buckets(recipe, self.sources)
        self.graphdef = split(model)[0]
        self.steps_per_epoch = self.plan(recipe.seed).steps_per_epoch
        self.optimizer = make_optimizer(recipe.optimizer, recipe.epochs * self.steps_per_epoch)
        gradient = self._make_gradient()
        self._train_step = make_train_step(gradient, self.optimizer, recipe.ema_decay)
        self.train_step = CompiledByShape(self._train_step, donate=(0,), remat=recipe.remat)
        self.accumulate_step = CompiledByShape(make_accumulating_step(gradient), donate=(0, 1), remat=recipe.remat)
        self._update = jit(make_update(self.optimizer, recipe.ema_decay), donate=(0, 1))
        self._sums: Sums | None = None  # zero between steps: the memory of one step's gradients
        self.evaluation_step = CompiledByShape(make_evaluation_step(self.graphdef))
        self._initial_state = jit(self._make_state)
        self.unreadable: dict[str, str] = {}
        for source in self.sources.values():
            self.unreadable |= getattr(source, "unreadable", {})

    def _make_gradient(self) -> Gradient:
        recipe = self.recipe
        weights = class_weights_of(recipe.loss, self.sources["train"])
        loss, weigh = make_loss(recipe.loss.label_smoothing, weights), make_weigh(weights)
        self._total = None if weigh is None else jit(make_total(weigh, recipe.mixup))
        return make_gradient(self.graphdef, loss, recipe.augment, recipe.mixup, weigh)

    def describe(self) -> str:
        """Returns what a run will do, known before it starts: data, rectangles, waste, compilations."""
        plan, recipe, data = self.plan(self.recipe.seed), self.recipe, self.recipe.data.name
        counts = ", ".join(f"{len(self.sources[name]):,} {name}" for name in SPLITS)
        shapes = ", ".join("x".join(map(str, shape)) for shape in self.buckets.shapes.tolist())
        trained = int((plan.batches_per_bucket > 0).sum())
        left_out = f", {len(self.unreadable)} more left out as unreadable" if self.unreadable else ""
        evaluated = len({step.bucket for order in self.evaluation_plans.values() for step in order})
        return (
            f"{data}: {counts} examples in {len(self.sources['train'].class_names)} classes{left_out}\n"
            f"rectangles {shapes}: padded / real area - 1 = {plan.waste:.2f}, {plan.filler_rows} filler rows an epoch\n"
            f"{recipe.epochs} epochs of {plan.steps_per_epoch} steps, up to {recipe.batch_size} examples each\n"
            f"programs to compile: {trained} for training, {evaluated} for evaluation\n"
            f"input: at most {self._host_bytes(plan) / 2**20:,.0f} MiB of host memory at once"
        )

    def _host_bytes(self, plan: EpochPlan | MixedPlan) -> int:
        """Returns the bound on what the loader holds of training batches at any time."""
        loader = self.recipe.loader
        read_ahead = {"threads": loader.threads, "workers": loader.workers, "prefetch": loader.prefetch + DEPTH}
        return host_bytes(plan, self.sources["train"].channels, **read_ahead)

    def data_digest(self) -> dict[str, str]:
        """Returns what tells the data of each split from any other: a hash of its sizes, ids, names and classes."""
        digests = {}
        for name, source in self.sources.items():
            names = "\0".join((*source.class_names, "", *getattr(source, "names", ())))
            parts = (source.sizes.tobytes(), source.ids.tobytes(), names.encode())
            digests[name] = hashlib.sha256(b"\0".join(parts)).hexdigest()
        return digests

    def plan(self, seed: int) -> EpochPlan | MixedPlan:
        """Returns the order of the training examples for a seed."""
        return make_plan(self.recipe, self.sources["train"], self.buckets, self.crop, seed)

    @cached_property
    def evaluation_plans(self) -> dict[str, EvaluationPlan]:
        """The order in which each split is evaluated."""
        rows = rows_of(self.buckets)
        return {name: EvaluationPlan(source.sizes, self.buckets, rows) for name, source in self.sources.items()}

    def initial_state(self, seed: int) -> TrainState:
        """Returns the state before the first step of the run with this seed."""
        return self._initial_state(np.uint32(seed))

    def _make_state(self, seed: jax.Array) -> TrainState:
        _, weights, statistics = split(make_model(self.recipe, self.sources["train"], seed))
        average = None if self.recipe.ema_decay is None else Average(weights, statistics)
        return TrainState(jnp.int32(0), weights, statistics, self.optimizer.init(weights), average)

    def fit(self, state: TrainState, seed: int) -> Iterator[StepResult]:
        """Trains from `state` to the last step of the recipe.

        A step's loss is a device array: whoever reads it only after the next step was dispatched never keeps the
        device waiting.

        Args:
          state: where to go on; it is donated, so do not use it again.
          seed: of the data order and the random layers.

        Yields:
          What each step leaves.
        """
        start, stop = int(state.step), self.recipe.epochs * self.steps_per_epoch
        for step, batch in self.batches(seed, start, stop):
            state, loss = self.step(state, seed, step, batch)
            parts = _parts(batch)
            yield StepResult(state, loss, count_examples(parts), sum(len(part.unreadable) for part in parts))

    def batches(self, seed: int, start: int, stop: int) -> Iterator[tuple[Any, Any]]:
        """Yields the plans and the batches of the training steps from `start` to before `stop`."""
        return self._batches("train", self.plan(seed), start, stop, crop=self.crop, seed=seed)

    def step(
        self, state: TrainState, seed: int, step: StepPlan | MixedStep, batch: Batch | Sequence[Batch]
    ) -> tuple[TrainState, jax.Array]:
        """Runs one step of training; `state` is donated. Returns the new state and the step's mean loss."""
        clock = np.array([seed, step.epoch], np.uint32)
        if isinstance(batch, Batch):
            assert isinstance(step, StepPlan)
            return self.train_step(step.shape, state, _padded(batch), _targets(batch), clock)
        assert isinstance(step, MixedStep)
        sums, total = self._sums, self._total_of(batch, clock)
        sums = Sums.zeros(state.weights) if sums is None else sums
        for part, rows in zip(step.micro_batches, batch, strict=True):
            state, sums = self.accumulate_step(part.shape, state, sums, _padded(rows), _targets(rows), clock, total)
        state, loss, self._sums = self._update(state, sums)
        return state, loss

    def _total_of(self, batch: Sequence[Batch], clock: np.ndarray) -> Any:
        """Returns what the losses of a step made of parts are divided by, float32 []."""
        if self._total is None:
            return np.float32(count_examples(batch))
        return sum((self._total(part.sizes, _targets(part), clock) for part in batch), jnp.float32(0))

    def rows_that_fit(self, share: float) -> tuple[tuple[int, ...], int]:
        """Returns the largest rectangle, and how many rows of it a train step may have.

        Args:
          share: of the device's memory that the compiled step may take, greater than 0, at most 1.

        Raises:
          ValueError: if not even one row fits.
        """
        state = jax.eval_shape(self._make_state, jax.ShapeDtypeStruct((), jnp.uint32))
        program_bytes = train_step_bytes(
            self._train_step, state, self.sources["train"].channels, remat=self.recipe.remat
        )
        shape = tuple(self.buckets.shapes[-1].tolist())
        return shape, largest_batch_size(program_bytes, shape, int(share * device_memory_bytes()))

    def typical_batch(self) -> tuple[StepPlan, Batch]:
        """Returns the first training batch in the rectangle that most steps use: one to measure a step with."""
        plan = self.plan(0)
        assert isinstance(plan, EpochPlan)
        bucket = int(np.argmax(plan.batches_per_bucket))
        first = next(i for i in range(plan.steps_per_epoch) if plan.step(i).bucket == bucket)
        return next(iter(self._batches("train", plan, first, first + 1)))

    def evaluate(self, state: TrainState, name: str) -> EvaluationResult:
        """Evaluates the split called `name` with the weights and running statistics of a state, averaged or not."""
        plan, source = self.evaluation_plans[name], self.sources[name]
        (weights, statistics), parts, unreadable = state.evaluated, [], 0
        for step, batch in self._batches(name, plan, 0, len(plan)):
            unreadable += len(batch.unreadable)
            out = self.evaluation_step(step.shape, weights, statistics, _padded(batch), batch.labels)
            parts.append((np.where(batch.ids >= 0, step.rows, FILLER), out))
        logits = np.full((len(source), len(source.class_names)), np.nan, np.float32)
        for rows, out in parts:
            logits[rows[rows >= 0]] = np.asarray(out.logits)[rows >= 0]
        loss, correct, count = (
            sum(np.asarray(getattr(out, field)).item() for _, out in parts) for field in ("loss", "correct", "count")
        )
        if count + unreadable != len(source):
            told = f"{count} counted and {unreadable} not decoded of {len(source)} examples"
            raise AssertionError(f"{name} split: {told}; this is a bug.")
        return EvaluationResult(loss / max(count, 1), correct, count, logits, unreadable)

    def model(self, state: TrainState) -> models.Classifier:
        """Returns the network with the weights and running statistics of a state, averaged or not."""
        return merge(self.graphdef, *state.evaluated)

    def _batches(self, name: str, plan: Any, start: int, stop: int, **options: Any) -> Iterator[tuple[Any, Any]]:
        """Yields steps and their batches, and notes what could not be decoded."""
        data, loader = self.recipe.data, self.recipe.loader
        pairs = load_batches(
            self.sources[name],
            plan,
            mean=data.mean,
            std=data.std,
            start_step=start,
            stop_step=stop,
            on_error=data.on_error,
            threads=loader.threads,
            workers=loader.workers if name == "train" else 0,  # a pass of evaluation is short, and they start anew
            prefetch=loader.prefetch,
            **options,
        )
        for step, batch in prefetch_to_device(pairs, _transferred, DEPTH):
            for part in _parts(batch):
                self.unreadable |= dict(part.unreadable)
            yield step, batch


def _transferred(pair: tuple[Any, Any]) -> tuple[Any, Any]:
    """Returns a step and its batches, whose values are on their way to the device."""
    step, batch = pair
    parts = tuple(part._replace(values=jax.device_put(part.values)) for part in _parts(batch))
    return step, parts[0] if isinstance(batch, Batch) else parts


def _parts(batch: Batch | Sequence[Batch]) -> Sequence[Batch]:
    return (batch,) if isinstance(batch, Batch) else batch


def count_examples(batch: Batch | Sequence[Batch]) -> int:
    """Returns the number of real examples in the batch or the parts of a step."""
    return sum(int((part.ids >= 0).sum()) for part in _parts(batch))


def _padded(batch: Batch) -> Padded:
    return Padded(batch.values, batch.sizes)  # type: ignore[arg-type]  (the compiled step takes them to the device)


def _targets(batch: Batch) -> Targets:
    return Targets(batch.labels, batch.ids)
