"""Optimisers and schedules by name, all of them optax's."""

from collections.abc import Mapping

import jax
import optax

from fcnjax.naming import unknown_name
from fcnjax.training.recipe import OptimizerSettings

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "constant")


def make_schedule(settings: OptimizerSettings, steps: int) -> optax.Schedule:
    """Returns the learning rate as a function of the step, for a run of `steps` steps.

    Raises:
      ValueError: for an unknown schedule.
    """
    if settings.schedule not in SCHEDULES:
        raise ValueError(unknown_name("schedule", settings.schedule, SCHEDULES))
    warmup, peak = round(settings.warmup * steps), settings.learning_rate
    rest = max(steps - warmup, 1)
    after = optax.cosine_decay_schedule(peak, rest) if settings.schedule == "cosine" else optax.constant_schedule(peak)
    if not warmup:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


def make_optimizer(settings: OptimizerSettings, steps: int) -> optax.GradientTransformation:
    """Returns the optimiser for a run of `steps` steps; weight decay acts on kernels only, not on norms and biases.

    Raises:
      ValueError: for an unknown optimiser or schedule.
    """
    if settings.name not in OPTIMIZERS:
        raise ValueError(unknown_name("optimizer", settings.name, OPTIMIZERS))
    rate = make_schedule(settings, steps)
    parts = [] if settings.clip_norm is None else [optax.clip_by_global_norm(settings.clip_norm)]
    if settings.name == "adamw":
        parts.append(optax.adamw(rate, eps=settings.epsilon, weight_decay=settings.weight_decay, mask=_kernels))
    else:
        parts.append(optax.add_decayed_weights(settings.weight_decay, mask=_kernels))
        parts.append(optax.sgd(rate, momentum=settings.momentum, nesterov=settings.momentum > 0))
    return optax.chain(*parts)


def _kernels(weights: Mapping[str, jax.Array]) -> dict[str, bool]:
    return {name: array.ndim > 1 for name, array in weights.items()}
