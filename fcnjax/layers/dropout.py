"""Dropout keyed by example: what is dropped does not depend on how an example was padded or batched.

Axes: B batch, S spatial, C channels.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp

from fcnjax.layers.layer import Layer
from fcnjax.padded import Padded


class _KeyedDropout(Layer):
    """What the dropouts share: one decision per example, or per channel of it, drawn from the example's key alone.

    Raises:
        ValueError: for a rate outside [0, 1); in training, if there are no keys.
    """

    _per_channel: ClassVar[bool]

    def __init__(self, rate: float, *, stream: int = 0):
        if not 0 <= rate < 1:
            raise ValueError(f"rate={rate} of dropout: must be in [0, 1).")
        self.rate, self.stream = rate, stream

    def apply(self, batch: Padded, *, train: bool, keys: jax.Array | None) -> Padded:
        if not train or self.rate == 0:
            return batch
        if keys is None:
            raise ValueError("keys=None: dropout needs one PRNG key per example in training; pass keys=[B].")
        decisions = batch.channels if self._per_channel else 1
        keep = jax.vmap(self._keep, in_axes=(0, None))(keys, decisions)  # [B, C] or [B, 1]
        keep = keep.reshape(batch.batch_size, *(1,) * batch.rank, decisions)
        return batch.replace(jnp.where(keep, batch.raw_values / (1 - self.rate), 0))

    def _keep(self, key: jax.Array, decisions: int) -> jax.Array:
        return jax.random.bernoulli(jax.random.fold_in(key, self.stream), 1 - self.rate, (decisions,))


class ChannelDropout(_KeyedDropout):
    """Zeroes whole channels of an example in training and scales the rest by `1 / (1 - rate)`.

    What is dropped depends on the example's key alone: not on its place in the batch, its batch mates, the padded
    rectangle, or where in a head the pool stands. Elementwise dropout would depend on the rectangle.

    Args:
        rate: probability that a channel is dropped, in [0, 1).
        stream: distinguishes this layer from the other random layers of a network; two with the same stream drop the
            same channels.

    Source: Tompson et al., "Efficient Object Localization Using Convolutional Networks", 2015 (spatial dropout).
    """

    _per_channel = True


class StochasticDepth(_KeyedDropout):
    """Zeroes a whole example in training, or scales it by `1 / (1 - rate)`; put it last on a residual branch.

    The example then skips the branch. Which examples do depends on their keys alone, as in `ChannelDropout`.

    Args:
        rate: probability that an example is dropped, in [0, 1); usually larger in deeper blocks.
        stream: distinguishes this layer from the other random layers of a network, `ChannelDropout` included; layers
            with the same stream do not decide independently.

    Source: Huang et al., "Deep Networks with Stochastic Depth", 2016, scaled in training rather than in evaluation.
    """

    _per_channel = False
