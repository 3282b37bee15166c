"""Up-sampling by whole factors, nearest and bilinear.

Axes: B batch, S spatial, C channels.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from fcnjax import geometry
from fcnjax.geometry import Expansion
from fcnjax.layers.convolution.borders import along, read_along
from fcnjax.layers.layer import WindowedLayer, require_positive
from fcnjax.naming import check_name
from fcnjax.padded import Padded

METHODS = ("nearest", "bilinear")


class Upsample(WindowedLayer):
    """Enlarges by a whole factor: repeats every position, or interpolates linearly along each axis.

    Bilinear interpolation uses half-pixel centers (PyTorch's `align_corners=False`). Beyond its own edge, an example is
    extended with its edge value.

    Args:
        factor: one int or one per spatial axis, at least 1.
        method: "nearest" or "bilinear" (linear in one dimension, trilinear in three).
        rank: number of spatial axes, 1 to 3.

    Raises:
        ValueError: if a factor is below 1 or the method is unknown.

    Source: PyTorch's `Upsample`, applied to each example separately.
    """

    def __init__(self, factor: int | Sequence[int], method: str = "nearest", *, rank: int = 2):
        check_name("method of Upsample", method, METHODS)
        self.method = method
        factors = geometry.per_axis("factor", factor, rank)
        require_positive("Upsample", factor=min(factors))
        super().__init__([_interpolation(n) if method == "bilinear" else Expansion(n, n) for n in factors])

    def transform(self, batch: Padded) -> Padded:
        sizes, values = self.out_sizes(batch), batch.values
        enlarge = self._interpolated if self.method == "bilinear" else self._repeated
        for axis, window in enumerate(self._windows):
            if window.stride > 1:
                values = enlarge(values, axis, window.stride, batch.sizes[:, axis])
        return batch.replace(values, sizes)

    @staticmethod
    def _repeated(values: jax.Array, axis: int, factor: int, sizes: jax.Array) -> jax.Array:
        del sizes
        return jnp.repeat(values, factor, axis + 1)

    @staticmethod
    def _interpolated(values: jax.Array, axis: int, factor: int, sizes: jax.Array) -> jax.Array:
        # Output i lies at the position (i + 0.5) / factor - 0.5 of the input.
        doubled = 2 * jnp.arange(values.shape[axis + 1] * factor, dtype=sizes.dtype)[None] + 1 - factor
        before, share = doubled // (2 * factor), (doubled % (2 * factor)).astype(values.dtype) / (2 * factor)
        share = along(share, axis, values.ndim)
        last = jnp.maximum(sizes, 1)[:, None] - 1
        lower, upper = (read_along(values, axis, jnp.clip(positions, 0, last)) for positions in (before, before + 1))
        return lower * (1 - share) + upper * share


def _interpolation(factor: int) -> Expansion:
    """Returns the expansion of linear interpolation with half-pixel centers, in which an output sees two inputs."""
    kernel = 2 * factor - factor % 2
    cut = (kernel - factor) // 2
    return Expansion(kernel, factor, (cut, cut))
