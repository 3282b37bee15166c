"""The maximum of windows, with a gradient that scatters nothing.

JAX's own gradient of a windowed maximum scatters on a GPU: kernels that add in another order each time, or sort first.
Here each window remembers which of its taps is the maximum, and the gradient is a sum over taps, which XLA computes in
one pass. Compiled for an H200, the gradient of ResNet-50's stem reads 26 MB of places instead of 676, and writes none
twice. On a CPU it takes 0.6 to 0.9 times as long as JAX's.

Axes: B batch, S spatial, C channels; S' the windows.
"""

import functools
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Pads = tuple[tuple[int, int], ...]
MAX_TAPS = 32  # larger windows would make long programs; their gradient is JAX's own


def window_maximum(values: jax.Array, kernel: Sequence[int], strides: Sequence[int], pads: Pads) -> jax.Array:
    """Returns the maximum [B, *S', C] of each window of values [B, *S, C]; positions in the pads count as -inf.

    The gradient goes to the first maximum of a window, in row-major order.

    Args:
        values: [B, *S, C], floating.
        kernel: extents of a window, one per spatial axis.
        strides: one per spatial axis.
        pads: (before, after), one pair per spatial axis.
    """
    maximum = _reduce if math.prod(kernel) > MAX_TAPS else _maximum
    return maximum(values, tuple(kernel), tuple(strides), pads)


def _reduce(values: jax.Array, kernel: tuple[int, ...], strides: tuple[int, ...], pads: Pads) -> jax.Array:
    lowest = np.asarray(-np.inf, values.dtype)  # a constant: only then does JAX recognize a maximum and its gradient
    return lax.reduce_window(values, lowest, lax.max, (1, *kernel, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0)))


_maximum = jax.custom_jvp(_reduce, nondiff_argnums=(1, 2, 3))


@_maximum.defjvp
def _maximum_jvp(
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    pads: Pads,
    primals: tuple[jax.Array],
    tangents: tuple[jax.Array],
) -> tuple[jax.Array, jax.Array]:
    values, values_dot = _rounded(primals[0]), tangents[0]
    largest = _maximum(values, kernel, strides, pads)
    taps = list(itertools.product(*map(range, kernel)))
    at_tap = functools.partial(_at_tap, shape=largest.shape, strides=strides, pads=pads)
    so_far, first = at_tap(values, taps[0], -np.inf), jnp.zeros(largest.shape, jnp.uint8)
    for index, tap in enumerate(taps[1:], 1):  # no test of equality with `largest`, which may be rounded otherwise
        here = at_tap(values, tap, -np.inf)
        so_far, first = jnp.maximum(so_far, here), jnp.where(here > so_far, jnp.uint8(index), first)
    parts = [jnp.where(first == index, at_tap(values_dot, tap, 0), 0) for index, tap in enumerate(taps)]
    return largest, functools.reduce(jnp.add, parts)


def _rounded(values: jax.Array) -> jax.Array:
    """Returns the values, rounded to their dtype: XLA may compute half precision in float32, in which ties break."""
    bits = jnp.finfo(values.dtype)
    return lax.reduce_precision(values, bits.nexp, bits.nmant) if bits.bits < 32 else values


def _at_tap(
    values: jax.Array, tap: tuple[int, ...], fill: float, shape: tuple[int, ...], strides: tuple[int, ...], pads: Pads
) -> jax.Array:
    """Returns what each window has at one of its taps: values [B, *S, C] to an array of `shape` [B, *S', C]."""
    widths = [(0, 0, 0), *((*pad, 0) for pad in pads), (0, 0, 0)]
    padded = lax.pad(values, np.asarray(fill, values.dtype), widths)
    ends = [start + (count - 1) * stride + 1 for start, count, stride in zip(tap, shape[1:-1], strides, strict=True)]
    return lax.slice(padded, (0, *tap, 0), (shape[0], *ends, shape[-1]), (1, *strides, 1))
