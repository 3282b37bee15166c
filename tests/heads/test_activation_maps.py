"""Activation maps of heads that pool first, against the formulas of the papers, one example at a time."""

from typing import Any

import contract
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fcnjax import Padded, pooling
from fcnjax.heads import (
    FlattenDenseHead,
    Head,
    MapKind,
    activation_maps,
    are_probabilities,
    kind_of_maps,
    pooled_features,
)

SIZES = ((3, 5), (4, 4), (1, 2))


def make(**options) -> Any:
    return contract.randomize(Head(6, 4, rngs=nnx.Rngs(0), **options))


@pytest.fixture
def features() -> Padded:
    return Padded.stack(contract.draw_examples(SIZES, 6, seed=1), batch_size=4)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, MapKind.HEAD),
        ({"log_softmax": True}, MapKind.HEAD),
        ({"pool_at": 1, "log_softmax": True}, MapKind.HEAD),
        ({"hidden": (5,), "pool_at": 3, "pool": "gem"}, MapKind.HEAD),
        ({"pool_at": 0}, MapKind.CAM),
        ({"pool_at": 0, "pool": "max"}, MapKind.CAM),
        ({"pool_at": 0, "pool": "attention", "norm": "batch"}, MapKind.CAM),
        ({"pool_at": 0, "log_softmax": True}, MapKind.CAM),
        ({"hidden": (5,), "pool_at": 2, "dropout": 0.5, "pool": "logsumexp"}, MapKind.CAM),
        ({"hidden": (5,), "pool_at": 0}, MapKind.GRAD_CAM),
        ({"hidden": (5,), "pool_at": 1}, MapKind.GRAD_CAM),
        ({"pool_at": 0, "norm": "layer"}, MapKind.GRAD_CAM),
    ],
)
def test_the_layers_decide_which_maps_there_are(options, kind, features):
    head = make(**options)
    assert kind_of_maps(head) is kind
    maps = activation_maps(head, features)
    assert maps.sizes.tolist() == features.sizes.tolist()
    assert maps.values.shape == (4, 4, 5, 4)
    if not head.class_maps_obstacle():
        expected = head.class_maps(features)
        for found, scores in zip(maps.unstack(), expected.unstack(), strict=True):
            scores = jnp.exp(scores) if are_probabilities(head) else scores
            np.testing.assert_allclose(found, scores, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pool", ["max", "attention", "gem", "top_k"])
def test_cam_is_the_classifier_at_each_position_whatever_the_pool(pool, features):
    head = make(pool_at=0, pool=pool, log_softmax=True)
    classifier: Any = head.layers[0]
    for example, found in zip(features.unstack(), activation_maps(head, features).unstack(), strict=False):
        kernel = np.asarray(classifier.kernel[...], np.float64).reshape(6, 4)
        np.testing.assert_allclose(found, np.asarray(example) @ kernel + np.asarray(classifier.bias[...]), atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"pool_at": 0}, {"pool_at": 1}, {"pool_at": 0, "pool": "max"}, {"pool_at": 0, "norm": "batch"}]
)
def test_grad_cam_weights_channels_by_summed_gradients(options, features):
    head = make(hidden=(5,), log_softmax=True, activation="tanh", **options)
    before, last = list(head.layers)[: head.pool_at], len(head.layers) - 1
    for example, found in zip(features.unstack(), activation_maps(head, features).unstack(), strict=False):
        received = Padded.stack([example])
        for layer in before:
            received = layer(received)

        def score(values: jax.Array, label: int, received: Padded = received) -> jax.Array:
            batch = pooling.pool(Padded(values, received.sizes), head.pool)
            for layer in list(head.layers)[head.pool_at : last]:
                batch = layer(batch)
            return batch.values.ravel()[label]

        for label in range(4):
            slopes = np.asarray(jax.grad(score)(received.values, label))[0].sum(axis=(0, 1))
            expected = np.maximum(np.asarray(received.values[0]) @ slopes, 0)
            np.testing.assert_allclose(found[..., label], expected, rtol=1e-4, atol=1e-5)


def test_a_flatten_dense_head_is_refused_by_name():
    head = FlattenDenseHead(6, 4, (3, 5), rngs=nnx.Rngs(0))
    for function in (kind_of_maps, lambda each: activation_maps(each, Padded.stack([np.ones((3, 5, 6))]))):
        with pytest.raises(ValueError, match="'flatten 3x5 -> linear 4': has no class maps"):
            function(head)
    assert not are_probabilities(head)


@pytest.mark.parametrize(
    ("options", "pool"),
    [
        ({}, pooling.Mean()),
        ({"pool_at": 0, "pool": "max"}, pooling.Max()),
        ({"pool": "max"}, pooling.Max()),
        ({"pool": "attention"}, pooling.Mean()),
        ({"pool": "noisy_or"}, pooling.Mean()),
    ],
)
def test_embeddings_are_the_features_through_the_heads_own_pool(options, pool, features):
    found = pooled_features(make(**options), features)
    expected = pooling.pool(features, pool).values.reshape(4, 6)
    np.testing.assert_array_equal(found, expected)
    assert not found[3].any()


def test_embeddings_of_a_head_that_pools_first_are_what_its_layers_receive(features):
    head = make(pool_at=0, pool="attention")
    found = pooled_features(head, features)
    logits = head.layers[0](features.replace(found.reshape(4, 1, 1, 6), np.minimum(features.sizes, 1)))
    np.testing.assert_allclose(logits.values.reshape(4, 4), head(features), atol=1e-5)
    flat = FlattenDenseHead(6, 4, (3, 5), rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(
        pooled_features(flat, features), pooling.pool(features, pooling.Mean()).values.reshape(4, 6)
    )
