"""How a network learns, as a recipe states it: the loss, the optimizer and its schedule. Axes: K classes."""

import dataclasses
import itertools

from fcnjax.naming import unknown_name
from fcnjax.training.settings.config_fields import require

OPTIMIZERS = ("adamw", "lamb", "muon", "sgd")
SCHEDULES = ("constant", "cosine", "step")
BALANCED = "balanced"


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
    """Optimizer and schedule, all of them optax's.

    Attributes:
        name: "adamw"; "sgd" (Nesterov momentum); "lamb" (adamw whose step is scaled to the norm of each array, for
            large batches); "muon" (orthogonalized steps for the kernels of the backbone, adamw for the rest).
        learning_rate: peak, greater than 0.
        schedule: "cosine" (to 0 at the end of the run), "step" (see `boundaries`) or "constant".
        warmup: share of the steps during which the rate rises linearly from 0, in [0, 1).
        boundaries: of "step": shares of the run, each greater than the one before, greater than `warmup` and below 1.
        factor: of "step": what the rate is multiplied with at each boundary, in (0, 1].
        weight_decay: decoupled, on kernels only, at least 0.
        momentum: of sgd and muon, in [0, 1); 0.95 is usual for muon.
        beta1, beta2: of adamw, lamb and muon's adamw: share of the old mean of gradients, and of their squares, that a
            step keeps, in [0, 1).
        epsilon: of adamw, lamb and muon, greater than 0: gradients well below it move a weight in proportion, not by
            their sign alone, so that rounding in a gradient that should be 0 does not become a full step.
        clip_norm: largest global norm of the gradient; None does not clip.
    """

    name: str = "adamw"
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warmup: float = 0.0
    boundaries: tuple[float, ...] = ()
    factor: float = 0.1
    weight_decay: float = 0.0
    momentum: float = 0.9
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    clip_norm: float | None = None

    def __post_init__(self):
        for field, value, known in (("name", self.name, OPTIMIZERS), ("schedule", self.schedule, SCHEDULES)):
            if value not in known:
                kind = "optimizer" if field == "name" else field
                raise ValueError(f"config.optimizer.{field}: {unknown_name(kind, value, known)}")
        require(self.learning_rate > 0, "optimizer.learning_rate", self.learning_rate, "greater than 0")
        require(0 <= self.warmup < 1, "optimizer.warmup", self.warmup, "in [0, 1)")
        self._check_boundaries()
        require(0 < self.factor <= 1, "optimizer.factor", self.factor, "in (0, 1]")
        require(self.weight_decay >= 0, "optimizer.weight_decay", self.weight_decay, "at least 0")
        for name in ("momentum", "beta1", "beta2"):
            require(0 <= getattr(self, name) < 1, f"optimizer.{name}", getattr(self, name), "in [0, 1)")
        require(self.epsilon > 0, "optimizer.epsilon", self.epsilon, "greater than 0")
        require(self.clip_norm is None or self.clip_norm > 0, "optimizer.clip_norm", self.clip_norm, "greater than 0")

    def _check_boundaries(self):
        shares, name = self.boundaries, "optimizer.boundaries"
        if self.schedule == "step":
            ends = (self.warmup, *shares, 1.0)
            increasing = all(before < after for before, after in itertools.pairwise(ends))
            allowed = f"at least one share of the run, increasing, greater than optimizer.warmup={self.warmup}, below 1"
            require(bool(shares) and increasing, name, shares, allowed)
        else:
            require(not shares, name, shares, "left empty, as only config.optimizer.schedule=step has boundaries")


@dataclasses.dataclass(frozen=True)
class LossSettings:
    """Cross-entropy of training; evaluation is always the plain one, so that runs compare.

    Attributes:
        label_smoothing: share of each target that is spread evenly over all classes, in [0, 1).
        class_weights: K numbers greater than 0; "balanced", which is N / (K * n_k) of the n_k training examples of
            class k; or None, which weighs all classes alike. The mean over a step is that of PyTorch's
            `CrossEntropyLoss(weight=...)`: over the weights of its examples, not their number.
    """

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | str | None = None

    def __post_init__(self):
        require(0 <= self.label_smoothing < 1, "loss.label_smoothing", self.label_smoothing, "in [0, 1)")
        weights = self.class_weights
        named = weights is None or weights == BALANCED
        numbers = isinstance(weights, tuple) and bool(weights) and all(weight > 0 for weight in weights)
        allowed = f"one number greater than 0 per class, {BALANCED}, or None"
        require(named or numbers, "loss.class_weights", weights, allowed)
