"""The order in which a step holds uniformly drawn examples, cut into micro-batches of one bucket each.

Axes: N examples, D spatial axes, K buckets, B rows of a micro-batch. The one idea: the permutation of an epoch is cut
into groups of `batch_size` before any size is looked up, so the examples of a step cannot depend on the buckets. If
gradients are summed over the micro-batches and divided once by the number of examples, the training cannot depend on
the buckets either.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from fcnjax.data.planning.base_plan import MixedStep, Plan, epoch_and_position, epoch_generator
from fcnjax.data.size_table import areas, checked_table


@dataclass(frozen=True, eq=False)
class MixedPlan(Plan):
    """The order of training in which a step's examples are drawn uniformly, whatever their sizes.

    Each epoch holds every example exactly once, in its own order. The last incomplete micro-batch of each bucket is
    filled step by step, see `remainders`. `EpochPlan` wastes less: each of its steps is one batch of one bucket.

    Attributes:
        sizes: int32 [N, D], the size table of the source, in its order.
        buckets: the buckets; each size must fit one.
        batch_size: examples of a step, at least 1; the last step of an epoch holds what is left.
        seed: any non-negative integer; with `batch_size` and N it determines which examples each step holds.
        micro_batch_size: B, rows of every micro-batch, at least 1; or one number for each bucket [K], in the order of
            `buckets.shapes`. Each bucket is compiled once.
        sizes_at: maps the epoch to the sizes int32 [N, D] that its examples will have (`RandomCrop.sizes`), which
            choose their buckets; it must be a pure function. None keeps the native sizes.
        rows_multiple_of: `micro_batch_size` must be multiples of this; give the number of hosts, or of devices.

    Raises:
        ValueError: if an argument is outside the range named above, or a size fits no bucket.

    >>> from fcnjax.data import BucketPlan
    >>> buckets = BucketPlan(np.array([[5], [9]]))
    >>> plan = MixedPlan(np.array([[9], [5], [9], [5]]), buckets, batch_size=4, seed=0, micro_batch_size=2)
    >>> plan.steps_per_epoch, [(part.shape, sorted(part.rows.tolist())) for part in plan.step(0).micro_batches]
    (1, [((5,), [1, 3]), ((9,), [0, 2])])
    """

    batch_size: int
    seed: int
    micro_batch_size: int | Sequence[int]
    sizes_at: Callable[[int], np.ndarray] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value, minimum in (("batch_size", self.batch_size, 1), ("seed", self.seed, 0)):
            if value < minimum:
                raise ValueError(f"{name}={value}: must be {minimum} or more.")

    @cached_property
    def rows_per_bucket(self) -> np.ndarray:
        """Rows of each bucket's micro-batches, int64 [K]."""
        return self._checked_rows("micro_batch_size", self.micro_batch_size)

    @cached_property
    def batches_per_bucket(self) -> np.ndarray:
        """Micro-batches of each bucket in epoch 0, int64 [K].

        Other epochs differ a little. `filler_rows` and `waste` therefore refer to epoch 0 too.
        """
        steps = (self.step(step) for step in range(self.steps_per_epoch))
        buckets = [part.bucket for step in steps for part in step.micro_batches]
        return np.bincount(buckets, minlength=len(self.buckets.shapes))

    @property
    def steps_per_epoch(self) -> int:
        """N / batch_size rounded up, the same for every epoch and for all buckets."""
        return -(-len(self.sizes) // self.batch_size)

    @cached_property
    def largest_step(self) -> int:
        """Bound on the padded positions of one step: its examples in the largest buckets that examples go to.

        The last micro-batch of each bucket may hold a single example. With `sizes_at` any example may go to any bucket.
        """
        area = areas(self.buckets.shapes)
        counts = np.full(len(area), len(self.sizes)) if self.sizes_at is not None else self._examples_per_bucket()
        left, positions = min(self.batch_size, len(self.sizes)), 0
        for bucket in reversed(range(len(area))):
            taken = min(left, int(counts[bucket]))
            fillers = int(self.rows_per_bucket[bucket]) - 1 if counts[bucket] else 0
            positions += (taken + fillers) * int(area[bucket])
            left -= taken
        return positions

    def planned_sizes(self, epoch: int) -> np.ndarray:
        """Returns the sizes that the examples have in an epoch, int32 [N, D], read-only."""
        return self.sizes if self.sizes_at is None else _drawn_sizes(self, epoch)

    def step(self, global_step: int, /) -> MixedStep:
        """Returns the micro-batches of a step.

        Args:
            global_step: steps since the start of training, 0 or more; epochs follow each other without a gap.

        Returns:
            The plan of that step; its rows are read-only.

        Raises:
            ValueError: if `global_step` is negative, or a size of `sizes_at` fits no bucket.
        """
        epoch, position = epoch_and_position(global_step, self.steps_per_epoch)
        order = _permutation(self.seed, epoch, len(self.sizes))
        examples = order[position * self.batch_size : (position + 1) * self.batch_size]
        if self.sizes_at is None:
            assignment = self.assignment[examples]
        else:
            assignment = self.buckets.assign(self.planned_sizes(epoch)[examples])
        return MixedStep(epoch, len(examples), tuple(self._batches(epoch, examples, assignment)))


# Four entries: around the end of an epoch, loader threads alternate between two epochs, and a second run may be in use.
@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return epoch_generator(seed, epoch).permutation(count)


@lru_cache(maxsize=4)  # plans hash by identity
def _drawn_sizes(plan: MixedPlan, epoch: int) -> np.ndarray:
    assert plan.sizes_at is not None
    sizes = checked_table(f"sizes_at({epoch})", plan.sizes_at(epoch), axes=plan.sizes.shape[1])
    if len(sizes) != len(plan.sizes):
        raise ValueError(
            f"sizes_at({epoch}): must return {len(plan.sizes)} sizes, but returned {len(sizes)}; return one for each "
            "example, in the order of the size table."
        )
    sizes.setflags(write=False)
    return sizes
