"""ResNet-18, -34 and -50 and their train step as one writes them with flax alone: no masks, images of one size.

The network is the one of `fcnjax.models.resnet`, block for block (v1.5). Weights are float32, computation in `dtype`.
Axes: B batch, H height, W width, C channels, K classes.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
State = tuple[Any, Any, Any]  # weights, running statistics, optimizer state


class Unit(nnx.Module):
    """A convolution without a bias, and batch norm."""

    def __init__(self, inputs: int, outputs: int, taps: int, stride: int, dtype: Any, rngs: nnx.Rngs):
        pad = (taps // 2, taps // 2)  # "SAME" would shift the grid: its pads depend on the size
        shape = {"strides": (stride, stride), "padding": (pad, pad)}
        self.conv = nnx.Conv(inputs, outputs, (taps, taps), use_bias=False, dtype=dtype, rngs=rngs, **shape)
        self.norm = nnx.BatchNorm(outputs, momentum=0.9, epsilon=1e-5, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(self.conv(x))


class ResidualBlock(nnx.Module):
    """Two 3x3 units, or a 1x1, a 3x3 and a four times wider 1x1 one, added to a shortcut."""

    def __init__(self, inputs: int, inner: int, stride: int, bottleneck: bool, dtype: Any, rngs: nnx.Rngs):
        if bottleneck:
            outputs, plan = 4 * inner, [(inputs, inner, 1, 1), (inner, inner, 3, stride), (inner, 4 * inner, 1, 1)]
        else:
            outputs, plan = inner, [(inputs, inner, 3, stride), (inner, inner, 3, 1)]
        self.units = nnx.List([Unit(*shape, dtype, rngs) for shape in plan])
        whole = stride == 1 and inputs == outputs
        self.shortcut = None if whole else Unit(inputs, outputs, 1, stride, dtype, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        features = x
        for index, unit in enumerate(self.units):
            features = unit(nnx.relu(features) if index else features)
        return nnx.relu(features + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nnx.Module):
    """Logits [B, K] of images [B, H, W, C]."""

    def __init__(self, name: str, *, classes: int, in_channels: int, dtype: Any, rngs: nnx.Rngs):
        bottleneck, blocks, channels = name == "resnet50", [], 64
        self.stem, self.dtype = Unit(in_channels, 64, 7, 2, dtype, rngs), dtype
        for stage, depth in enumerate(DEPTHS[name]):
            for index in range(depth):
                stride, inner = 2 if stage and not index else 1, 64 * 2**stage
                blocks.append(ResidualBlock(channels, inner, stride, bottleneck, dtype, rngs))
                channels = inner * (4 if bottleneck else 1)
        self.blocks = nnx.List(blocks)
        self.classifier = nnx.Linear(channels, classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        features = nnx.relu(self.stem(images.astype(self.dtype)))
        features = nnx.max_pool(features, (3, 3), (2, 2), ((1, 1), (1, 1)))  # type: ignore[arg-type]
        for block in self.blocks:
            features = block(features)
        return self.classifier(jnp.mean(features.astype(jnp.float32), (1, 2)))


def make_flax_step(
    name: str, *, classes: int, in_channels: int, dtype: str, optimizer: optax.GradientTransformation
) -> tuple[Callable[..., tuple[State, jax.Array]], tuple[Any, Any]]:
    """Returns `step(state, images [B, H, W, C], labels [B]) -> (state, mean loss)`, and the shapes of its arrays.

    Args:
        name: a key of `DEPTHS`.
        classes: number of classes K.
        in_channels: number of channels C.
        dtype: dtype of the computation, "float32" or "bfloat16".
        optimizer: from optax.

    Returns:
        The step, not compiled, and weights and running statistics as pytrees of shapes.
    """
    options = {"classes": classes, "in_channels": in_channels, "dtype": jnp.dtype(dtype)}
    model = nnx.eval_shape(lambda: ResNet(name, rngs=nnx.Rngs(0), **options))
    graphdef, weights, statistics = nnx.split(model, nnx.Param, nnx.BatchStat)

    def objective(weights: Any, statistics: Any, images: jax.Array, labels: jax.Array):
        merged = nnx.merge(graphdef, weights, statistics)
        losses = optax.softmax_cross_entropy_with_integer_labels(merged(images), labels)
        return jnp.mean(losses), nnx.to_pure_dict(nnx.state(merged, nnx.BatchStat))

    def step(state: State, images: jax.Array, labels: jax.Array) -> tuple[State, jax.Array]:
        weights, statistics, moments = state
        gradient = jax.value_and_grad(objective, has_aux=True)
        (loss, statistics), gradients = gradient(weights, statistics, images, labels)
        updates, moments = optimizer.update(gradients, moments, weights)
        return (optax.apply_updates(weights, updates), statistics, moments), loss

    return step, (nnx.to_pure_dict(weights), nnx.to_pure_dict(statistics))
