"""Measures: functions from a trained run to what is measured of it.

A measure takes a `TrainedRun` and returns `Measured`, or None if it does not apply to the arm. It is a function of a
module or a frozen dataclass with `__call__`, so that its name, its fields and the code of its module key its results.
One of your own, in the file of the experiment:

    def confidence(run: lab.TrainedRun) -> lab.Measured:
        return lab.Measured({"confidence": softmax(run.scores(), axis=1).max(axis=1)})

Axes: N test examples, K classes, B rows of a batch.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import log_softmax

from fcnjax.data import EvaluationPlan, PartialSource, Source
from fcnjax.data.planning.remainders import FILLER
from fcnjax.data.size_table import areas, quantile_groups
from fcnjax.data.sources.contents import sample_positions
from fcnjax.lab.experiment import changed_recipe
from fcnjax.models import Classifier
from fcnjax.padded import Padded
from fcnjax.training import Recipe, Trainer, abstract_model
from fcnjax.training.build import rows_of
from fcnjax.training.compile.compilation import CompileSettings, jit
from fcnjax.training.evaluation import EvaluationResult
from fcnjax.training.step.loss import cross_entropy
from fcnjax.training.step.step import Arrays, TrainState, make_evaluation_step, merge, split

SHARES = {2: "half", 3: "third", 4: "quarter", 5: "fifth"}


@dataclass(frozen=True, eq=False)
class Measured:
    """What a measure returns.

    Attributes:
        values: one number per test example by metric, [N]; NaN where a metric does not apply to an example.
        numbers: number by name, without sampling error.
    """

    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A trained run, as a measure reads it.

    Attributes:
        arm: name of the arm.
        seed: number of the seed.
        fold: number of the fold.
        recipe: the resolved recipe of the run.
        trainer: trainer of the run, on its examples.
        state: the state after training.
        test: evaluation of the test examples.
        pool: all examples that any run of the arm tests.
        programs: keeps compiled functions between runs, by a key that determines them.
    """

    arm: str
    seed: int
    fold: int
    recipe: Recipe
    trainer: Trainer
    state: TrainState
    test: EvaluationResult
    pool: Source
    programs: dict[Any, Any] = field(default_factory=dict)

    @property
    def sources(self) -> Mapping[str, Source]:
        """The examples of the run: "train", "validation" and "test"."""
        return self.trainer.sources

    @property
    def labels(self) -> np.ndarray:
        """True classes of the test examples, int32 [N]; -1 for one that cannot be decoded."""
        return self.test.labels

    @cached_property
    def model(self) -> Classifier:
        """The trained network."""
        return self.trainer.model(self.state)

    def scores(self, source: str | Source = "test") -> np.ndarray:
        """Returns the logits of a split, or of other examples, in their order: float32 [examples, K].

        Other examples may have any sizes. Those of sizes that fit the buckets of the run compile nothing.
        """
        return self.test.logits if source == "test" else self.trainer.evaluate(self.state, source).logits

    def compiled(self, make: Callable[[Any], Callable[..., Any]], recipe: Recipe) -> Callable[..., Any]:
        """Returns a compiled function of weights, statistics and further arguments, the same one for all runs.

        Args:
            make: function of a module that takes the structure of a network (see `fcnjax.training.step.step.split`)
                and returns the function, such as `make_evaluation_step`.
            recipe: describes the network.
        """
        graphdef = split(abstract_model(recipe, self.sources["train"]))[0]
        if (make, graphdef) not in self.programs:
            self.programs[make, graphdef] = jit(make(graphdef), settings=CompileSettings.of(recipe))
        return self.programs[make, graphdef]

    def batches(self, source: Source | None = None) -> Iterator[tuple[np.ndarray, Padded, np.ndarray]]:
        """Yields examples in batches: their positions in the source int [B], inputs, and labels int [B].

        Args:
            source: examples whose sizes fit the buckets of the run; None: the test examples.

        Positions of filler rows, and of examples that cannot be decoded, are -1.
        """
        source = self.sources["test"] if source is None else source
        trainer, buckets = self.trainer, self.trainer.buckets
        plan = EvaluationPlan(source.sizes, buckets, rows_of(buckets))
        for step, batch in trainer.feed.batches(source, plan, 0, len(plan)):
            inputs, targets = trainer.feed.inputs(batch)
            rows = np.where(np.asarray(inputs.real), step.filled(trainer.mesh.size).rows, FILLER)
            yield rows, inputs, np.asarray(targets.labels)


