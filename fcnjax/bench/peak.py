"""The peak of a device in matrix products, measured: what a model's operations per second are compared with."""

import time

import jax
import jax.numpy as jnp
from jax import lax

from fcnjax.training.compile.compilation import CompileSettings, jit

CHAIN = 8  # products in a call, so that the time to start one does not count
ENOUGH = 0.02  # seconds of a call from which on the matrix is large enough
EXTENTS = {"cpu": (512, 2048)}  # smallest and largest extent of the matrices, by platform
OTHER_EXTENTS = (8192, 16_384)
CALLS = 5


def matrix_peak(dtype: str, precision: str) -> float:
    """Returns the floating-point operations per second of a large square matrix product; a multiply-add is two.

    The extent doubles until a call takes long enough, and the fastest call counts. A data sheet's figure is higher: no
    device sustains it.

    Args:
        dtype: dtype of the matrices, "float32" or "bfloat16".
        precision: how float32 products are computed, a key of `fcnjax.precision.PRECISIONS`.
    """

    def chain(left: jax.Array, right: jax.Array) -> jax.Array:
        return lax.fori_loop(0, CHAIN, lambda _, product: product @ right, left)

    extent, largest = EXTENTS.get(jax.default_backend(), OTHER_EXTENTS)
    chained, best = jit(chain, settings=CompileSettings(precision=precision, deterministic=False)), 0.0
    while extent <= largest:
        left = jax.random.normal(jax.random.key(0), (extent, extent), jnp.dtype(dtype))
        right = (left.astype(jnp.float32) / extent**0.5).astype(dtype)  # products keep their scale
        jax.block_until_ready(chained(left, right))
        times = []
        for _ in range(CALLS):
            begun = time.perf_counter()
            jax.block_until_ready(chained(left, right))
            times.append(time.perf_counter() - begun)
        best = max(best, CHAIN * 2 * extent**3 / min(times))
        if min(times) >= ENOUGH:
            break
        extent *= 2
    return best
