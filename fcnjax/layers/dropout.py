"""Dropout of whole channels, keyed by example."""

import jax
import jax.numpy as jnp

from fcnjax.layers.layer import Layer
from fcnjax.padded import Padded


class ChannelDropout(Layer):
    """Zeroes whole channels of an example in training and scales the rest by `1 / (1 - rate)`.

    What is dropped depends on the example's key alone: not on its place in the batch, its batch mates, the padded
    rectangle, or where in a head the pool stands. Elementwise dropout would depend on the rectangle.

    Args:
      rate: probability that a channel is dropped, in [0, 1).
      stream: distinguishes this layer from the other random layers of a network; two with the same stream drop the
        same channels.

    Source: Tompson et al., "Efficient Object Localization Using Convolutional Networks", 2015 (spatial dropout).
    """

    def __init__(self, rate: float, *, stream: int = 0):
        if not 0 <= rate < 1:
            raise ValueError(f"rate={rate} of dropout: must be in [0, 1).")
        self.rate, self.stream = rate, stream

    def __call__(self, batch: Padded, *, train: bool = False, keys: jax.Array | None = None) -> Padded:
        if not train or self.rate == 0:
            return batch
        if keys is None:
            raise ValueError("keys=None: dropout needs one PRNG key per example in training; pass keys=[B].")
        keep = jax.vmap(self._keep, in_axes=(0, None))(keys, batch.channels)  # [B, C]
        keep = keep.reshape(batch.batch_size, *(1,) * batch.rank, batch.channels)
        return batch.replace(jnp.where(keep, batch.values / (1 - self.rate), 0))

    def _keep(self, key: jax.Array, channels: int) -> jax.Array:
        return jax.random.bernoulli(jax.random.fold_in(key, self.stream), 1 - self.rate, (channels,))
