"""Training: recipes, the functional step, the one loop, evaluation, and run folders."""

from fcnjax.training.compilation import CompiledByShape, jit
from fcnjax.training.evaluation_report import check_new, summary_tables, write_report
from fcnjax.training.evaluation_result import EvaluationResult
from fcnjax.training.imported import import_weights, load_imported
from fcnjax.training.loop import TrainedRun, evaluate, load_model, load_run, train
from fcnjax.training.memory_fit import device_memory_bytes, fit_batch_sizes, largest_batch_size, train_step_bytes
from fcnjax.training.metrics import Metrics, measure
from fcnjax.training.observation import LogSettings, ProfileSettings
from fcnjax.training.optimizer import learning_rate_at
from fcnjax.training.preparation import SCANS, abstract_model, load_sources, make_buckets, make_model
from fcnjax.training.recipe import (
    DataSettings,
    FrontendSettings,
    HeadSettings,
    LoaderSettings,
    LossSettings,
    ModelSettings,
    OptimizerSettings,
    Recipe,
)
from fcnjax.training.reestimation import reestimated_statistics
from fcnjax.training.trainer import Trainer

__all__ = [
    "SCANS",
    "CompiledByShape",
    "DataSettings",
    "EvaluationResult",
    "FrontendSettings",
    "HeadSettings",
    "LoaderSettings",
    "LogSettings",
    "LossSettings",
    "Metrics",
    "ModelSettings",
    "OptimizerSettings",
    "ProfileSettings",
    "Recipe",
    "TrainedRun",
    "Trainer",
    "abstract_model",
    "check_new",
    "device_memory_bytes",
    "evaluate",
    "fit_batch_sizes",
    "import_weights",
    "jit",
    "largest_batch_size",
    "learning_rate_at",
    "load_imported",
    "load_model",
    "load_run",
    "load_sources",
    "make_buckets",
    "make_model",
    "measure",
    "reestimated_statistics",
    "summary_tables",
    "train",
    "train_step_bytes",
    "write_report",
]
