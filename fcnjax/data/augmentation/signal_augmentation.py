"""Random changes of one signal that keep its length: gain, white noise, a shift in time.

Axes: L length, C channels. Each function takes a signal [L, C] that is zero outside its size [1], and its own key. The
values that it returns outside the size are finite; the caller sets them to zero.
"""

import jax
import jax.numpy as jnp

from fcnjax.data.augmentation.image_augmentation import origin_sum

BLOCK = 256  # positions with noise from one key: as fast as one draw, and the same for every padded shape


def amplify(signal: jax.Array, size: jax.Array, key: jax.Array, *, bound: float) -> jax.Array:
    """Returns the signal times a gain from -bound to bound decibels."""
    del size
    return signal * 10 ** (bound / 20 * jax.random.uniform(key, (), minval=-1.0))


def add_noise(signal: jax.Array, size: jax.Array, key: jax.Array, *, level: float) -> jax.Array:
    """Returns the signal plus white Gaussian noise of `level` times its own root mean square over all channels."""
    length, channels = signal.shape
    blocks = jnp.arange(-(-length // BLOCK))
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, blocks)
    drawn = jax.vmap(lambda key: jax.random.normal(key, (BLOCK, channels)))(keys).reshape(-1, channels)
    power = origin_sum(jnp.square(signal)) / (jnp.maximum(size[0], 1) * channels).astype(jnp.float32)
    return signal + level * jnp.sqrt(power) * drawn[:length]


def shift_in_time(signal: jax.Array, size: jax.Array, key: jax.Array, *, share: float) -> jax.Array:
    """Returns the signal moved by whole positions, up to `share` of its length either way; zeros enter from outside."""
    drawn = jax.random.uniform(key, (), minval=-1.0)
    shift = jnp.round(share * drawn * size[0].astype(jnp.float32)).astype(size.dtype)
    source = jnp.arange(signal.shape[0], dtype=size.dtype) - shift
    inside = (source >= 0) & (source < size[0])
    return jnp.where(inside[:, None], jnp.take(signal, source, 0, mode="clip"), 0)
