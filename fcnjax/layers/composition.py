"""Layers made of layers: in sequence, with a shortcut, or in parallel.

Axes: B batch, S spatial, C channels.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from fcnjax import geometry
from fcnjax.geometry import AnyWindow
from fcnjax.layers.layer import Layer, mode
from fcnjax.padded import Padded


class Sequential(Layer):
    """Layers applied one after another; without layers, the identity.

    Args:
        layers: in order.
    """

    def __init__(self, layers: Sequence[Layer] = ()):
        self.layers = nnx.List(layers)

    def apply(self, batch: Padded, *, train: bool, keys: jax.Array | None) -> Padded:
        for layer in self.layers:
            batch = layer(batch, **mode(train, keys))
        return batch

    def windows(self, rank: int) -> list[tuple[AnyWindow, ...]]:
        return [windows for layer in self.layers for windows in layer.windows(rank)]

    def out_extent(self, size: Sequence[int]) -> tuple[int, ...]:
        for layer in self.layers:
            size = layer.out_extent(size)
        return tuple(size)

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
    """Base of the layers with branches that take the same input and return the same sizes."""

    def __init__(self, branches: Sequence[Sequence[Layer]]):
        self.branches = nnx.List([Sequential(branch) for branch in branches])

    def _outputs(self, batch: Padded, train: bool, keys: jax.Array | None) -> list[Padded]:
        outputs = [branch(batch, **mode(train, keys)) for branch in self.branches]
        shapes = {output.spatial_shape for output in outputs}
        if len(shapes) > 1:
            raise ValueError(
                f"{type(self).__name__}: its branches turn {batch.spatial_shape} into {sorted(shapes)}; they must "
                "return the same sizes: choose strides and paddings that agree at every size."
            )
        return outputs

    def windows(self, rank: int) -> list[tuple[AnyWindow, ...]]:
        """Returns the windows of the branch with the largest receptive field, summed over the axes."""
        return max((branch.windows(rank) for branch in self.branches), key=_reach)

    def out_extent(self, size: Sequence[int]) -> tuple[int, ...]:
        return self.branches[0].out_extent(size)

    def multiply_adds(self, size: Sequence[int], channels: int) -> int:
        return sum(branch.multiply_adds(size, channels) for branch in self.branches)


class Residual(_Parallel):
    """The sum of a branch and a shortcut.

    Args:
        branch: the layers of the residual branch.
        shortcut: the layers of the shortcut, such as a strided 1x1 convolution if shapes change; default: the
            identity.

    Raises:
        ValueError: when called, if the branch and the shortcut differ in sizes or channels.

    Source: He et al., "Deep Residual Learning for Image Recognition", 2016.
    """

    def __init__(self, branch: Sequence[Layer], shortcut: Sequence[Layer] = ()):
        super().__init__([branch, shortcut])

    def apply(self, batch: Padded, *, train: bool, keys: jax.Array | None) -> Padded:
        branch, shortcut = self._outputs(batch, train, keys)
        _check_same_channels(self, branch, shortcut)
        return branch.replace(branch.raw_values + shortcut.raw_values)

    def out_channels(self, channels: int) -> int:
        return self.branches[0].out_channels(channels)


class SkipConnection(Layer):
    """The sum of a shortcut and a branch that down-samples and up-samples, cut to the shortcut's size.

    A branch that halves (rounding up) and doubles returns the size of its input or one more. The surplus lies at the
    far edge of each example and is cut off. Use `Residual` if the branch keeps the size: it cuts nothing.

    Args:
        branch: the layers of the branch; at every size, its output must be at least as large as the shortcut's.
        shortcut: the layers of the shortcut, such as a 1x1 convolution to the branch's channels; default: the identity.

    Raises:
        ValueError: when called, if the output of the branch is smaller than that of the shortcut or has other channels.

    Source: Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", 2015, section 4.2;
    Ronneberger, Fischer and Brox, "U-Net", 2015.
    """

    def __init__(self, branch: Sequence[Layer], shortcut: Sequence[Layer] = ()):
        self.branch, self.shortcut = Sequential(branch), Sequential(shortcut)

    def apply(self, batch: Padded, *, train: bool, keys: jax.Array | None) -> Padded:
        branch = self.branch(batch, **mode(train, keys))
        shortcut = self.shortcut(batch, **mode(train, keys))
        self._check(branch.spatial_shape, shortcut.spatial_shape)
        _check_same_channels(self, branch, shortcut)
        return shortcut.replace(cut_to(branch, shortcut).raw_values + shortcut.raw_values)

    def _check(self, branch: Sequence[int], shortcut: Sequence[int]):
        if any(ours < wanted for ours, wanted in zip(branch, shortcut, strict=True)):
            raise ValueError(
                f"SkipConnection: its branch returns {tuple(branch)}, which must be at least its shortcut's "
                f"{tuple(shortcut)}; make the branch round up when it halves (ceil=True, or symmetric pads)."
            )

    def windows(self, rank: int) -> list[tuple[AnyWindow, ...]]:
        """Returns the windows of the branch; the output has the size of the shortcut (see `out_extent`)."""
        return self.branch.windows(rank)

    def out_extent(self, size: Sequence[int]) -> tuple[int, ...]:
        self._check(self.branch.out_extent(size), self.shortcut.out_extent(size))
        return self.shortcut.out_extent(size)

    def out_channels(self, channels: int) -> int:
        return self.branch.out_channels(channels)

    def multiply_adds(self, size: Sequence[int], channels: int) -> int:
        return self.branch.multiply_adds(size, channels) + self.shortcut.multiply_adds(size, channels)


class Concatenate(_Parallel):
    """Concatenates the channels of several branches.

    Args:
        branches: the layers of each branch; at least one branch.

    Raises:
        ValueError: if `branches` is empty; when called, if the branches return different sizes.

    Source: Szegedy et al., "Going Deeper with Convolutions", 2015.
    """

    def __init__(self, branches: Sequence[Sequence[Layer]]):
        if not branches:
            raise ValueError("branches=[] of Concatenate: must hold at least one branch.")
        super().__init__(branches)

    def apply(self, batch: Padded, *, train: bool, keys: jax.Array | None) -> Padded:
        outputs = self._outputs(batch, train, keys)
        return outputs[0].replace(jnp.concatenate([output.raw_values for output in outputs], -1))

    def out_channels(self, channels: int) -> int:
        return sum(branch.out_channels(channels) for branch in self.branches)


def cut_to(batch: Padded, like: Padded) -> Padded:
    """Returns a batch cut to the sizes and the padded shape of `like`, which must not be larger."""
    return batch.replace(batch.raw_values[(slice(None), *(slice(n) for n in like.spatial_shape))], like.sizes)


def _check_same_channels(layer: Layer, branch: Padded, shortcut: Padded):
    if branch.channels != shortcut.channels:
        raise ValueError(
            f"{type(layer).__name__}: its branch returns {branch.channels} channels, its shortcut {shortcut.channels}, "
            "which must be equal; give the shortcut a 1x1 convolution to the branch's channels."
        )


def _reach(windows: Sequence[tuple[AnyWindow, ...]]) -> int | float:
    return sum(geometry.receptive_field(along_axis).size for along_axis in zip(*windows, strict=True))
