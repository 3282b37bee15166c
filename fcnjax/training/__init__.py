"""Training: recipes, the functional step, the one loop, evaluation, and run folders."""

from fcnjax.training.compilation import CompiledByShape, jit
from fcnjax.training.imported import import_weights, load_imported
from fcnjax.training.loop import TrainedRun, evaluate, load_model, load_run, train
from fcnjax.training.recipe import DataSettings, HeadSettings, ModelSettings, OptimizerSettings, Recipe
from fcnjax.training.trainer import EvaluationResult, Trainer, abstract_model, load_sources, make_model

__all__ = [
    "CompiledByShape",
    "DataSettings",
    "EvaluationResult",
    "HeadSettings",
    "ModelSettings",
    "OptimizerSettings",
    "Recipe",
    "TrainedRun",
    "Trainer",
    "abstract_model",
    "evaluate",
    "import_weights",
    "jit",
    "load_imported",
    "load_model",
    "load_run",
    "load_sources",
    "make_model",
    "train",
]
