"""Max, average, LP and blur pooling over windows that see only what lies inside each example.

Axes: B batch, S spatial, C channels.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fcnjax import geometry
from fcnjax.geometry import Padding, Window
from fcnjax.layers.convolution.borders import convolve_with_border, with_border
from fcnjax.layers.layer import WindowedLayer, at_least_float32
from fcnjax.padded import Padded


class _WindowedPool(WindowedLayer):
    """What the pools share: windows that always hold a value, and the reduction over them."""

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
                    f"padding={window.padding} with kernel {window.kernel}: must be smaller than the kernel, or a "
                    "window would hold no value."
                )

    def _reduce(self, values: jax.Array, initial: float, combine: Callable) -> jax.Array:
        """Reduces [B, *S, C] over the windows, `initial` standing for what lies outside the rectangle."""
        return lax.reduce_window(
            values,
            np.asarray(initial, values.dtype),  # a constant: only then does JAX see a maximum, and its gradient
            combine,
            (1, *(window.kernel for window in self._windows), 1),
            (1, *(window.stride for window in self._windows), 1),
            ((0, 0), *map(_reached, self._windows, values.shape[1:-1]), (0, 0)),
        )


class MaxPool(_WindowedPool):
    """Largest value of each window; padding never wins, whatever the sign of the values.

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
        return batch.replace(
            self._reduce(masked, -jnp.inf, lax.max), sizes
        ).with_zero_padding()  # of -inf where no value was


class AveragePool(_WindowedPool):
    """Mean of the valid positions under each window: neither padding nor borders dilute it.

    PyTorch's `count_include_pad=False`; flax's `avg_pool` counts the padding by default. Sums are taken in float32
    whatever the dtype of the values, in float64 for float64.

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
        total = self._reduce(at_least_float32(batch.values), 0.0, lax.add)
        count = self._reduce(batch.mask.astype(total.dtype), 0.0, lax.add)
        return batch.replace((total / jnp.maximum(count, 1)).astype(batch.dtype), sizes)


class LPPool(_WindowedPool):
    """The p-norm `(sum |x|^p)^(1/p)` of the valid positions under each window: p = 1 sums, a large p nears the maximum.

    Args:
        kernel: positions, one int or one per spatial axis.
        p: exponent, at least 1.
        rank: number of spatial axes, 1 to 3.
        stride: one int or one per axis; default: the kernel.
        padding: as in `Convolution`, each side smaller than the kernel.
        ceil: whether a last window that reaches beyond the input counts (PyTorch's `ceil_mode`).

    Raises:
        ValueError: if p is below 1 or not finite, or a pad reaches the kernel's extent.

    Source: Gulcehre et al., "Learned-Norm Pooling for Deep Feedforward and Recurrent Neural Networks", 2014.
    """

    def __init__(self, kernel: int | Sequence[int], p: float = 2.0, **options: Any):
        if not 1 <= p < math.inf:
            raise ValueError(f"p={p} of LP pooling: must be at least 1, and finite; MaxPool is its limit.")
        super().__init__(kernel, **options)
        self.p = p

    def transform(self, batch: Padded) -> Padded:
        sizes = self.out_sizes(batch)
        total = self._reduce(jnp.abs(at_least_float32(batch.values)) ** self.p, 0.0, lax.add)
        empty = total == 0  # a root has no gradient at 0
        norm = jnp.where(empty, 0.0, jnp.where(empty, 1.0, total) ** (1 / self.p))
        return batch.replace(norm.astype(batch.dtype), sizes)


class BlurPool(WindowedLayer):
    """Smooths with a binomial filter, then takes every `stride`-th position: down-sampling without aliasing.

    Args:
        kernel: taps of the filter along every axis, at least 2.
        stride: one int or one per axis.
        rank: number of spatial axes, 1 to 3.
        border: what the filter sees beyond an example's edge (see `Convolution`).

    Raises:
        ValueError: for fewer than 2 taps or an unknown border.

    Source: Zhang, "Making Convolutional Networks Shift-Invariant Again", 2019.
    """

    def __init__(self, kernel: int = 3, stride: int | Sequence[int] = 2, *, rank: int = 2, border: str = "reflect"):
        if kernel < 2:
            raise ValueError(f"kernel={kernel} of blur pooling: needs at least 2 taps.")
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


def _reached(window: Window, extent: int) -> tuple[int, int]:
    """Returns the pads that the windows over a rectangle's `extent` reach; `ceil` may reach beyond the padding."""
    before, after = window.padding
    last = (window.out_size(extent) - 1) * window.stride + window.extent
    return before, max(after, last - extent - before) if window.ceil else after
