"""Features of examples, for measures of trained runs.

Axes: S spatial extents, C channels.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fcnjax.data import Source
from fcnjax.data.planning.remainders import FILLER
from fcnjax.lab.measures.trained_run import TrainedRun
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


def exact_features(run: TrainedRun, images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the features that the head of a trained network receives, float64 [*S, C] of each image.

    Args:
        run: the run.
        images: values [*S, C] as the network receives them; the same extents in all runs, or each call compiles.
    """
    recipe = dataclasses.replace(run.recipe, model=dataclasses.replace(run.recipe.model, dtype=None))
    arrays = jax.tree.map(lambda array: np.asarray(array, np.float64), run.state.evaluated)
    with jax.enable_x64(True):
        batch = Padded.stack([jnp.asarray(image, jnp.float64) for image in images])
        return run.compiled(make_stages, recipe)(*arrays, batch)[STAGES[-1]].unstack()
