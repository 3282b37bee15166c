"""The data order as a pure function: which examples, in which rectangle, at which step.

Axes: N examples, B rows of a batch, K buckets, T batches of one epoch. The one idea: `step(t)` depends on nothing but
its arguments, so resuming is an integer and every host can work out the same step and take its own rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple, Protocol

import numpy as np

from fcnjax.data.buckets import BucketPlan, areas, checked_table

FILLER = -1


class StepPlan(NamedTuple):
    """One batch before any data is read.

    Attributes:
      epoch: Pass over the data, from 0.
      bucket: Index into the shapes of the bucket plan.
      shape: Extents [D] of the rectangle, in positions.
      rows: int32 [B], indices into the source; -1 marks a filler row, always behind the real ones.
    """

    epoch: int
    bucket: int
    shape: tuple[int, ...]
    rows: np.ndarray


class Plan(Protocol):
    """What the loader needs of an order: the size table it was made for, and random access to its steps."""

    @property
    def sizes(self) -> np.ndarray:
        """int32 [N, D]."""
        ...

    def step(self, global_step: int, /) -> StepPlan:
        """The batch at `global_step`, 0 or more. Called from several threads at once."""
        ...


@dataclass(frozen=True, eq=False)
class _BucketedPlan:
    """Batches that are each of one bucket; an epoch holds every example exactly once.

    A bucket's examples seldom fill whole batches. Its remainder moves to larger rectangles where their ragged batches
    have room for all of it, which costs nothing and saves a batch; what is left is filled with -1 rows.

    Attributes:
      sizes: int32 [N, D], the size table; the order of its rows is the source's.
      buckets: The rectangles; each size must fit one.
      batch_size: B, rows of every batch, at least 1.
    """

    sizes: np.ndarray
    buckets: BucketPlan
    batch_size: int

    def __post_init__(self) -> None:
        sizes = checked_table("sizes", self.sizes, axes=self.buckets.shapes.shape[1])
        sizes.setflags(write=False)
        object.__setattr__(self, "sizes", sizes)
        if self.batch_size < 1:
            raise ValueError(f"batch_size: got {self.batch_size}; allowed is 1 or more rows")
        self.assignment  # noqa: B018 (sizes that fit no bucket are refused now, not at the first step)

    @cached_property
    def assignment(self) -> np.ndarray:
        """int32 [N], the bucket of each example."""
        return self.buckets.assign(self.sizes)

    @cached_property
    def _promotions(self) -> tuple[tuple[int, int, int], ...]:
        """(bucket, examples, larger bucket): remainders that go where filler rows would be, which saves their batch."""
        shapes, counts = self.buckets.shapes, np.bincount(self.assignment, minlength=len(self.buckets.shapes))
        promotions = []
        for bucket in range(len(shapes)):
            left = int(counts[bucket] % self.batch_size)
            room = np.where((shapes >= shapes[bucket]).all(axis=1), -counts % self.batch_size, 0)  # [K]
            room[bucket] = 0
            if not 0 < left <= room.sum():
                continue
            for target in np.flatnonzero(room).tolist():
                moved = min(left, int(room[target]))
                if moved:
                    promotions.append((bucket, moved, target))
                    counts[bucket] -= moved
                    counts[target] += moved
                    left -= moved
        return tuple(promotions)

    @cached_property
    def batches_per_bucket(self) -> np.ndarray:
        """int64 [K], batches of each bucket in one epoch."""
        counts = np.bincount(self.assignment, minlength=len(self.buckets.shapes))
        for bucket, moved, target in self._promotions:
            counts[bucket] -= moved
            counts[target] += moved
        return -(-counts // self.batch_size)

    @property
    def steps_per_epoch(self) -> int:
        """T, the same for every epoch."""
        return int(self.batches_per_bucket.sum())

    @property
    def filler_rows(self) -> int:
        """Rows of one epoch that hold no example; at most one batch of a bucket has any."""
        return self.steps_per_epoch * self.batch_size - len(self.sizes)

    @property
    def waste(self) -> float:
        """Padded over real positions of one epoch, minus 1; filler rows count as padded."""
        padded = self.batch_size * (self.batches_per_bucket * areas(self.buckets.shapes)).sum()
        return float(padded / areas(self.sizes).sum() - 1)

    def _cut(self, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cuts `order` int [N] into buckets [T] and rows int32 [T, B], bucket after bucket."""
        homes = self.assignment[order]  # [N]
        for bucket, moved, target in self._promotions:
            homes[np.flatnonzero(homes == bucket)[-moved:]] = target
        buckets, rows = [], []
        for bucket, batches in enumerate(self.batches_per_bucket.tolist()):
            members = order[homes == bucket]
            slots = np.full(batches * self.batch_size, FILLER, np.int32)
            slots[: len(members)] = members
            rows.append(slots.reshape(batches, self.batch_size))
            buckets += [bucket] * batches
        return np.array(buckets), np.concatenate(rows)

    def _step_plan(self, epoch: int, bucket: int, rows: np.ndarray) -> StepPlan:
        return StepPlan(epoch, bucket, tuple(self.buckets.shapes[bucket].tolist()), rows)


