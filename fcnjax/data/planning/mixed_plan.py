"""Steps of uniformly drawn examples, cut into micro-batches of one rectangle each.

Axes: N examples, D spatial axes, K buckets, B rows of a micro-batch. The one idea: the epoch's permutation is cut into
groups of `batch_size` before anybody looks at a size, so which examples a step holds cannot depend on the buckets; with
gradients that are summed over the step's micro-batches and divided once by its number of examples, neither does the
training.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from fcnjax.data.planning.buckets import BucketPlan
from fcnjax.data.planning.epoch_plan import StepPlan, epoch_and_position, epoch_generator
from fcnjax.data.planning.remainders import checked_rows, cut, promotions
from fcnjax.data.size_table import areas, checked_table


class MixedStep(NamedTuple):
    """One optimizer step before any data is read.

    Attributes:
        epoch: Pass over the data, from 0.
        examples: Real examples of the step over all hosts and micro-batches: what the summed gradients are divided by.
        micro_batches: The parts, smallest rectangle first; together they hold each example of the step once.
    """

    epoch: int
    examples: int
    micro_batches: tuple[StepPlan, ...]

    def filled(self, rows_multiple_of: int) -> "MixedStep":
        """The same step with filler rows behind each micro-batch, see `StepPlan.filled`."""
        return self._replace(micro_batches=tuple(part.filled(rows_multiple_of) for part in self.micro_batches))

    def shard(self, host: int, hosts: int) -> "MixedStep":
        """The same step with the rows that one host reads, see `StepPlan.shard`; `examples` stays that of the step.

        Args:
            host: Which one, 0 to `hosts - 1`.
            hosts: How many share the step; each micro-batch's rows are a multiple of it.

        Returns:
            The step with as many micro-batches, of the same shapes on every host.

        Raises:
            ValueError: An argument is outside the range named above.
        """
        return self._replace(micro_batches=tuple(part.shard(host, hosts) for part in self.micro_batches))


@dataclass(frozen=True, eq=False)
class MixedPlan:
    """The order of training in which a step's examples are drawn uniformly, whatever their sizes.

    Each epoch holds every example exactly once, in an order of its own. A step's examples that fill no micro-batch of
    their bucket move to a larger rectangle where rows are free, else filler rows follow them. Where a step should be
    one batch of one rectangle, which wastes least, see `EpochPlan`.

    Attributes:
        sizes: int32 [N, D], the size table of the source, in its order.
        buckets: The rectangles; each size must fit one.
        batch_size: Examples of a step, at least 1; the last step of an epoch holds what is left.
        seed: Any non-negative integer; with `batch_size` and N it determines which examples each step holds.
        micro_batch_size: B, rows of every micro-batch, at least 1; or [K] of them, in the order of `buckets.shapes`.
            One shape is compiled for each bucket.
        sizes_at: From the epoch to the sizes int32 [N, D] that its examples will have (`RandomCrop.sizes`), by which
            they get their buckets; it must be a pure function. None: they keep their native sizes.
        rows_multiple_of: `micro_batch_size` must be multiples of this; give the number of hosts, or of devices.

    Raises:
        ValueError: An argument is outside the range named above, or a size fits no bucket.

    >>> buckets = BucketPlan(np.array([[5], [9]]))
    >>> plan = MixedPlan(np.array([[9], [5], [9], [5]]), buckets, batch_size=4, seed=0, micro_batch_size=2)
    >>> plan.steps_per_epoch, [(part.shape, sorted(part.rows.tolist())) for part in plan.step(0).micro_batches]
    (1, [((5,), [1, 3]), ((9,), [0, 2])])
    """

    sizes: np.ndarray
    buckets: BucketPlan
    batch_size: int
    seed: int
    micro_batch_size: int | Sequence[int]
    sizes_at: Callable[[int], np.ndarray] | None = None
    rows_multiple_of: int = 1

    def __post_init__(self) -> None:
        sizes = checked_table("sizes", self.sizes, axes=self.buckets.shapes.shape[1])
        sizes.setflags(write=False)
        object.__setattr__(self, "sizes", sizes)
        for name, value, least in (("batch_size", self.batch_size, 1), ("seed", self.seed, 0)):
            if value < least:
                raise ValueError(f"{name}: got {value}; allowed is {least} or more")
        self.rows_per_bucket  # noqa: B018 (what is wrong is refused now, not at some step)
        self._native_assignment  # noqa: B018

    @cached_property
    def rows_per_bucket(self) -> np.ndarray:
        """int64 [K], rows of each bucket's micro-batches."""
        rows, buckets = self.micro_batch_size, len(self.buckets.shapes)
        return checked_rows("micro_batch_size", rows, buckets, self.rows_multiple_of)

    @cached_property
    def _native_assignment(self) -> np.ndarray:
        return self.buckets.assign(self.sizes)  # int32 [N]

    @property
    def steps_per_epoch(self) -> int:
        """N / batch_size rounded up, the same for every epoch and for all buckets."""
        return -(-len(self.sizes) // self.batch_size)

    def planned_sizes(self, epoch: int) -> np.ndarray:
        """int32 [N, D], read-only: what each example measures in an epoch."""
        return self.sizes if self.sizes_at is None else _drawn_sizes(self, epoch)

    def step(self, global_step: int, /) -> MixedStep:
        """The micro-batches of a step.

        Args:
            global_step: Steps since the start of training, 0 or more; epochs follow each other without a gap.

        Returns:
            The plan of that step; its rows are read-only.

        Raises:
            ValueError: `global_step` is negative, or a size of `sizes_at` fits no bucket.
        """
        epoch, position = epoch_and_position(global_step, self.steps_per_epoch)
        order = _permutation(self.seed, epoch, len(self.sizes))
        members = order[position * self.batch_size : (position + 1) * self.batch_size]
        if self.sizes_at is None:
            homes = self._native_assignment[members]
        else:
            homes = self.buckets.assign(self.planned_sizes(epoch)[members])
        shapes, rows = self.buckets.shapes, self.rows_per_bucket
        moves = promotions(shapes, np.bincount(homes, minlength=len(rows)), rows)
        parts = (
            StepPlan(epoch, bucket, tuple(shapes[bucket].tolist()), batch)
            for bucket, batch in zip(*cut(members, homes, moves, rows), strict=True)
        )
        return MixedStep(epoch, len(members), tuple(parts))

    @cached_property
    def batches_per_bucket(self) -> np.ndarray:
        """int64 [K], micro-batches of each bucket in epoch 0; another epoch's differ a little."""
        steps = (self.step(step) for step in range(self.steps_per_epoch))
        buckets = [part.bucket for step in steps for part in step.micro_batches]
        return np.bincount(buckets, minlength=len(self.buckets.shapes))

    @property
    def filler_rows(self) -> int:
        """Rows of epoch 0 that hold no example."""
        return int((self.batches_per_bucket * self.rows_per_bucket).sum()) - len(self.sizes)

    @property
    def waste(self) -> float:
        """Padded over real positions of epoch 0, minus 1; filler rows count as padded."""
        padded = (self.batches_per_bucket * self.rows_per_bucket * areas(self.buckets.shapes)).sum()
        return float(padded / areas(self.planned_sizes(0)).sum() - 1)

    @cached_property
    def largest_step(self) -> int:
        """A bound on the padded positions of one step: its examples in the largest rectangles that examples go to.

        Of each bucket, one micro-batch may hold a single example. With `sizes_at` any example may need any rectangle.
        """
        area, everyone = areas(self.buckets.shapes), len(self.sizes)
        counts = np.bincount(self._native_assignment, minlength=len(area))
        left, positions = min(self.batch_size, everyone), 0
        for bucket in reversed(range(len(area))):
            most = everyone if self.sizes_at is not None else int(counts[bucket])
            taken = min(left, most)
            ragged = int(self.rows_per_bucket[bucket]) - 1 if most else 0
            positions += (taken + ragged) * int(area[bucket])
            left -= taken
        return positions


# Four entries: where one epoch meets the next, loader threads ask for both in turn, and a second run may be in use.
@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return epoch_generator(seed, epoch).permutation(count)


@lru_cache(maxsize=4)  # plans hash by identity
def _drawn_sizes(plan: MixedPlan, epoch: int) -> np.ndarray:
    assert plan.sizes_at is not None
    sizes = checked_table(f"sizes_at({epoch})", plan.sizes_at(epoch), axes=plan.sizes.shape[1])
    if len(sizes) != len(plan.sizes):
        raise ValueError(
            f"sizes_at({epoch}): got {len(sizes)} sizes for {len(plan.sizes)} examples; return one for each example, "
            "in the order of the size table"
        )
    sizes.setflags(write=False)
    return sizes
