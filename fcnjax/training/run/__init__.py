"""Runs: the training loop, its folder, checkpoints, interruption and logs."""

from fcnjax.training.run.finished import evaluate, load_run
from fcnjax.training.run.loop import TrainedRun
from fcnjax.training.run.preparation import describe_run, prepared_run
from fcnjax.training.run.start import train

__all__ = [
    "TrainedRun",
    "describe_run",
    "evaluate",
    "load_run",
    "prepared_run",
    "train",
]
