"""Size policies: the size an example has in training, where that should not be its native one.

Axes: N examples, D spatial axes, H height, W width, C channels. The one idea: a policy is a function from the size
table to another size table, known before anything is read, so planner, epoch plan and loader see a resized source as
they see any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from fcnjax.data.size_table import checked_table
from fcnjax.data.sources.source import Example, Source
from fcnjax.data.sources.wrapped import as_source
from fcnjax.naming import joined

BELOW = ("refuse", "upsample", "pad")
NAMED = 3  # examples that an error lists


@dataclass(frozen=True)
class SizePolicy:
    """Caps on size, and what becomes of what is too small; without arguments every size stays what it is.

    Rounding: aspects are kept up to it. Extents that shrink (or stay) are rounded down to `multiple_of`, but not below
    one multiple, so the caps hold; extents that grow are rounded up, so the minimum holds. Where a long thin example
    cannot satisfy both a cap and the minimum, the minimum wins.

    Attributes:
        max_area: Most positions; larger examples shrink. None: no cap.
        max_side: Most positions along the longest side; larger examples shrink. None: no cap.
        min_side: Least positions along every side, on top of the network's minimum. None: the network's alone.
        below: What becomes of examples below the minimum (after the caps): "refuse" raises, "upsample" enlarges them,
            "pad" puts zeros around them, as much on both sides (the odd one behind). These zeros are content: unlike
            the padding of a batch they are not masked, and they count in pools and statistics.
        multiple_of: Extents are multiples of this.

    Raises:
        ValueError: An argument is outside the range named above.

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
                raise ValueError(f"{name}: got {value}; allowed is 1 or more")
        if self.below not in BELOW:
            raise ValueError(f"below: got {self.below!r}; allowed are {', '.join(map(repr, BELOW))}")

    def sizes(
        self, sizes: np.ndarray, minimum: int | Sequence[int] = 1, names: Sequence[str] | None = None
    ) -> np.ndarray:
        """The sizes that examples have under this policy, zeros of "pad" included.

        Args:
            sizes: int [N, D], native sizes.
            minimum: What the network needs, in positions: one number or [D].
            names: N names that an error may list; None names examples by position.

        Returns:
            int32 [N, D].

        Raises:
            ValueError: Examples are below the minimum and `below` is "refuse"; signals or volumes would have to be
                resampled; or `sizes` is no size table.
        """
        content, least = self.content_sizes(sizes, minimum), self._least(minimum)
        low = (content < least).any(axis=1)
        if low.any() and self.below == "refuse":
            rows = np.flatnonzero(low)
            first = [
                f"{names[row] if names is not None else f'example {row}'} {_by(content[row])}" for row in rows[:NAMED]
            ]
            raise ValueError(
                f"sizes: {len(rows)} of {len(content)} examples are below the minimum {_by(least)} "
                f"({', '.join(first)}{', ...' if len(rows) > NAMED else ''}); allowed choices are below='upsample', "
                "below='pad', and below='refuse' once they are left out or the network needs less"
            )
        return np.maximum(content, least) if self.below == "pad" else content

    def content_sizes(self, sizes: np.ndarray, minimum: int | Sequence[int] = 1) -> np.ndarray:
        """The sizes that examples are resampled to: those of `sizes` without the zeros of "pad", and none refused.

        Args:
            sizes: int [N, D], native sizes.
            minimum: What the network needs, in positions: one number or [D].

        Returns:
            int32 [N, D].

        Raises:
            ValueError: Signals or volumes would have to be resampled; or `sizes` is no size table.
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
            least = self._least(minimum)
            grow = np.max(least / native, axis=1, keepdims=True)
            larger = np.ceil(native * grow / multiple - 1e-9) * multiple
            content = np.where(np.any(content < least, axis=1, keepdims=True), np.maximum(larger, least), content)
        return content.astype(np.int32)

    def _least(self, minimum: int | Sequence[int]) -> np.ndarray:
        least = np.maximum(np.asarray(minimum), self.min_side or 1)
        return -(-least // self.multiple_of) * self.multiple_of

    def _refuse_resampling(self, axes: int) -> None:
        asked = [name for name in ("max_area", "max_side") if getattr(self, name) is not None]
        asked += ["below='upsample'"] * (self.below == "upsample") + ["multiple_of"] * (self.multiple_of > 1)
        if asked:
            raise ValueError(
                f"{asked[0]}: examples with {axes} spatial axes are not resampled, only images [H, W, C] are; cut or "
                "resample them before, or use below='pad' or below='refuse' without caps"
            )


class ResizedSource(Source):
    """A source whose examples have the sizes of a policy; images are resampled with antialiasing.

    Resampling is Pillow's bicubic with its support widened by the reduction, on uint8 directly and on float values
    channel by channel. An inner source that has `read(index, at_least)` is asked for no more than is needed (JPEG files
    decode at a half, a quarter or an eighth); what it returns must be at least that large, or native.
    Attributes `names`, `labels` and `unreadable` are the inner source's, where it has them.

    Args:
        source: Where the examples come from.
        policy: Their sizes.
        minimum: What the network needs, in positions: one number or [D].

    Raises:
        ValueError: As for `SizePolicy.sizes`.
    """

    def __init__(self, source: Source, policy: SizePolicy, minimum: int | Sequence[int] = 1) -> None:
        self.source, self.policy = as_source(source), policy
        self._content = policy.content_sizes(self.source.sizes, minimum)
        self.sizes = policy.sizes(self.source.sizes, minimum, self.source.names)
        self.sizes.setflags(write=False)
        self.ids, self.names, self.unreadable = self.source.ids, self.source.names, dict(self.source.unreadable)
        self.class_names, self.channels = self.source.class_names, self.source.channels

    @cached_property
    def labels(self) -> np.ndarray | None:
        return self.source.labels

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int, /) -> Example:
        content, size = (tuple(table[index].tolist()) for table in (self._content, self.sizes))
        example = self.source.read(index, content)
        values = example.values
        if values.shape[:-1] != content:
            values = resample(values, content)
        if content != size:
            room = [whole - inside for whole, inside in zip(size, content, strict=True)]
            values = np.pad(values, [*((free // 2, free - free // 2) for free in room), (0, 0)])
        return example._replace(values=values)


def resample(values: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """An image at another size, antialiased.

    Args:
        values: uint8 or float32 [H, W, C].
        size: Height and width, at least 1.

    Returns:
        [*size, C] of the same dtype; uint8 is rounded and clipped to 0 to 255, float values may overshoot a little.

    Raises:
        ValueError: `values` is no image.

    Source: Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981 (a = -0.5).
    """
    if values.ndim != 3:
        raise ValueError(f"values: got shape {values.shape}; allowed is an image [H, W, C]; resample other data before")
    height, width = size
    resized = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(values[..., channels])).resize(
                (width, height), Image.Resampling.BICUBIC
            )
        )
        for channels in ([slice(None)] if _is_color(values) else range(values.shape[-1]))
    ]
    return resized[0] if _is_color(values) else np.stack(resized, axis=-1)


def _is_color(values: np.ndarray) -> bool:
    """Whether Pillow takes all channels at once; with four it would weigh colors by the fourth."""
    return values.dtype == np.uint8 and values.shape[-1] == 3


def _by(size: np.ndarray) -> str:
    return joined(np.atleast_1d(size).tolist())
