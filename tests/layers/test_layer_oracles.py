"""Layers against independent oracles: the cropped array and numpy's masked arrays."""

import contract
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from fcnjax import Padded, layers


def masked(batch: Padded) -> np.ma.MaskedArray:
    outside = ~np.broadcast_to(np.asarray(batch.mask), batch.values.shape)
    return np.ma.masked_array(np.asarray(batch.values, np.float64), mask=outside)


@pytest.fixture
def batch():
    examples = contract.draw_examples([(5, 3), (2, 6), (1, 1)], channels=4, seed=1)
    return Padded.stack([3 + 2 * x for x in examples], batch_size=4)


def test_batch_norm_in_training_is_numpy_over_the_valid_positions(batch):
    norm = contract.randomize(layers.BatchNorm(4, momentum=0.9))
    mean, variance = np.asarray(norm.mean[...]), np.asarray(norm.variance[...])
    values = masked(batch)
    count = values[..., 0].count()
    expected = (values - values.mean((0, 1, 2))) / np.sqrt(values.var((0, 1, 2)) + 1e-5)
    expected = expected * np.asarray(norm.scale[...]) + np.asarray(norm.bias[...])
    np.testing.assert_allclose(norm(batch, train=True).values, expected.filled(0), atol=2e-5)
    np.testing.assert_allclose(norm.mean[...], 0.9 * mean + 0.1 * values.mean((0, 1, 2)), rtol=1e-5)
    unbiased = values.var((0, 1, 2)) * count / (count - 1)
    np.testing.assert_allclose(norm.variance[...], 0.9 * variance + 0.1 * unbiased, rtol=1e-5)


def test_batch_norm_in_training_has_the_derivatives_of_its_formula(batch):
    """Forward derivatives, gradients and second derivatives, since the layer's derivative is written by hand."""
    graphdef, weights, statistics = nnx.split(contract.randomize(layers.BatchNorm(4)), nnx.Param, nnx.BatchStat)
    weights, statistics = nnx.to_pure_dict(weights), nnx.to_pure_dict(statistics)

    def ours(values, weights):
        return nnx.merge(graphdef, weights, statistics)(batch.replace(values), train=True).values

    def formula(values, weights):
        count, axes = jnp.sum(batch.counts), tuple(range(3))
        mean = jnp.sum(values, axes, keepdims=True, where=batch.mask) / count
        variance = jnp.sum(jnp.square(values - mean), axes, keepdims=True, where=batch.mask) / count
        scale, bias = (weights[name].reshape(1, 1, 1, -1) for name in ("scale", "bias"))
        return jnp.where(batch.mask, (values - mean) * lax.rsqrt(variance + 1e-5) * scale + bias, 0.0)

    def derivatives(f):
        arguments = batch.values, weights
        tangents = jax.tree.map(jnp.cos, arguments)
        gradient = jax.grad(lambda *arguments: jnp.sum(jnp.sin(f(*arguments))), (0, 1))
        return jax.jvp(f, arguments, tangents)[1], gradient(*arguments), jax.jvp(gradient, arguments, tangents)[1]

    contract.assert_close(*map(jax.jit(derivatives, static_argnums=0), (ours, formula)), "derivatives")


