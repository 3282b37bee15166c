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

from fcnjax.data.augmentation import *
from fcnjax.data.batches import Batch as Batch
from fcnjax.data.by_name import FileOptions as FileOptions
from fcnjax.data.by_name import load_source as load_source
from fcnjax.data.decoding import *
from fcnjax.data.files import *
from fcnjax.data.loader import host_bytes as host_bytes
from fcnjax.data.loader import load_batches as load_batches
from fcnjax.data.loader import prefetch_to_device as prefetch_to_device
from fcnjax.data.planning import *
from fcnjax.data.sources import *
from fcnjax.data.tfds import *
