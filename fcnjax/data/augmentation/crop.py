"""Random crops that keep the size they were drawn with: the resized crop of fixed-size training, without the resizing.

Axes: N examples, D spatial axes. The one idea: what is drawn is a pure function of (seed, epoch, example id), computed
by hashing these numbers and not from a generator's state, so a whole epoch's sizes are one vectorized call (the epoch
plan needs them before any data is read), and one example's box is the same numbers again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fcnjax import random_streams

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class RandomCrop:
    """A box of random size and place in each example: share of the area uniform, aspect log-uniform.

    The aspect is relative to the example's own, so `area=(1, 1)` changes nothing. Nothing is drawn and thrown away: of
    the range of aspects only that part is used which fits into the example with the share that was drawn. For a signal
    the share is one of its length and `aspect` has no meaning.

    Attributes:
        area: Least and largest share of the positions to keep, above 0 and up to 1.
        aspect: Least and largest factor on the last extent relative to the one before it; around 1. With three axes: of
            the later axes' geometric mean to each earlier one.
        at_least: No extent of a crop is below this (the network's minimum, one number or [D]) unless the example itself
            is, which then keeps its extent; None means 1.

    Raises:
        ValueError: A number is outside its range.

    Source: Szegedy et al., "Going Deeper with Convolutions", 2015, section 6 (share 0.08 to 1, aspect 3/4 to 4/3);
    keeping the drawn size, and drawing only aspects that fit: derived here.

    >>> crop, sizes = RandomCrop(area=(0.25, 0.25), aspect=(1, 1)), np.array([[20, 30], [8, 8]])
    >>> crop.sizes(seed=0, epoch=0, ids=np.arange(2), sizes=sizes).tolist()
    [[10, 15], [4, 4]]
    """

    area: tuple[float, float] = (0.35, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    at_least: int | Sequence[int] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise ValueError(f"area: got {self.area}; allowed is 0 < least <= largest <= 1, as shares of the positions")
        if not 0 < self.aspect[0] <= 1 <= self.aspect[1] < np.inf:
            raise ValueError(f"aspect: got {self.aspect}; allowed is 0 < least <= 1 <= largest, no change included")
        if self.at_least is not None and np.min(self.at_least) < 1:
            raise ValueError(f"at_least: got {self.at_least}; allowed is 1 or more positions")

    def sizes(self, seed: int, epoch: int, ids: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """The sizes of all crops of an epoch.

        Args:
            seed: Any non-negative integer.
            epoch: Pass over the data, from 0.
            ids: int [N], the examples' ids.
            sizes: int [N, D], their native sizes.

        Returns:
            int32 [N, D], each extent 1 to the native one.

        Raises:
            ValueError: `ids` and `sizes` do not fit together, `at_least` has another D, or seed or epoch is negative.
        """
        sizes = np.asarray(sizes)
        axes = sizes.shape[-1]
        if sizes.ndim != 2 or np.shape(ids) != sizes.shape[:1]:
            raise ValueError(f"ids: got shape {np.shape(ids)} for sizes {sizes.shape}; allowed is [N] for sizes [N, D]")
        least = 1 if self.at_least is None else self.at_least
        if np.shape(least) not in ((), (axes,)):
            raise ValueError(f"at_least: got {self.at_least}; allowed is one number or {axes}, one for each axis")
        draw = _uniforms(seed, epoch, ids)
        left = np.log(self.area[0] + (self.area[1] - self.area[0]) * draw(0))  # [N], log of the share still to be used
        low, high = np.log(self.aspect)
        floor = np.minimum(np.broadcast_to(least, sizes.shape), sizes)
        crops = np.empty(sizes.shape, np.int32)
        for axis in range(axes):
            part, later = left, axes - 1 - axis
            if later:
                least_ratio, most_ratio = (
                    np.maximum(low, left / later),
                    np.minimum(high, -left),
                )  # else a factor above 1
                ratio = least_ratio + (most_ratio - least_ratio) * draw(1 + axis)
                part = (left - later * ratio) / (later + 1)
            wanted = np.floor(sizes[:, axis] * np.exp(part) + 0.5)
            crops[:, axis] = np.clip(wanted, floor[:, axis], sizes[:, axis])
            left = left - part
        return crops

    def boxes(self, seed: int, epoch: int, ids: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where to cut examples; all places where a crop fits are equally likely.

        Args:
            seed: As given to `sizes`.
            epoch: As given to `sizes`.
            ids: int [N], the examples' ids.
            sizes: int [N, D], their native sizes.

        Returns:
            Starts int32 [N, D] and sizes int32 [N, D]; the latter are what `sizes` returns for these examples.

        Raises:
            ValueError: As for `sizes`.
        """
        crops = self.sizes(seed, epoch, ids, sizes)
        draw, axes = _uniforms(seed, epoch, ids), crops.shape[1]
        room = np.asarray(sizes) - crops + 1
        starts = [draw(axes + axis) * room[:, axis] for axis in range(axes)]
        return np.stack(starts, axis=1).astype(np.int32), crops


def _uniforms(seed: int, epoch: int, ids: np.ndarray) -> Callable[[int], np.ndarray]:
    """A function from the number of a draw to float64 [N] in [0, 1), one for each id."""
    for name, value in (("seed", seed), ("epoch", epoch)):
        if value < 0:
            raise ValueError(f"{name}: got {value}; allowed is 0 or more")
    state = np.zeros(1, np.uint64)
    for word in (random_streams.CROP, seed, epoch):
        state = _mixed(state + GOLDEN + np.uint64(word % 2**64))
    state = _mixed(state + GOLDEN + np.asarray(ids).astype(np.uint64))  # [N]

    def draw(number: int) -> np.ndarray:
        return (_mixed(state + GOLDEN * np.arange(number + 1, number + 2, dtype=np.uint64)) >> np.uint64(11)) * 2.0**-53

    return draw


def _mixed(words: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64, uint64 to uint64, one to one.

    Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014, figure 16 (with
    Stafford's variant 13 of the constants, as in java.util.SplittableRandom).
    """
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
