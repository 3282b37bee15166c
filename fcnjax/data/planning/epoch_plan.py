"""Orders in which each step is one batch of one bucket: shuffled for training, in order for evaluation.

Axes: N examples, D spatial axes, B rows of a batch, K buckets. The one idea: an epoch holds every example exactly once,
and only its order is random; the number of batches of each bucket is the same in every epoch. `remainders` fills the
last incomplete batch of each bucket. For steps with examples that do not depend on the buckets, see `mixed_plan`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from fcnjax.data.planning.base_plan import Plan, StepPlan, epoch_and_position, epoch_generator
from fcnjax.data.planning.remainders import batch_counts
from fcnjax.data.size_table import areas


@dataclass(frozen=True, eq=False)
class _OneBatchPlan(Plan):
    """A plan in which each step is one batch; `batch_size` is as for `EpochPlan`."""

    batch_size: int | Sequence[int]

    @cached_property
    def rows_per_bucket(self) -> np.ndarray:
        """Rows of each bucket's batches, int64 [K]."""
        return self._checked_rows("batch_size", self.batch_size)

    @cached_property
    def batches_per_bucket(self) -> np.ndarray:
        """Batches of each bucket in one epoch, int64 [K]."""
        return batch_counts(self.buckets.shapes, self._examples_per_bucket(), self.rows_per_bucket)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches, the same for every epoch."""
        return int(self.batches_per_bucket.sum())

    @cached_property
    def largest_step(self) -> int:
        """Padded positions of the largest batch, filler rows included."""
        return int((self.rows_per_bucket * areas(self.buckets.shapes))[self.batches_per_bucket > 0].max())


@dataclass(frozen=True, eq=False)
class EpochPlan(_OneBatchPlan):
    """The endless order of training, shuffled in each epoch, with random access to every step.

    The examples that share a batch, the examples of a bucket's last incomplete batch, and the order of the batches
    change from epoch to epoch. The number of steps and of filler rows does not, even with a random crop: examples keep
    the bucket of their native size, which every crop fits. For buckets that fit the crops, and for steps that do not
    depend on the buckets, see `MixedPlan`; for evaluation see `EvaluationPlan`.

    Attributes:
        sizes: int32 [N, D], the size table of the source, in its order.
        buckets: the buckets; each size must fit one.
        batch_size: B, rows of every batch, at least 1; or one number for each bucket [K], in the order of
            `buckets.shapes`.
        seed: any non-negative integer; with the sizes, buckets and batch sizes it determines every step.
        rows_multiple_of: batch sizes must be multiples of this; give the number of hosts, or of devices.

    Raises:
        ValueError: if an argument is outside the range named above, or a size fits no bucket.

    >>> from fcnjax.data import BucketPlan
    >>> plan = EpochPlan(np.array([[9], [5], [9]]), BucketPlan(np.array([[5], [9]])), batch_size=2, seed=0)
    >>> plan.steps_per_epoch, plan.filler_rows, sorted(plan.step(t).shape for t in range(2))
    (2, 1, [(5,), (9,)])
    """

    seed: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}: must be 0 or more.")

    def step(self, global_step: int, /) -> StepPlan:
        """Returns the batch of a step.

        Args:
            global_step: steps since the start of training, 0 or more; epochs follow each other without a gap.

        Returns:
            The plan of that batch; its rows are read-only.

        Raises:
            ValueError: if `global_step` is negative.
        """
        epoch, position = epoch_and_position(global_step, self.steps_per_epoch)
        return _shuffled_epoch(self, epoch)[position]


@dataclass(frozen=True, eq=False)
class EvaluationPlan(_OneBatchPlan):
    """The order of evaluation: one pass, unshuffled, each example exactly once, bucket after bucket.

    Attributes:
        sizes: int32 [N, D], the size table of the source, in its order.
        buckets: the buckets; each size must fit one.
        batch_size: B, rows of every batch, at least 1; or one number for each bucket [K], in the order of
            `buckets.shapes`.
        rows_multiple_of: batch sizes must be multiples of this; give the number of hosts, or of devices.

    Raises:
        ValueError: if an argument is outside the range named above, or a size fits no bucket.

    >>> from fcnjax.data import BucketPlan
    >>> plan = EvaluationPlan(np.array([[9], [5], [9]]), BucketPlan(np.array([[5], [9]])), batch_size=2)
    >>> [(step.shape, step.rows.tolist()) for step in plan]
    [((5,), [1, -1]), ((9,), [0, 2])]
    """

    @cached_property
    def _steps(self) -> list[StepPlan]:
        return self._batches(0, np.arange(len(self.sizes)), self.assignment)

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __iter__(self) -> Iterator[StepPlan]:
        return (self.step(index) for index in range(len(self)))

    def step(self, global_step: int, /) -> StepPlan:
        """Returns the batch of a step.

        Args:
            global_step: position in the pass, 0 to `len(self) - 1`.

        Returns:
            The plan of that batch, epoch 0; its rows are read-only.

        Raises:
            IndexError: if `global_step` is outside the pass.
        """
        if not 0 <= global_step < len(self):
            raise IndexError(f"global_step={global_step}: must be 0 to {len(self) - 1} in this pass.")
        return self._steps[global_step]


# Plans hash by identity. Four entries: around the end of an epoch, loader threads alternate between two epochs, and a
# second plan may be in use.
@lru_cache(maxsize=4)
def _shuffled_epoch(plan: EpochPlan, epoch: int) -> list[StepPlan]:
    """Returns the steps of one epoch."""
    rng = epoch_generator(plan.seed, epoch)
    examples = rng.permutation(len(plan.sizes))
    batches = plan._batches(epoch, examples, plan.assignment[examples])
    return [batches[index] for index in rng.permutation(len(batches))]
