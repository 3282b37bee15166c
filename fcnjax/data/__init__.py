"""Data: sources of examples at their native sizes, buckets for these sizes, the order of an epoch, and the loader.

Everything here is numpy on the host, except augmentation and mixup, which run on the device within a training step.
A step of an `EpochPlan` is one batch of one bucket; a step of a `MixedPlan` is a set of uniformly drawn examples in
several buckets. Only `RandomCrop` and `SizePolicy` change sizes. The usual sequence:

>>> import numpy as np
>>> from fcnjax.data import ArraySource, EpochPlan, load_batches, plan_buckets
>>> source = ArraySource([np.ones((4, 6, 1)), np.ones((5, 3, 1)), np.ones((2, 3, 1))], labels=[0, 1, 1])
>>> plan = EpochPlan(source.sizes, plan_buckets(source.sizes, max_buckets=2), batch_size=2, seed=0)
>>> for step, batch in load_batches(source, plan, mean=0.0, std=1.0, stop_step=plan.steps_per_epoch):
...     print(step.epoch, batch.values.shape[0], batch.values.shape[1:] == (*step.shape, 1))
0 2 True
0 2 True
"""

from fcnjax.data.augmentation import Affine, Augmentation, RandomCrop, mix
from fcnjax.data.batches import Batch
from fcnjax.data.by_name import FileOptions, load_source
from fcnjax.data.files import FolderSource, UnreadableFiles, decode_audio, decode_image, read_length, read_size
from fcnjax.data.loader import host_bytes, load_batches, prefetch_to_device
from fcnjax.data.planning import (
    BucketPlan,
    EpochPlan,
    EvaluationPlan,
    MixedPlan,
    MixedStep,
    Plan,
    PlanReport,
    StepPlan,
    bucket_table,
    comparison_table,
    plan_buckets,
    plan_report,
    read_sizes,
)
from fcnjax.data.sources import (
    ArraySource,
    Example,
    PartialSource,
    ResizedSource,
    SizePolicy,
    Source,
    UnreadableExample,
    as_source,
    load_npz,
    save_npz,
    without_small,
)
from fcnjax.data.tfds import TfdsSource, prepare_by_name

__all__ = [
    "Affine",
    "ArraySource",
    "Augmentation",
    "Batch",
    "BucketPlan",
    "EpochPlan",
    "EvaluationPlan",
    "Example",
    "FileOptions",
    "FolderSource",
    "MixedPlan",
    "MixedStep",
    "PartialSource",
    "Plan",
    "PlanReport",
    "RandomCrop",
    "ResizedSource",
    "SizePolicy",
    "Source",
    "StepPlan",
    "TfdsSource",
    "UnreadableExample",
    "UnreadableFiles",
    "as_source",
    "bucket_table",
    "comparison_table",
    "decode_audio",
    "decode_image",
    "host_bytes",
    "load_batches",
    "load_npz",
    "load_source",
    "mix",
    "plan_buckets",
    "plan_report",
    "prefetch_to_device",
    "prepare_by_name",
    "read_length",
    "read_size",
    "read_sizes",
    "save_npz",
    "without_small",
]
