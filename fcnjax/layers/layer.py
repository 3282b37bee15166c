"""The contract that every layer keeps: `Padded -> Padded`, zero outside each example."""

from typing import Any

import jax
from flax import nnx

from fcnjax.geometry import Window
from fcnjax.padded import Padded

IDENTITY = Window(1)


class Layer(nnx.Module):
    """Base of all layers: maps a `Padded` to a `Padded` and keeps "zero outside".

    The contract, checked for every layer by `tests/contract.py`: given zeros outside, an example alone at its own size
    gives the same output, gradients and statistics as in any larger rectangle with any batch mates.

    A layer that only acts on each position by itself needs nothing but `__call__`; one with a window overrides
    `windows` too, so that sizes, receptive fields and minimum sizes of whole networks follow.
    """

    def __call__(self, batch: Padded, *, train: bool = False, keys: jax.Array | None = None) -> Padded:
        """Applies the layer.

        Args:
          batch: values [B, *S, C], zero outside each example.
          train: whether batch statistics are taken (and running ones updated) and dropout is active.
          keys: one PRNG key per example [B], needed by random layers in training only.

        Returns:
          `Padded` with values [B, *S', C'].
        """
        raise TypeError(f"{type(self).__name__} does not define __call__.")

    def windows(self, rank: int) -> tuple[Window, ...]:
        """Returns the window of this layer along each of `rank` spatial axes."""
        return (IDENTITY,) * rank

    def out_channels(self, channels: int) -> int:
        """Returns the number of output channels for `channels` input channels."""
        return channels

    def multiply_adds(self, positions: int, channels: int) -> int:
        """Returns the multiply-adds per example of the layer's products, elementwise work not counted.

        Args:
          positions: number of *output* positions.
          channels: number of input channels.
        """
        del positions, channels
        return 0


def per_channel(vector: jax.Array, values: jax.Array) -> jax.Array:
    """Returns `vector` [C] with the rank of `values` [.., C] and its dtype, ready to be combined with it."""
    return vector.astype(values.dtype).reshape((1,) * (values.ndim - 1) + (-1,))


def parameter_count(module: Any) -> int:
    """Returns the number of trainable scalars in a module."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))
