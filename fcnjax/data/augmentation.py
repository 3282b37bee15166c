"""Random changes of training images that keep their size, drawn for each example by itself.

What is drawn depends on (seed, epoch, example id) alone: not on the bucket, the place in a batch, or the order of the
epoch. Axes: H height, W width, C channels.
"""

import dataclasses
import math

import numpy as np
from PIL import Image

from fcnjax.data.sources import Example

_CHANNELS = (1, 3, 4)  # grey, RGB, RGBA: what Pillow takes


@dataclasses.dataclass(frozen=True)
class Affine:
    """A small random affine map about the centre of an image; what comes in from outside is zero.

    Each number bounds a uniform draw to both sides of no change.

    Attributes:
      rotation: degrees, 0 to 180.
      scale: of the logarithm of the zoom, height and width apart, at least 0.
      shear: horizontal offset per unit of height, at least 0.
      shift: of the extent, height and width apart, 0 to 1.

    Raises:
      ValueError: a number is outside its range.
    """

    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0

    def __post_init__(self):
        for name, most in (("rotation", 180.0), ("scale", math.inf), ("shear", math.inf), ("shift", 1.0)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"augment.{name}={getattr(self, name)}: must be 0 to {most}.")

    def __call__(self, example: Example, seed: int, epoch: int) -> Example:
        """Returns the example, changed; its id, size and label stay.

        Args:
          example: values uint8 [H, W, C] with 1, 3 or 4 channels.
          seed: of the run.
          epoch: from 0.

        Raises:
          ValueError: for values of another dtype or shape.

        >>> example = Example(7, np.full((20, 30, 1), 255, np.uint8), label=3)
        >>> Affine(rotation=10.0)(example, seed=0, epoch=1).values.shape
        (20, 30, 1)
        """
        values = example.values
        if values.dtype != np.uint8 or values.ndim != 3 or values.shape[-1] not in _CHANNELS:
            raise ValueError(
                f"example {example.id} of shape {values.shape} and dtype {values.dtype}: affine augmentation needs "
                "uint8 images [H, W, C] with 1, 3 or 4 channels; set all of config.augment to 0 for other data."
            )
        # Philox is a keyed hash of a counter: close keys give unrelated draws, and a key costs less than a SeedSequence.
        rng = np.random.Generator(np.random.Philox(key=[(seed << 32) + epoch, example.id]))
        height, width, channels = values.shape
        image = Image.fromarray(values[:, :, 0] if channels == 1 else values)
        matrix = self._draw(rng, height, width)
        moved = image.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        return example._replace(values=np.asarray(moved).reshape(values.shape))

    def _draw(self, rng: np.random.Generator, height: int, width: int) -> tuple[float, ...]:
        """Returns the map from output to input pixels, as Pillow takes it: x = a u + b v + c, y = d u + e v + f."""
        angle, log_y, log_x, shear, down, right = rng.uniform(-1, 1, 6)
        angle = math.radians(self.rotation * angle)
        grow_y, grow_x = math.exp(self.scale * log_y), math.exp(self.scale * log_x)
        a, b = math.cos(angle) / grow_x, -math.sin(angle) / grow_x + self.shear * shear
        d, e = math.sin(angle) / grow_y, math.cos(angle) / grow_y
        # Pillow samples pixel (u + 1/2, v + 1/2), so the centre is at half the extent.
        middle_x, middle_y = width / 2, height / 2
        c = middle_x - a * middle_x - b * middle_y + self.shift * right * width
        f = middle_y - d * middle_x - e * middle_y + self.shift * down * height
        return a, b, c, d, e, f
