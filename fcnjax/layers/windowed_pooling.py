"""Max, average, LP and blur pooling over the valid positions of each window.

Axes: B batch, S spatial, C channels.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fcnjax import geometry
from fcnjax.geometry import Padding
from fcnjax.layers.convolution.borders import convolve_with_border, with_border
from fcnjax.layers.layer import WindowedLayer, at_least_float32
from fcnjax.layers.window_maximum import window_maximum
from fcnjax.padded import Padded


class _WindowedPool(WindowedLayer):
    """Base of the pools: windows that always contain a valid position, and sums over them."""

    def __init__(
        self,
        kernel: int | Sequence[int],
        *,
        rank: int = 2,
        stride: int | Sequence[int] | None = None,
        padding: Padding = 0,
        ceil: bool = False,
    ):
        super().__init__(geometry.windows(rank, kernel, kernel if stride is None else stride, 1, padding, ceil))
        for window in self._windows:
            if max(window.padding) >= window.extent:
                raise ValueError(
                    f"padding={window.padding} with kernel {window.kernel}: must be smaller than the kernel, so that "
                    "every window holds a value."
                )

    def _geometry(self) -> tuple[list[int], list[int], tuple[tuple[int, int], ...]]:
        """Returns extents and strides of the windows, and the pads that they reach."""
        kernel, strides = [window.kernel for window in self._windows], [window.stride for window in self._windows]
        return kernel, strides, tuple(window.reach for window in self._windows)

    def _sum(self, values: jax.Array) -> jax.Array:
        """Returns values [B, *S, C] summed over the windows [B, *S', C]."""
        kernel, strides, pads = self._geometry()
        zero = np.asarray(0, values.dtype)
        return lax.reduce_window(values, zero, lax.add, (1, *kernel, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0)))


class MaxPool(_WindowedPool):
    """Largest valid value of each window, even if all values are negative.

    Args:
        kernel: positions, one int or one per spatial axis.
        rank: number of spatial axes, 1 to 3.
        stride: one int or one per axis; default: the kernel.
        padding: as in `Convolution`, each side smaller than the kernel.
        ceil: whether a last window that reaches beyond the input counts (PyTorch's `ceil_mode`).

    Raises:
        ValueError: if a pad reaches the kernel's extent.
    """

    def transform(self, batch: Padded) -> Padded:
        sizes = self.out_sizes(batch)
        masked = jnp.where(batch.mask, batch.raw_values, -jnp.inf)
        pooled = window_maximum(masked, *self._geometry())
        return batch.replace(pooled, sizes).with_zero_padding()  # without a valid position, the maximum is -inf


class AveragePool(_WindowedPool):
    """Mean of the valid positions of each window: neither padding nor borders count.

    This is PyTorch's `count_include_pad=False`; flax's `avg_pool` counts the padding by default. Sums are in float32
    (float64 for float64 values).

    Args:
        kernel: positions, one int or one per spatial axis.
        rank: number of spatial axes, 1 to 3.
        stride: one int or one per axis; default: the kernel.
        padding: as in `Convolution`, each side smaller than the kernel.
        ceil: whether a last window that reaches beyond the input counts (PyTorch's `ceil_mode`).

    Raises:
        ValueError: if a pad reaches the kernel's extent.
    """

    def transform(self, batch: Padded) -> Padded:
        sizes = self.out_sizes(batch)
        total = self._sum(at_least_float32(batch.values))
        count = self._sum(batch.mask.astype(total.dtype))
        return batch.replace((total / jnp.maximum(count, 1)).astype(batch.dtype), sizes)


class LPPool(_WindowedPool):
    """The p-norm `(sum |x|^p)^(1/p)` of the valid positions of each window: a sum for p = 1, a maximum as p grows.

    Args:
        kernel: positions, one int or one per spatial axis.
        p: exponent, at least 1.
        rank: number of spatial axes, 1 to 3.
        stride: one int or one per axis; default: the kernel.
        padding: as in `Convolution`, each side smaller than the kernel.
        ceil: whether a last window that reaches beyond the input counts (PyTorch's `ceil_mode`).

    Raises:
        ValueError: if `p` is below 1 or not finite, or a pad reaches the kernel's extent.

    Source: Gulcehre et al., "Learned-Norm Pooling for Deep Feedforward and Recurrent Neural Networks", 2014.
    """

    def __init__(self, kernel: int | Sequence[int], p: float = 2.0, **options: Any):
        if not 1 <= p < math.inf:
            raise ValueError(f"p={p} of LPPool: must be at least 1 and finite; use MaxPool for its limit.")
        super().__init__(kernel, **options)
        self.p = p

    def transform(self, batch: Padded) -> Padded:
        sizes = self.out_sizes(batch)
        total = self._sum(jnp.abs(at_least_float32(batch.values)) ** self.p)
        empty = total == 0  # the gradient of a root is infinite at 0
        norm = jnp.where(empty, 0.0, jnp.where(empty, 1.0, total) ** (1 / self.p))
        return batch.replace(norm.astype(batch.dtype), sizes)


class BlurPool(WindowedLayer):
    """Smooths with a binomial filter, then takes every `stride`-th position: down-sampling without aliasing.

    Args:
        kernel: number of taps of the filter along every axis, at least 2.
        stride: one int or one per axis.
        rank: number of spatial axes, 1 to 3.
        border: what the filter sees beyond an example's edge (see `Convolution`).

    Raises:
        ValueError: if `kernel` is below 2 or the border is unknown.

    Source: Zhang, "Making Convolutional Networks Shift-Invariant Again", 2019.
    """

    def __init__(self, kernel: int = 3, stride: int | Sequence[int] = 2, *, rank: int = 2, border: str = "reflect"):
        if kernel < 2:
            raise ValueError(f"kernel={kernel} of BlurPool: must be at least 2 taps.")
        pads = [((kernel - 1) // 2, kernel // 2)] * rank
        super().__init__(with_border(geometry.windows(rank, kernel, stride, 1, pads), border))
        self.border = border

    def transform(self, batch: Padded) -> Padded:
        sizes = self.out_sizes(batch)
        kernel = np.ones(())
        for window in self._windows:
            taps = np.array([math.comb(window.kernel - 1, tap) for tap in range(window.kernel)], np.float64)
            kernel = np.multiply.outer(kernel, taps / taps.sum())
        channels = batch.channels
        kernel = jnp.asarray(np.repeat(kernel[..., None, None], channels, -1), batch.dtype)  # [*taps, 1, C]
        return batch.replace(convolve_with_border(batch, kernel, self._windows, channels, self.border), sizes)
