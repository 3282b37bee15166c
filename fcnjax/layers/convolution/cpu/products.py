"""Products of the channels at every position and a matrix, laid out for XLA's CPU compiler.

Axes: B batch, S spatial, C input channels, K output channels.
"""

import jax
import jax.numpy as jnp
from jax import lax


def channel_product(values: jax.Array, matrix: jax.Array) -> jax.Array:
    """Returns [B, *S, K], the channels of values [B, *S, C] times a matrix [C, K], as a product of two matrices.

    In the gradient, XLA's CPU compiler can transpose a matrix within the product. With more axes it computes all that
    leads to the gradient once more, transposed: 7.9 and 13.4 instead of 5.8 and 10.1 ms for a train step of the 4x4,
    stride 2 stack, 16 examples of 32x31 and 40x40.
    """
    rows = values.reshape(-1, values.shape[-1])
    product = lax.platform_dependent(rows, matrix, cpu=channel_product_on_cpu, default=jnp.matmul)
    return product.reshape(*values.shape[:-1], matrix.shape[-1])


def channel_product_on_cpu(values: jax.Array, matrix: jax.Array) -> jax.Array:
    """Returns the same, where the platform is known: each choice of one adds to the time of tracing and compiling.

    It is laid out for its gradient, which is the slowest of the three products: a gradient [C, K] with more rows than
    columns takes XLA's CPU compiler twice as long as its transpose, 22 and 11 ms for C, K = 512, 64 and 9216 positions.
    The barrier keeps the compiler from undoing the transposition.
    """
    channels, outputs = matrix.shape
    rows = values.reshape(-1, channels)
    if channels < 2 * outputs:
        product = rows @ matrix
    else:
        product = lax.dot_general(rows, lax.optimization_barrier(matrix.T), (((1,), (1,)), ((), ())))
    return product.reshape(*values.shape[:-1], outputs)
