"""Mean and standard deviation of the values of examples, as `config.data.mean` and `std` take them.

Axes: N examples, C channels.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from fcnjax.data.sources.contents import sample_positions
from fcnjax.data.sources.source import Source, UnreadableExample
from fcnjax.progress import progress_bar

CONSTANT = 1e-6  # a deviation below it is taken for that of constant examples


class PixelMoments(NamedTuple):
    """Moments of values, those of uint8 divided by 255.

    Attributes:
        mean, std: one number, or one for each of several channels; the deviation of constant examples is 1.
        examples: number of examples that were read.
    """

    mean: float | tuple[float, ...]
    std: float | tuple[float, ...]
    examples: int


def scaled_values(values: np.ndarray) -> np.ndarray:
    """Returns values as the network's normalization takes them: uint8 divided by 255, others as they are."""
    return values / np.float32(255) if values.dtype == np.uint8 else values


def measure_moments(source: Source, count: int, *, progress: bool = False) -> PixelMoments:
    """Returns the moments of at most `count` examples, evenly spaced; each counts by its number of positions.

    Args:
        source: the examples; those that cannot be decoded are left out.
        count: number of examples, at least 1.
        progress: whether to show a bar, if it takes more than a second.

    Raises:
        ValueError: if none of the examples can be decoded.
    """

    def sums(index: int) -> np.ndarray | None:
        try:
            return _sums(source[index].values)
        except UnreadableExample:
            return None

    chosen = sample_positions(len(source), count)
    with ThreadPoolExecutor() as pool:
        shown = {"unit": " examples", "delay": 1, "leave": False, "disable": not progress}
        bar = progress_bar(pool.map(sums, chosen), "mean and std", len(chosen), **shown)
        found = [each for each in bar if each is not None]
    if not found:
        raise ValueError(f"data: none of {len(chosen):,} examples can be decoded; repair them first.")
    positions, total, squares = np.sum(found, axis=0)
    mean = total / positions
    deviation = np.sqrt(np.maximum(squares / positions - mean**2, 0))
    deviation[deviation < CONSTANT] = 1.0
    return PixelMoments(_rounded(mean), _rounded(deviation), len(found))


def _sums(values: np.ndarray) -> np.ndarray:
    """Returns [3, C]: of each channel of values [*S, C] the number of positions, the sum and the sum of squares."""
    flat = values.reshape(-1, values.shape[-1])
    if flat.dtype == np.uint8:  # counts of 256 values: three times as fast as sums in float64
        counts, scale = np.stack([np.bincount(channel, minlength=256) for channel in flat.T]), np.arange(256) / 255
        return np.stack([counts.sum(axis=1), counts @ scale, counts @ scale**2])
    return np.stack([np.full(flat.shape[1], len(flat)), flat.sum(0, dtype=float), np.square(flat, dtype=float).sum(0)])


def _rounded(numbers: np.ndarray) -> float | tuple[float, ...]:
    """Returns numbers of four digits, one a channel; a single one as it is."""
    rounded = [float(f"{number:.4g}") for number in numbers.tolist()]
    return tuple(rounded) if len(rounded) > 1 else rounded[0]
