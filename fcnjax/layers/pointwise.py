"""Layers that act on the channels of each position separately.

Axes: B batch, S spatial, C input channels, K output channels.
"""

import dataclasses
import pkgutil
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from fcnjax.layers.convolution.dispatch import channel_product
from fcnjax.layers.layer import Layer, at_least_float32, per_channel, require_positive
from fcnjax.layers.linear import LinearLayer, check_channels
from fcnjax.naming import check_name
from fcnjax.padded import Padded
from fcnjax.xla import by_platform, fusion_boundary

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
}


class Pointwise(LinearLayer):
    """A linear map of the channels at every position: a 1x1 convolution; on a 1x1 `Padded`, a dense layer.

    Args:
        in_channels: C.
        channels: K.
        bias: whether to add a learned constant per output channel.
        rngs: source of the initial weights (He uniform; zero bias).

    Attributes:
        kernel: parameter [C, K], the same for any number of spatial axes.
        bias: parameter [K], or None.

    Raises:
        ValueError: if a number of channels is below 1.

    Source: Lin, Chen and Yan, "Network in Network", 2014, section 3.1.
    """

    def __init__(self, in_channels: int, channels: int, *, bias: bool = True, rngs: nnx.Rngs):
        self._make_weights((), in_channels, channels, bias=bias, rngs=rngs)

    def transform(self, batch: Padded) -> Padded:
        kernel = self._kernel_for(batch)
        return batch.replace(self._with_bias(channel_product(batch.raw_values, kernel)))


@dataclasses.dataclass(frozen=True)
class NamedFunction:
    """A function as an attribute of a module: pickled by the name under which it is defined, and never copied.

    Most functions of `jax.nn` are objects around a function of the same name, which pickle cannot find by itself; a
    copy of one would be another function to `jax.jit`. A function without a name, such as a lambda, is pickled like any
    other object, which fails.

    Attributes:
        function: the function.
    """

    function: Callable[[jax.Array], jax.Array]

    def __call__(self, values: jax.Array) -> jax.Array:
        return self.function(values)

    def __reduce__(self) -> tuple[Callable[..., "NamedFunction"], tuple[Any, ...]]:
        path = f"{getattr(self.function, '__module__', '')}:{getattr(self.function, '__qualname__', '')}"
        try:
            named = pkgutil.resolve_name(path) is self.function
        except (AttributeError, ImportError, ValueError):
            named = False
        return (_function_named, (path,)) if named else (NamedFunction, (self.function,))

    def __deepcopy__(self, memo: dict[int, Any]) -> "NamedFunction":
        return self


def _function_named(path: str) -> NamedFunction:
    return NamedFunction(pkgutil.resolve_name(path))


class Activation(Layer):
    """An elementwise function, such as `jax.nn.relu`.

    Args:
        function: maps an array to an array of the same shape; `function(0)` need not be 0.

    Attributes:
        function: the function.

    Raises:
        ValueError: if `function` is not callable.
    """

    def __init__(self, function: Callable[[jax.Array], jax.Array]):
        self._named = NamedFunction(function)

    @property
    def function(self) -> Callable[[jax.Array], jax.Array]:
        return self._named.function

    @function.setter
    def function(self, function: Callable[[jax.Array], jax.Array]):
        self._named = NamedFunction(function)

    def transform(self, batch: Padded) -> Padded:
        return batch.replace(self.function(batch.raw_values))


@jax.custom_jvp
def relu_of_sum(values: jax.Array) -> jax.Array:
    """Returns `jax.nn.relu(values)`, for the sum of two branches, which is computed once and remembered.

    Its gradient reads the output, not the input. The output stays in memory for the gradients of the layers after it.
    The input does not: for its sign, a program for a GPU reads both branches and adds them a second time (1.6 of 49 GB
    that it reads and writes in a step of ResNet-50 with 128 images of 224 x 224). On a CPU, XLA would compute the sum
    of a block from those of all blocks before it, in each of its consumers (a step of ResNet-50 with 8 images of
    128 x 128: 1.03 times as long).
    """
    return by_platform(values, cpu=_relu_on_cpu, default=_relu)


def _relu(values: jax.Array) -> jax.Array:
    return jnp.maximum(values, 0)


_relu_on_cpu = fusion_boundary(_relu)


@relu_of_sum.defjvp
def _relu_of_sum_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    # Without the barrier, XLA replaces the test of the output by one of the input.
    output = lax.optimization_barrier(relu_of_sum(*primals))
    return output, jnp.where(output > 0, tangents[0], 0)


def activation_layer(name: str) -> Activation:
    """Returns the activation called `name`, a key of `ACTIVATIONS`.

    Raises:
        ValueError: if the name is unknown.
    """
    check_name("activation", name, ACTIVATIONS)
    return Activation(ACTIVATIONS[name])


class LayerScale(Layer):
    """Multiplies each channel by a learned factor; put it at the end of a residual branch, before `StochasticDepth`.

    The factors start near 0, so that a deep network starts near the identity; the scale of a norm starts at 1.

    Args:
        channels: C.
        initial: initial factor of every channel.

    Attributes:
        scale: parameter [C].

    Source: Touvron et al., "Going deeper with Image Transformers", 2021, section 2.
    """

    def __init__(self, channels: int, *, initial: float = 1e-6):
        require_positive("LayerScale", channels=channels)
        self.scale = nnx.Param(jnp.full((channels,), initial))

    def transform(self, batch: Padded) -> Padded:
        check_channels(batch, self.scale.shape[0])
        return batch.replace(batch.raw_values * per_channel(self.scale[...], batch.raw_values))


class LogSoftmax(Layer):
    """Log-probabilities over the channels at every position, in float32 (float64 for float64 values).

    In log space, probabilities do not underflow; their `fcnjax.pooling.LogSumExp(1.0)` is the logarithm of the mean
    probability.
    """

    def transform(self, batch: Padded) -> Padded:
        return batch.replace(jax.nn.log_softmax(at_least_float32(batch.raw_values), axis=-1))
