"""What any head says of positions: class maps or class activation maps, and pooled features.

A head that classifies before it pools has class maps. One that pools first has none of its own, but what follows the
pool can be asked about positions. Which of these a head gets is decided by its layers alone, see `kind_of_maps`.

Axes: B batch, S spatial, C feature channels, K classes.
"""

import enum

import jax
import jax.numpy as jnp

from fcnjax import pooling
from fcnjax.heads.flatten_dense import FlattenDenseHead
from fcnjax.heads.head import Head
from fcnjax.layers import BatchNorm, ChannelDropout, Convolution, Pointwise
from fcnjax.layers.layer import at_least_float32
from fcnjax.padded import Padded

AFFINE = (Pointwise, Convolution, BatchNorm, ChannelDropout)  # in evaluation
NEEDS_SCORES = (pooling.Attention, pooling.AutoPool, pooling.NoisyOr)  # have weights for classes, or take log-odds


class MapKind(enum.Enum):
    """What the maps of a head are; the value says it in words."""

    HEAD = "class maps of the head"
    CAM = "class activation maps (CAM): the head pools first"
    GRAD_CAM = "Grad-CAM: the head pools first, then has a non-linearity"


def kind_of_maps(head: Head | FlattenDenseHead) -> MapKind:
    """Returns which maps `activation_maps` makes of a head.

    - `HEAD`: the classifier, its last linear layer, comes before the pool. The maps are what the pool receives.
    - `CAM`: the pool comes first, and all layers from it to the classifier are affine. The maps are their scores of
      each position, before a softmax.
    - `GRAD_CAM`: a non-linearity lies between the pool and the classifier.

    If the pool of the maps is the logits (see `Head.class_maps`), the maps are those of `Head.class_maps`.

    Raises:
        ValueError: if the head has no maps of any kind, as a flatten-dense head.
    """
    if isinstance(head, FlattenDenseHead):
        raise ValueError(head.class_maps_obstacle())
    last = _classifier(head)
    if head.pool_at > last:
        return MapKind.HEAD
    affine = all(isinstance(layer, AFFINE) for layer in list(head.layers)[head.pool_at : last + 1])
    return MapKind.CAM if affine else MapKind.GRAD_CAM


def are_probabilities(head: Head | FlattenDenseHead) -> bool:
    """Returns whether `activation_maps` makes probabilities of classes, not scores."""
    return head.ends_in_log_softmax and not head.class_maps_obstacle()


def activation_maps(head: Head | FlattenDenseHead, features: Padded) -> Padded:
    """Returns what each position says for each class, in evaluation; see `kind_of_maps` for the choice.

    Grad-CAM weights each channel of what the pool receives by the sum over positions of the gradient of a class's
    score, before a softmax, and sets negative results to 0. The paper takes the mean in place of the sum: the maps of
    an example differ by a factor.

    Args:
        head: the head.
        features: values [B, *S, C], as for the head.

    Returns:
        `Padded` with values [B, *S', K], at least float32.

    Raises:
        ValueError: as `kind_of_maps`.

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", 2016 (CAM); Selvaraju et al.,
    "Grad-CAM", 2017.
    """
    kind = kind_of_maps(head)
    assert isinstance(head, Head)
    if kind is MapKind.GRAD_CAM:
        return _grad_cam(head, head.apply_layers(features, 0, head.pool_at))
    if head.class_maps_obstacle():
        maps = head.apply_layers(features, 0, head.pool_at if kind is MapKind.HEAD else _classifier(head) + 1)
    else:
        maps = head.class_maps(features)
    values = at_least_float32(maps.raw_values)
    return maps.replace(jnp.exp(values) if are_probabilities(head) else values)


def pooled_features(head: Head | FlattenDenseHead, features: Padded) -> jax.Array:
    """Returns one vector per example: the features that a head receives, pooled over valid positions.

    The pool is the head's own, so a head that pools first gives what its layers receive. It is the mean for a
    flatten-dense head, and if a linear layer comes before a pool that needs scores of classes.

    Args:
        head: the head.
        features: values [B, *S, C], as for the head.

    Returns:
        [B, C], at least float32; 0 in filler rows.
    """
    how: pooling.Pool = pooling.Mean()
    if isinstance(head, Head):
        linear = any(isinstance(layer, Pointwise | Convolution) for layer in list(head.layers)[: head.pool_at])
        how = how if linear and isinstance(head.pool, NEEDS_SCORES) else head.pool
    return pooling.pool(features, how).values.reshape(features.batch_size, features.channels)


def _classifier(head: Head) -> int:
    """Returns the index of the last linear layer of a head."""
    return max(i for i, layer in enumerate(head.layers) if isinstance(layer, Pointwise | Convolution))


def _grad_cam(head: Head, received: Padded) -> Padded:
    """Returns the maps [B, *S, K] of a head whose pool receives values [B, *S, C]."""
    stop, axes = _classifier(head) + 1, received.spatial_axes
    values = at_least_float32(received.values)

    def scores(values: jax.Array) -> jax.Array:
        pooled = head.apply_layers(pooling.pool(received.replace(values), head.pool), head.pool_at, stop)
        return pooled.values.reshape(pooled.batch_size, pooled.channels)

    logits, pull_back = jax.vjp(scores, values)

    def map_of(one_hot: jax.Array) -> jax.Array:
        (slopes,) = pull_back(jnp.broadcast_to(one_hot, logits.shape))  # examples do not mix in evaluation
        return jax.nn.relu(jnp.sum(jnp.sum(slopes, axes, keepdims=True) * values, -1))  # [B, *S]

    maps = jax.lax.map(map_of, jnp.eye(logits.shape[-1], dtype=logits.dtype))  # one class after another: [K, B, *S]
    return received.replace(jnp.moveaxis(maps, 0, -1))
