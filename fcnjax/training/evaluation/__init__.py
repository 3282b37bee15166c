"""Evaluation of a trained network: results, metrics from exact sums, other sizes, and reports."""

from fcnjax.training.evaluation.evaluation_report import check_new, summary_tables, write_report
from fcnjax.training.evaluation.evaluation_result import EvaluationResult
from fcnjax.training.evaluation.metrics import Metrics, measure
from fcnjax.training.evaluation.size_sweep import AtSize, sweep
from fcnjax.training.evaluation.size_terms import SizeTerm, check_sizes, parse_sizes
from fcnjax.training.evaluation.sweep_report import sweep_tables

__all__ = [
    "AtSize",
    "EvaluationResult",
    "Metrics",
    "SizeTerm",
    "check_new",
    "check_sizes",
    "measure",
    "parse_sizes",
    "summary_tables",
    "sweep",
    "sweep_tables",
    "write_report",
]
