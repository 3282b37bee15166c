"""Random changes of one image that keep its size: an affine map, flips, changes of color, erasing.

Axes: B batch, H height, W width, C channels. Each function takes an image [H, W, C] that is zero outside its size [2],
and its own key. The values that it returns outside the size are finite; the caller sets them to zero.

Libraries (dm-pix, torchvision) cannot be used: they flip about the middle of the padded shape and take means over the
padding. The changes of color commute with a normalization `(x - mean) / std` by two numbers, so normalized images can
be changed directly.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from fcnjax import random_streams
from fcnjax.padded import Padded

KINDS = {1: "signals [B, L, C]", 2: "images [B, H, W, C]"}
LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue, ITU-R BT.601
_YIQ = np.stack([LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
HUE_TURN = np.linalg.inv(_YIQ) @ np.array([[0, 0, 0], [0, 0, -1], [0, 1, 0]]) @ _YIQ  # a quarter turn of the hue


@dataclasses.dataclass(frozen=True)
class Affine:
    """A small random affine map of each image about its center, bilinear; zeros enter from outside.

    Each amount is drawn uniformly, up to its bound on either side of no change.

    Attributes:
        rotation: angle in degrees, 0 to 180.
        scale: logarithm of the zoom, drawn separately for height and width, at least 0.
        shear: horizontal offset per unit of height, at least 0.
        shift: share of the extent, drawn separately for height and width, 0 to 1.

    Raises:
        ValueError: if a number is outside its range.

    Source: Simard, Steinkraus and Platt, "Best Practices for Convolutional Neural Networks", 2003.
    """

    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0

    def __post_init__(self):
        for name, maximum in (("rotation", 180.0), ("scale", math.inf), ("shear", math.inf), ("shift", 1.0)):
            require_range(name, getattr(self, name), maximum)

    def __call__(self, batch: Padded, keys: jax.Array) -> Padded:
        """Returns the changed batch; sizes stay, and nothing is drawn if all numbers are 0.

        Args:
            batch: values [B, H, W, C].
            keys: one PRNG key per example [B].

        Raises:
            ValueError: if the batch has another number of spatial axes.
        """
        if self == Affine():
            return batch
        for name, value in dataclasses.asdict(self).items():
            require_rank(batch, 2, name, value)
        return batch.replace(jax.vmap(self._transform)(batch.with_zero_padding().values, batch.sizes, keys))

    def _transform(self, image: jax.Array, size: jax.Array, key: jax.Array) -> jax.Array:
        """Returns one image [H, W, C], sampled at the mapped positions."""
        drawn = jax.random.uniform(jax.random.fold_in(key, random_streams.AUGMENTATION), (6,), minval=-1.0)
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


def require_range(name: str, value: float, maximum: float):
    """Raises ValueError unless a value is finite and from 0 to its maximum."""
    if not 0 <= value <= maximum or value == math.inf:
        allowed = f"0 to {maximum}" if maximum < math.inf else "at least 0, and finite"
        raise ValueError(f"{name}={value}: must be {allowed}.")


def require_rank(batch: Padded, rank: int, name: str, value: float):
    """Raises ValueError if a change is enabled for examples with another number of spatial axes."""
    if value and batch.rank != rank:
        raise ValueError(
            f"config.augment.{name}={value}: is for {KINDS[rank]}, but the values have the shape "
            f"{tuple(batch.raw_values.shape)}; set it to 0 for such data."
        )


def require_rgb(batch: Padded, name: str, value: float):
    """Raises ValueError if a change of colors is enabled for values that are not red, green and blue."""
    if value and batch.channels != 3:
        raise ValueError(
            f"config.augment.{name}={value}: is for 3 channels (red, green, blue), but the values have "
            f"{batch.channels}; set it to 0 for such data."
        )


def flip(image: jax.Array, size: jax.Array, key: jax.Array, *, probability: float, axis: int) -> jax.Array:
    """Returns the image, mirrored along an axis about its own middle with the given probability."""
    positions = jnp.arange(image.shape[axis], dtype=size.dtype)
    mirrored = jax.random.bernoulli(key, probability)
    return jnp.take(image, jnp.where(mirrored, size[axis] - 1 - positions, positions), axis, mode="clip")


def brighten(image: jax.Array, size: jax.Array, key: jax.Array, *, bound: float) -> jax.Array:
    """Returns the image plus one number from [-bound, bound)."""
    del size
    return image + bound * _symmetric(key)


def change_contrast(image: jax.Array, size: jax.Array, key: jax.Array, *, bound: float) -> jax.Array:
    """Returns the image with its deviation from its own mean over all channels scaled by 1 - bound to 1 + bound."""
    mean = origin_sum(image) / (jnp.maximum(_area(size), 1) * image.shape[-1])
    return mean + (1 + bound * _symmetric(key)) * (image - mean)


def saturate(image: jax.Array, size: jax.Array, key: jax.Array, *, bound: float) -> jax.Array:
    """Returns the image with its deviation from gray of the same luma scaled by 1 - bound to 1 + bound."""
    del size
    gray = _mapped(image, np.tile(LUMA, (3, 1)))
    return gray + (1 + bound * _symmetric(key)) * (image - gray)


def turn_hue(image: jax.Array, size: jax.Array, key: jax.Array, *, bound: float) -> jax.Array:
    """Returns the image with its hue turned by up to `bound` degrees either way, at the same luma: a turn in YIQ."""
    del size
    angle, gray = math.radians(bound) * _symmetric(key), _mapped(image, np.tile(LUMA, (3, 1)))
    return gray + jnp.cos(angle) * (image - gray) + jnp.sin(angle) * _mapped(image, HUE_TURN)


def erase_rectangle(
    image: jax.Array, size: jax.Array, key: jax.Array, *, probability: float, max_share: float
) -> jax.Array:
    """Returns the image, set to zero in a rectangle inside it with the given probability.

    The rectangle's share of the area is uniform in [min(0.02, max_share), max_share], its aspect ratio log-uniform from
    0.3 to 1 / 0.3, and its place uniform. It is clipped to the extents of the image, so its area may be smaller.

    Source: Zhong et al., "Random Erasing Data Augmentation", 2020, algorithm 1.
    """
    happens, share, shape, *place = jax.random.uniform(key, (5,))
    min_share = min(0.02, max_share)
    side = jnp.sqrt((min_share + (max_share - min_share) * share) * _area(size))
    aspect = jnp.exp(math.log(0.3) / 2 * (2 * shape - 1))
    inside = happens < probability
    for axis, length in enumerate((side * aspect, side / aspect)):
        extent = jnp.clip(jnp.round(length).astype(size.dtype), 1, size[axis])
        start = jnp.floor(place[axis] * (size[axis] - extent + 1)).astype(size.dtype)
        positions = jax.lax.broadcasted_iota(size.dtype, image.shape, axis)
        inside &= (positions >= start) & (positions < start + extent)
    return jnp.where(inside, 0, image)


def _area(size: jax.Array) -> jax.Array:
    """Returns the number of positions, float32 []: an int32 would overflow."""
    return jnp.prod(size.astype(jnp.float32))


def origin_sum(values: jax.Array) -> jax.Array:
    """Returns the sum of values that are zero outside an example, with the same bits for every padded shape.

    Neighbors are added pairwise from the origin, so a larger padded shape only adds zeros to the same sums. The
    rounding of `jnp.sum` depends on the shape.
    """
    values = values.astype(jnp.promote_types(values.dtype, jnp.float32))
    for axis in range(values.ndim):
        while values.shape[axis] > 1:
            even = jax.lax.slice_in_dim(values, 0, None, 2, axis)
            odd = jax.lax.slice_in_dim(values, 1, None, 2, axis)
            pads = [(0, even.shape[n] - odd.shape[n]) for n in range(values.ndim)]
            values = even + jnp.pad(odd, pads)
    return values.reshape(())


def _symmetric(key: jax.Array) -> jax.Array:
    return jax.random.uniform(key, (), minval=-1.0)


def _mapped(image: jax.Array, matrix: np.ndarray) -> jax.Array:
    """Returns a matrix [3, 3] times every pixel; a matrix product would round to fewer digits on accelerators."""
    columns = [jnp.asarray(column, image.dtype).reshape(1, 1, 3) for column in matrix.T]
    return sum((image[..., c, None] * column for c, column in enumerate(columns[1:], 1)), image[..., :1] * columns[0])
