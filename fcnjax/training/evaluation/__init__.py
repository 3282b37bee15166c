"""Evaluation of a trained network: results, metrics from exact sums, and reports."""

from fcnjax.training.evaluation.evaluation_report import check_new, summary_tables, write_report
from fcnjax.training.evaluation.evaluation_result import EvaluationResult
from fcnjax.training.evaluation.metrics import Metrics, measure

__all__ = ["EvaluationResult", "Metrics", "check_new", "measure", "summary_tables", "write_report"]
