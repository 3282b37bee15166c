"""What every order of the examples has in common: the plan of one step, and what an epoch costs.

Axes: N examples, D spatial axes, B rows of a batch, K buckets. The one idea: `step(t)` depends on the plan and on `t`
alone, so that a run resumes from an integer, and every host computes the same step and reads its own rows. `EpochPlan`
and `EvaluationPlan` (`epoch_plan`) make a step of one batch, `MixedPlan` (`mixed_plan`) of several.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from fcnjax.data.planning.buckets import BucketPlan, checked_rows
from fcnjax.data.planning.remainders import FILLER, cut_into_batches
from fcnjax.data.size_table import areas, checked_table


class StepPlan(NamedTuple):
    """One batch before any data is read.

    Attributes:
        epoch: pass over the data, from 0.
        bucket: index into the shapes of the bucket plan.
        shape: padded shape [D] of the batch, in positions: the shape of its bucket.
        rows: int32 [B], indices into the source; -1 marks a filler row, always after the real rows.
    """

    epoch: int
    bucket: int
    shape: tuple[int, ...]
    rows: np.ndarray

    def filled(self, rows_multiple_of: int) -> "StepPlan":
        """Returns the same step with filler rows appended until the number of devices divides its rows.

        The plan itself, and with it the examples of a step, therefore never depends on the devices.

        Args:
            rows_multiple_of: the number of devices that share the batch, at least 1.
        """
        missing = -len(self.rows) % rows_multiple_of
        return self if not missing else self._replace(rows=np.pad(self.rows, (0, missing), constant_values=FILLER))

    def shard(self, host: int, hosts: int) -> "StepPlan":
        """Returns the same step with the rows that one host reads; the hosts' rows in order are the whole batch.

        Args:
            host: which host, 0 to `hosts - 1`.
            hosts: how many hosts share the batch; it must divide B, so that all hosts have the same shape.

        Returns:
            The step with rows int32 [B / hosts]; in the last batch of a bucket they may all be fillers.

        Raises:
            ValueError: if an argument is outside the range named above.
        """
        rows = len(self.rows)
        if not 0 <= host < hosts:
            raise ValueError(f"host={host}: must be 0 to {hosts - 1} for {hosts} hosts.")
        if rows % hosts:
            raise ValueError(
                f"hosts={hosts}: must divide the {rows} rows of a batch, as every host reads the same number of rows; "
                f"make the plan with batch sizes that are multiples of {hosts}."
            )
        share = rows // hosts
        return self._replace(rows=self.rows[host * share : (host + 1) * share])


class MixedStep(NamedTuple):
    """One optimizer step of several batches before any data is read.

    Attributes:
        epoch: pass over the data, from 0.
        examples: examples planned for the step, over all hosts and micro-batches.
        micro_batches: the parts, smallest bucket first; together they hold each example of the step once.
    """

    epoch: int
    examples: int
    micro_batches: tuple[StepPlan, ...]

    def filled(self, rows_multiple_of: int) -> "MixedStep":
        """Returns the same step with filler rows appended to each micro-batch, see `StepPlan.filled`."""
        return self._replace(micro_batches=tuple(part.filled(rows_multiple_of) for part in self.micro_batches))

    def shard(self, host: int, hosts: int) -> "MixedStep":
        """Returns the same step with the rows that one host reads; `examples` still counts the whole step.

        Args:
            host: which host, 0 to `hosts - 1`.
            hosts: how many hosts share the step; this must divide the rows of each micro-batch.

        Returns:
            The step with the same number of micro-batches, which have the same shapes on every host.

        Raises:
            ValueError: if an argument is outside the range named above.
        """
        return self._replace(micro_batches=tuple(part.shard(host, hosts) for part in self.micro_batches))


@dataclass(frozen=True, eq=False)
class Plan(ABC):
    """Base of all orders: a size table, buckets, and random access to steps. Plans compare and hash by identity.

    Subclasses define `rows_per_bucket`, `batches_per_bucket`, `steps_per_epoch`, `largest_step` and `step`.

    Attributes:
        sizes: int32 [N, D], the size table of the source, in its order; read-only.
        buckets: the buckets; each size must fit one.
        rows_multiple_of: rows of a batch must be multiples of this; give the number of hosts, or of devices.

    Raises:
        ValueError: if a size fits no bucket, or rows of a batch are not positive multiples of `rows_multiple_of`.
    """

    sizes: np.ndarray
    buckets: BucketPlan
    rows_multiple_of: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        sizes = checked_table("sizes", self.sizes, axes=self.buckets.shapes.shape[1])
        sizes.setflags(write=False)
        object.__setattr__(self, "sizes", sizes)
        self.rows_per_bucket  # noqa: B018 (wrong rows are refused now, not at the first step)
        self.assignment  # noqa: B018 (so are sizes that fit no bucket)

    @cached_property
    def assignment(self) -> np.ndarray:
        """The bucket of each example at its native size, int32 [N]."""
        return self.buckets.assign(self.sizes)

    @cached_property
    @abstractmethod
    def rows_per_bucket(self) -> np.ndarray:
        """Rows of each bucket's batches, int64 [K]."""

    @cached_property
    @abstractmethod
    def batches_per_bucket(self) -> np.ndarray:
        """Batches of each bucket in one epoch, int64 [K]."""

    @property
    @abstractmethod
    def steps_per_epoch(self) -> int:
        """Number of steps, the same for every epoch."""

    @cached_property
    @abstractmethod
    def largest_step(self) -> int:
        """Bound on the padded positions of one step, filler rows included: what a step may cost in memory."""

    @abstractmethod
    def step(self, global_step: int, /) -> StepPlan | MixedStep:
        """Returns the step at `global_step`, 0 or more. Called from several threads at once."""

    def planned_sizes(self, epoch: int) -> np.ndarray:
        """Returns the sizes by which the examples of an epoch get their buckets, int32 [N, D], read-only."""
        del epoch
        return self.sizes

    @property
    def filler_rows(self) -> int:
        """Rows of one epoch that hold no example."""
        return int((self.batches_per_bucket * self.rows_per_bucket).sum()) - len(self.sizes)

    @property
    def waste(self) -> float:
        """Padded over real positions of one epoch, minus 1; filler rows count as padded."""
        padded = (self.batches_per_bucket * self.rows_per_bucket * areas(self.buckets.shapes)).sum()
        return float(padded / areas(self.planned_sizes(0)).sum() - 1)

    def _examples_per_bucket(self) -> np.ndarray:
        """Returns how many examples each bucket has at native sizes, int64 [K]."""
        return np.bincount(self.assignment, minlength=len(self.buckets.shapes))

    def _checked_rows(self, name: str, rows: int | Sequence[int]) -> np.ndarray:
        """Returns the rows of each bucket's batches, int64 [K]; `name` is the argument that gave them."""
        return checked_rows(name, rows, len(self.buckets.shapes), self.rows_multiple_of)

    def _batches(self, epoch: int, examples: np.ndarray, assignment: np.ndarray) -> list[StepPlan]:
        """Returns examples int [n] cut into batches, bucket after bucket; `assignment` int [n] holds their buckets."""
        shapes = [tuple(shape) for shape in self.buckets.shapes.tolist()]
        batches = cut_into_batches(examples, assignment, self.buckets.shapes, self.rows_per_bucket)
        return [StepPlan(epoch, bucket, shapes[bucket], rows) for bucket, rows in batches]


def epoch_and_position(global_step: int, steps_per_epoch: int) -> tuple[int, int]:
    """Returns the epoch of a step, and its position within that epoch.

    Raises:
        ValueError: if `global_step` is negative.
    """
    if global_step < 0:
        raise ValueError(f"global_step={global_step}: must be 0 or more.")
    return divmod(int(global_step), steps_per_epoch)


def epoch_generator(seed: int, epoch: int) -> np.random.Generator:
    """Returns the random generator of one epoch's order; it is counter-based, so no epoch depends on earlier ones."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch])))
