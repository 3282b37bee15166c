"""Random crops that keep their drawn size: the crops of random resized cropping, without the resizing.

Axes: N examples, D spatial axes. The one idea: a crop is a pure function of (seed, epoch, example id), a hash of these
numbers and not the state of a generator. The sizes of a whole epoch are therefore one vectorized call, which the plan
needs before any data is read, and the loader draws the same boxes again for the examples of a batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fcnjax import random_streams

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class RandomCrop:
    """A box of random size and place in each example: share of the area uniform, aspect log-uniform.

    The aspect is relative to the example's own, and the defaults change nothing. No draw is rejected: the aspect is
    drawn from the part of its range that fits into the example with the share drawn before. For a signal, `area` is a
    share of its length, and `aspect` has no effect.

    Attributes:
        area: smallest and largest share of the positions to keep, above 0 and up to 1.
        aspect: smallest and largest factor on the ratio of the last extent to the one before it; the smallest is at
            most 1, the largest at least 1. With three axes, the factors act on the ratio of the later axes' geometric
            mean to each earlier axis.
        at_least: minimum extent of a crop (the network's minimum), one number or [D]; an example below it keeps its
            extent. None means 1.

    Raises:
        ValueError: if a number is outside its range.

    Source: Szegedy et al., "Going Deeper with Convolutions", 2015, section 6 (share 0.08 to 1, aspect 3/4 to 4/3);
    keeping the drawn size, and drawing only aspects that fit: derived here.

    >>> crop, sizes = RandomCrop(area=(0.25, 0.25), aspect=(1, 1)), np.array([[20, 30], [8, 8]])
    >>> crop.sizes(seed=0, epoch=0, ids=np.arange(2), sizes=sizes).tolist()
    [[10, 15], [4, 4]]
    """

    area: tuple[float, float] = (1.0, 1.0)
    aspect: tuple[float, float] = (1.0, 1.0)
    at_least: int | Sequence[int] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise ValueError(f"area={self.area}: must be shares of the positions, 0 < smallest <= largest <= 1.")
        if not 0 < self.aspect[0] <= 1 <= self.aspect[1] < np.inf:
            raise ValueError(f"aspect={self.aspect}: must include 1 (no change), 0 < smallest <= 1 <= largest.")
        if self.at_least is not None and np.min(self.at_least) < 1:
            raise ValueError(f"at_least={self.at_least}: must be 1 or more positions.")

    def sizes(self, seed: int, epoch: int, ids: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Returns the sizes of all crops of an epoch.

        Args:
            seed: any non-negative integer.
            epoch: pass over the data, from 0.
            ids: int [N], the examples' ids.
            sizes: int [N, D], their native sizes.

        Returns:
            int32 [N, D], each extent from 1 to the native one.

        Raises:
            ValueError: if `ids` and `sizes` have different lengths, `at_least` has another D, or `seed` or `epoch` is
                negative.
        """
        sizes = np.asarray(sizes)
        axes = sizes.shape[-1]
        if sizes.ndim != 2 or np.shape(ids) != sizes.shape[:1]:
            raise ValueError(f"ids.shape={np.shape(ids)}: must be [N] for sizes [N, D] of shape {sizes.shape}.")
        minimum = 1 if self.at_least is None else self.at_least
        if np.shape(minimum) not in ((), (axes,)):
            raise ValueError(f"at_least={self.at_least}: must be one number or {axes}, one for each axis.")
        draw = _uniforms(seed, epoch, ids)
        left = np.log(self.area[0] + (self.area[1] - self.area[0]) * draw(0))  # [N], log share for the axes still left
        low, high = np.log(self.aspect)
        floor = np.minimum(np.broadcast_to(minimum, sizes.shape), sizes)
        crops = np.empty(sizes.shape, np.int32)
        for axis in range(axes):
            part, later = left, axes - 1 - axis
            if later:
                # Outside these bounds, the factor on some axis would exceed 1.
                min_ratio, max_ratio = np.maximum(low, left / later), np.minimum(high, -left)
                ratio = min_ratio + (max_ratio - min_ratio) * draw(1 + axis)
                part = (left - later * ratio) / (later + 1)
            wanted = np.floor(sizes[:, axis] * np.exp(part) + 0.5)
            crops[:, axis] = np.clip(wanted, floor[:, axis], sizes[:, axis])
            left = left - part
        return crops

    def boxes(self, seed: int, epoch: int, ids: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the boxes to cut out of the examples; all positions at which a crop fits are equally likely.

        Args:
            seed: as for `sizes`.
            epoch: as for `sizes`.
            ids: int [N], the examples' ids.
            sizes: int [N, D], their native sizes.

        Returns:
            Starts int32 [N, D] and sizes int32 [N, D]; `sizes` returns the same sizes for these examples.

        Raises:
            ValueError: as for `sizes`.
        """
        crops = self.sizes(seed, epoch, ids, sizes)
        draw, axes = _uniforms(seed, epoch, ids), crops.shape[1]
        room = np.asarray(sizes) - crops + 1
        starts = [draw(axes + axis) * room[:, axis] for axis in range(axes)]
        return np.stack(starts, axis=1).astype(np.int32), crops


def _uniforms(seed: int, epoch: int, ids: np.ndarray) -> Callable[[int], np.ndarray]:
    """Returns a function that maps the number of a draw to float64 [N] in [0, 1), one for each id."""
    for name, value in (("seed", seed), ("epoch", epoch)):
        if value < 0:
            raise ValueError(f"{name}={value}: must be 0 or more.")
    state = np.zeros(1, np.uint64)
    for word in (random_streams.CROP, seed, epoch):
        state = _mixed(state + GOLDEN + np.uint64(word % 2**64))
    state = _mixed(state + GOLDEN + np.asarray(ids).astype(np.uint64))  # [N]

    def draw(number: int) -> np.ndarray:
        return (_mixed(state + GOLDEN * np.arange(number + 1, number + 2, dtype=np.uint64)) >> np.uint64(11)) * 2.0**-53

    return draw


def _mixed(words: np.ndarray) -> np.ndarray:
    """Returns the words after the finalizer of SplitMix64, a bijection of uint64.

    Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014, figure 16 (with
    Stafford's variant 13 of the constants, as in java.util.SplittableRandom).
    """
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
