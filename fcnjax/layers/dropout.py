"""Dropout keyed by example: the draws do not depend on how an example is padded or batched.

Axes: B batch, S spatial, C channels.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp

from fcnjax.layers.layer import Layer, checked_keys
from fcnjax.padded import Padded


class _KeyedDropout(Layer):
    """Base of the dropouts: one draw per example or per channel of an example, from the example's key only.

    Raises:
        ValueError: if the rate is outside [0, 1); in training, if `keys` is None.
    """

    _per_channel: ClassVar[bool]

    def __init__(self, rate: float, *, stream: int = 0):
        if not 0 <= rate < 1:
            raise ValueError(f"rate={rate} of dropout: must be in [0, 1).")
        self.rate, self.stream = rate, stream

    def apply(self, batch: Padded, *, train: bool, keys: jax.Array | None) -> Padded:
        if not train or self.rate == 0:
            return batch
        keys = checked_keys(keys, batch, "dropout needs")
        draws = batch.channels if self._per_channel else 1
        keep = jax.vmap(self._keep, in_axes=(0, None))(keys, draws)  # [B, C] or [B, 1]
        keep = keep.reshape(batch.batch_size, *(1,) * batch.rank, draws)
        return batch.replace(jnp.where(keep, batch.raw_values / (1 - self.rate), 0))

    def _keep(self, key: jax.Array, draws: int) -> jax.Array:
        return jax.random.bernoulli(jax.random.fold_in(key, self.stream), 1 - self.rate, (draws,))


class ChannelDropout(_KeyedDropout):
    """Zeroes whole channels of an example in training and scales the rest by `1 / (1 - rate)`.

    The draws depend only on the example's key: not on its row, its batch mates, the padded shape, or the position of
    the pool in a head. Elementwise dropout would depend on the padded shape.

    Args:
        rate: probability that a channel is dropped, in [0, 1).
        stream: distinguishes this layer from the other random layers of a network; layers with the same stream drop
            the same channels.

    Raises:
        ValueError: if the rate is outside [0, 1); in training, if `keys` is None.

    Source: Tompson et al., "Efficient Object Localization Using Convolutional Networks", 2015 (spatial dropout).
    """

    _per_channel = True


class StochasticDepth(_KeyedDropout):
    """Zeroes a whole example in training, or scales it by `1 / (1 - rate)`; put it last on a residual branch.

    A dropped example skips the branch. The draws depend only on the example's key, as in `ChannelDropout`.

    Args:
        rate: probability that an example is dropped, in [0, 1); usually larger in deeper blocks.
        stream: distinguishes this layer from the other random layers of a network, including `ChannelDropout`; the
            draws of layers with the same stream are not independent.

    Raises:
        ValueError: if the rate is outside [0, 1); in training, if `keys` is None.

    Source: Huang et al., "Deep Networks with Stochastic Depth", 2016, scaled in training rather than in evaluation.
    """

    _per_channel = False
