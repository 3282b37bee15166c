"""Mixup of examples of different sizes: each is mixed with another example of its batch, where the two overlap.

Axes: B batch, S spatial, C channels. The one idea: an example keeps its own size, so nothing is resized and masks stay.
"""

import math

import jax
import jax.numpy as jnp

from fcnjax import random_streams
from fcnjax.padded import Padded


def mix(batch: Padded, keys: jax.Array, alpha: float) -> tuple[Padded, jax.Array, jax.Array]:
    """Returns the batch with each example mixed with a partner, the partners, and the examples' own weights.

    A mixture is `weight * x + (1 - weight) * x[partner]` at the example's own size: a larger partner is cut at the end
    of each axis, a smaller one is padded with 0. The loss of a mixture is
    `weight * loss(label) + (1 - weight) * loss(label[partner])`.

    The weight is the larger of w and 1 - w with w from Beta(alpha, alpha), so that an example outweighs a partner that
    was cut to its size; if all sizes are the same, mixtures have the same distribution as with w. The weight depends on
    the example's key alone. The partners depend on the keys of the batch, not on its order; every real row is the
    partner of exactly one row.

    Args:
        batch: floating values [B, *S, C].
        keys: one PRNG key per example [B].
        alpha: parameter of the Beta distribution, at least 0; 0 draws and mixes nothing, 0.2 is usual.

    Returns:
        The batch; the partners, int32 [B], each a different real row (the row itself for a filler row, and if there is
        only one real row); the weights, float32 [B], 0.5 to 1.

    Raises:
        ValueError: if `alpha` is below 0 or not finite.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018.
    """
    if not 0 <= alpha < math.inf:
        raise ValueError(f"alpha={alpha}: must be at least 0, and finite.")
    if alpha == 0:
        return batch, jnp.arange(batch.batch_size, dtype=jnp.int32), jnp.ones(batch.batch_size)
    partner, weight = draw_mixture(batch.real, keys, alpha)
    values = batch.with_zero_padding().values
    share = weight.astype(batch.dtype).reshape((-1,) + (1,) * (batch.rank + 1))
    return batch.replace(share * values + (1 - share) * values[partner]), partner, weight


def draw_mixture(real: jax.Array, keys: jax.Array, alpha: float) -> tuple[jax.Array, jax.Array]:
    """Returns the partners int32 [B] and the weights float32 [B] that `mix` draws, without any values.

    Args:
        real: bool [B], which rows hold an example.
        keys: one PRNG key per example [B].
        alpha: greater than 0.
    """
    weight = jax.vmap(lambda key: jax.random.beta(jax.random.fold_in(key, random_streams.MIXUP), alpha, alpha))(keys)
    return _partners(real, keys), jnp.where(real, jnp.maximum(weight, 1 - weight), 1.0)


def _partners(real: jax.Array, keys: jax.Array) -> jax.Array:
    """Returns the partner of each row, int32 [B]: the next real row in a random order; a filler is its own partner."""
    rows = jnp.arange(real.shape[0], dtype=jnp.int32)
    drawn = jax.vmap(lambda key: jax.random.bits(jax.random.fold_in(key, random_streams.MIXUP + 1)))(keys)
    order = jnp.lexsort((drawn, ~real)).astype(jnp.int32)  # real ones first
    following = order[jnp.where(rows + 1 < jnp.sum(real), rows + 1, 0)]
    return jnp.where(real, rows.at[order].set(following), rows)
