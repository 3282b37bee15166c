"""Runs: the training loop, its folder, checkpoints, interruption and logs."""

from fcnjax.training.run.loop import TrainedRun, evaluate, load_model, load_run, train
from fcnjax.training.run.pretrained import import_weights, load_imported

__all__ = [
    "TrainedRun",
    "evaluate",
    "import_weights",
    "load_imported",
    "load_model",
    "load_run",
    "train",
]
