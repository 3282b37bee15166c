"""Products of the channels at every position with a matrix, laid out for XLA's CPU compiler.

Axes: B batch, S spatial, C input channels, K output channels.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from fcnjax.layers.convolution.product_rule import product_rule


def channel_product_on_cpu(values: jax.Array, matrix: jax.Array) -> jax.Array:
    """Returns [B, *S, K], the channels of values [B, *S, C] times a matrix [C, K], computed for a CPU.

    Use it rather than `channel_product` in code that already runs on CPUs only: each choice between platforms makes
    tracing and compiling slower.
    """
    rows = values.reshape(-1, values.shape[-1])
    count, channels = rows.shape
    cheap = 2 * matrix.shape[1] <= channels <= count  # so small a matrix is cheap to transpose for the output too
    product = _by_transpose(rows, matrix) if cheap else _product(rows, matrix)
    return product.reshape(*values.shape[:-1], matrix.shape[-1])


@jax.custom_jvp
def _product(rows: jax.Array, matrix: jax.Array) -> jax.Array:
    """Returns [P, K], rows [P, C] times a matrix [C, K], with the faster layout of the matrix's gradient.

    That gradient is the slowest of the three products. If it has more rows than columns, XLA's CPU compiler computes
    its transpose faster: 1.1 instead of 1.6 ms for P, C, K = 8192, 256, 64, and 0.9 instead of 2.4 for 2048, 512, 128.
    With few positions this does not pay: 3.4 instead of 1.9 ms for 128, 4608, 512.
    """
    return rows @ matrix


@functools.partial(_product.defjvp, symbolic_zeros=True)
def _product_jvp(primals: tuple[jax.Array, jax.Array], tangents: tuple[Any, Any]) -> tuple[jax.Array, Any]:
    (rows, matrix), (rows_dot, matrix_dot) = primals, tangents
    count, channels = rows.shape
    by_transpose = 2 * matrix.shape[1] <= channels <= 4 * count
    multiply = _by_transpose if by_transpose else jnp.matmul
    return product_rule(
        _product(rows, matrix),
        (rows_dot, lambda rows_dot: _product(rows_dot, matrix)),
        (matrix_dot, lambda matrix_dot: multiply(rows, matrix_dot)),
    )


def _by_transpose(rows: jax.Array, matrix: jax.Array) -> jax.Array:
    """Returns the product of rows and a matrix, which is transposed; the barrier keeps the compiler from undoing it."""
    return lax.dot_general(rows, lax.optimization_barrier(matrix.T), (((1,), (1,)), ((), ())))
