"""Statistics of batch norms, re-estimated with fixed weights to replace the moving averages of training.

Moving averages lag behind the weights, cover only the last hundred batches or so, and come from cropped and augmented
examples. Re-estimated statistics cover every training example at its own size, as evaluation sees it.
"""

from collections.abc import Callable

import jax
from flax import nnx

from fcnjax.layers import BatchNorm
from fcnjax.models import Classifier
from fcnjax.padded import Padded
from fcnjax.training.compile.compilation import CompiledByShape
from fcnjax.training.compile.mesh import replicated
from fcnjax.training.step.step import Arrays, TrainState, merge, split
from fcnjax.training.trainer import Trainer


def reestimated_statistics(trainer: Trainer, state: TrainState) -> Arrays:
    """Returns the running statistics of a state, measured with its weights over the training split.

    Use it before evaluation if the moving averages are poor: few or small batches, averaged or changed weights. It
    makes one pass over the examples, shuffled and bucketed as in an epoch of training. Each example comes once, whole,
    without augmentation; dropout is off.

    Each norm normalizes by its batch, as in training, and weights moments by valid positions. So all positions count
    equally, as in one batch of all examples, and a batch of few or small examples, or with filler rows, counts in
    proportion. The statistics of the first norm do not depend on how examples are batched. Those of later norms do,
    because their inputs are normalized by batch.

    Args:
        trainer: provides the training split and the buckets.
        state: provides the weights; it does not change.

    Returns:
        Arrays named and placed like `state.statistics`, with unbiased variances, as in the moving averages. If the
        network has no statistics, `state.statistics` itself; nothing is then read or compiled.

    Source: Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3 (PreciseBN), over valid positions; with
      one batch also PyTorch's `torch.optim.swa_utils.update_bn`.
    """
    if not state.statistics:
        return state.statistics
    graphdef, weights, statistics = split(_measuring(trainer.model(state)))
    everywhere = replicated(trainer.mesh)
    step = CompiledByShape(_make_measuring_step(graphdef), (), everywhere, "re-estimate")
    statistics = jax.device_put(statistics, everywhere)
    for shape, batch in trainer.whole_training_batches():
        statistics = step(shape, weights, statistics, batch)
    placed = trainer.programs.state.statistics
    return {name: jax.device_put(statistics[name], placed[name].sharding) for name in state.statistics}


def _measuring(model: Classifier) -> Classifier:
    """Sets all batch norms of a network to measuring, in place, and returns it."""
    for _, module in nnx.iter_modules(model):
        if isinstance(module, BatchNorm):
            module.measure()
    return model


def _make_measuring_step(graphdef: nnx.GraphDef[Classifier]) -> Callable[[Arrays, Arrays, Padded], Arrays]:
    """Returns `step(weights, statistics, batch) -> statistics`."""

    def step(weights: Arrays, statistics: Arrays, batch: Padded) -> Arrays:
        model = merge(graphdef, weights, statistics)
        model(batch)  # stores the moments in the norms
        return split(model)[2]

    return step
