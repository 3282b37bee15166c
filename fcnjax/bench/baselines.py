"""The thread's network and its train step written without this library, in plain JAX.

Axes: B batch, H height, W width, C channels, K classes. Weights and statistics have the names that `fcnjax.models.fcn`
gives them.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import lax

from fcnjax.layers.layer import per_channel
from fcnjax.training.step.step import Arrays, TrainState, cross_entropy

EPSILON, MOMENTUM = 1e-5, 0.9  # of batch norm: the defaults of `fcnjax.layers.BatchNorm`


def make_plain_step(
    optimizer: optax.GradientTransformation, dtype: str = "float32"
) -> Callable[..., tuple[TrainState, jax.Array]]:
    """Returns `step(state, images [B, H, W, C], labels [B]) -> (state, mean loss)`, as one would write it by hand.

    It uses JAX's convolution and no mask, and takes the variance as the mean of the squared differences from the mean.
    Weights, statistics and pooled features are float32; convolutions and activations are computed in `dtype`.
    """

    def objective(weights: Arrays, statistics: Arrays, images: jax.Array, labels: jax.Array):
        features, moved = images.astype(dtype), {}
        for index in range(sum(name.startswith("blocks") for name in weights) // 3):
            conv, norm = (f"blocks.{index}.layers.{layer}" for layer in range(2))
            pad = (weights[f"{conv}.kernel"].shape[0] - 1) // 2
            features = lax.conv_general_dilated(
                features,
                weights[f"{conv}.kernel"].astype(dtype),
                (2, 2),
                ((pad, pad), (pad, pad)),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
            features = features.astype(jnp.float32)
            mean = jnp.mean(features, (0, 1, 2))
            centered = features - per_channel(mean, features)
            variance = jnp.mean(jnp.square(centered), (0, 1, 2))
            unbiased = variance * (features.size / (features.size - features.shape[-1]))  # n / (n - 1)
            for name, new in (("mean", mean), ("variance", unbiased)):
                moved[f"{norm}.{name}"] = MOMENTUM * statistics[f"{norm}.{name}"] + (1 - MOMENTUM) * new
            features = centered * per_channel(lax.rsqrt(variance + EPSILON), features)
            features = features * per_channel(weights[f"{norm}.scale"], features)
            features = jax.nn.relu(features + per_channel(weights[f"{norm}.bias"], features)).astype(dtype)
        pooled = jnp.mean(features.astype(jnp.float32), (1, 2))
        logits = pooled @ weights["head.layers.0.kernel"] + weights["head.layers.0.bias"][None]
        return jnp.mean(cross_entropy(logits, labels)), moved

    def step(state: TrainState, images: jax.Array, labels: jax.Array) -> tuple[TrainState, jax.Array]:
        gradient = jax.value_and_grad(objective, has_aux=True)
        (loss, statistics), gradients = gradient(state.weights, state.statistics, images, labels)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.weights)
        weights = optax.apply_updates(state.weights, updates)
        return TrainState(state.step + 1, weights, statistics, optimizer_state), loss  # type: ignore[arg-type]

    return step
