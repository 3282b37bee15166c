"""Features of examples, for measures of trained runs.

Axes: S spatial extents, C channels.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fcnjax import geometry
from fcnjax.data import Source
from fcnjax.data.planning.remainders import FILLER
from fcnjax.heads import FlattenDenseHead, Head
from fcnjax.lab.measures.trained_run import TrainedRun
from fcnjax.layers import Layer
from fcnjax.padded import Padded
from fcnjax.training.step.step import Arrays, merge

Features = dict[str, list[np.ndarray]]  # [*S, C] of each example by stage

STAGES = ("first block", "last block")


def make_stages(graphdef: Any) -> Callable[..., dict[str, Padded]]:
    """Returns `stages(weights, statistics, batch) -> features`, as in evaluation, by stage."""

    def stages(weights: Arrays, statistics: Arrays, batch: Padded) -> dict[str, Padded]:
        blocks = list(merge(graphdef, weights, statistics).intermediates(batch).values())
        return dict(zip(STAGES, (blocks[0], blocks[-1]), strict=True))

    return stages


def features_of(run: TrainedRun, arrays: tuple[Arrays, Arrays], source: Source) -> Features:
    """Returns the features of examples by stage, with weights and statistics of the network of a run.

    Examples that cannot be decoded have features of no position.
    """
    program, channels = run.compiled(make_stages, run.recipe), dict.fromkeys(STAGES, 0)
    found: dict[str, dict[int, np.ndarray]] = {stage: {} for stage in STAGES}
    for rows, inputs, _ in run.batches(source):
        for stage, features in program(*arrays, inputs).items():
            found[stage] |= dict(zip(rows[rows != FILLER].tolist(), features.unstack(), strict=True))
            channels[stage] = features.channels
    rank = source.sizes.shape[1]
    none = {stage: np.zeros((*[0] * rank, count), np.float32) for stage, count in channels.items()}
    return {stage: [each.get(row, none[stage]) for row in range(len(source))] for stage, each in found.items()}


def fields_of(parts: Iterable[Layer | Head | FlattenDenseHead], rank: int) -> list[geometry.ReceptiveField]:
    """Returns the receptive field of what the last of some parts of a network gives, along each axis."""
    windows = [part.windows(rank) for part in parts]
    return [geometry.receptive_field(each[axis] for of_part in windows for each in of_part) for axis in range(rank)]


def exact_features(run: TrainedRun, images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the features that the head of a trained network receives, float64 [*S, C] of each image.

    Args:
        run: the run.
        images: values [*S, C] as the network receives them; the same extents in all runs, or each call compiles.
    """
    with jax.enable_x64(True):
        batch = Padded.stack([jnp.asarray(image, jnp.float64) for image in images])
        return run.compiled(make_stages, run.exact_recipe)(*run.exact_arrays, batch)[STAGES[-1]].unstack()
