"""Training: recipes, the functional step, the one loop, evaluation, and run folders."""

from fcnjax.training.build import abstract_model, load_sources, make_buckets, make_model
from fcnjax.training.compile import (
    CompiledByShape,
    device_memory_bytes,
    jit,
    largest_batch_size,
)
from fcnjax.training.evaluation import EvaluationResult, Metrics, check_new, measure, summary_tables, write_report
from fcnjax.training.reestimation import reestimated_statistics
from fcnjax.training.run import TrainedRun, evaluate, import_weights, load_imported, load_model, load_run, train
from fcnjax.training.settings import (
    DataSettings,
    FrontendSettings,
    HeadSettings,
    LoaderSettings,
    LogSettings,
    LossSettings,
    ModelSettings,
    OptimizerSettings,
    ProfileSettings,
    Recipe,
)
from fcnjax.training.step import learning_rate_at
from fcnjax.training.trainer import Trainer

__all__ = [
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
    "write_report",
]