@dataclass(frozen=True)
class Scores:
    """Measures "accuracy", 1 for each test example that is classified correctly and else 0, and "log loss"."""

    def __call__(self, run: TrainedRun) -> Measured:
        """Returns both; NaN for examples that cannot be decoded."""
        logits, known = run.scores().astype(np.float64), run.labels >= 0
        accuracy, loss = np.full(len(logits), np.nan), np.full(len(logits), np.nan)
        accuracy[known] = np.argmax(logits[known], axis=1) == run.labels[known]
        loss[known] = -log_softmax(logits[known], axis=1)[np.arange(known.sum()), run.labels[known]]
        if not np.all(np.isfinite(logits[known])):
            raise FloatingPointError(f"arm {run.arm!r}: its logits must be finite; lower its learning rate.")
        return Measured({"accuracy": accuracy, "log loss": loss})


@dataclass(frozen=True)
class SameFunction:
    """Measures how far the trained network of an arm is from the same weights in another order of layers.

    The weights and running statistics of the run are put into the network that the changes describe, which must have
    the same parameters. Both compute in float64, as in evaluation, so that a difference above rounding (about 1e-14) is
    one of the functions. The numbers are "logits differ, NAME", the largest difference over the largest logit, and
    "gradients differ, NAME", the same of the gradients of the mean loss; "functions differ, NAME" is the larger one.

    Attributes:
        arm: name of the arm.
        name: name of the other order.
        changes: fields of the recipe, as dotted paths, and their values in the other order.
        own: the same for the order that it is compared with; empty for that of the arm.
        examples: maximum number of test examples, evenly spaced; 32 digits take about a second on two cores, as CPUs
            have no fast convolution in float64.
    """

    arm: str
    name: str
    changes: tuple[tuple[str, Any], ...]
    own: tuple[tuple[str, Any], ...] = ()
    examples: int = 32

    def __call__(self, run: TrainedRun) -> Measured | None:
        """Returns the numbers; None for another arm.

        Raises:
            ValueError: if the other network has other parameters.
        """
        if run.arm != self.arm:
            return None
        computed = dataclasses.replace(run.recipe, model=dataclasses.replace(run.recipe.model, dtype=None))
        own, other = (changed_recipe(computed, dict(changes)) for changes in (self.own, self.changes))
        if not _parameters(run, computed) == _parameters(run, own) == _parameters(run, other):
            raise ValueError(f"changes={self.changes} of arm {self.arm!r}: must keep the parameters of its network.")
        test = run.sources["test"]
        source = PartialSource(test, np.array(sample_positions(len(test), self.examples)), {})
        logits, gradients = map(_apart, _exactly(run, own, source), _exactly(run, other, source))
        numbers = {"logits": logits, "gradients": gradients, "functions": float(np.maximum(logits, gradients))}
        return Measured({}, {f"{what} differ, {self.name}": number for what, number in numbers.items()})


@dataclass(frozen=True)
class Flips:
    """Measures "flipped in DTYPE": 1 for each test example whose prediction changes when computed in another dtype.

    Attributes:
        dtype: dtype of the computation, as in `config.model.dtype`.
    """

    dtype: str = "bfloat16"

    def __call__(self, run: TrainedRun) -> Measured:
        """Returns the value of each example and, under the same name, their mean as a number."""
        model = dataclasses.replace(run.recipe.model, dtype=self.dtype)
        program = run.compiled(make_evaluation_step, dataclasses.replace(run.recipe, model=model))
        flipped, predictions = np.full(len(run.labels), np.nan), np.argmax(run.scores(), axis=1)
        for rows, inputs, labels in run.batches():
            real, logits = rows != FILLER, program(*run.state.evaluated, inputs, labels).logits
            flipped[rows[real]] = np.argmax(logits, axis=1)[real] != predictions[rows[real]]
        name = f"flipped in {self.dtype}"
        return Measured({name: flipped}, {name: float(np.nanmean(flipped))})


