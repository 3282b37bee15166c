"""Runs: the training loop, its folder, checkpoints, interruption and logs."""

from fcnjax.training.run.finished import evaluate, load_run
from fcnjax.training.run.loop import TrainedRun, train
from fcnjax.training.run.preparation import describe_run, trainer_for

__all__ = [
    "TrainedRun",
    "describe_run",
    "evaluate",
    "load_run",
    "train",
    "trainer_for",
]
