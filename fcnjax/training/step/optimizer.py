"""Optimizers and schedules by name, all from optax."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import jax
import optax

from fcnjax.naming import unknown_name
from fcnjax.training.settings.learning_settings import OPTIMIZERS, SCHEDULES, OptimizerSettings
from fcnjax.training.step.freezing import without_frozen

MUON_RMS = 0.2  # root mean square of an update at rate 1, as in adamw: one learning rate suits all weights


def make_schedule(settings: OptimizerSettings, steps: int) -> optax.Schedule:
    """Returns the learning rate as a function of the step, for a run of `steps` steps.

    To try another schedule, add its name to `SCHEDULES` in `fcnjax/training/settings/learning_settings.py` and a branch
    here.
    """
    warmup, peak = round(settings.warmup * steps), settings.learning_rate
    if settings.schedule == "cosine":
        after = optax.cosine_decay_schedule(peak, max(steps - warmup, 1))
    elif settings.schedule == "step":  # in a short run, two boundaries may round to the same step
        reached = Counter(round(share * steps) - warmup for share in settings.boundaries)
        after = optax.piecewise_constant_schedule(peak, {step: settings.factor**n for step, n in reached.items()})
    elif settings.schedule == "constant":
        after = optax.constant_schedule(peak)
    else:
        raise ValueError(unknown_name("schedule", settings.schedule, SCHEDULES))
    if not warmup:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


def learning_rate_at(settings: OptimizerSettings, steps: int, step: int) -> float:
    """Returns the learning rate of one step, 0 to `steps` - 1, of a run of `steps` steps.

    >>> settings = OptimizerSettings(learning_rate=0.5, schedule="step", boundaries=(0.5,))
    >>> [round(learning_rate_at(settings, 10, step), 6) for step in (4, 5)]
    [0.5, 0.05]
    """
    rate: Any = make_schedule(settings, steps)(step)
    return float(rate)


def make_optimizer(
    settings: OptimizerSettings, steps: int, frozen: Collection[str] = ()
) -> optax.GradientTransformation:
    """Returns the optimizer for a run of `steps` steps. Weight decay acts on kernels only, not on norms and biases.

    Args:
        settings: of the optimizer.
        steps: number of steps.
        frozen: names of the weights that stay as they are.
    """
    rate, decay = make_schedule(settings, steps), settings.weight_decay
    adam: dict[str, Any] = {"b1": settings.beta1, "b2": settings.beta2, "eps": settings.epsilon}
    parts = [] if settings.clip_norm is None else [optax.clip_by_global_norm(settings.clip_norm)]
    if settings.name == "adamw":
        parts.append(optax.adamw(rate, **adam, weight_decay=decay, mask=_kernels))
    elif settings.name == "lamb":
        parts.append(optax.lamb(rate, **adam, weight_decay=decay, mask=_kernels))
    elif settings.name == "muon":
        parts += [_muon_direction(settings, optax.scale_by_adam(**adam))]
        parts.append(optax.add_decayed_weights(decay, mask=_kernels))
        parts.append(optax.scale_by_learning_rate(rate))
    elif settings.name == "sgd":
        parts.append(optax.add_decayed_weights(decay, mask=_kernels))
        parts.append(optax.sgd(rate, momentum=settings.momentum, nesterov=settings.momentum > 0))
    else:
        raise ValueError(unknown_name("optimizer", settings.name, OPTIMIZERS))
    if settings.layer_decay < 1:
        parts.append(optax.stateless(lambda updates, _: _decayed_by_depth(updates, settings.layer_decay, frozen)))
    if head_steps := round(settings.head_only * steps):
        factors = [optax.constant_schedule(0.0), optax.constant_schedule(1.0)]
        later = optax.scale_by_schedule(optax.join_schedules(factors, [head_steps]))
        parts.append(optax.masked(later, _outside_head))
    whole = optax.chain(*parts)
    return without_frozen(whole, frozen) if frozen else whole


def _decayed_by_depth(updates: Any, decay: float, frozen: Collection[str]) -> Any:
    """Returns updates [by name] times decay^d, d blocks below the head: 0 in the head, 1 in the last block.

    Source: the layer-wise decay of Bao et al., "BEiT", 2022, and of fine-tuned ConvNeXts, by block.
    """
    blocks = {name: int(name.split(".")[1]) for name in (*updates, *frozen) if not _in_head(name)}
    top = 1 + max(blocks.values(), default=0)
    return {name: update * decay ** (top - blocks.get(name, top)) for name, update in updates.items()}


def _outside_head(weights: Any) -> dict[str, bool]:
    return {name: not _in_head(name) for name in weights}


def _in_head(name: str) -> bool:
    return name.startswith("head.")


def _muon_direction(settings: OptimizerSettings, adam: optax.GradientTransformation) -> optax.GradientTransformation:
    """Returns muon for the matrices and `adam` for the other weights, both without learning rate and weight decay.

    optax's own muon updates the other weights by an adamw with Nesterov momentum and a decay that cannot be masked.

    Source: Jordan et al., "Muon", 2024; step sizes as in Liu et al., "Muon is Scalable for LLM Training", 2025.
    """
    muon = optax.contrib.muon(
        -1.0,  # its update is minus the rate times the direction
        beta=settings.momentum,
        eps=settings.epsilon,
        muon_weight_dimension_numbers=_matrices,
        consistent_rms=MUON_RMS,
    )

    def labels(weights: Any) -> Any:
        return {name: "adam" if matrix is None else "muon" for name, matrix in _matrices(weights).items()}

    return optax.partition({"muon": muon, "adam": adam}, labels)


def _matrices(weights: Any) -> Any:
    """Returns, by name, how a kernel [*taps, C, K] is read as a matrix [taps * C, K]; None for weights of Adam.

    Adam updates the head, as Muon's authors advise, and kernels with one input channel: a depthwise kernel is not a
    matrix between channels, and a kernel on gray inputs is small.
    """

    def matrix(name: str, array: Any) -> optax.contrib.MuonDimensionNumbers | None:
        rank = getattr(array, "ndim", 0)  # optax calls this again with a `MaskedNode` for each weight of Adam
        if rank < 2 or array.shape[-2] == 1 or _in_head(name):
            return None
        return optax.contrib.MuonDimensionNumbers(tuple(range(rank - 1)), (rank - 1,))

    return {name: matrix(name, array) for name, array in weights.items()}


def _kernels(weights: Mapping[str, jax.Array]) -> dict[str, bool]:
    return {name: array.ndim > 1 for name, array in weights.items()}
