"""Statistics of batch norms measured anew with the weights fixed, in place of the moving averages of training.

The moving averages lag behind the weights, remember the last hundred batches or so, and are of cropped and augmented
examples. Here they are of every training example at its own size, as evaluation sees it.
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
    """Returns the running statistics of a state, measured over the training split with its weights.

    Use it before evaluation where the moving averages are poor: few or small batches, averaged or changed weights. One
    pass over the examples, each once, whole and not augmented, with dropout off, in the shuffled order and the batches
    of an epoch of training in rectangles.

    Each norm normalizes by its batch, as in training, and pools moments by valid positions: its statistics are then of
    all positions alike, as in a batch that holds every example, and a batch of few or small examples, or with filler
    rows, weighs what it holds. The first norm's are the same however the examples are batched; those behind it are so
    as far as the batches are alike.

    Args:
        trainer: whose training split and rectangles are used.
        state: its weights are used, and nothing in it changes.

    Returns:
        Arrays named like `state.statistics`, which come back as they are if the network has none: nothing is then read
        or compiled. They lie where the trainer's states have them. Variances are unbiased, as the moving averages are.

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
    """Returns the network with all its batch norms measuring; it is changed itself."""
    for _, module in nnx.iter_modules(model):
        if isinstance(module, BatchNorm):
            module.measure()
    return model


def _make_measuring_step(graphdef: nnx.GraphDef[Classifier]) -> Callable[[Arrays, Arrays, Padded], Arrays]:
    """Returns `step(weights, statistics, batch) -> statistics`."""

    def step(weights: Arrays, statistics: Arrays, batch: Padded) -> Arrays:
        model = merge(graphdef, weights, statistics)
        model(batch)  # for what it leaves in the norms
        return split(model)[2]

    return step
