"""From a size table to steps: bucket shapes, the order of an epoch, and their cost. No module here reads an example."""

from fcnjax.data.planning.buckets import BucketPlan, plan_buckets
from fcnjax.data.planning.epoch_plan import EpochPlan, EvaluationPlan, Plan, StepPlan
from fcnjax.data.planning.mixed_plan import MixedPlan, MixedStep
from fcnjax.data.planning.plan_report import PlanReport, bucket_table, comparison_table, plan_report
from fcnjax.data.planning.size_files import read_sizes

__all__ = [
    "BucketPlan",
    "EpochPlan",
    "EvaluationPlan",
    "MixedPlan",
    "MixedStep",
    "Plan",
    "PlanReport",
    "StepPlan",
    "bucket_table",
    "comparison_table",
    "plan_buckets",
    "plan_report",
    "read_sizes",
]
