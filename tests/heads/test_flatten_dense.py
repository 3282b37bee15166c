"""The fixed-size head against a dense layer by hand, at other sizes, and its conversion against sliding crops."""

import contract
import jax
import numpy as np
import pytest
from flax import nnx

from fcnjax import Padded, models
from fcnjax.heads import FlattenDenseHead, convolutionalize
from fcnjax.layers import Activation, Convolution, MaxPool
from fcnjax.models import Block, Classifier

C, K = 4, 3


def make_head(extent, **options):
    return contract.randomize(FlattenDenseHead(C, K, extent, **options, rngs=nnx.Rngs(0)))


def test_logits_are_those_of_a_dense_layer_by_hand():
    head = make_head((2, 3), hidden=(5,), activation="tanh")
    examples = contract.draw_examples([(2, 3), (2, 3)], C, seed=0)
    logits = head(Padded.stack(examples, shape=(4, 5), batch_size=3))
    first, second = (layer for layer in head.layers if hasattr(layer, "kernel"))
    for example, actual in zip(examples, np.asarray(logits), strict=False):
        hidden = np.tanh(example.reshape(-1) @ np.asarray(first.kernel[...]) + np.asarray(first.bias[...]))
        expected = hidden @ np.asarray(second.kernel[...]) + np.asarray(second.bias[...])
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(logits[2], 0)


def unpadded_network(head):
    """A backbone without padding: every feature depends only on its own crop."""
    rngs = nnx.Rngs(1)
    layers = [Convolution(2, C, 3, rngs=rngs), Activation(jax.nn.relu), MaxPool(2), Convolution(C, C, 2, rngs=rngs)]
    model = Classifier([Block("conv", layers)], head, in_channels=2, rank=2)
    contract.randomize(model.blocks[0])
    return model


def test_another_size_is_refused_with_the_reason():
    model = unpadded_network(make_head((2, 3)))
    examples = [np.ones((8, 10, 2)), np.ones((8, 14, 2))]
    message = r"example 1 of size 8x14: has features of 2x5 positions, .* made for 2x3 has one weight for each of its 6"
    with pytest.raises(ValueError, match=message):
        model(Padded.stack(examples))
    with pytest.raises(ValueError, match="example 0 of size 8x14: has features of 2x5 positions"):
        model.trace((8, 14))
    assert model(Padded.stack(examples[:1])).shape == (1, K)
    head = jax.jit(lambda batch: make_head((2, 3))(batch))
    with pytest.raises(ValueError, match="features of 2x2 positions"):
        head(Padded.stack([np.ones((2, 2, C), np.float32)]))


def test_the_convolution_equals_the_dense_layer_at_the_training_size_and_sliding_crops_beyond():
    head = make_head((2, 3), hidden=(5,), dropout=0.5)
    dense = unpadded_network(head)
    model = unpadded_network(convolutionalize(head, (2, 3)))
    image = contract.draw_examples([(13, 17)], 2, seed=3)[0]
    at_size = Padded.stack([image[:8, :10]])
    contract.assert_close(model(at_size), dense(at_size), "logits at the training size")
    (maps,) = model.class_maps(Padded.stack([image], shape=(16, 20))).unstack()
    assert maps.shape == (3, 4, K)
    corners = [(2 * i, 2 * j) for i, j in np.ndindex(*maps.shape[:2])]
    crops = [image[i : i + 8, j : j + 10] for i, j in corners]
    contract.assert_close(maps.reshape(-1, K), dense(Padded.stack(crops)), "map against sliding crops")
    pooled = model(Padded.stack([image]))
    contract.assert_close(pooled[0], maps.mean((0, 1)), "the score of a larger image")


def test_it_is_an_option_of_every_network():
    head = {"flatten": (3, 2), "hidden": (8,)}
    model = models.create("fcn", classes=10, in_channels=1, head=head, rngs=nnx.Rngs(0))
    rows = model.trace((28, 16))
    assert [row.layer for row in rows[4:]] == ["flatten 3x2", "linear 8", "relu", "linear 10", "scores"]
    assert (rows[4].size, rows[4].channels, rows[5].parameters) == ((1, 1), 768, 769 * 8)
    with pytest.raises(ValueError, match="pool before the dense layer"):
        model.trace((28, 28))
    with pytest.raises(ValueError, match="option of the flatten-dense head 'pool_at'"):
        models.create("fcn", classes=10, in_channels=1, head={"flatten": (3, 3), "pool_at": 0}, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="has no class maps, as it mixes all positions at once; convolutionalize it"):
        model.class_maps(Padded.stack([np.ones((28, 16, 1))]))
    with pytest.raises(
        ValueError, match=r"training_size=\(3, 3\): must be \(3, 2\), the extent that the head was made for"
    ):
        convolutionalize(model.head, (3, 3))
    with pytest.raises(TypeError, match="head of type Head: must be a FlattenDenseHead"):
        convolutionalize(convolutionalize(model.head))
