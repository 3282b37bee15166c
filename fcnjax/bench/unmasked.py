"""UnmaskedBatch: a batch without masks, to measure what masks cost. Axes: B batch, S spatial, C channels."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fcnjax.padded import Padded


@jax.tree_util.register_pytree_with_keys_class
class UnmaskedBatch(Padded):
    """A batch without padding, a fact that is known while a program is traced: no position is ever set to zero.

    Any layer takes it as it takes a `Padded`; the compiled program then holds no operation on positions and sizes. (A
    layer that asks for `mask` selects by a constant, which XLA removes.)
    """

    @classmethod
    def of(cls, values: jax.Array) -> "UnmaskedBatch":
        """Returns the batch of values [B, *S, C]."""
        return cls(values, _full_sizes(values.shape))  # type: ignore[arg-type]  (known sizes are numpy's)

    def tree_flatten_with_keys(self):  # type: ignore[override]  (one leaf, not two)
        """Returns the values alone, since the sizes follow from their shape (pytree protocol)."""
        return ((jax.tree_util.GetAttrKey("values"), self.values),), self.values.shape

    @classmethod
    def tree_unflatten(cls, shape, children):  # type: ignore[override]
        """Rebuilds without checks, as `Padded` does (pytree protocol)."""
        return super().tree_unflatten(None, (*children, _full_sizes(shape)))

    @property
    def mask(self) -> jax.Array:
        return jnp.ones((*self.values.shape[:-1], 1), bool)

    def with_zero_padding(self) -> "UnmaskedBatch":
        return self

    def replace(self, values: jax.Array, sizes: Any = None) -> "UnmaskedBatch":
        del sizes
        return UnmaskedBatch.of(values)


def _full_sizes(shape: tuple[int, ...]) -> np.ndarray:
    return np.tile(np.array(shape[1:-1], np.int32), (shape[0], 1))
