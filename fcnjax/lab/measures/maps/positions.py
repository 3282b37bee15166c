"""Measures what features tell about absolute position: `PositionProbe`, `RolledFeatures`, `RolledScores`.

An image that is rolled around its edges by a random offset shows every part of it equally often at every position. So
its content does not tell where a position is, and only the borders of a network do.

Axes: N examples, P positions of the features of one example, D spatial axes, S spatial extents, C channels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fcnjax.data import ChangedSource, PartialSource, Source, scaled
from fcnjax.data.planning.remainders import FILLER
from fcnjax.data.sources.contents import sample_positions
from fcnjax.lab.measures.maps.features import STAGES, exact_features, features_of
from fcnjax.lab.measures.scores import correct_of, max_relative_difference
from fcnjax.lab.measures.trained_run import Measured, TrainedRun
from fcnjax.layers import BatchNorm
from fcnjax.padded import Padded
from fcnjax.training.step.step import Arrays, merge, split

ROLL = 0x726F6C6C  # "roll" in ASCII; hashed with the id of an example
# Extents of the images of `RolledFeatures` and their shifts, in strides of the network; the same in all runs.
EXTENTS, SHIFTS = np.array([(2, 3), (3, 2), (3, 3), (2, 2)]), ((1, 0), (0, 1), (1, 2), (1, 1))


def rolled(source: Source) -> ChangedSource:
    """Returns images rolled around their edges, each by an offset drawn with its id; all offsets are equally likely."""
    return ChangedSource(source, source.sizes, _roll, "rolled")


def _roll(values: np.ndarray, number: int, size: tuple[int, ...]) -> np.ndarray:
    offsets = np.random.default_rng((number, ROLL)).integers(size)
    return np.roll(values, offsets, tuple(range(len(size))))


@dataclass(frozen=True)
class RolledScores:
    """Measures "accuracy, rolled": the accuracy on test images rolled by an offset of their own (see `rolled`)."""

    def __call__(self, run: TrainedRun) -> Measured:
        """Returns the accuracy."""
        return Measured({"accuracy, rolled": correct_of(run.scores(rolled(run.sources["test"])), run.labels)})


@dataclass(frozen=True)
class PositionProbe:
    """Measures how well a linear probe decodes a position from the features there.

    The probe is a ridge regression from the standardized features at a position to the coordinates of its center, from
    -1 to 1 along each axis, edge to edge. It is fitted on training images and tested on test images, each at its own
    size and rolled by an offset of its own. The value of a test image, "R2 of position, STAGE", is 1 minus the squared
    error of the probe over that of always predicting the center of the image, both summed over positions and axes; NaN
    where features have one position. STAGE is "first block" or "last block", of which the head gets the features.

    For the last block, three more values compare the probe: "R2 of position, untrained" is that of the network before
    training, with the statistics of its batch norms measured on the images of the probe; "R2 of position, shuffled"
    that of a probe fitted on permuted coordinates; "R2 of position, not rolled" that of images as they are, whose
    content may tell position.

    Attributes:
        images: maximum number of training images, evenly spaced.
        penalty: weight of the squared coefficients, at least 0.
        arms: the arms that are measured; empty for all.

    Source: Islam, Jia and Bruce, "How much position information do convolutional neural networks encode?", 2020, with a
    linear probe of single positions and rolled images in place of theirs.
    """

    images: int = 480
    penalty: float = 100.0
    arms: tuple[str, ...] = ()

    def __call__(self, run: TrainedRun) -> Measured | None:
        """Returns the values; None for an arm that is not measured."""
        if self.arms and run.arm not in self.arms:
            return None
        train, test, last = run.sources["train"], run.sources["test"], STAGES[-1]
        fitted = PartialSource(train, np.array(sample_positions(len(train), self.images)), {})
        moved = rolled(fitted), rolled(test)
        ours = [features_of(run, run.state.evaluated, source) for source in moved]
        untrained = [features_of(run, untrained_arrays(run, moved[0]), source) for source in moved]
        plain = [features_of(run, run.state.evaluated, source) for source in (fitted, test)]
        values = {stage: r2_of_position(ours[0][stage], ours[1][stage], self.penalty) for stage in STAGES}
        shuffle = np.random.default_rng(run.recipe.seed)
        values["shuffled"] = r2_of_position(ours[0][last], ours[1][last], self.penalty, shuffle)
        for name, (train_features, test_features) in {"untrained": untrained, "not rolled": plain}.items():
            values[name] = r2_of_position(train_features[last], test_features[last], self.penalty)
        return Measured({f"R2 of position, {name}": each for name, each in values.items()})


@dataclass(frozen=True)
class RolledFeatures:
    """Measures whether features move with the image: the number "features differ, rolled".

    Test images are brought to multiples of the network's stride and rolled by multiples of it. The number is the
    largest difference between the features of the rolled image and the rolled features of the image, over the largest
    feature, in float64: rounding (about 1e-15) if no position differs from another one. The features are those that the
    head receives.

    Attributes:
        arms: the arms that are measured; empty for all.

    Source: derived here; Kayhan and van Gemert, "On translation invariance in CNNs", 2020, for zero borders.
    """

    arms: tuple[str, ...] = ()

    def __call__(self, run: TrainedRun) -> Measured | None:
        """Returns the number; None for an arm that is not measured."""
        if self.arms and run.arm not in self.arms:
            return None
        strides = np.array(run.model.stride, np.int32)
        chosen = PartialSource(run.sources["test"], np.arange(len(EXTENTS)), {})
        images = images_of(run, scaled(chosen, EXTENTS * strides))
        moved = [_shifted(image, shift * strides) for image, shift in zip(images, SHIFTS, strict=True)]
        features = exact_features(run, [*images, *moved])
        expected = [_shifted(each, shift) for each, shift in zip(features[: len(images)], SHIFTS, strict=True)]
        pairs = (np.concatenate([each.ravel() for each in some]) for some in (features[len(images) :], expected))
        return Measured({}, {"features differ, rolled": max_relative_difference(*pairs)})


def _shifted(values: np.ndarray, shift: Sequence[int]) -> np.ndarray:
    return np.roll(values, shift, tuple(range(len(shift))))


def make_statistics(graphdef: Any) -> Callable[..., Arrays]:
    """Returns `measured(weights, statistics, batch) -> statistics` of the batch norms, those of the batch alone."""

    def measured(weights: Arrays, statistics: Arrays, batch: Padded) -> Arrays:
        model = merge(graphdef, weights, statistics)
        for _, module in nnx.iter_modules(model):
            if isinstance(module, BatchNorm):
                module.measure()
        model(batch)
        found = split(model)[2]
        return {name: found[name] for name in statistics}

    return measured


def images_of(run: TrainedRun, source: Source) -> list[np.ndarray]:
    """Returns examples as the network receives them, [*S, C] each."""
    found: dict[int, np.ndarray] = {}
    for rows, inputs, _ in run.batches(source):
        found |= dict(zip(rows[rows != FILLER].tolist(), inputs.unstack(), strict=True))
    return [found[row] for row in sorted(found)]


def untrained_arrays(run: TrainedRun, source: Source) -> tuple[Arrays, Arrays]:
    """Returns the weights of a run before training, with the mean statistics of batches of the examples.

    The initial statistics would leave zeros of the background as zeros in all blocks, so that no border differed from
    it.
    """
    initial = run.trainer.initial_state(run.recipe.seed)
    program, total = run.compiled(make_statistics, run.recipe), 0
    sums = {name: np.zeros(array.shape) for name, array in initial.statistics.items()}
    for rows, inputs, _ in run.batches(source):
        count = int(np.sum(rows != FILLER))
        for name, array in program(initial.weights, initial.statistics, inputs).items():
            sums[name] += count * np.asarray(array, np.float64)
        total += count
    return initial.weights, {name: jnp.asarray(each / total, jnp.float32) for name, each in sums.items()}


def coordinates(extents: Sequence[int]) -> np.ndarray:
    """Returns the centers of all positions [P, D], from -1 to 1 along each axis, edge to edge.

    >>> coordinates((1, 2)).tolist()
    [[0.0, -0.5], [0.0, 0.5]]
    """
    axes = [(2 * np.arange(extent) + 1) / extent - 1 for extent in extents]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(extents))


def r2_of_position(
    train: Sequence[np.ndarray],
    test: Sequence[np.ndarray],
    penalty: float = 100.0,
    shuffle: np.random.Generator | None = None,
) -> np.ndarray:
    """Returns the share of the squared coordinates of each test example that a linear probe explains.

    Args:
        train: features [*S, C] of the examples that the probe is fitted on.
        test: features [*S, C] of N examples.
        penalty: weight of the squared coefficients of standardized features, at least 0.
        shuffle: permutes the coordinates that the probe is fitted on; None keeps them.

    Returns:
        [N], at most 1, below 0 where the center of the example is closer; NaN for features of one position or none.
    """
    x, y = _positions(train)
    probe = make_pipeline(StandardScaler(), Ridge(alpha=penalty))
    probe.fit(x, y if shuffle is None else shuffle.permutation(y))
    x, y = _positions(test)
    example = np.repeat(np.arange(len(test)), [each[..., 0].size for each in test])
    errors = np.bincount(example, np.sum((probe.predict(x) - y) ** 2, axis=1), len(test))
    squares = np.bincount(example, np.sum(y**2, axis=1), len(test))
    return 1 - np.divide(errors, squares, out=np.full(len(test), np.nan), where=squares > 0)


def _positions(features: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the features [P, C] and the coordinates [P, D] of all positions, in float64."""
    flat = [each.reshape(-1, each.shape[-1]).astype(np.float64) for each in features]
    return np.concatenate(flat), np.concatenate([coordinates(each.shape[:-1]) for each in features])
