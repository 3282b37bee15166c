"""Measures what batching changes: the gradient of a batch, and the statistics of batch norms.

Axes: N test examples, K classes, D spatial axes. The one idea: layers that do not mix examples have one gradient in any
buckets, and the moments of a batch norm pool exactly if each bucket counts with its real pixels. What is left, the
normalization by the moments of a batch, depends on who shares it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fcnjax.data import BucketPlan, EpochPlan, PartialSource, plan_buckets, scaled
from fcnjax.data.planning.remainders import FILLER
from fcnjax.lab.measures.scores import correct_of, max_relative_difference
from fcnjax.lab.measures.trained_run import Measured, TrainedRun
from fcnjax.layers import BatchNorm
from fcnjax.models import Classifier
from fcnjax.padded import Padded
from fcnjax.training import TrainState
from fcnjax.training.build import rows_of
from fcnjax.training.step.loss import cross_entropy
from fcnjax.training.step.step import Arrays, merge, split

# Sizes of the images in one batch, as shares of the largest bucket; the same in all runs of an arm.
SHARES = np.array([(0.4, 0.4)] * 3 + [(0.4, 0.7), (0.85, 0.5), (1.0, 1.0)])
BUCKETS = 2  # into which the batch is divided; they hold unequal numbers of images
Parts = list[tuple[Padded, np.ndarray]]  # batches and their labels


@dataclass(frozen=True)
class InBuckets:
    """Measures whether a batch has one gradient, and its batch norms one mean and variance, in any buckets.

    Test images of several sizes pass through the trained network as in training, without augmentation, in float64: in
    one bucket, divided into two, and each image alone. "gradients differ, in buckets" is the largest difference of the
    gradients of the mean loss from that in one bucket, over the largest gradient. It is above rounding (about 1e-15) if
    layers mix examples. "statistics differ, in buckets" is the same of mean and variance of the first batch norm,
    pooled over the two buckets; a network without batch norm does not have it.

    Two further numbers are broken on purpose: "gradients differ, mean of buckets" and "statistics differ, mean of
    buckets" give both buckets the same weight, and "gradients differ, not masked" takes the padding for pixels.

    Attributes:
        arms: the arms that are measured; empty for all.
    """

    arms: tuple[str, ...] = ()

    def __call__(self, run: TrainedRun) -> Measured | None:
        """Returns the numbers; None for an arm that is not measured."""
        if self.arms and run.arm not in self.arms:
            return None
        images, labels = _images(run)
        with jax.enable_x64(True):
            batches = _Batches(images, labels)
            numbers = _gradient_numbers(run, batches)
            if run.state.statistics:
                numbers |= _statistic_numbers(run, batches)
        return Measured({}, numbers)


@dataclass(frozen=True)
class RemeasuredStatistics:
    """Measures batch norms with statistics that are measured again on all training images, with the trained weights.

    They are measured in two ways: in batches of one bucket of the run each, and in batches that hold all sizes in one
    bucket. The metrics are "accuracy, statistics by bucket" and "accuracy, statistics of all sizes". The numbers say
    how far two means of a channel are apart, in its standard deviations, as a root mean square over all channels:
    "statistics differ, by bucket or not" of these two, and "statistics differ, running" of the moving averages of
    training from those by bucket.

    Attributes:
        arms: the arms that are measured, which have batch norms.
    """

    arms: tuple[str, ...]

    def __call__(self, run: TrainedRun) -> Measured | None:
        """Returns metrics and numbers; None for an arm that is not measured."""
        if run.arm not in self.arms:
            return None
        own = run.trainer.buckets
        together = BucketPlan(own.shapes.max(axis=0)[None], np.array([run.recipe.batch_size]))
        by_bucket, of_all = (_measured_again(run, buckets) for buckets in (own, together))
        values = {"by bucket": _correct(run, by_bucket), "of all sizes": _correct(run, of_all)}
        running = run.state.evaluated[1]
        numbers = {"by bucket or not": _distance(by_bucket, of_all), "running": _distance(running, by_bucket)}
        return Measured(
            {f"accuracy, statistics {how}": each for how, each in values.items()},
            {f"statistics differ, {what}": number for what, number in numbers.items()},
        )


class _Batches:
    """One batch of images, divided in several ways."""

    def __init__(self, images: Sequence[np.ndarray], labels: np.ndarray):
        sizes = np.array([image.shape[:-1] for image in images])
        largest = sizes.max(axis=0)[None]
        self.count = len(images)
        self.whole = _divided(images, labels, sizes, BucketPlan(largest))
        self.divided = _divided(images, labels, sizes, plan_buckets(sizes, BUCKETS))
        self.alone = [(Padded.stack([image]), labels[i : i + 1]) for i, image in enumerate(images)]
        ((batch, same),) = self.whole
        self.unmasked = [(Padded(batch.values, jnp.broadcast_to(largest, batch.sizes.shape)), same)]


def make_gradient_of_sum(graphdef: Any) -> Callable[..., Arrays]:
    """Returns `gradient(weights, statistics, batch, labels) -> gradients of the summed loss`, as in training."""

    def gradient(weights: Arrays, statistics: Arrays, batch: Padded, labels: jax.Array) -> Arrays:
        def summed(weights: Arrays) -> jax.Array:
            logits = merge(graphdef, weights, statistics)(batch, train=True)
            return jnp.sum(jnp.where(batch.real, cross_entropy(logits, labels), 0.0))

        return jax.grad(summed)(weights)

    return gradient


def make_pooling_step(graphdef: Any) -> Callable[..., tuple[Arrays, list[jax.Array]]]:
    """Returns `pool(weights, statistics, counts, batch) -> (statistics, counts)`, which adds a batch to statistics.

    Each batch norm normalizes by its batch. `counts` are the valid positions that each has seen, 0 before the first.
    """

    def pool(
        weights: Arrays, statistics: Arrays, counts: list[jax.Array], batch: Padded
    ) -> tuple[Arrays, list[jax.Array]]:
        model = merge(graphdef, weights, statistics)
        norms = _batch_norms(model)
        for norm, count in zip(norms, counts, strict=True):
            norm.measure()
            norm.count[...] = count
        model(batch)  # stores the moments in the norms
        moved = split(model)[2]
        return {name: moved[name] for name in statistics}, [norm.count[...] for norm in norms]

    return pool


def _batch_norms(model: Classifier) -> list[Any]:
    return [module for _, module in nnx.iter_modules(model) if isinstance(module, BatchNorm)]


def _images(run: TrainedRun) -> tuple[list[np.ndarray], np.ndarray]:
    """Returns normalized test images [H, W, C] of the sizes of `SHARES`, float64, and their labels."""
    chosen = PartialSource(run.sources["test"], np.arange(len(SHARES)), {})
    sizes = np.ceil(SHARES * run.trainer.buckets.shapes[-1]).astype(np.int32)
    images, labels = [], []
    for rows, inputs, known in run.batches(scaled(chosen, sizes)):
        images.extend(np.asarray(image, np.float64) for image in inputs.unstack())
        labels.extend(known[rows != FILLER])
    return images, np.array(labels)


def _divided(images: Sequence[np.ndarray], labels: np.ndarray, sizes: np.ndarray, buckets: BucketPlan) -> Parts:
    """Returns the images in one batch per bucket."""
    parts, bucket_of = [], buckets.assign(sizes)
    for bucket, shape in enumerate(buckets.shapes.tolist()):
        rows = np.flatnonzero(bucket_of == bucket)
        parts.append((Padded.stack([images[row] for row in rows], shape), labels[rows]))
    return parts


def _gradient_numbers(run: TrainedRun, batches: _Batches) -> dict[str, float]:
    program, arrays = run.compiled(make_gradient_of_sum, run.recipe), run.exact_arrays

    def sums(parts: Parts) -> np.ndarray:
        """Returns the gradients of the summed loss of each part [parts, weights]."""
        found = [program(*arrays, *part) for part in parts]
        return np.array([np.concatenate([np.ravel(each[name]) for name in sorted(each)]) for each in found])

    (whole,), divided, (unmasked,) = (sums(parts) for parts in (batches.whole, batches.divided, batches.unmasked))
    alone = sums(batches.alone).sum(axis=0)
    found = {"in buckets": max_relative_difference([divided.sum(axis=0), alone], [whole, whole])}
    means = divided / np.array([[len(labels)] for _, labels in batches.divided])
    found["mean of buckets"] = max_relative_difference(means.mean(axis=0), whole / batches.count)
    found["not masked"] = max_relative_difference(unmasked, whole)
    return {f"gradients differ, {what}": number for what, number in found.items()}


def _statistic_numbers(run: TrainedRun, batches: _Batches) -> dict[str, float]:
    def pooled(parts: Parts) -> np.ndarray:
        """Returns mean and variance [2, C] of the first batch norm."""
        found = _pooled(run, run.exact_arrays, [batch for batch, _ in parts])
        first = next(name for name in found if name.endswith("mean")).removesuffix("mean")
        return np.stack([found[f"{first}mean"], found[f"{first}variance"]])

    whole, means = pooled(batches.whole), [pooled([part]) for part in batches.divided]
    found = {"in buckets": pooled(batches.divided), "mean of buckets": np.mean(means, axis=0)}
    return {f"statistics differ, {what}": max_relative_difference(each, whole) for what, each in found.items()}


def _pooled(run: TrainedRun, arrays: tuple[Arrays, Arrays], batches: Any) -> Arrays:
    """Returns the statistics of all batch norms over the valid positions of the batches."""
    program, (weights, statistics) = run.compiled(make_pooling_step, run.recipe), arrays
    counts = [np.zeros((), next(iter(weights.values())).dtype) for _ in _batch_norms(run.model)]
    for batch in batches:
        statistics, counts = program(weights, statistics, counts, batch)
    return statistics


def _measured_again(run: TrainedRun, buckets: BucketPlan) -> Arrays:
    """Returns the statistics over all training images, shuffled, in batches of one bucket each."""
    trainer = run.trainer
    plan = EpochPlan(trainer.sources["train"].sizes, buckets, rows_of(buckets), run.recipe.seed)
    steps = trainer.feed.batches("train", plan, 0, plan.steps_per_epoch)
    return _pooled(run, run.state.evaluated, (trainer.feed.inputs(batch)[0] for _, batch in steps))


def _correct(run: TrainedRun, statistics: Arrays) -> np.ndarray:
    """Returns which test examples [N] the network classifies correctly with other statistics."""
    placed = run.trainer.programs.state.statistics
    statistics = {name: jax.device_put(each, placed[name].sharding) for name, each in statistics.items()}
    state = TrainState(run.state.step, run.state.evaluated[0], statistics, run.state.optimizer)
    return correct_of(run.trainer.evaluate(state, "test").logits, run.labels)


def _distance(a: Arrays, b: Arrays) -> float:
    """Returns how far the means of `a` are from those of `b` in standard deviations of `b`, root mean square."""
    names = [name for name in b if name.endswith("mean")]
    shifts = [
        (np.asarray(a[name]) - np.asarray(b[name])) / np.sqrt(b[f"{name.removesuffix('mean')}variance"])
        for name in names
    ]
    return float(np.sqrt(np.mean(np.square(np.concatenate(shifts)))))