def test_batch_norm_outside_training_uses_and_keeps_the_running_statistics(batch):
    norm = contract.randomize(layers.BatchNorm(4))
    before = np.asarray(norm.mean[...]), np.asarray(norm.variance[...])
    scale = np.asarray(norm.scale[...]) / np.sqrt(before[1] + 1e-5)
    expected = (masked(batch) - before[0]) * scale + np.asarray(norm.bias[...])
    np.testing.assert_allclose(norm(batch).values, expected.filled(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(norm.mean[...], before[0])
    np.testing.assert_array_equal(norm.variance[...], before[1])


def test_batch_norm_of_one_position_in_training_does_not_depend_on_its_values():
    norm, weights = contract.randomize(layers.BatchNorm(4)), jnp.arange(1.0, 5.0)
    batch = Padded.stack(contract.draw_examples([(1, 1)], channels=4, seed=1))
    graphdef, state = nnx.split(norm)
    state = nnx.to_pure_dict(state)

    def output(values):
        return nnx.merge(graphdef, state)(batch.replace(values), train=True).values

    np.testing.assert_allclose(output(batch.values)[0, 0, 0], norm.bias[...], atol=1e-6)
    gradient = jax.jit(jax.grad(lambda values: jnp.sum(output(values)[0, 0, 0] * weights)))(batch.values)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-4)


def test_batch_norm_of_only_filler_rows_changes_nothing():
    norm = contract.randomize(layers.BatchNorm(4))
    before = np.asarray(norm.mean[...]), np.asarray(norm.variance[...])
    out = norm(Padded(jnp.zeros((2, 3, 4)), jnp.zeros((2, 1), jnp.int32)), train=True)
    np.testing.assert_array_equal(out.values, 0)
    np.testing.assert_allclose(norm.mean[...], before[0], rtol=1e-6)
    np.testing.assert_allclose(norm.variance[...], before[1], rtol=1e-6)


def test_batch_statistics_do_not_cancel_when_the_mean_is_large():
    """A sum of squares relative to the initial running mean, 0, would lose the variance of values around 1,000."""
    rng = np.random.default_rng(0)
    values = (1000 + rng.normal(size=(8, 50, 2))).astype(np.float32)
    norm = layers.BatchNorm(2, momentum=0.0)
    norm(Padded(jnp.asarray(values), jnp.full((8, 1), 50)), train=True)
    np.testing.assert_allclose(norm.variance[...], values.astype(np.float64).var((0, 1), ddof=1), rtol=1e-5)


def test_batch_norm_of_more_positions_than_an_int32_counts():
    """32,768 rows of 256 x 256 are 2**31 positions; only the counts are real, as the values take a position each."""
    norm = layers.BatchNorm(1, momentum=0.0)
    moved = contract.call(norm, Padded(jnp.ones((2**15, 1, 1, 1)), jnp.full((2**15, 2), 2**8)), train=True)
    assert moved.values.shape == (2**15, 1, 1, 1)
    np.testing.assert_allclose(norm.mean[...], 1.0, rtol=1e-6)  # each sum is relative to the middle, which is 1
    np.testing.assert_allclose(norm.variance[...], 0.0, atol=1e-6)


def test_group_norm_of_more_values_than_an_int32_counts():
    """32,768 x 32,768 positions of 4 channels are 2**32 values; with one position here, mean and variance are 0."""
    normed = layers.GroupNorm(4, groups=1)(Padded(jnp.ones((1, 1, 1, 4)), jnp.array([[2**15, 2**15]])))
    np.testing.assert_allclose(normed.values, 1e-5**-0.5, rtol=1e-3)


def test_squeeze_and_excite_of_more_positions_than_an_int32_counts():
    layer = contract.randomize(layers.SqueezeExcite(4, 3, activation=jnp.tanh, rngs=nnx.Rngs(0)))
    many, nothing = Padded(jnp.ones((1, 1, 1, 4)), jnp.array([[2**16, 2**15]])), Padded.stack([np.zeros((1, 1, 4))])
    gates = layer.expand(nothing.replace(jnp.tanh(layer.reduce(nothing).values))).values
    np.testing.assert_allclose(layer(many).values, jax.nn.sigmoid(gates), rtol=1e-5)


def test_bins_of_a_spatial_pyramid_of_a_long_signal_do_not_overflow():
    """All bins but the first of four start beyond the two positions here."""
    pyramid = layers.SpatialPyramidPool((4,), "mean", rank=1)
    pooled = pyramid(Padded(jnp.ones((1, 2, 1)), jnp.array([[2**30 + 8]]))).values
    np.testing.assert_allclose(pooled.ravel(), [2 / (2**28 + 2), 0, 0, 0])


def test_group_norm_is_numpy_for_each_example(batch):
    norm = contract.randomize(layers.GroupNorm(4, groups=2))
    out = norm(batch).unstack()
    for example, actual in zip(batch.unstack(), out, strict=True):
        groups = example.reshape(-1, 2, 2).astype(np.float64)
        normed = (groups - groups.mean((0, 2), keepdims=True)) / np.sqrt(groups.var((0, 2), keepdims=True) + 1e-5)
        expected = normed.reshape(example.shape) * np.asarray(norm.scale[...]) + np.asarray(norm.bias[...])
        np.testing.assert_allclose(actual, expected, atol=1e-4)


@pytest.mark.parametrize(("make", "expected"), [(layers.AveragePool, 1), (layers.LPPool, 20)])
def test_windows_of_many_positions_are_summed_in_float32(make, expected):
    """In bfloat16, a sum of ones stops at 256."""
    ones = Padded.stack([jnp.ones((20, 20, 1), jnp.bfloat16)])
    out = make(20)(ones).values
    assert out.dtype == jnp.bfloat16
    np.testing.assert_array_equal(out, jnp.full((1, 1, 1, 1), expected, jnp.bfloat16))


def test_the_valid_border_leaves_the_pads_out(batch):
    made = [
        layers.Convolution(4, 6, 3, padding=padding, border=border, rngs=nnx.Rngs(0))
        for padding, border in ((2, "valid"), ("valid", "zero"))
    ]
    first, second = (contract.call(layer, batch) for layer in made)
    np.testing.assert_array_equal(first.values, second.values)
    assert first.sizes.tolist() == second.sizes.tolist() == [[3, 1], [0, 4], [0, 0], [0, 0]]


def test_a_convolution_exports_for_any_size():
    """Symbolic dimensions use the library's convolution, because products of matrices need known extents."""
    layer = layers.Convolution(2, 3, 3, stride=2, padding=1, rngs=nnx.Rngs(0))
    shapes = jax.export.symbolic_shape("b, 2 * h, 2 * w, 2")
    arguments = [
        jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in ((shapes, jnp.float32), ((shapes[0], 2), jnp.int32))
    ]
    exported = jax.export.export(jax.jit(lambda values, sizes: layer(Padded(values, sizes)).values))(*arguments)
    example = Padded.stack(contract.draw_examples([(6, 8), (3, 5)], channels=2, seed=0))
    contract.assert_close(exported.call(example.values, example.sizes), contract.call(layer, example).values, "output")


@pytest.mark.parametrize("kind", [layers.MaxPool, layers.AveragePool])
def test_windowed_pools_see_only_the_example(kind, batch):
    out = kind(3, stride=2, padding=1)(batch).unstack()
    reduce = np.max if kind is layers.MaxPool else np.mean
    negative = [x - 50 for x in batch.unstack()]  # zeros of the padding would be the maximum
    out_negative = kind(3, stride=2, padding=1)(Padded.stack(negative)).unstack()
    for examples, outputs in ((batch.unstack(), out), (negative, out_negative)):
        for example, actual in zip(examples, outputs, strict=True):
            for i, j in np.ndindex(*actual.shape[:2]):
                window = example[max(0, 2 * i - 1) : 2 * i + 2, max(0, 2 * j - 1) : 2 * j + 2]
                np.testing.assert_allclose(actual[i, j], reduce(window, axis=(0, 1)), rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda r: layers.Convolution(3, 6, 3, stride=2, padding="SAME", rngs=r), "XLA chooses these pads"),
        (lambda r: layers.Convolution(3, 6, 3, groups=2, rngs=r), "groups=2: must divide in_channels=3"),
        (lambda r: layers.MaxPool(2, padding=2), r"padding=\(2, 2\) with kernel 2: must be smaller"),
        (lambda r: layers.GroupNorm(6, groups=4), "groups=4: must divide channels=6"),
        (lambda r: layers.BatchNorm(6, momentum=1.5), "momentum=1.5"),
        (lambda r: layers.RMSNorm(6, epsilon=0.0), "epsilon=0.0 of RMSNorm: must be greater than 0"),
        (lambda r: layers.SqueezeExcite(6, 0, rngs=r), "reduced=0 of SqueezeExcite: must be at least 1"),
    ],
)
def test_construction_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make(nnx.Rngs(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda r: layers.Convolution(3, 6, 3, rngs=r), "last axis must hold 3 channels"),
        (lambda r: layers.Convolution(4, 6, 3, rank=1, rngs=r), "rank=1 of Convolution: must be 2, the number"),
        (lambda r: layers.MaxPool(2, rank=3), "rank=3 of MaxPool: must be 2, the number"),
        (lambda r: layers.Pointwise(3, 6, rngs=r), "last axis must hold 3 channels"),
        (lambda r: layers.InstanceNorm(8, affine=False), "last axis must hold 8 channels"),
        (lambda r: layers.SqueezeExcite(3, 2, rngs=r), r"\(4, 5, 6, 4\): the last axis must hold 3 channels"),
    ],
)
def test_calls_refuse(make, message, batch):
    with pytest.raises(ValueError, match=message):
        make(nnx.Rngs(0))(batch)


