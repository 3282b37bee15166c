"""Examples at the sizes of a policy: `ResizedSource`, and how one image is resampled.

Axes: N examples, D spatial axes, H height, W width, C channels.
"""

from collections.abc import Sequence
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
        self.ids, self.names, self.unreadable = self.source.ids, self.source.names, dict(self.source.unreadable)
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
