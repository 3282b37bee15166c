"""Measures how far a network for signals is from the same network for images of one row: `AsImages`.

Axes: B rows of a batch, L length, C channels, K classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fcnjax.data import ArraySource, PartialSource
from fcnjax.data.sources.contents import sample_positions
from fcnjax.lab.experiment import changed_recipe
from fcnjax.lab.measures.scores import max_relative_difference
from fcnjax.lab.measures.trained_run import Measured, TrainedRun
from fcnjax.padded import Padded
from fcnjax.training import abstract_model
from fcnjax.training.step.step import Arrays, merge, split


@dataclass(frozen=True)
class AsImages:
    """Measures how far the trained network of an arm is from a network for images with the same weights.

    Each kernel becomes the middle row of a square one, whose other rows are random: at height 1 they see only the
    zeros around an image. A front end stays as it is, and its frames are the signals. Both compute in float64, so that
    a difference above rounding (about 1e-14) is one of the functions. The numbers are "logits differ, as images of
    height 1", the largest difference over the largest logit, and the same of height 2, where an image holds the signal
    twice and the other rows do see it.

    Attributes:
        arm: name of the arm, whose kernels must have an odd number of taps.
        examples: maximum number of test examples, evenly spaced.
    """

    arm: str
    examples: int = 16

    def __call__(self, run: TrainedRun) -> Measured | None:
        """Returns both numbers; None for another arm.

        Raises:
            ValueError: if a kernel has an even number of taps, and so no middle row.
        """
        if run.arm != self.arm:
            return None
        test, logits = run.sources["test"], {0: [], 1: [], 2: []}  # by height; 0 is the signal itself
        chosen = PartialSource(test, np.array(sample_positions(len(test), self.examples)), {})
        for _, inputs, _ in run.batches(chosen):
            for height, found in logits.items():
                found.append(_scores(run, inputs, height))
        signals, *images = (np.concatenate(found) for found in logits.values())
        numbers = {height: max_relative_difference(each, signals) for height, each in enumerate(images, 1)}
        return Measured({}, {f"logits differ, as images of height {height}": n for height, n in numbers.items()})


def make_logits(graphdef: Any) -> Callable[..., jax.Array]:
    """Returns `logits(weights, statistics, batch) -> logits [B, K]`, in the dtype of the batch."""

    def logits(weights: Arrays, statistics: Arrays, batch: Padded) -> jax.Array:
        return merge(graphdef, weights, statistics)(batch)

    return logits


def _scores(run: TrainedRun, inputs: Padded, height: int) -> np.ndarray:
    """Returns the logits [B, K] of signals, or of images of a height whose rows are the signals, in float64."""
    front, batch = run.model.front_blocks, inputs
    for block in list(run.model.blocks)[:front]:
        batch = block(batch)
    recipe = changed_recipe(run.recipe, {"frontend.name": None, "model.dtype": None})
    example = np.zeros((2 if height else 1) * (1,) + (batch.channels,), np.float32)
    source = ArraySource([example], [0], run.sources["test"].class_names)
    graphdef, *shapes = split(abstract_model(recipe, source))
    weights, statistics = (
        _widened(_behind(front, arrays), wanted) for arrays, wanted in zip(run.state.evaluated, shapes, strict=True)
    )
    program = run.compiled_for(graphdef, make_logits, recipe)
    with jax.enable_x64(True):
        values, sizes = np.asarray(batch.values, np.float64), np.asarray(batch.sizes)
        if height:
            values = np.repeat(values[:, None], height, axis=1)
            sizes = np.concatenate([np.where(sizes > 0, height, 0), sizes], axis=1)
        batch = Padded(jnp.asarray(values), jnp.asarray(sizes, jnp.int32))
        return np.asarray(program(weights, statistics, batch))


def _behind(front: int, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arrays of a network behind its first blocks, with the names that they have without these."""
    behind = {}
    for name, array in arrays.items():
        group, *rest = name.split(".")
        if group != "blocks":
            behind[name] = array
        elif int(rest[0]) >= front:
            behind[".".join((group, str(int(rest[0]) - front), *rest[1:]))] = array
    return behind


def _widened(arrays: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns arrays in float64 in the shapes of those that are wanted; kernels get rows of random numbers around."""
    rng, widened = np.random.default_rng(0), {}
    for name, like in wanted.items():
        array = np.asarray(arrays[name], np.float64)
        if array.shape != like.shape:
            if len(array) % 2 == 0:
                raise ValueError(f"{name} of {len(array)} taps: must be odd, to be the middle row of a square kernel.")
            array, middle = rng.normal(size=like.shape), array
            array[len(array) // 2] = middle
        widened[name] = array
    return widened