OF_FOUR_CHANNELS = pytest.mark.parametrize(
    "make",
    [
        lambda r: layers.Convolution(4, 6, 3, rngs=r),
        lambda r: layers.AveragePool(2),
        lambda r: layers.Pointwise(4, 6, rngs=r),
        lambda r: layers.GroupNorm(4, groups=2),
    ],
)


@OF_FOUR_CHANNELS
def test_arrays_without_sizes_are_refused(make):
    with pytest.raises(TypeError, match=r"ndarray as input: layers take a Padded; make one"):
        make(nnx.Rngs(0))(np.ones((1, 5, 5, 4), np.float32))


@OF_FOUR_CHANNELS
def test_integers_are_refused(make, batch):
    whole = batch.replace((10 * batch.values).astype(jnp.uint8))
    with pytest.raises(TypeError, match="values of dtype uint8: layers take floating values"):
        make(nnx.Rngs(0))(whole)


@pytest.mark.parametrize(("kernel", "taps"), [(3, [0.5, 1, 0.5]), (4, [0.25, 0.75, 0.75, 0.25])])
def test_bilinear_weights_of_a_transposed_convolution_interpolate_each_channel(kernel, taps):
    layer = layers.TransposedConvolution(2, 2, kernel, stride=2, rank=1, bilinear=True, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(layer.kernel[...], np.array(taps)[:, None, None] * np.eye(2))


@pytest.mark.parametrize(("channels", "kernel", "groups"), [(3, 4, 1), (2, 5, 1), (2, 2, 1), (2, 4, 2)])
def test_weights_that_cannot_be_bilinear_are_refused(channels, kernel, groups):
    with pytest.raises(ValueError, match="must have as many output as input channels, one group"):
        layers.TransposedConvolution(
            2, channels, kernel, stride=2, groups=groups, rank=1, bilinear=True, rngs=nnx.Rngs(0)
        )
