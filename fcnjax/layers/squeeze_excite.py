"""Squeeze-and-excitation: channels weighted by statistics of the whole example.

Axes: B batch, S spatial, C channels.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from fcnjax.layers.layer import ExampleWideLayer, at_least_float32, per_example, require_positive
from fcnjax.layers.linear import check_channels
from fcnjax.layers.pointwise import NamedFunction, Pointwise
from fcnjax.padded import Padded


class SqueezeExcite(ExampleWideLayer):
    """Multiplies each channel of an example by a gate that two dense layers compute from the example's mean.

    The mean is over the valid positions. The mean and the gate are computed in float32 (float64 for float64 values).

    Args:
        channels: C.
        reduced: channels between the two dense layers, at least 1; often C / 16 or C / 4.
        activation: elementwise function between the dense layers.
        gate: elementwise function after the dense layers; MobileNetV3 uses `jax.nn.hard_sigmoid`.
        rngs: source of the initial weights (He uniform; zero bias).

    Attributes:
        reduce: `Pointwise` from C to `reduced` channels.
        expand: `Pointwise` from `reduced` to C channels.

    Raises:
        ValueError: if a number of channels is below 1.

    Source: Hu, Shen and Sun, "Squeeze-and-Excitation Networks", 2018, section 3, with a masked mean.
    """

    def __init__(
        self,
        channels: int,
        reduced: int,
        *,
        activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
        gate: Callable[[jax.Array], jax.Array] = jax.nn.sigmoid,
        rngs: nnx.Rngs,
    ):
        require_positive("SqueezeExcite", channels=channels, reduced=reduced)
        self.activation, self.gate = NamedFunction(activation), NamedFunction(gate)
        self.reduce = Pointwise(channels, reduced, rngs=rngs)
        self.expand = Pointwise(reduced, channels, rngs=rngs)

    def multiply_adds(self, size: Sequence[int], channels: int) -> int:
        pooled = (1,) * len(size)  # the dense layers see one mean per example
        reduced = self.expand.kernel.shape[0]
        return self.reduce.multiply_adds(pooled, channels) + self.expand.multiply_adds(pooled, reduced)

    def transform(self, batch: Padded) -> Padded:
        check_channels(batch, self.reduce.kernel.shape[0])
        values = at_least_float32(batch.raw_values)
        total = jnp.sum(values, batch.spatial_axes, keepdims=True, where=batch.mask)
        mean = total / per_example(jnp.maximum(batch.counts, 1), values)  # [B, 1, .., C]
        squeezed = self.reduce(Padded(mean, jnp.minimum(batch.sizes, 1)))
        excited = self.expand(squeezed.replace(self.activation(squeezed.raw_values)))
        return batch.replace((values * self.gate(excited.raw_values)).astype(batch.dtype))
