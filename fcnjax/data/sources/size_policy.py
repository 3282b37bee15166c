"""Size policies: the sizes that examples have in training if these differ from the native sizes.

Axes: N examples, D spatial axes, H height, W width, C channels. The one idea: a policy maps one size table to another
before anything is read, so planner, epoch plan and loader treat a resized source like any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fcnjax.data.size_table import checked_table
from fcnjax.naming import joined, printable

BELOW = ("refuse", "upsample", "pad")
NAMED = 3  # examples that an error lists


@dataclass(frozen=True)
class SizePolicy:
    """Caps on sizes, and how examples below the minimum are treated; by default, every size stays as it is.

    Aspect ratios are kept up to rounding. Extents that shrink or stay are rounded down to a multiple of `multiple_of`,
    at least one multiple, so the caps hold; extents that grow are rounded up, so the minimum holds. If a long thin
    example cannot satisfy both a cap and the minimum, the minimum wins.

    Attributes:
        max_area: maximum number of positions; larger examples shrink. None: no cap.
        max_side: maximum extent of the longest side; larger examples shrink. None: no cap.
        min_side: minimum extent of every side, in addition to the network's minimum. None: the network's alone.
        below: how examples below the minimum (after the caps) are treated: "refuse" raises, "upsample" enlarges them,
            "pad" puts zeros around them, equally on both sides (an odd zero goes to the end). These zeros are content:
            unlike the padding of a batch they are not masked, and they count in pools and statistics.
        multiple_of: every extent is a multiple of this.

    Raises:
        ValueError: if a number is below 1, or `below` is not one of the three.

    >>> SizePolicy(max_side=100).sizes(np.array([[400, 300], [80, 90]])).tolist()
    [[100, 75], [80, 90]]
    """

    max_area: int | None = None
    max_side: int | None = None
    min_side: int | None = None
    below: str = "refuse"
    multiple_of: int = 1

    def __post_init__(self) -> None:
        for name in ("max_area", "max_side", "min_side", "multiple_of"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}: must be 1 or more.")
        if self.below not in BELOW:
            raise ValueError(f"below={self.below!r}: must be one of {', '.join(map(repr, BELOW))}.")

    def sizes(
        self, sizes: np.ndarray, minimum: int | Sequence[int] = 1, names: Sequence[str] | None = None
    ) -> np.ndarray:
        """Returns the sizes that examples have under this policy, including the zeros of "pad".

        Args:
            sizes: int [N, D], native sizes.
            minimum: the network's minimum size, in positions: one number or [D].
            names: N names that an error may list; None names examples by position.

        Returns:
            int32 [N, D].

        Raises:
            ValueError: if examples are below the minimum and `below` is "refuse"; if signals or volumes would have to
                be resampled; or if `sizes` is not a size table.
        """
        content, smallest = self.content_sizes(sizes, minimum), self.smallest(minimum)
        rows = np.flatnonzero((content < smallest).any(axis=1))
        if len(rows) and self.below == "refuse":
            first = [
                f"{f'example {row}' if names is None else printable(names[row])} {size_words(sizes[row], content[row])}"
                for row in rows[:NAMED]
            ]
            raise ValueError(
                f"sizes: {len(rows)} of {len(content)} examples are below the minimum {_by(smallest)} "
                f"({', '.join(first)}{', ...' if len(rows) > NAMED else ''}); set below='upsample' or below='pad', "
                "leave them out, or choose a network that needs less."
            )
        return np.maximum(content, smallest) if self.below == "pad" else content

    def content_sizes(self, sizes: np.ndarray, minimum: int | Sequence[int] = 1) -> np.ndarray:
        """Returns the sizes that examples are resampled to: without the zeros of "pad", and without refusing any.

        Args:
            sizes: int [N, D], native sizes.
            minimum: the network's minimum size, in positions: one number or [D].

        Returns:
            int32 [N, D].

        Raises:
            ValueError: if signals or volumes would have to be resampled, or `sizes` is not a size table.
        """
        table = checked_table("sizes", sizes)
        if table.shape[1] != 2:
            self._refuse_resampling(table.shape[1])
            return table
        native = table.astype(np.float64)
        factor = np.ones(len(table))
        if self.max_area is not None:
            factor = np.minimum(factor, np.sqrt(self.max_area / native.prod(axis=1)))
        if self.max_side is not None:
            factor = np.minimum(factor, self.max_side / native.max(axis=1))
        multiple = self.multiple_of
        scaled = np.floor(native * factor[:, None] / multiple + 1e-9) * multiple  # 1e-9: 300 / 1000 * 1000 is 300
        content = np.maximum(scaled, multiple)
        if self.below == "upsample":
            smallest = self.smallest(minimum)
            grow = np.max(smallest / native, axis=1, keepdims=True)
            larger = np.ceil(native * grow / multiple - 1e-9) * multiple
            low = np.any(content < smallest, axis=1, keepdims=True)
            content = np.where(low, np.maximum(larger, smallest), content)
        return content.astype(np.int32)

    def smallest(self, minimum: int | Sequence[int]) -> np.ndarray:
        """Returns the smallest size that is allowed: int [D], or [] if `minimum` is one number.

        Args:
            minimum: the network's minimum size, in positions: one number or [D].
        """
        needed = np.maximum(np.asarray(minimum), self.min_side or 1)
        return -(-needed // self.multiple_of) * self.multiple_of

    def _refuse_resampling(self, axes: int) -> None:
        asked = [name for name in ("max_area", "max_side") if getattr(self, name) is not None]
        asked += ["below='upsample'"] * (self.below == "upsample") + ["multiple_of"] * (self.multiple_of > 1)
        if asked:
            raise ValueError(
                f"{asked[0]}: only images [H, W, C] are resampled, and the examples have {axes} spatial axes; cut or "
                "resample them first, or use below='pad' or below='refuse' without caps."
            )


def size_words(native: np.ndarray, size: np.ndarray) -> str:
    """Returns the size that an example [D] has under a policy, with its native size if that differs.

    >>> size_words(np.array([400, 30]), np.array([40, 3]))
    '40x3 (resized from 400x30)'
    """
    words = _by(size)
    return words if np.array_equal(native, size) else f"{words} (resized from {_by(native)})"


def _by(size: np.ndarray) -> str:
    return joined(np.atleast_1d(size).tolist())
