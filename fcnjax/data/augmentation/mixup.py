"""Mixup of examples of different sizes: each is mixed with another of its batch, where the two overlap.

Axes: B batch, S spatial, C channels.
"""

import math

import jax
import jax.numpy as jnp

from fcnjax import random_streams
from fcnjax.padded import Padded


def mix(batch: Padded, keys: jax.Array, alpha: float) -> tuple[Padded, jax.Array, jax.Array]:
    """Returns the batch with each example mixed with another one, which one, and the example's own weight.

    `weight * x + (1 - weight) * x[partner]`, at the example's own size: of a larger partner the part at the origin, and
    0 beyond the edge of a smaller one. A row's loss is `weight * loss(label) + (1 - weight) * loss(label[partner])`.

    The weight is the larger of w and 1 - w, w from Beta(alpha, alpha), so that an example outweighs what is cut to its
    size; where all sizes are the same, mixtures are distributed as without it. It depends on the example's key alone.
    Who is mixed with whom depends on the keys of the batch, not on its order: every real row is the partner of one.

    Args:
        batch: floating values [B, *S, C].
        keys: one PRNG key per example [B].
        alpha: at least 0; at 0 nothing is drawn or mixed. 0.2 is usual.

    Returns:
        The batch; partner, int32 [B], a real row, another one where there is one (its own in a filler row); weight,
        float32 [B], 0.5 to 1.

    Raises:
        ValueError: alpha is below 0 or not finite.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018.
    """
    if not 0 <= alpha < math.inf:
        raise ValueError(f"alpha={alpha} of mixup: must be at least 0, and finite.")
    if alpha == 0:
        return batch, jnp.arange(batch.batch_size, dtype=jnp.int32), jnp.ones(batch.batch_size)
    partner, weight = draw_mixture(batch.real, keys, alpha)
    values = batch.with_zero_padding().values
    share = weight.astype(batch.dtype).reshape((-1,) + (1,) * (batch.rank + 1))
    return batch.replace(share * values + (1 - share) * values[partner]), partner, weight


def draw_mixture(real: jax.Array, keys: jax.Array, alpha: float) -> tuple[jax.Array, jax.Array]:
    """Returns the partner int32 [B] and the weight float32 [B] that `mix` draws, which need no values.

    Args:
        real: bool [B], which rows are no filler.
        keys: one PRNG key per example [B].
        alpha: greater than 0.
    """
    weight = jax.vmap(lambda key: jax.random.beta(jax.random.fold_in(key, random_streams.MIXUP), alpha, alpha))(keys)
    return _partners(real, keys), jnp.where(real, jnp.maximum(weight, 1 - weight), 1.0)


def _partners(real: jax.Array, keys: jax.Array) -> jax.Array:
    """Returns int32 [B]: the real rows in a random order, each with the next one; fillers with themselves."""
    rows = jnp.arange(real.shape[0], dtype=jnp.int32)
    drawn = jax.vmap(lambda key: jax.random.bits(jax.random.fold_in(key, random_streams.MIXUP + 1)))(keys)
    order = jnp.lexsort((drawn, ~real)).astype(jnp.int32)  # real ones first
    following = order[jnp.where(rows + 1 < jnp.sum(real), rows + 1, 0)]
    return jnp.where(real, rows.at[order].set(following), rows)
