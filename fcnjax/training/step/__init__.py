"""The functional training step: loss, gradients, optimizer and weight average, without files and without a loop."""

from fcnjax.training.step.optimizer import learning_rate_at
from fcnjax.training.step.step import TrainState

__all__ = ["TrainState", "learning_rate_at"]