@dataclass(frozen=True)
class ByArea:
    """Measures the accuracy of examples of similar area, such as "accuracy, smallest third"; NaN for all others.

    The groups have about equal counts over all examples that any run of the arm tests, so that an example has one group
    in all runs. Examples of one area are never divided. Examples outside of these belong to the group of their area.

    Attributes:
        parts: number of groups, 2 to 5.
    """

    parts: int = 3

    def __post_init__(self):
        if self.parts not in SHARES:
            raise ValueError(f"parts={self.parts}: must be 2 to 5.")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the metrics, from the smallest examples to the largest."""
        between = ("middle",) if self.parts == 3 else ("second", "third", "fourth")[: self.parts - 2]
        return tuple(f"accuracy, {place} {SHARES[self.parts]}" for place in ("smallest", *between, "largest"))

    def __call__(self, run: TrainedRun) -> Measured | None:
        """Returns the accuracies; None if too many examples share an area to be divided."""
        known, test = areas(run.pool.sizes), run.sources["test"]
        groups = quantile_groups(known, self.parts)  # [pool]
        if groups.max() + 1 < self.parts:
            return None
        of_pool = dict(zip(run.pool.ids.tolist(), known.tolist(), strict=True))
        given = zip(test.ids.tolist(), areas(test.sizes).tolist(), strict=True)
        largest = [known[groups == group].max() for group in range(self.parts - 1)]
        group = np.searchsorted(largest, [of_pool.get(number, area) for number, area in given])  # [N]
        accuracy = Scores()(run).values["accuracy"]
        return Measured({name: np.where(group == i, accuracy, np.nan) for i, name in enumerate(self.names)})


def make_exact_step(graphdef: Any) -> Callable[..., tuple[jax.Array, Arrays]]:
    """Returns `step(weights, statistics, batch, labels) -> (logits [B, K], gradients of the summed loss)`."""

    def step(weights: Arrays, statistics: Arrays, batch: Padded, labels: jax.Array) -> tuple[jax.Array, Arrays]:
        def summed(weights: Arrays) -> tuple[jax.Array, jax.Array]:
            logits = merge(graphdef, weights, statistics)(batch)
            return jnp.sum(jnp.where(batch.real, cross_entropy(logits, labels), 0.0)), logits

        gradients, logits = jax.grad(summed, has_aux=True)(weights)
        return logits, gradients

    return step


def _parameters(run: TrainedRun, recipe: Recipe) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of weights and statistics of a recipe's network."""
    _, weights, statistics = split(abstract_model(recipe, run.sources["train"]))
    return {name: array.shape for name, array in {**weights, **statistics}.items()}


def _exactly(run: TrainedRun, recipe: Recipe, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Returns the logits [N, K] of examples, and the gradients of their mean loss in one array, in float64.

    The network is that of the recipe, with the weights and statistics of the run.
    """
    program = run.compiled(make_exact_step, recipe)
    arrays = jax.tree.map(lambda array: np.asarray(array, np.float64), run.state.evaluated)
    logits, sums = np.full((len(source), len(source.class_names)), np.nan), None
    for rows, inputs, labels in run.batches(source):
        with jax.enable_x64(True):
            batch = inputs.replace(jnp.asarray(inputs.values, jnp.float64), inputs.sizes)
            scores, gradients = program(*arrays, batch, labels)
        if scores.dtype != np.float64:
            raise TypeError(f"arm {run.arm!r}: its logits are {scores.dtype}; a layer must keep the dtype float64.")
        real = rows != FILLER
        logits[rows[real]] = np.asarray(scores)[real]
        gradients = np.concatenate([np.ravel(gradients[name]) for name in sorted(gradients)])
        sums = gradients if sums is None else sums + gradients
    assert sums is not None
    return logits, sums / len(source)


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the largest difference over the largest absolute value of `b`; NaN if an array holds NaN."""
    return float(np.max(np.abs(a - b)) / np.max(np.abs(b)))
