"""From the rows of a planned step to arrays: reads, crops, normalizes, pads and stacks examples.

Axes: B rows, S spatial axes, D = len(S), C channels. The one idea: a row without an example has size 0. Nothing later
needs to know whether the plan left the row empty or the example could not be decoded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from fcnjax.data.augmentation.crop import RandomCrop
from fcnjax.data.planning.base_plan import StepPlan
from fcnjax.data.planning.remainders import FILLER
from fcnjax.data.sources.example_checks import checked_weights
from fcnjax.data.sources.source import ON_ERROR, Example, Source, UnreadableExample
from fcnjax.data.sources.wrapped import as_source
from fcnjax.naming import printable


class Batch(NamedTuple):
    """One padded batch on the host; zero outside each example.

    Attributes:
        values: float32 [B, *S, C], normalized inside each example.
        sizes: int32 [B, D]; 0 for filler rows.
        labels: int32 [B]; 0 for filler rows.
        ids: int32 [B], the examples' ids; -1 for filler rows.
        unreadable: (name, reason) of each planned example that became a filler row (`on_error="mask"`). Such rows may
            come before real ones, so count the real rows of the batch and not those of the plan.
        weights: float32 [B], weights of the examples in the training loss; 0 for filler rows; None if the source has
            none.
    """

    values: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    unreadable: tuple[tuple[str, str], ...] = ()
    weights: np.ndarray | None = None

    @property
    def examples(self) -> int:
        """Number of real examples in these rows, without fillers and unreadable examples."""
        return int((self.ids >= 0).sum())


@dataclass(frozen=True, eq=False)
class BatchReader:
    """Reads the batch of a step.

    Attributes:
        source: the N examples that the rows of a step point into.
        mean: subtracted from the values, in units of the scaled values (uint8 values are divided by 255); one number,
            or one per channel [C].
        std: divides the result, above 0; one number, or one per channel [C].
        crop: the box to cut out of each example after decoding; None keeps the whole example.
        seed: seed of `crop`, 0 or more.
        planned_sizes: maps the epoch to the sizes int32 [N, D] that the plan expects; None skips this check.
        on_error: "refuse" raises for an example that cannot be decoded, "mask" makes its row a filler.

    Raises:
        ValueError: if an argument is outside the range named above, or a weight of the source is not above 0.
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
    _weights: np.ndarray | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", as_source(self.source))
        channels = self.source.channels
        for name, given in (("mean", self.mean), ("std", self.std)):
            if np.shape(given) not in ((), (channels,)) or not np.isfinite(given).all():
                raise ValueError(f"{name}={given}: must be one finite number or {channels}, one per channel.")
        if np.min(self.std) <= 0:
            raise ValueError(f"std={self.std}: must be above 0; use 1 for a constant channel.")
        if self.on_error not in ON_ERROR:
            raise ValueError(f"on_error={self.on_error!r}: must be 'refuse' or 'mask'.")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}: must be 0 or more.")
        weights = self.source.weights
        object.__setattr__(self, "_weights", None if weights is None else checked_weights(weights, len(self.source)))
        # (values - mean) / std as values * factor + offset, both float32 [C].
        factor = 1 / np.broadcast_to(np.asarray(self.std, np.float64), (channels,))
        object.__setattr__(self, "_factor", factor.astype(np.float32))
        object.__setattr__(self, "_offset", (-np.asarray(self.mean, np.float64) * factor).astype(np.float32))

    def __call__(self, step: StepPlan) -> Batch:
        """Returns the batch of one step: normalized inside each example, zero outside.

        Args:
            step: the plan of the batch.

        Raises:
            ValueError: if the size of an example differs from the size table, or the size of its crop from the plan.
            UnreadableExample: if an example cannot be decoded and `on_error` is "refuse".
            OSError: if an example cannot be read; the message names it.
        """
        rows, axes = len(step.rows), len(step.shape)
        values = np.zeros((rows, *step.shape, self.source.channels), np.float32)
        sizes = np.zeros((rows, axes), np.int32)
        labels = np.zeros(rows, np.int32)
        ids = np.full(rows, FILLER, np.int32)
        weights = None if self._weights is None else np.zeros(rows, np.float32)
        unreadable = []
        # The last axis and the channels as one axis: numpy's inner loop then runs along a line instead of over C
        # numbers, which is 25 times faster.
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
            if weights is not None and self._weights is not None:
                weights[row] = self._weights[index]
        return Batch(values, sizes, labels, ids, tuple(unreadable), weights)

    def _boxes(self, step: StepPlan) -> list[tuple[int, int, tuple[slice, ...] | None]]:
        """Returns the row, index and box of each planned example; the box is None without a crop."""
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
            name = printable(self.source.name_of(int(indices[row])))
            read, expected = tuple(sizes[row].tolist()), tuple(planned[row].tolist())
            raise ValueError(
                f"crop: {name} has size {read} in epoch {epoch}, but the plan expects {expected}; give plan and "
                "loader the same crop and seed, as in sizes_at=lambda epoch: crop.sizes(seed, epoch, source.ids, "
                "source.sizes)."
            )

    def _read(self, index: int) -> Example:
        """Returns one example at its native size."""
        try:
            example = self.source[index]
        except OSError as error:
            raise _named(error, self.source, index) from error
        extents, size = example.values.shape[:-1], tuple(self.source.sizes[index].tolist())
        if extents != size:
            raise ValueError(
                f"source[{index}]: {printable(self.source.name_of(index))} has size {extents}, but the size table says "
                f"{size}; make the table again from the current data."
            )
        return example


def _named(error: OSError, source: Source, index: int) -> OSError:
    """Returns the error with the example's name in its text, or unchanged if it already names a file."""
    name = source.name_of(index)
    if error.filename is not None or name in str(error):
        return error
    if error.errno is not None:
        return OSError(error.errno, error.strerror, name)  # Python picks the subclass by the number
    try:
        return type(error)(f"{printable(name)}: {error}")
    except TypeError:  # a subclass with a constructor of its own
        return OSError(f"{printable(name)}: {type(error).__name__}: {error}")
