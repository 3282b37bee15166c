"""Chooses how a convolution is computed, by platform and window; no other module chooses.

On a CPU, strided windows become products of matrices (`cpu/strided.py`), and products of channels are laid out for
XLA's CPU compiler (`cpu/products.py`). Everything else is computed by the library.

Axes: B batch, S spatial, C input channels, K output channels.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from fcnjax.geometry import Expansion, Window
from fcnjax.layers.convolution.cpu.products import channel_product_on_cpu
from fcnjax.layers.convolution.cpu.strided import correlate_strided
from fcnjax.layers.convolution.library import library_convolution
from fcnjax.padded import zero_outside
from fcnjax.precision import product_precision


def convolve(
    values: jax.Array, kernel: jax.Array, windows: Sequence[Window], groups: int = 1, sizes: jax.Array | None = None
) -> jax.Array:
    """Returns the cross-correlation [B, *S', K] of values with a kernel.

    Args:
        values: [B, *S, C].
        kernel: [*taps, C / groups, K].
        windows: one per spatial axis.
        groups: number of channel groups.
        sizes: int32 [B, len(S)]; values outside these sizes are read as zero. None: all values are read as they are.
    """
    if not any(sum(window.padding) for window in windows):
        sizes = None  # no output of an example sees values outside it
    shape, strides = values.shape, [window.stride for window in windows]
    known = all(isinstance(extent, int) for extent in shape)  # not a dimension of `jax.export`
    strided = max(strides) > 1 and all(window.dilation == 1 for window in windows)
    empty = any(window.out_size(size) == 0 for window, size in zip(windows, shape[1:-1], strict=True))

    def by_library(kernel: jax.Array) -> jax.Array:
        cleared = values if sizes is None else zero_outside(values, sizes)
        pads, dilation = [window.padding for window in windows], [window.dilation for window in windows]
        return library_convolution(cleared, kernel, strides, pads, rhs_dilation=dilation, feature_group_count=groups)

    if not known or not strided or groups > 1 or empty:
        return by_library(kernel)
    by_products = functools.partial(correlate_strided, values, windows=windows, sizes=sizes)
    return lax.platform_dependent(kernel, cpu=by_products, default=by_library)


def convolve_transposed(
    values: jax.Array, kernel: jax.Array, windows: Sequence[Expansion], groups: int = 1
) -> jax.Array:
    """Returns the transposed convolution [B, *S', K] of values [B, *S, C] with a kernel [*taps, C / groups, K].

    It is a convolution of the values, with zeros between them, and the flipped kernel.
    """
    flipped, strides = jnp.flip(kernel, tuple(range(len(windows)))), [window.stride for window in windows]
    pads = [(w.kernel - 1 - w.padding[0], w.kernel - 1 - w.padding[1]) for w in windows]
    ones = [1] * len(windows)
    return library_convolution(values, flipped, ones, pads, lhs_dilation=strides, feature_group_count=groups)


def channel_product(values: jax.Array, matrix: jax.Array) -> jax.Array:
    """Returns [B, *S, K], the channels of values [B, *S, C] times a matrix [C, K], as a product of two matrices.

    In the gradient, XLA's CPU compiler can then transpose a matrix within the product. With more axes it computes
    all producers of the gradient a second time, transposed: 7.9 and 13.4 instead of 5.8 and 10.1 ms for a train
    step of the 4x4, stride 2 stack, 16 examples of 32x31 and 40x40.
    """
    rows = values.reshape(-1, values.shape[-1])
    by_library = functools.partial(jnp.matmul, precision=product_precision(rows))
    product = lax.platform_dependent(rows, matrix, cpu=channel_product_on_cpu, default=by_library)
    return product.reshape(*values.shape[:-1], matrix.shape[-1])
