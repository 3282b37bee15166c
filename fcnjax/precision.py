"""How products of float32 arrays are computed on an accelerator: at full precision, or in TF32.

NVIDIA GPUs multiply float32 numbers faster if they round them to TF32, which has 10 bits of mantissa instead of 23, and
JAX does so by default. The same example then differs by about 1e-3 between two padded shapes, because each shape has
its own kernels. The layers of this library therefore multiply float32 numbers at full precision unless TF32 is asked
for; programs of `fcnjax.training.jit` do so throughout.

A CPU has no TF32, and products of bfloat16 arrays do not change with these settings.
"""

import jax
import jax.numpy as jnp
from jax import lax

# By name, as in `config.precision`: JAX's name for the same, as in `jax.default_matmul_precision`.
PRECISIONS = {"float32": "highest", "tf32": "tensorfloat32"}


def product_precision(values: jax.Array) -> lax.Precision | None:
    """Returns the `precision` argument for a convolution or a matrix product of `values`.

    For float32 values it is the full precision, unless JAX has a setting of its own (`jax.default_matmul_precision`),
    for which None stands. Products of other dtypes have one precision whatever the setting.
    """
    if values.dtype != jnp.float32:
        return lax.Precision.DEFAULT
    set_by_user = jax.config.jax_default_matmul_precision is not None  # type: ignore[attr-defined]
    return None if set_by_user else lax.Precision.HIGHEST
