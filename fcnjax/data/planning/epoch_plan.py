"""The data order as a pure function: which examples, in which rectangle, at which step.

Axes: N examples, B rows of a batch, K buckets, T batches of one epoch. The one idea: `step(t)` depends on nothing but
its arguments, so resuming is an integer and every host can work out the same step and take its own rows. Here a step is
one bucket's batch; for steps whose examples do not depend on the buckets see `mixed_plan`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple, Protocol

import numpy as np

from fcnjax.data.planning.buckets import BucketPlan
from fcnjax.data.planning.remainders import FILLER, batches_of, checked_rows, cut, promotions
from fcnjax.data.size_table import areas, checked_table


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

    def filled(self, rows_multiple_of: int) -> "StepPlan":
        """The same step with filler rows behind it, up to a multiple of the number of devices that share the batch.

        So the plan, and with it which examples a step holds, never depends on the devices.

        Args:
            rows_multiple_of: At least 1.
        """
        missing = -len(self.rows) % rows_multiple_of
        return self if not missing else self._replace(rows=np.pad(self.rows, (0, missing), constant_values=FILLER))

    def shard(self, host: int, hosts: int) -> "StepPlan":
        """The same step with the rows that one host reads: the hosts' rows, one after another, are the whole batch.

        Args:
            host: Which one, 0 to `hosts - 1`.
            hosts: How many share the batch; B is a multiple of it, so that all hosts have the same shape.

        Returns:
            The step with rows int32 [B / hosts]; on late hosts of a ragged batch all of them may be fillers.

        Raises:
            ValueError: An argument is outside the range named above.
        """
        rows = len(self.rows)
        if not 0 <= host < hosts:
            raise ValueError(f"host: got {host} of {hosts} hosts; allowed is 0 to hosts - 1")
        if rows % hosts:
            raise ValueError(
                f"hosts: got {hosts} for a batch of {rows} rows; every host takes the same number of rows, so make the "
                f"plan with batch sizes that are multiples of {hosts}"
            )
        share = rows // hosts
        return self._replace(rows=self.rows[host * share : (host + 1) * share])


class Plan(Protocol):
    """What the loader needs of an order: the size table it was made for, and random access to its steps."""

    @property
    def sizes(self) -> np.ndarray:
        """int32 [N, D], native sizes."""
        ...

    @property
    def rows_per_bucket(self) -> np.ndarray:
        """int64 [K], rows of each bucket's batches."""
        ...

    @property
    def largest_step(self) -> int:
        """Most padded positions that one step can hold, filler rows included: what a batch may cost in memory."""
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
        batch_size: B, rows of every batch, at least 1; or [K] of them, one for each bucket, in the order of
            `buckets.shapes`.
        rows_multiple_of: Batch sizes must be multiples of this; give the number of hosts, or of devices.
    """

    sizes: np.ndarray
    buckets: BucketPlan
    batch_size: int | Sequence[int]
    rows_multiple_of: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        sizes = checked_table("sizes", self.sizes, axes=self.buckets.shapes.shape[1])
        sizes.setflags(write=False)
        object.__setattr__(self, "sizes", sizes)
        self.rows_per_bucket  # noqa: B018 (bad ones are refused now)
        self.assignment  # noqa: B018 (sizes that fit no bucket are refused now, not at the first step)

    @cached_property
    def assignment(self) -> np.ndarray:
        """int32 [N], the bucket of each example."""
        return self.buckets.assign(self.sizes)

    @property
    def rows_per_bucket(self) -> np.ndarray:
        """int64 [K], rows of each bucket's batches."""
        return self._rows

    @cached_property
    def _rows(self) -> np.ndarray:
        return checked_rows("batch_size", self.batch_size, len(self.buckets.shapes), self.rows_multiple_of)

    @cached_property
    def _counts(self) -> np.ndarray:
        return np.bincount(self.assignment, minlength=len(self.buckets.shapes))  # [K]

    @cached_property
    def _promotions(self) -> list[tuple[int, int, int]]:
        return promotions(self.buckets.shapes, self._counts, self.rows_per_bucket)

    @cached_property
    def batches_per_bucket(self) -> np.ndarray:
        """int64 [K], batches of each bucket in one epoch."""
        return batches_of(self._counts, self._promotions, self.rows_per_bucket)

    @property
    def steps_per_epoch(self) -> int:
        """T, the same for every epoch."""
        return int(self.batches_per_bucket.sum())

    @property
    def filler_rows(self) -> int:
        """Rows of one epoch that hold no example; at most one batch of a bucket has any."""
        return int((self.batches_per_bucket * self.rows_per_bucket).sum()) - len(self.sizes)

    @property
    def waste(self) -> float:
        """Padded over real positions of one epoch, minus 1; filler rows count as padded."""
        padded = (self.batches_per_bucket * self.rows_per_bucket * areas(self.buckets.shapes)).sum()
        return float(padded / areas(self.sizes).sum() - 1)

    @property
    def largest_step(self) -> int:
        """Most padded positions of one batch."""
        return int((self.rows_per_bucket * areas(self.buckets.shapes))[self.batches_per_bucket > 0].max())

    def _cut(self, order: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Cuts `order` int [N] into buckets [T] and T times rows int32 [B], bucket after bucket."""
        return cut(order, self.assignment[order], self._promotions, self.rows_per_bucket)

    def _step_plan(self, epoch: int, bucket: int, rows: np.ndarray) -> StepPlan:
        return StepPlan(epoch, bucket, tuple(self.buckets.shapes[bucket].tolist()), rows)


@dataclass(frozen=True, eq=False)
class EpochPlan(_BucketedPlan):
    """The order of training: shuffled anew each epoch, without end, with random access to every step.

    Which examples share a batch, which of them end up in a bucket's ragged last batch, and the order of the batches
    all change from epoch to epoch. The number of steps and of filler rows does not, also with crops that are drawn
    anew each epoch: buckets are those of the native sizes, into which every crop fits. For tighter rectangles around
    crops, and for steps that do not depend on the buckets, see `MixedPlan`; for evaluation see `EvaluationPlan`.

    Attributes:
        sizes: int32 [N, D], the size table of the source, in its order.
        buckets: The rectangles; each size must fit one.
        batch_size: B, rows of every batch, at least 1; or [K] of them, in the order of `buckets.shapes`.
        seed: Any non-negative integer; with the other three it determines every step.
        rows_multiple_of: Batch sizes must be multiples of this; give the number of hosts, or of devices.

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
        epoch, position = epoch_and_position(global_step, self.steps_per_epoch)
        buckets, rows = _shuffled_epoch(self, epoch)
        return self._step_plan(epoch, int(buckets[position]), rows[position])


@dataclass(frozen=True, eq=False)
class EvaluationPlan(_BucketedPlan):
    """The order of evaluation: one pass, unshuffled, each example exactly once, bucket after bucket.

    Attributes:
        sizes: int32 [N, D], the size table of the source, in its order.
        buckets: The rectangles; each size must fit one.
        batch_size: B, rows of every batch, at least 1; or [K] of them, in the order of `buckets.shapes`.
        rows_multiple_of: Batch sizes must be multiples of this; give the number of hosts, or of devices.

    Raises:
        ValueError: An argument is outside the range named above, or a size fits no bucket.

    >>> plan = EvaluationPlan(np.array([[9], [5], [9]]), BucketPlan(np.array([[5], [9]])), batch_size=2)
    >>> [(step.shape, step.rows.tolist()) for step in plan]
    [((5,), [1, -1]), ((9,), [0, 2])]
    """

    @cached_property
    def _pass(self) -> tuple[np.ndarray, list[np.ndarray]]:
        return self._cut(np.arange(len(self.sizes)))

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


def epoch_and_position(global_step: int, steps_per_epoch: int) -> tuple[int, int]:
    """Returns which epoch a step is of, and its position in it; raises ValueError if it is negative."""
    if global_step < 0:
        raise ValueError(f"global_step: got {global_step}; allowed is 0 or more")
    return divmod(int(global_step), steps_per_epoch)


# Plans hash by identity. Four entries: where one epoch meets the next, loader threads ask for both in turn, and a
# second plan may be in use.
@lru_cache(maxsize=4)
def _shuffled_epoch(plan: EpochPlan, epoch: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Buckets [T] and T times rows int32 [B] of one epoch."""
    rng = epoch_generator(plan.seed, epoch)
    buckets, rows = plan._cut(rng.permutation(len(plan.sizes)))
    order = rng.permutation(len(buckets))
    return buckets[order], [rows[index] for index in order]


def epoch_generator(seed: int, epoch: int) -> np.random.Generator:
    """The generator of one epoch's order, a counter-based one: no epoch depends on the ones before it."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch])))
