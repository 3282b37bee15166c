"""Examples at other sizes: those of a policy or of a table, and how one image is resampled.

Axes: N examples, S the spatial axes of one example, D = len(S), H height, W width, C channels.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from PIL import Image

from fcnjax.data.size_table import frozen_table
from fcnjax.data.sources.contents import Contents
from fcnjax.data.sources.size_policy import SizePolicy
from fcnjax.data.sources.source import Example, Source
from fcnjax.data.sources.wrapped import as_source


class ResizedSource(Source):
    """A source of examples at the sizes of a policy; images are resampled with antialiasing.

    Resampling is Pillow's bicubic filter, widened by the reduction; uint8 values are resampled directly, float values
    channel by channel. The inner source is read through `Source.read`, so that JPEG files are decoded at a half, a
    quarter or an eighth of their size if that suffices.

    Args:
        source: where the examples come from.
        policy: determines the sizes.
        minimum: the network's minimum size, in positions: one number or [D].

    Raises:
        ValueError: as for `SizePolicy.sizes`.
    """

    def __init__(self, source: Source, policy: SizePolicy, minimum: int | Sequence[int] = 1) -> None:
        self.source, self.policy = as_source(source), policy
        self._content = policy.content_sizes(self.source.sizes, minimum)
        self.sizes = frozen_table(policy.sizes(self.source.sizes, minimum, self.source.names))
        self.ids = self.source.ids
        self.describe_as(self.source)
        self.class_names, self.channels = self.source.class_names, self.source.channels

    @cached_property
    def labels(self) -> np.ndarray | None:
        return self.source.labels

    @cached_property
    def contents(self) -> Contents:
        """The contents of the whole inner source."""
        return self.source.contents

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


class ChangedSource(Source):
    """The examples of a source with other values and sizes.

    Args:
        source: where the examples come from.
        sizes: int [N, D], or [D] for all, the sizes after the change.
        change: function of values [*S, C], the id, and the new size, which returns the new values.
        what: describes the change; part of `contents`.
    """

    def __init__(
        self,
        source: Source,
        sizes: Sequence[int] | np.ndarray,
        change: Callable[[np.ndarray, int, tuple[int, ...]], np.ndarray],
        what: str,
    ) -> None:
        self._source, self._change, self._what = source, change, what
        self.sizes = frozen_table(np.broadcast_to(np.asarray(sizes, np.int32), source.sizes.shape).copy())
        self.ids = source.ids
        self.describe_as(source)
        self.class_names, self.channels = source.class_names, source.channels

    @cached_property
    def labels(self) -> np.ndarray | None:
        return self._source.labels

    @cached_property
    def contents(self) -> Contents:
        """The contents of the source, the change and the sizes."""
        covers, contents = self._source.contents
        digest = hashlib.sha256(f"{contents}, {self._what}".encode() + self.sizes.tobytes())
        return Contents(f"{covers}, {self._what}", digest.hexdigest())

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int, /) -> Example:
        example, size = self._source[index], tuple(self.sizes[index].tolist())
        return example._replace(values=self._change(example.values, example.id, size))


def scaled(source: Source, sizes: Sequence[int] | np.ndarray) -> Source:
    """Returns images at other sizes, [D] or [N, D], by bicubic interpolation."""
    return ChangedSource(source, sizes, lambda values, number, size: resample(values, size), "scaled")


def cropped(source: Source, size: Sequence[int] | np.ndarray) -> Source:
    """Returns the middle of each example, at most `size`, [D] or [N, D]."""
    return ChangedSource(source, np.minimum(source.sizes, size), lambda values, _, to: _middle(values, to), "cropped")


def resample(values: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Returns an image at another size, antialiased.

    Args:
        values: uint8 or float32 [H, W, C].
        size: new height and width, each 1 or more.

    Returns:
        [*size, C] of the same dtype; uint8 is rounded and clipped to 0 to 255, float values may overshoot a little.

    Raises:
        ValueError: if `values` is not an image.

    Source: Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981 (a = -0.5).
    """
    if values.ndim != 3:
        raise ValueError(f"values.shape={values.shape}: must be an image [H, W, C]; resample other data first.")
    height, width = size
    # Pillow takes three uint8 channels at once; with four it would weight the colors by the fourth channel.
    color = values.dtype == np.uint8 and values.shape[-1] == 3
    planes = [values] if color else np.moveaxis(values, -1, 0)
    images = [Image.fromarray(np.ascontiguousarray(plane)) for plane in planes]
    resized = [np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)) for image in images]
    return resized[0] if color else np.stack(resized, axis=-1)


def _middle(values: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    starts = [(at - to) // 2 for to, at in zip(size, values.shape[:-1], strict=True)]
    return values[tuple(slice(start, start + to) for start, to in zip(starts, size, strict=True))]
