"""Max and average pooling over windows that see only what lies inside each example."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fcnjax import geometry
from fcnjax.geometry import Padding
from fcnjax.layers.layer import WindowedLayer
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
    ):
        super().__init__(geometry.windows(rank, kernel, kernel if stride is None else stride, 1, padding))
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
            ((0, 0), *(window.padding for window in self._windows), (0, 0)),
        )


class MaxPool(_WindowedPool):
    """Largest value of each window; padding never wins, whatever the sign of the values.

    Args:
      kernel: positions, one int or one per spatial axis.
      rank: number of spatial axes, 1 to 3.
      stride: one int or one per axis; default: the kernel.
      padding: as in `Convolution`, each side smaller than the kernel.

    Raises:
      ValueError: if a pad reaches the kernel's extent.
    """

    def __call__(self, batch: Padded, *, train: bool = False, keys: jax.Array | None = None) -> Padded:
        del train, keys
        sizes = self.out_sizes(batch)
        masked = jnp.where(batch.mask, batch.values, -jnp.inf)
        return batch.replace(self._reduce(masked, -jnp.inf, lax.max), sizes)


class AveragePool(_WindowedPool):
    """Mean of the valid positions under each window: neither padding nor borders dilute it.

    PyTorch's `count_include_pad=False`; flax's `avg_pool` counts the padding by default.

    Args:
      kernel: positions, one int or one per spatial axis.
      rank: number of spatial axes, 1 to 3.
      stride: one int or one per axis; default: the kernel.
      padding: as in `Convolution`, each side smaller than the kernel.

    Raises:
      ValueError: if a pad reaches the kernel's extent.
    """

    def __call__(self, batch: Padded, *, train: bool = False, keys: jax.Array | None = None) -> Padded:
        del train, keys
        sizes = self.out_sizes(batch)
        total = self._reduce(batch.values, 0.0, lax.add)
        count = self._reduce(batch.mask.astype(batch.values.dtype), 0.0, lax.add)
        return batch.replace(total / jnp.maximum(count, 1), sizes)
