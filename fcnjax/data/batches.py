"""From the rows of a planned step to arrays: reads, crops, normalizes, pads and stacks.

Axes: B rows, S spatial axes, D = len(S), C channels. The one idea: a row that holds no example, because the plan has
none for it or because the example cannot be decoded, has size 0, and nothing later needs to know why.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from fcnjax.data.augmentation.crop import RandomCrop
from fcnjax.data.planning.epoch_plan import StepPlan
from fcnjax.data.planning.remainders import FILLER
from fcnjax.data.sources.source import ON_ERROR, Example, Source, UnreadableExample


class Batch(NamedTuple):
    """One padded batch on the host; zero outside each example.

    Attributes:
        values: float32 [B, *S, C], normalized inside each example.
        sizes: int32 [B, D]; 0 for filler rows.
        labels: int32 [B]; 0 for filler rows.
        ids: int32 [B], the examples' ids; -1 for filler rows.
        unreadable: (name, reason) of each example that was planned and became a filler row (`on_error="mask"`); such
            rows may stand before real ones, so count real rows here and not in the plan.
    """

    values: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    unreadable: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class BatchReader:
    """Reads the batch of a step.

    Attributes:
        source: What the rows of a step point into.
        mean: Subtracted from the values, in units of the scaled values (uint8 values are divided by 255); one number or
            C.
        std: What the result is divided by, above 0; one number or C.
        crop: Cut out of each example after decoding; None keeps all of it.
        seed: For `crop`.
        planned_sizes: From the epoch to the sizes int32 [N, D] that a plan made its rectangles for; None does not
            check.
        on_error: What becomes of an example that cannot be decoded: "refuse" raises, "mask" makes its row a filler.

    Raises:
        ValueError: An argument is outside the range named above.
    """

    source: Source
    mean: float | Sequence[float]
    std: float | Sequence[float]
    crop: RandomCrop | None = None
    seed: int = 0
    planned_sizes: Callable[[int], np.ndarray] | None = None
    on_error: str = "refuse"
    _factor: np.ndarray = field(init=False, repr=False)
    _offset: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        channels = self.source.channels
        for name, given in (("mean", self.mean), ("std", self.std)):
            if np.shape(given) not in ((), (channels,)) or not np.isfinite(given).all():
                raise ValueError(f"{name}: got {given}; allowed is one finite number or {channels}, one per channel")
        if np.min(self.std) <= 0:
            raise ValueError(f"std: got {self.std}; allowed is above 0; use 1 where a channel is constant")
        if self.on_error not in ON_ERROR:
            raise ValueError(f"on_error: got {self.on_error!r}; allowed are 'refuse' and 'mask'")
        if self.seed < 0:
            raise ValueError(f"seed: got {self.seed}; allowed is 0 or more")
        # (values - mean) / std as values * factor + offset, both float32 [C].
        factor = 1 / np.broadcast_to(np.asarray(self.std, np.float64), (channels,))
        object.__setattr__(self, "_factor", factor.astype(np.float32))
        object.__setattr__(self, "_offset", (-np.asarray(self.mean, np.float64) * factor).astype(np.float32))

    def __call__(self, step: StepPlan) -> Batch:
        """The batch of one step: normalized inside each example, zero outside.

        Args:
            step: The plan of the batch.

        Returns:
            The batch.

        Raises:
            ValueError: An example is not as large as the size table says, or its crop not as large as the plan says.
            UnreadableExample: An example cannot be decoded and `on_error` is "refuse".
            OSError: An example cannot be read; the message names it.
        """
        rows, axes = len(step.rows), len(step.shape)
        values = np.zeros((rows, *step.shape, self.source.channels), np.float32)
        sizes = np.zeros((rows, axes), np.int32)
        labels = np.zeros(rows, np.int32)
        ids = np.full(rows, FILLER, np.int32)
        unreadable = []
        # Last axis and channels as one: numpy's inner loop then runs along a line and not over C numbers (25 times).
        lines = values.reshape(*values.shape[:-2], -1)  # [B, ..., W * C], a view
        factor, offset = (np.tile(each, step.shape[-1]) for each in (self._factor, self._offset))  # [W * C]
        for row, index, box in self._boxes(step):
            try:
                example = self._read(index)
            except UnreadableExample as error:
                if self.on_error == "refuse":
                    raise
                unreadable.append((error.name, error.reason))
                continue
            cropped = example.values if box is None else example.values[box]
            extents = cropped.shape[:-1]
            line = cropped.reshape(*extents[:-1], -1)
            inside = lines[(row, *map(slice, line.shape))]  # a view
            unit = np.float32(255) if cropped.dtype == np.uint8 else np.float32(1)
            np.multiply(line, factor[: line.shape[-1]] / unit, out=inside)
            inside += offset[: line.shape[-1]]
            sizes[row], labels[row], ids[row] = extents, example.label, example.id
        return Batch(values, sizes, labels, ids, tuple(unreadable))

    def _boxes(self, step: StepPlan) -> list[tuple[int, int, tuple[slice, ...] | None]]:
        """Row, index and crop of each planned example; None where there is no crop."""
        rows = np.flatnonzero(step.rows != FILLER)
        indices = step.rows[rows]
        if not len(indices):
            return []
        sizes, boxes = self.source.sizes[indices], [None] * len(indices)
        if self.crop is not None:
            starts, sizes = self.crop.boxes(self.seed, step.epoch, self.source.ids[indices], sizes)
            ends = (starts + sizes).tolist()
            boxes = [tuple(map(slice, *box)) for box in zip(starts.tolist(), ends, strict=True)]
        if self.planned_sizes is not None:
            self._check_planned(step.epoch, indices, sizes)
        return list(zip(rows.tolist(), indices.tolist(), boxes, strict=True))

    def _check_planned(self, epoch: int, indices: np.ndarray, sizes: np.ndarray) -> None:
        assert self.planned_sizes is not None
        planned = self.planned_sizes(epoch)[indices]
        wrong = np.flatnonzero((planned != sizes).any(axis=1))
        if len(wrong):
            row = int(wrong[0])
            id, ours, theirs = self.source.ids[indices[row]], tuple(sizes[row].tolist()), tuple(planned[row].tolist())
            raise ValueError(
                f"crop: example {id} has size {ours} in epoch {epoch}, the plan says {theirs}; give plan and loader "
                "the same crop and seed, as in sizes_at=lambda epoch: crop.sizes(seed, epoch, source.ids, source.sizes)"
            )

    def _read(self, index: int) -> Example:
        """One example of its native size."""
        try:
            example = self.source[index]
        except OSError as error:
            raise _named(error, self.source, index) from error
        extents, size = example.values.shape[:-1], tuple(self.source.sizes[index].tolist())
        if extents != size:
            raise ValueError(
                f"source[{index}]: example {example.id} has size {extents}, the size table says {size}; make the table "
                "anew from the data as it is now"
            )
        return example


def _named(error: OSError, source: Source, index: int) -> OSError:
    """The same error with a text that names the example; as it is where it names a file."""
    names = getattr(source, "names", None)
    name = f"example {source.ids[index]}" if names is None else names[index]
    if error.filename is not None or name in str(error):
        return error
    if error.errno is not None:
        return OSError(error.errno, error.strerror, name)  # Python picks the subclass by the number
    try:
        return type(error)(f"{name}: {error}")
    except TypeError:  # a subclass with a constructor of its own
        return OSError(f"{name}: {type(error).__name__}: {error}")
