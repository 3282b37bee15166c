"""Chooses how a convolution is computed, by platform and window; no other module chooses.

A kernel of one tap is a product of channels. On a CPU, products of channels are laid out for XLA's CPU compiler
(`cpu/products.py`), strided windows and few windows become products of matrices (`cpu/strided.py`), depthwise kernels
become sums of slices (`cpu/depthwise.py`), and the gradients of other groups become one dense convolution. Everything
else is computed by the library.

Axes: B batch, S spatial, C input channels, K output channels.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fcnjax.geometry import Expansion, Window
from fcnjax.layers.convolution.cpu.depthwise import correlate_depthwise, suits_slices
from fcnjax.layers.convolution.cpu.products import channel_product_on_cpu
from fcnjax.layers.convolution.cpu.strided import correlate_strided
from fcnjax.layers.convolution.library import library_convolution
from fcnjax.layers.convolution.product_rule import product_rule
from fcnjax.padded import zero_outside
from fcnjax.precision import product_precision
from fcnjax.xla import by_platform

MAX_GROUPS, MAX_WIDTH = 64, 4  # groups, and input channels of each, whose output a dense convolution computes faster
MAX_DENSE = 2**24  # elements of the dense kernel of a grouped convolution


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
    if groups == 1 and all(window == Window(1) for window in windows):
        return channel_product(values, kernel.reshape(kernel.shape[-2:]))

    def by_library(kernel: jax.Array) -> jax.Array:
        return _by_library(values if sizes is None else zero_outside(values, sizes), kernel, windows, groups)

    correlate = _correlate_on_cpu(values.shape, kernel, windows, groups)
    if correlate is None:
        return by_library(kernel)
    on_cpu = functools.partial(correlate, values, windows=windows, sizes=sizes)
    return by_platform(kernel, cpu=on_cpu, default=by_library)


def _symbolic(shape: Sequence[Any]) -> bool:
    """Returns whether a shape has a symbolic dimension of `jax.export`."""
    return not all(isinstance(extent, int) for extent in shape)


def _correlate_on_cpu(
    shape: Sequence[int], kernel: jax.Array, windows: Sequence[Window], groups: int
) -> Callable[..., jax.Array] | None:
    """Returns what computes a convolution of values of a shape [B, *S, C] on a CPU; None: the library.

    Strided windows become products, and so does a kernel with more output channels than there are windows: for the
    gradient of the values, the library transposes the kernel, which takes 3.7 of 9 ms for 3x3 taps, 512 channels in
    and out, and 16 examples of 3x3. Depthwise kernels become sums of slices; the gradients of other groups become one
    dense convolution.
    """
    if _symbolic(shape):
        return None
    extents = [window.out_size(size) for window, size in zip(windows, shape[1:-1], strict=True)]
    count = shape[0] * math.prod(extents)
    if count == 0:
        return None
    if suits_slices(kernel, groups):
        return correlate_depthwise
    if groups > 1:
        small = kernel.size * groups <= MAX_DENSE
        return functools.partial(_correlate_grouped, groups=groups) if small else None
    if any(window.dilation > 1 for window in windows):
        return None
    strided = max(window.stride for window in windows) > 1
    return correlate_strided if strided or count <= kernel.shape[-1] else None


def _correlate_grouped(
    values: jax.Array, kernel: jax.Array, windows: Sequence[Window], sizes: jax.Array | None, groups: int
) -> jax.Array:
    if sizes is not None:
        values = zero_outside(values, sizes)
    return _grouped(values, kernel, tuple(windows), groups)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _grouped(values: jax.Array, kernel: jax.Array, windows: tuple[Window, ...], groups: int) -> jax.Array:
    """Returns a convolution of channel groups; its gradients are those of one dense convolution.

    XLA's CPU compiler computes the gradients group by group: 1,700 instead of 13 ms for 3x3 taps, 128 channels in 32
    groups, and 8 examples of 32x32. The output is the library's, unless the groups are few and narrow (12 instead of
    5 ms). In the dense form, a value that is not finite reaches the other groups, as 0 times it is NaN.
    """
    narrow = groups <= MAX_GROUPS and kernel.shape[-2] <= MAX_WIDTH
    return _ungrouped(values, kernel, windows, groups) if narrow else _by_library(values, kernel, windows, groups)


@functools.partial(_grouped.defjvp, symbolic_zeros=True)
def _grouped_jvp(
    windows: tuple[Window, ...], groups: int, primals: tuple[jax.Array, jax.Array], tangents: tuple[Any, Any]
) -> tuple[jax.Array, Any]:
    (values, kernel), (values_dot, kernel_dot) = primals, tangents
    return product_rule(
        _grouped(values, kernel, windows, groups),
        (values_dot, lambda values_dot: _ungrouped(values_dot, kernel, windows, groups)),
        (kernel_dot, lambda kernel_dot: _ungrouped(values, kernel_dot, windows, groups)),
    )


def _ungrouped(values: jax.Array, kernel: jax.Array, windows: Sequence[Window], groups: int) -> jax.Array:
    """Returns a convolution of groups, computed as one of all channels, with zeros between the groups."""
    channels, outputs = kernel.shape[-2:]
    group_of_input = np.arange(groups * channels) // channels
    group_of_output = np.arange(outputs) // (outputs // groups)
    within = group_of_input[:, None] == group_of_output
    whole = jnp.tile(kernel, (*(1,) * len(windows), groups, 1))
    return convolve(values, jnp.where(within, whole, 0), windows)


def _by_library(values: jax.Array, kernel: jax.Array, windows: Sequence[Window], groups: int) -> jax.Array:
    strides, dilation = [window.stride for window in windows], [window.dilation for window in windows]
    pads = [window.padding for window in windows]
    return library_convolution(values, kernel, strides, pads, rhs_dilation=dilation, feature_group_count=groups)


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
    if _symbolic(values.shape):  # whether their product is at least 0 is not always known
        return jnp.matmul(values, matrix, precision=product_precision(values))
    rows = values.reshape(-1, values.shape[-1])
    by_library = functools.partial(jnp.matmul, precision=product_precision(rows))
    product = by_platform(rows, matrix, cpu=channel_product_on_cpu, default=by_library)
    return product.reshape(*values.shape[:-1], matrix.shape[-1])
