"""Measures of a flatten-dense head as a convolution: scores of sliding crops, and accuracy at other sizes.

Axes: N test examples, P positions of a map of scores, S the spatial axes, C channels, K classes.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from fcnjax.data import PartialSource, Source, scaled
from fcnjax.data.planning.remainders import FILLER
from fcnjax.data.sources.contents import sample_positions
from fcnjax.heads import FlattenDenseHead, convolutionalize
from fcnjax.lab.experiment import changed_recipe
from fcnjax.lab.measures.scores import correct_of, max_relative_difference
from fcnjax.lab.measures.trained_run import Measured, TrainedRun
from fcnjax.models import Classifier
from fcnjax.naming import joined
from fcnjax.padded import Padded
from fcnjax.training import abstract_model
from fcnjax.training.build import make_buckets
from fcnjax.training.step.step import Arrays, merge


@dataclass(frozen=True)
class SlidingCrops:
    """Measures how far the converted head of an arm is from its dense head on sliding crops of the same image.

    Test examples are scaled to a size at which the converted head has several positions. Each position's scores are
    compared with the logits that the network with the dense head gives for the crop there, and their mean with the
    logits of the converted head. Both compute in float64, so that a difference above rounding (about 1e-14) is one of
    the functions. The number "crops differ, NAME" is the larger difference, over the largest logit.

    Attributes:
        arm: name of the arm, which must have a flatten-dense head.
        name: describes the changes.
        crop: size of a crop, at which the features have the extent of the dense head.
        grid: number of crops along each axis; neighbors are as far apart as positions of the features.
        changes: fields of the recipe, as dotted paths, and other values for both; they must keep the parameters.
        examples: maximum number of test examples, evenly spaced.
    """

    arm: str
    name: str
    crop: tuple[int, ...]
    grid: tuple[int, ...]
    changes: tuple[tuple[str, Any], ...] = ()
    examples: int = 3

    def __call__(self, run: TrainedRun) -> Measured | None:
        """Returns the number; None for another arm."""
        if run.arm != self.arm:
            return None
        recipe = changed_recipe(run.recipe, {**dict(self.changes), "model.dtype": None})
        stride = [int(step) for step in abstract_model(recipe, run.sources["train"]).stride]
        size = [crop + step * (n - 1) for crop, step, n in zip(self.crop, stride, self.grid, strict=True)]
        test = run.sources["test"]
        chosen = PartialSource(test, np.array(sample_positions(len(test), self.examples)), {})
        batches = _batches(run, scaled(chosen, size))
        images = [np.asarray(image, np.float64) for _, inputs, _ in batches for image in inputs.unstack()]
        boxes = [_box(np.multiply(at, stride).tolist(), self.crop) for at in np.ndindex(*self.grid)]
        crops = [image[box] for image in images for box in boxes]
        program = run.compiled(make_both_scores, recipe)
        with jax.enable_x64(True):
            maps, logits, dense = map(np.asarray, program(*run.exact_arrays, Padded.stack(images), Padded.stack(crops)))
        if dense.dtype != np.float64:
            raise TypeError(f"arm {run.arm!r}: its logits are {dense.dtype}; a layer must keep the dtype float64.")
        dense = dense.reshape(len(images), len(boxes), -1)  # [N, P, K]
        differ = max_relative_difference(maps.reshape(dense.shape), dense)
        means_differ = max_relative_difference(logits, dense.mean(axis=1))
        return Measured({}, {f"crops differ, {self.name}": float(np.maximum(differ, means_differ))})


@dataclass(frozen=True)
class AtAnySize:
    """Measures the accuracy on scaled test examples, such as "accuracy, scaled to 40x40", whatever the head.

    A flatten-dense head refuses most sizes; it is converted into a convolution with the same weights, whose scores are
    averaged over positions. The number "sizes refused" counts the sizes that the network itself refuses.

    Attributes:
        sizes: sizes at which the features are at least as large as the extent of a dense head.
        arms: the arms that are measured; empty for all.
    """

    sizes: tuple[tuple[int, ...], ...]
    arms: tuple[str, ...] = ()

    def __call__(self, run: TrainedRun) -> Measured | None:
        """Returns one metric per size, and the number; None for an arm that is not measured."""
        if self.arms and run.arm not in self.arms:
            return None
        values = {f"accuracy, scaled to {joined(size)}": self._correct(run, size) for size in self.sizes}
        return Measured(values, {"sizes refused": float(sum(_refuses(run.model, size) for size in self.sizes))})

    def _correct(self, run: TrainedRun, size: Sequence[int]) -> np.ndarray:
        source = scaled(run.sources["test"], size)
        if not isinstance(run.model.head, FlattenDenseHead):
            return correct_of(run.scores(source), run.labels)
        program = run.compiled(make_converted_scores, run.recipe)
        logits = np.zeros((len(source), len(source.class_names)))
        for rows, inputs, _ in _batches(run, source):
            real = rows != FILLER
            logits[rows[real]] = np.asarray(program(*run.state.evaluated, inputs))[real]
        return correct_of(logits, run.labels)


def make_converted_scores(graphdef: Any) -> Callable[..., jax.Array]:
    """Returns `scores(weights, statistics, batch) -> logits [B, K]` of the network with its dense head converted."""

    def scores(weights: Arrays, statistics: Arrays, batch: Padded) -> jax.Array:
        return _converted(merge(graphdef, weights, statistics))(batch)

    return scores


def make_both_scores(graphdef: Any) -> Callable[..., tuple[jax.Array, jax.Array, jax.Array]]:
    """Returns `scores(weights, statistics, images, crops) -> (maps [N, *S, K], their logits [N, K], dense [N * P, K])`.

    The first two are those of the images with the dense head converted, the last one is that of the crops without.
    """

    def scores(
        weights: Arrays, statistics: Arrays, images: Padded, crops: Padded
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        model = merge(graphdef, weights, statistics)
        converted = _converted(model)
        return converted.class_maps(images).values, converted(images), model(crops)

    return scores


def _converted(model: Classifier) -> Classifier:
    """Returns a network with its flatten-dense head as a convolution; it shares the other layers."""
    assert isinstance(model.head, FlattenDenseHead)
    other = copy.copy(model)
    other.head = convolutionalize(model.head)
    return other


def _refuses(model: Classifier, size: Sequence[int]) -> bool:
    """Returns whether a network cannot take an example of a size."""
    try:
        model.check_sizes(np.array([size]))
    except ValueError:
        return True
    return False


def _batches(run: TrainedRun, source: Source) -> Iterator[tuple[np.ndarray, Padded, np.ndarray]]:
    """Yields examples of any sizes in batches, as `TrainedRun.batches`."""
    return run.batches(source, make_buckets(run.recipe, {"test": source}))


def _box(corner: Sequence[int], size: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(start, start + extent) for start, extent in zip(corner, size, strict=True))
