"""Trainer: all that a recipe needs to run, from data to compiled steps. Runs that differ only in the seed share one.

Axes: N examples, K classes.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fcnjax import models
from fcnjax.data import Batch, EpochPlan, EvaluationPlan, MixedPlan, MixedStep, Source, StepPlan
from fcnjax.padded import Padded
from fcnjax.training.build import (
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
from fcnjax.training.compile.compilation import Compilation, CompileSettings
from fcnjax.training.compile.memory_fit import compiled_bytes, device_memory_bytes, rows_that_fit, too_large
from fcnjax.training.compile.mesh import make_mesh, sum_over_hosts
from fcnjax.training.compile.programs import NO_BUCKET, Programs, parts_of
from fcnjax.training.evaluation.evaluation_result import EvaluationResult, collected
from fcnjax.training.feeding import Feed, batches_of
from fcnjax.training.settings.recipe import Recipe
from fcnjax.training.speed import StepWork, TimedInput
from fcnjax.training.standalone.initial_weights import read_initial
from fcnjax.training.step.average import Average
from fcnjax.training.step.freezing import frozen_names
from fcnjax.training.step.loss import class_weights_of, make_example_weights, make_loss
from fcnjax.training.step.optimizer import make_optimizer
from fcnjax.training.step.step import Sums, TrainState, make_evaluation_step, make_gradient, merge, split

NO_VALUES = np.zeros(0, np.float32)


class StepResult(NamedTuple):
    """The result of one step of `Trainer.fit`.

    Attributes:
        state: state after the step.
        loss: float32 [], mean over the real examples, on the device.
        examples: number of real examples, on all hosts.
        unreadable: number of further planned examples that could not be decoded.
        work: what the step computed; with several hosts, positions are estimated from this host's share.
        parts: its batches without their values; with several hosts, this host's rows.
        waited: seconds lost to waiting for input since `fit` started (see `TimedInput`).
        compiled: seconds lost to waiting for compilation since the trainer was made.
    """

    state: TrainState
    loss: jax.Array
    examples: int
    unreadable: int
    work: StepWork
    parts: tuple[Batch, ...]
    waited: float
    compiled: float


class Trainer:
    """Data, buckets, network and compiled steps of one recipe.

    Args:
        recipe: what to train. Its seed is only a default: `initial_state` and `fit` take a seed.
        sources: the three splits by name ("train", "validation", "test"), each a `Source` or anything that `as_source`
            accepts; default: loaded according to the recipe.
        cache_dir: folder that caches the sizes of files and the buckets; None caches nothing.
        devices: the devices that share the rows of each batch; None: all devices of all hosts.
        init_from: where the weights of `recipe.init_from` are now; None: where it says.

    Attributes:
        sources: the splits.
        buckets: the shapes to which the examples of all splits are padded, and the rows of a batch of each shape.
        mesh: the devices.
        programs: the compiled steps.
        feed: reads batches and puts them on the devices.
        frozen, initial: names of the arrays that stay as they are; the weights to start from, or None.

    Raises:
        FileNotFoundError: if `recipe.init_from` is not there.
        ValueError: if an example is below the network's minimum size, a name in the recipe is unknown, or the weights
            of `recipe.init_from` are of another network.
    """

    def __init__(
        self,
        recipe: Recipe,
        sources: Mapping[str, Any] | None = None,
        *,
        cache_dir: Path | str | None = None,
        devices: Sequence[Any] | None = None,
        init_from: Path | None = None,
    ):
        self.recipe = recipe
        self.sources: dict[str, Source] = (
            load_sources(recipe, cache_dir=cache_dir) if sources is None else fit_sources(recipe, sources)
        )
        train = self.sources["train"]
        model = abstract_model(recipe, train)
        for name in SPLITS:
            try:
                model.check_sizes(self.sources[name].sizes, self.sources[name].name_of)
            except ValueError as error:
                advice = "Or set config.size.below to upsample or pad."
                raise ValueError(f"{recipe.data.name}, {name} split: {error} {advice}") from None
        self.crop = make_crop(recipe, model.min_size)
        self.buckets = make_buckets(recipe, self.sources, cache_dir=cache_dir)
        self.graphdef = split(model)[0]
        self.frozen = frozen_names(model, recipe.freeze)
        self.initial = None
        if recipe.init_from is not None:
            self.initial = read_initial(recipe, train, model, init_from)
        self._plans: dict[int, EpochPlan | MixedPlan] = {}
        self.steps_per_epoch = self.plan(recipe.seed).steps_per_epoch
        self.mesh = make_mesh(devices)
        self.feed = Feed(recipe, self.sources, self.mesh)
        self._cases: dict[Any, tuple[optax.GradientTransformation, Programs]] = {}  # see `on`
        self._share_steps()
        self._sums: Sums | None = None  # zero between steps: the memory of one step's gradients

    def on(self, sources: Mapping[str, Source]) -> "Trainer":
        """Returns a trainer of the same recipe on other examples, such as another division of one data set.

        It has the same buckets, and the same compiled steps unless the number of steps in an epoch or the class weights
        differ. Trainers made from one share the steps of each such case.

        Args:
            sources: the three splits, at the sizes of the recipe's size policy; every size must fit a bucket.

        Raises:
            ValueError: if a split is missing or differs in channels or classes, or a size fits no bucket.
        """
        other, train = copy.copy(self), self.sources["train"]
        other.sources = {name: sources[name] for name in SPLITS}
        for name, source in other.sources.items():
            if (source.channels, source.class_names) != (train.channels, train.class_names):
                raise ValueError(f"sources[{name!r}]: must have the channels and classes of the trainer's examples.")
        vars(other).pop("evaluation_plans", None)  # of the former examples
        other._plans, other._sums = {}, None  # sums are donated to the steps: never shared
        other.steps_per_epoch = other.plan(self.recipe.seed).steps_per_epoch
        assert other.evaluation_plans  # refuses sizes that fit no bucket
        other.feed = Feed(self.recipe, other.sources, self.mesh)
        other._share_steps()
        return other

    def _share_steps(self) -> None:
        """Sets `optimizer` and `programs`, which trainers made from one share if they take the same steps."""
        recipe, train = self.recipe, self.sources["train"]
        weights, weighted = class_weights_of(recipe.loss, train), train.weights is not None
        case = self.steps_per_epoch, weights, weighted
        if case not in self._cases:
            self.optimizer = make_optimizer(recipe.optimizer, self.steps, self.frozen)
            loss, example_weights = make_loss(recipe.loss.label_smoothing, weights), make_example_weights(weights)
            gradient = partial(make_gradient, self.graphdef, loss, recipe.augment, recipe.mixup, example_weights)
            programs = Programs(
                self.mesh,
                gradient(divide=True),
                gradient(divide=False),
                self.optimizer,
                make_evaluation_step(self.graphdef),
                self._make_state,
                train.channels,
                weighted=weighted,
                shard_weights=recipe.shard_weights,
                ema_decay=recipe.ema_decay,
                settings=CompileSettings.of(recipe),
            )
            self._cases[case] = self.optimizer, programs
        self.optimizer, self.programs = self._cases[case]

    @property
    def steps(self) -> int:
        """Number of steps of the whole run."""
        return self.recipe.epochs * self.steps_per_epoch

    def plan(self, seed: int) -> EpochPlan | MixedPlan:
        """Returns the order of the training examples for a seed."""
        if seed not in self._plans:  # keeps one plan: each holds the order of an epoch
            self._plans = {seed: make_plan(self.recipe, self.sources["train"], self.buckets, self.crop, seed)}
        return self._plans[seed]

    @cached_property
    def evaluation_plans(self) -> dict[str, EvaluationPlan]:
        """The order in which each split is evaluated."""
        rows = rows_of(self.buckets)
        return {name: EvaluationPlan(source.sizes, self.buckets, rows) for name, source in self.sources.items()}

    def initial_state(self, seed: int) -> TrainState:
        """Returns the state before the first step of the run with this seed."""
        state = self.programs.initial_state(seed)
        return state if self.initial is None else self.initial.put(state)

    def compilations(self, seed: int, start: int) -> list[Compilation]:
        """Returns all programs that a run with this seed needs from step `start` on, in order of first use.

        Any other compilation warns from now on.
        """
        training = self.programs.for_training(self.plan(seed), start) if start < self.steps else []
        evaluations = self.programs.for_evaluation(self.evaluation_plans[name] for name in ("validation", "test"))
        checks = self.programs.for_checkpoints()
        self.programs.expect([*training, *checks, *self.programs.for_evaluation(self.evaluation_plans.values())])
        return [*training, *evaluations, *checks]

    def is_finite(self, state: TrainState) -> bool:
        """Returns whether all weights and running statistics of a state are finite."""
        return bool(self.programs.all_finite(NO_BUCKET, (state.weights, state.statistics)))

    def check_memory(self, jobs: Sequence[Compilation]):
        """Raises ValueError if the largest program does not fit the device; the message states how many rows would fit.

        That program is compiled here to read its memory; the others need less.
        """
        largest, memory = self.programs.largest(jobs), device_memory_bytes()
        if compiled_bytes(largest.programs.compile(largest.shape, *largest.args)) > memory:
            raise ValueError(too_large(largest, memory, self.mesh.size))

    def _make_state(self, seed: jax.Array) -> TrainState:
        _, weights, statistics = split(make_model(self.recipe, self.sources["train"], seed))
        average = None if self.recipe.ema_decay is None else Average(weights, statistics)
        return TrainState(jnp.int32(0), weights, statistics, self.optimizer.init(weights), average)

    def fit(self, state: TrainState, seed: int) -> Iterator[StepResult]:
        """Trains from `state` to the last step of the recipe.

        A step's loss is a device array. Read it only after the next step is dispatched, so that the device never waits.

        Args:
            state: the state to start from; it is donated, so do not use it again.
            seed: seed of the data order and of the random layers.

        Yields:
            The result of each step.
        """
        loss: Any = None
        start, hosts = int(state.step), jax.process_count()
        timed = TimedInput(self.batches(seed, start, self.steps), lambda: loss is not None and not loss.is_ready())
        for number, (step, batch) in enumerate(timed, start):
            unreadable, parts = self.feed.missing(batch), batches_of(batch)
            state, loss = self.step(state, seed, step, batch)
            work, examples = StepWork.of(number + 1, step.epoch, parts), self._planned(seed, number) - unreadable
            if hosts > 1:  # a host knows only the sizes of its own rows
                work = work._replace(examples=examples, real=hosts * work.real, padded=hosts * work.padded)
            parts = tuple(part._replace(values=NO_VALUES) for part in parts)
            yield StepResult(state, loss, examples, unreadable, work, parts, timed.seconds, self.programs.waited)

    def batches(self, seed: int, start: int, stop: int) -> Iterator[tuple[Any, Any]]:
        """Yields the plans and the batches of the training steps from `start` up to, but not including, `stop`."""
        return self.feed.batches("train", self.plan(seed), start, stop, crop=self.crop, seed=seed)

    def step(
        self,
        state: TrainState,
        seed: int,
        step: StepPlan | MixedStep,
        batch: Batch | Sequence[Batch],
    ) -> tuple[TrainState, jax.Array]:
        """Runs one step of training.

        Args:
            state: the state before the step; it is donated.
            seed: seed of the random layers.
            step: the plan of the step.
            batch: its batch, or the batches of its parts.

        Returns:
            The new state, and the step's mean loss.
        """
        seed_and_epoch, programs = np.array([seed, step.epoch], np.uint32), self.programs
        if isinstance(batch, Batch):
            assert isinstance(step, StepPlan)
            return programs.train_step(step.shape, state, *self.feed.inputs(batch), seed_and_epoch)
        assert isinstance(step, MixedStep)
        inputs = [self.feed.inputs(rows) for rows in batch]
        sums, self._sums = self._sums, None  # donated arrays must not be used again after an interruption
        sums = programs.zero_sums(NO_BUCKET, state.weights) if sums is None else sums
        for part, rows in zip(step.micro_batches, inputs, strict=True):
            state, sums = programs.accumulate_step(part.shape, state, sums, *rows, seed_and_epoch)
        state, loss, self._sums = programs.update(NO_BUCKET, state, sums)
        return state, loss

    def _planned(self, seed: int, step: int) -> int:
        """Returns the number of examples that are planned for a step, on all hosts together."""
        return sum(int((part.rows >= 0).sum()) for part in parts_of(self.plan(seed).step(step)))

    def rows_that_fit(self, share: float) -> tuple[tuple[int, ...], int]:
        """Returns the largest bucket of training, and the largest number of rows that a batch of it may have.

        Args:
            share: share of a device's memory that the compiled step may use, in (0, 1].

        Raises:
            ValueError: if not even one row per device fits.
        """
        jobs = self.programs.for_training(self.plan(self.recipe.seed), 0)
        largest = max((job for job in jobs if job.rows), key=lambda job: math.prod(job.shape))
        return largest.shape, rows_that_fit(largest, int(share * device_memory_bytes()), self.mesh.size)

    def whole_training_batches(self) -> Iterator[tuple[tuple[int, ...], Padded]]:
        """Yields the bucket and the batch of each step of one pass over the training examples, shuffled.

        Each example appears once and uncropped, without augmentation, even if the recipe trains with crops or
        augmentation.
        """
        plan = EpochPlan(self.sources["train"].sizes, self.buckets, rows_of(self.buckets), self.recipe.seed)
        for step, batch in self.feed.batches("train", plan, 0, plan.steps_per_epoch):
            yield step.shape, self.feed.inputs(batch)[0]

    def evaluate(self, state: TrainState, split: str | Source) -> EvaluationResult:
        """Evaluates a split with the weights and statistics of a state, averaged if the state has averages.

        Args:
            state: the weights and statistics.
            split: name of the split, or other examples of the same channels and classes, of any sizes.
        """
        plan = self.evaluation_plans[split] if isinstance(split, str) else self._plan_evaluation(split)
        source = self.sources[split] if isinstance(split, str) else split
        (weights, statistics), parts, unreadable, reasons = state.evaluated, [], 0, {}
        for index, (step, batch) in enumerate(self.feed.batches(split, plan, 0, len(plan))):
            unreadable, reasons = unreadable + len(batch.unreadable), reasons | dict(batch.unreadable)
            inputs, targets = self.feed.inputs(batch)
            out = self.programs.evaluation_step(step.shape, weights, statistics, inputs, targets.labels)
            parts.append((plan.step(index).filled(self.mesh.size).rows, out))
        return collected(source, parts, sum_over_hosts(unreadable), reasons)

    def _plan_evaluation(self, source: Source) -> EvaluationPlan:
        """Returns the order in which other examples are evaluated, in the buckets of the trainer if they fit."""
        fit = (source.sizes[:, None] <= self.buckets.shapes[None]).all(axis=2).any(axis=1)  # [N]
        buckets = self.buckets if fit.all() else make_buckets(self.recipe, {"test": source})
        plan = EvaluationPlan(source.sizes, buckets, rows_of(buckets))
        self.programs.expect(self.programs.for_evaluation([plan]))
        return plan

    def model(self, state: TrainState) -> models.Classifier:
        """Returns the network with the weights and statistics of a state, averaged if the state has averages."""
        return merge(self.graphdef, *state.evaluated)
