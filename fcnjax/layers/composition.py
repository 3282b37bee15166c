"""Layers made of layers: one after another, beside a shortcut, or beside each other.

Axes: B batch, S spatial, C channels.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from fcnjax import geometry
from fcnjax.geometry import Window
from fcnjax.layers.layer import Layer
from fcnjax.padded import Padded


class Sequential(Layer):
    """Layers applied one after another; without any, the identity.

    Args:
      layers: in order.
    """

    def __init__(self, layers: Sequence[Layer] = ()):
        self.layers = nnx.List(layers)

    def __call__(self, batch: Padded, *, train: bool = False, keys: jax.Array | None = None) -> Padded:
        for layer in self.layers:
            batch = layer(batch, train=train, keys=keys)
        return batch

    def path(self, rank: int) -> list[tuple[Window, ...]]:
        return [windows for layer in self.layers for windows in layer.path(rank)]

    def out_channels(self, channels: int) -> int:
        for layer in self.layers:
            channels = layer.out_channels(channels)
        return channels

    def multiply_adds(self, size: Sequence[int], channels: int) -> int:
        total = 0
        for layer in self.layers:
            total += layer.multiply_adds(size, channels)
            size, channels = layer.out_extent(size), layer.out_channels(channels)
        return total


class _Parallel(Layer):
    """Branches that see the same input and give the same sizes."""

    def __init__(self, branches: Sequence[Sequence[Layer]]):
        self.branches = nnx.List([Sequential(branch) for branch in branches])

    def _outputs(self, batch: Padded, train: bool, keys: jax.Array | None) -> list[Padded]:
        outputs = [branch(batch, train=train, keys=keys) for branch in self.branches]
        shapes = {output.spatial_shape for output in outputs}
        if len(shapes) > 1:
            raise ValueError(
                f"{type(self).__name__}: its branches turn {batch.spatial_shape} into {sorted(shapes)}; give them "
                "strides and paddings that agree at every size."
            )
        return outputs

    def path(self, rank: int) -> list[tuple[Window, ...]]:
        """The branch with the largest receptive field, in sum over the axes."""
        return max((branch.path(rank) for branch in self.branches), key=_reach)

    def multiply_adds(self, size: Sequence[int], channels: int) -> int:
        return sum(branch.multiply_adds(size, channels) for branch in self.branches)


class Residual(_Parallel):
    """The sum of a branch and a shortcut past it.

    Args:
      branch: the layers of the residual branch.
      shortcut: the layers beside it, such as a strided 1x1 convolution where shapes change; default: the identity.

    Raises:
      ValueError: when called, if the two do not give the same sizes.

    Source: He et al., "Deep Residual Learning for Image Recognition", 2016.
    """

    def __init__(self, branch: Sequence[Layer], shortcut: Sequence[Layer] = ()):
        super().__init__([branch, shortcut])

    def __call__(self, batch: Padded, *, train: bool = False, keys: jax.Array | None = None) -> Padded:
        branch, shortcut = self._outputs(batch, train, keys)
        return Padded(branch.values + shortcut.values, branch.sizes)  # both are zero outside the same sizes

    def out_channels(self, channels: int) -> int:
        return self.branches[0].out_channels(channels)


class Concatenate(_Parallel):
    """The channels of several branches, one after another.

    Args:
      branches: the layers of each branch; at least one branch.

    Raises:
      ValueError: without a branch, and when called, if they do not give the same sizes.

    Source: Szegedy et al., "Going Deeper with Convolutions", 2015.
    """

    def __init__(self, branches: Sequence[Sequence[Layer]]):
        if not branches:
            raise ValueError("branches=[] of Concatenate: needs at least one.")
        super().__init__(branches)

    def __call__(self, batch: Padded, *, train: bool = False, keys: jax.Array | None = None) -> Padded:
        outputs = self._outputs(batch, train, keys)
        return Padded(jnp.concatenate([output.values for output in outputs], -1), outputs[0].sizes)

    def out_channels(self, channels: int) -> int:
        return sum(branch.out_channels(channels) for branch in self.branches)


def _reach(path: Sequence[tuple[Window, ...]]) -> int:
    return sum(geometry.receptive_field(windows).size for windows in zip(*path, strict=True))
