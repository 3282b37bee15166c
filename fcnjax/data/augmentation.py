"""Random changes of training images that keep their size, drawn for each example by itself, on the device.

What is drawn depends on the example's key alone, hence on (seed, epoch, example id): not on the rectangle, the place in
a batch, or the order of the epoch. Axes: B batch, H height, W width, C channels.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from fcnjax.padded import Padded

AUGMENTATION_STREAM = 2_000_000  # apart from the streams of the random layers


@dataclasses.dataclass(frozen=True)
class Affine:
    """A small random affine map of each image about its centre, bilinear; what comes in from outside is zero.

    Each number bounds a uniform draw to both sides of no change.

    Attributes:
      rotation: degrees, 0 to 180.
      scale: of the logarithm of the zoom, height and width apart, at least 0.
      shear: horizontal offset per unit of height, at least 0.
      shift: of the extent, height and width apart, 0 to 1.

    Raises:
      ValueError: a number is outside its range.

    Source: Simard, Steinkraus and Platt, "Best Practices for Convolutional Neural Networks", 2003.
    """

    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0

    def __post_init__(self):
        for name, most in (("rotation", 180.0), ("scale", math.inf), ("shear", math.inf), ("shift", 1.0)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name}={getattr(self, name)}: must be 0 to {most}.")

    def __call__(self, batch: Padded, keys: jax.Array) -> Padded:
        """Returns the batch, changed; sizes stay, and nothing is drawn where all numbers are 0.

        Args:
          batch: values [B, H, W, C].
          keys: one PRNG key per example [B].

        Raises:
          ValueError: for another number of spatial axes.
        """
        if self == Affine():
            return batch
        if batch.rank != 2:
            raise ValueError(
                f"values of shape {batch.uncleared.shape}: affine augmentation is for images [B, H, W, C]; set all of "
                "config.augment to 0 for other data."
            )
        return batch.replace(jax.vmap(self._transform)(batch.clean().values, batch.sizes, keys))

    def _transform(self, image: jax.Array, size: jax.Array, key: jax.Array) -> jax.Array:
        """Returns one image [H, W, C], sampled at the mapped positions."""
        drawn = jax.random.uniform(jax.random.fold_in(key, AUGMENTATION_STREAM), (6,), minval=-1.0)
        angle = math.radians(self.rotation) * drawn[0]
        zoom_y, zoom_x = jnp.exp(self.scale * drawn[1]), jnp.exp(self.scale * drawn[2])
        extent = size.astype(jnp.float32)
        middle, shift = (extent - 1) / 2, self.shift * drawn[4:] * extent
        y = jax.lax.broadcasted_iota(jnp.float32, image.shape[:2], 0) - middle[0]
        x = jax.lax.broadcasted_iota(jnp.float32, image.shape[:2], 1) - middle[1]
        x = x + self.shear * drawn[3] * y
        from_y = (jnp.cos(angle) * y + jnp.sin(angle) * x) / zoom_y + middle[0] + shift[0]
        from_x = (jnp.cos(angle) * x - jnp.sin(angle) * y) / zoom_x + middle[1] + shift[1]
        sample = jax.vmap(jax.scipy.ndimage.map_coordinates, in_axes=(-1, None, None), out_axes=-1)
        return sample(image, [from_y, from_x], 1)
