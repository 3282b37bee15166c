"""The data room: sources of examples at native sizes, bucket rectangles, the order of an epoch, and the loader.

Everything here is numpy on the host and knows nothing of models. The usual road:

>>> import numpy as np
>>> from fcnjax.data import ArraySource, EpochPlan, load_batches, plan_buckets
>>> source = ArraySource([np.ones((4, 6, 1)), np.ones((5, 3, 1)), np.ones((2, 3, 1))], labels=[0, 1, 1])
>>> plan = EpochPlan(source.sizes, plan_buckets(source.sizes, max_buckets=2), batch_size=2, seed=0)
>>> for step, batch in load_batches(source, plan, mean=0.0, std=1.0, stop_step=plan.steps_per_epoch):
...     print(step.epoch, batch.values.shape[0], batch.values.shape[1:] == (*step.shape, 1))
0 2 True
0 2 True
"""

from fcnjax.data.augmentation import Affine
from fcnjax.data.buckets import BucketPlan, plan_buckets
from fcnjax.data.epoch_plan import EpochPlan, EvaluationPlan, Plan, StepPlan
from fcnjax.data.loader import Batch, load_batches
from fcnjax.data.loading import load_source
from fcnjax.data.sources import ArraySource, Example, Source, UnreadableExample
from fcnjax.data.tfds_source import TfdsSource

__all__ = [
    "Affine",
    "ArraySource",
    "Batch",
    "BucketPlan",
    "EpochPlan",
    "EvaluationPlan",
    "Example",
    "Plan",
    "Source",
    "StepPlan",
    "TfdsSource",
    "UnreadableExample",
    "load_batches",
    "load_source",
    "plan_buckets",
]
