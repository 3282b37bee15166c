"""Measures how far two orders of layers are from one function: `SameFunction`.

Axes: N test examples, K classes, B rows of a batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fcnjax.data import PartialSource, Source
from fcnjax.data.planning.remainders import FILLER
from fcnjax.data.sources.contents import sample_positions
from fcnjax.lab.experiment import changed_recipe
from fcnjax.lab.measures.scores import max_relative_difference
from fcnjax.lab.measures.trained_run import Measured, TrainedRun
from fcnjax.padded import Padded
from fcnjax.training import Recipe, abstract_model
from fcnjax.training.step.loss import cross_entropy
from fcnjax.training.step.step import Arrays, merge, split


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
        computed = run.exact_recipe
        own, other = (changed_recipe(computed, dict(changes)) for changes in (self.own, self.changes))
        if not _parameters(run, computed) == _parameters(run, own) == _parameters(run, other):
            raise ValueError(f"changes={self.changes} of arm {self.arm!r}: must keep the parameters of its network.")
        test = run.sources["test"]
        source = PartialSource(test, np.array(sample_positions(len(test), self.examples)), {})
        exact = _exactly(run, own, source), _exactly(run, other, source)
        logits, gradients = map(max_relative_difference, *exact)
        numbers = {"logits": logits, "gradients": gradients, "functions": float(np.maximum(logits, gradients))}
        return Measured({}, {f"{what} differ, {self.name}": number for what, number in numbers.items()})


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
    program, arrays = run.compiled(make_exact_step, recipe), run.exact_arrays
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
