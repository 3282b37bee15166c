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
import numpy as np

from fcnjax.data import BucketPlan, EvaluationPlan, Source
from fcnjax.data.planning.remainders import FILLER
from fcnjax.models import Classifier
from fcnjax.padded import Padded
from fcnjax.training import Recipe, Trainer, abstract_model
from fcnjax.training.build import rows_of
from fcnjax.training.compile.compilation import CompileSettings, jit
from fcnjax.training.evaluation import EvaluationResult
from fcnjax.training.step.step import Arrays, TrainState, split


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

    @cached_property
    def exact_recipe(self) -> Recipe:
        """The recipe with a network that computes in the dtype of its inputs, such as float64."""
        return dataclasses.replace(self.recipe, model=dataclasses.replace(self.recipe.model, dtype=None))

    @cached_property
    def exact_arrays(self) -> tuple[Arrays, Arrays]:
        """The weights and statistics that are evaluated, in float64."""
        return jax.tree.map(lambda array: np.asarray(array, np.float64), self.state.evaluated)

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
        return self.compiled_for(split(abstract_model(recipe, self.sources["train"]))[0], make, recipe)

    def compiled_for(
        self, graphdef: Any, make: Callable[[Any], Callable[..., Any]], recipe: Recipe
    ) -> Callable[..., Any]:
        """Returns what `compiled` does, for a network of another structure."""
        if (make, graphdef) not in self.programs:
            self.programs[make, graphdef] = jit(make(graphdef), settings=CompileSettings.of(recipe))
        return self.programs[make, graphdef]

    def batches(
        self, source: Source | None = None, buckets: BucketPlan | None = None
    ) -> Iterator[tuple[np.ndarray, Padded, np.ndarray]]:
        """Yields examples in batches: their positions in the source int [B], inputs, and labels int [B].

        Args:
            source: examples whose sizes fit the buckets; None: the test examples.
            buckets: buckets with batch sizes; None: those of the run.

        Positions of filler rows, and of examples that cannot be decoded, are -1.
        """
        source = self.sources["test"] if source is None else source
        trainer, buckets = self.trainer, self.trainer.buckets if buckets is None else buckets
        plan = EvaluationPlan(source.sizes, buckets, rows_of(buckets))
        for step, batch in trainer.feed.batches(source, plan, 0, len(plan)):
            inputs, targets = trainer.feed.inputs(batch)
            rows = np.where(np.asarray(inputs.real), step.filled(trainer.mesh.size).rows, FILLER)
            yield rows, inputs, np.asarray(targets.labels)
