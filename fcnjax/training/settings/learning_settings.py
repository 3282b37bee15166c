"""Settings of learning: the loss, the optimizer and its schedule. Axes: K classes."""

import dataclasses
import itertools

from fcnjax.naming import unknown_name
from fcnjax.training.settings.config_fields import require, require_at_least

OPTIMIZERS = ("adamw", "lamb", "muon", "sgd")
SCHEDULES = ("constant", "cosine", "step")
BALANCED = "balanced"


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
    """Optimizer and schedule, both from optax.

    Attributes:
        name: "adamw"; "sgd" (Nesterov momentum); "lamb" (adamw with each step scaled to the norm of its array, for
            large batches); "muon" (orthogonalized steps for the kernels of the backbone, adamw for the rest).
        learning_rate: peak of the learning rate, greater than 0.
        schedule: "cosine" (to 0 at the end of the run), "step" (see `boundaries`) or "constant".
        warmup: share of the steps during which the rate rises linearly from 0, in [0, 1).
        boundaries: shares of the run at which schedule "step" lowers the rate: increasing, greater than `warmup` and
            below 1.
        factor: factor on the rate at each boundary, in (0, 1].
        weight_decay: decoupled weight decay, on kernels only, at least 0.
        momentum: momentum of sgd and muon, in [0, 1); 0.95 is usual for muon.
        beta1, beta2: share of the old mean of the gradients, and of their squares, that a step of adamw, lamb or muon's
            adamw keeps, in [0, 1).
        epsilon: epsilon of adamw, lamb and muon, greater than 0: gradients well below it move a weight in proportion to
            their size and not only by their sign, so that rounding in a gradient that should be 0 does not become a
            full step.
        clip_norm: maximum global norm of the gradient, greater than 0; None does not clip.
        layer_decay: factor on the learning rate of each block relative to the one above it, in (0, 1]: the head has the
            full rate, the last block `layer_decay` of it, the one below its square.
        head_only: share of the steps, from the first, that change the head alone, in [0, 1). Running statistics follow
            the data from the first step, unless `freeze` keeps them.
    """

    name: str = "adamw"
    learning_rate: float = 5e-3
    schedule: str = "cosine"
    warmup: float = 0.1
    boundaries: tuple[float, ...] = ()
    factor: float = 0.1
    weight_decay: float = 0.3
    momentum: float = 0.9
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    clip_norm: float | None = None
    layer_decay: float = 1.0
    head_only: float = 0.0

    def __post_init__(self):
        for field, kind, known in (("name", "optimizer", OPTIMIZERS), ("schedule", "schedule", SCHEDULES)):
            if getattr(self, field) not in known:
                raise ValueError(f"{field}: {unknown_name(kind, getattr(self, field), known)}")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "greater than 0")
        for name in ("warmup", "momentum", "beta1", "beta2", "head_only"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        self._check_boundaries()
        for name in ("factor", "layer_decay"):
            require(0 < getattr(self, name) <= 1, name, getattr(self, name), "in (0, 1]")
        require_at_least(0, self, "weight_decay")
        require(self.epsilon > 0, "epsilon", self.epsilon, "greater than 0")
        require(self.clip_norm is None or self.clip_norm > 0, "clip_norm", self.clip_norm, "greater than 0, or None")

    def _check_boundaries(self):
        shares = self.boundaries
        if self.schedule == "step":
            increasing = all(before < after for before, after in itertools.pairwise((self.warmup, *shares, 1.0)))
            allowed = f"at least one share of the run, increasing, greater than warmup={self.warmup}, and below 1"
            require(bool(shares) and increasing, "boundaries", shares, allowed)
        else:
            require(not shares, "boundaries", shares, 'empty; only schedule="step" has boundaries')


@dataclasses.dataclass(frozen=True)
class LossSettings:
    """The cross-entropy in training; evaluation always uses plain cross-entropy, so that runs are comparable.

    Attributes:
        label_smoothing: share of each target that is spread evenly over all classes, in [0, 1).
        class_weights: K numbers greater than 0; "balanced", which is N / (K * n_k) if n_k of the N training examples
            are of class k; or None, which weights all classes equally. The mean over a step is as in PyTorch's
            `CrossEntropyLoss(weight=...)`: the divisor is the sum of the examples' weights, not their number.
    """

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | str | None = None

    def __post_init__(self):
        require(0 <= self.label_smoothing < 1, "label_smoothing", self.label_smoothing, "in [0, 1)")
        weights = self.class_weights
        named = weights is None or weights == BALANCED
        numbers = isinstance(weights, tuple) and bool(weights) and all(weight > 0 for weight in weights)
        allowed = f"one number greater than 0 per class, {BALANCED!r}, or None"
        require(named or numbers, "class_weights", weights, allowed)
