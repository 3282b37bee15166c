"""From a size table to steps: bucket shapes, the order of an epoch, and their cost. No module here reads an example.

`buckets` chooses the shapes that batches are padded to, `epoch_plan` and `mixed_plan` which examples a step holds, and
`remainders` how the last incomplete batch of each bucket is filled.
"""

from fcnjax.data.planning.base_plan import MixedStep, Plan, StepPlan
from fcnjax.data.planning.buckets import BucketPlan, plan_buckets
from fcnjax.data.planning.epoch_plan import EpochPlan, EvaluationPlan
from fcnjax.data.planning.mixed_plan import MixedPlan
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