@dataclass(frozen=True, eq=False)
class EpochPlan(_BucketedPlan):
    """The order of training: shuffled anew each epoch, without end, with random access to every step.

    Which examples share a batch, which of them end up in a bucket's ragged last batch, and the order of the batches
    all change from epoch to epoch. The number of steps and of filler rows does not. For evaluation see
    `EvaluationPlan`.

    Attributes:
      sizes: int32 [N, D], the size table of the source, in its order.
      buckets: The rectangles; each size must fit one.
      batch_size: B, rows of every batch, at least 1.
      seed: Any non-negative integer; with the other three it determines every step.

    Raises:
      ValueError: An argument is outside the range named above, or a size fits no bucket.

    >>> plan = EpochPlan(np.array([[9], [5], [9]]), BucketPlan(np.array([[5], [9]])), batch_size=2, seed=0)
    >>> plan.steps_per_epoch, plan.filler_rows, sorted(plan.step(t).shape for t in range(2))
    (2, 1, [(5,), (9,)])
    """

    seed: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seed < 0:
            raise ValueError(f"seed: got {self.seed}; allowed is 0 or more")

    def step(self, global_step: int, /) -> StepPlan:
        """The batch of a step.

        Args:
          global_step: Steps since the start of training, 0 or more; epochs follow each other without a gap.

        Returns:
          The plan of that batch; its rows are read-only.

        Raises:
          ValueError: `global_step` is negative.
        """
        if global_step < 0:
            raise ValueError(f"global_step: got {global_step}; allowed is 0 or more")
        epoch, position = divmod(int(global_step), self.steps_per_epoch)
        buckets, rows = _shuffled_epoch(self, epoch)
        return self._step_plan(epoch, int(buckets[position]), rows[position])


@dataclass(frozen=True, eq=False)
class EvaluationPlan(_BucketedPlan):
    """The order of evaluation: one pass, unshuffled, each example exactly once, bucket after bucket.

    Attributes:
      sizes: int32 [N, D], the size table of the source, in its order.
      buckets: The rectangles; each size must fit one.
      batch_size: B, rows of every batch, at least 1.

    Raises:
      ValueError: An argument is outside the range named above, or a size fits no bucket.

    >>> plan = EvaluationPlan(np.array([[9], [5], [9]]), BucketPlan(np.array([[5], [9]])), batch_size=2)
    >>> [(step.shape, step.rows.tolist()) for step in plan]
    [((5,), [1, -1]), ((9,), [0, 2])]
    """

    @cached_property
    def _pass(self) -> tuple[np.ndarray, np.ndarray]:
        buckets, rows = self._cut(np.arange(len(self.sizes)))
        rows.setflags(write=False)
        return buckets, rows

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __iter__(self) -> Iterator[StepPlan]:
        return (self.step(index) for index in range(len(self)))

    def step(self, global_step: int, /) -> StepPlan:
        """The batch at `global_step`, 0 to `len(self) - 1`.

        Args:
          global_step: Position in the pass.

        Returns:
          The plan of that batch, epoch 0; its rows are read-only.

        Raises:
          IndexError: There is no such step.
        """
        if not 0 <= global_step < len(self):
            raise IndexError(f"global_step: got {global_step}; allowed is 0 to {len(self) - 1} in this pass")
        buckets, rows = self._pass
        return self._step_plan(0, int(buckets[global_step]), rows[global_step])


# Plans hash by identity. Four entries: where one epoch meets the next, loader threads ask for both in turn, and a
# second plan may be in use.
@lru_cache(maxsize=4)
def _shuffled_epoch(plan: EpochPlan, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Buckets [T] and rows int32 [T, B] of one epoch."""
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([plan.seed, epoch])))
    buckets, rows = plan._cut(rng.permutation(len(plan.sizes)))
    order = rng.permutation(len(buckets))
    rows = rows[order]
    rows.setflags(write=False)
    return buckets[order], rows
