"""Networks as they are made: initial weights, constants of norms, rates of dropout and random streams.

The contract draws other weights, and the oracles load theirs, so neither sees what a network starts with.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fcnjax import layers, models
from fcnjax.random_streams import HEAD_DROPOUT, SPECTROGRAM_MASKS


@functools.cache
def fresh(name: str) -> models.Classifier:
    """Returns a registered network with its own defaults, and with shapes in place of weights."""
    return nnx.eval_shape(lambda: models.create(name, classes=10, in_channels=3, rngs=nnx.Rngs(0)))


def random_layers(model: nnx.Module) -> list[tuple[type, float | None, int]]:
    """Returns kind, rate and stream of the random layers of a network, by stream."""
    kinds = (layers.ChannelDropout, layers.StochasticDepth, layers.SpecAugment)
    found = [module for _, module in nnx.iter_modules(model) if isinstance(module, kinds)]
    return sorted(((type(m), getattr(m, "rate", None), m.stream) for m in found), key=lambda each: each[2])


def skips(last: float, blocks: int, first: int = 0) -> list[tuple[type, float, int]]:
    """Returns stochastic depth with rates that grow linearly from 0 to `last`, as in torchvision's ConvNeXt."""
    rates = [last * index / (blocks - 1) for index in range(first, blocks)]
    return [(layers.StochasticDepth, rate, index) for index, rate in enumerate(rates, first)]


TWO_DROPOUTS = [(layers.ChannelDropout, 0.5, stream) for stream in (0, 1)]
RANDOM = {
    "convnext_atto": skips(0.1, 12),
    "convnext_femto": skips(0.1, 12),
    "convnext_pico": skips(0.1, 12),
    "convnext_nano": skips(0.1, 14),
    "convnext_tiny": skips(0.1, 18),
    "convnext_small": skips(0.4, 36),
    "convnext_base": skips(0.5, 36),
    # 16 blocks, 0.2 times the index over 16 as in torchvision; those that change the shape have no shortcut.
    "efficientnet_b0": [
        *((layers.StochasticDepth, 0.2 * index / 16, index) for index in (2, 4, 6, 7, 9, 10, 12, 13, 14)),
        (layers.ChannelDropout, 0.2, HEAD_DROPOUT),
    ],
    "fcn": [],
    "fcn8s": TWO_DROPOUTS,
    "fcn32s": TWO_DROPOUTS,
    "nin": TWO_DROPOUTS,
    "all_cnn_c": TWO_DROPOUTS,
    "resnet18": [],
    "resnet34": [],
    "resnet50": [],
    "resnet_cifar": [],
}


def test_every_network_is_pinned():
    assert RANDOM.keys() == models.MODELS.keys()


@pytest.mark.parametrize("name", RANDOM)
def test_rates_and_streams(name):
    found = random_layers(fresh(name))
    assert [(kind, stream) for kind, _, stream in found] == [(kind, stream) for kind, _, stream in RANDOM[name]]
    np.testing.assert_allclose([rate for _, rate, _ in found], [rate for _, rate, _ in RANDOM[name]], rtol=1e-12)


def test_streams_of_options_differ():
    """Each random layer has a stream of its own, also with every option that adds one."""
    options = {"dropout": 0.3, "head": {"dropout": 0.4, "hidden": (5,)}, "frontend": {"time_masks": 1}, "rank": 1}
    model = nnx.eval_shape(lambda: models.create("fcn", classes=3, in_channels=1, rngs=nnx.Rngs(0), **options))
    assert random_layers(model) == [
        *((layers.ChannelDropout, 0.3, stream) for stream in range(3)),
        (layers.ChannelDropout, 0.4, HEAD_DROPOUT),
        (layers.SpecAugment, None, SPECTROGRAM_MASKS),
    ]


def test_stochastic_depth_of_a_single_block_is_0():
    model = nnx.eval_shape(
        lambda: models.create("convnext_atto", classes=3, in_channels=1, rngs=nnx.Rngs(0), depths=(1,), width=4)
    )
    assert random_layers(model) == [(layers.StochasticDepth, 0.0, 0)]


NORM_CONSTANTS = {layers.BatchNorm: (1e-5, 0.9), layers.LayerNorm: (1e-6, None), layers.GroupNorm: (1e-5, None)}


@pytest.mark.parametrize("name", RANDOM)
def test_constants_of_norms(name):
    norms = [module for _, module in nnx.iter_modules(fresh(name)) if isinstance(module, tuple(NORM_CONSTANTS))]
    plain = ("fcn8s", "fcn32s", "nin", "all_cnn_c")
    assert bool(norms) != (name in plain)
    for norm in norms:
        assert (norm.epsilon, getattr(norm, "momentum", None)) == NORM_CONSTANTS[type(norm)]


VECTORS = {"bias": 0.0, "scale": 1.0, "mean": 0.0, "variance": 1.0}


@pytest.mark.parametrize("name", RANDOM)
def test_initial_vectors(name):
    """Biases and running means are 0, scales and running variances 1; a layer scale is 1e-6, as in the paper."""
    shallow = {"depths": (1, 1)} if name.startswith(("convnext", "resnet")) and name != "resnet_cifar" else {}

    def make():
        return models.create(name, classes=10, in_channels=3, rngs=nnx.Rngs(0), **shallow)

    @jax.jit
    def vectors():  # the compiler leaves out the random kernels
        return [leaf[...] for _, leaf in nnx.to_flat_state(nnx.state(make())) if leaf.ndim == 1]

    shapes = nnx.eval_shape(make)
    scales = {path for path, module in nnx.iter_modules(shapes) if isinstance(module, layers.LayerScale)}
    paths = [path for path, leaf in nnx.to_flat_state(nnx.state(shapes)) if leaf.ndim == 1]
    assert bool(scales) == name.startswith("convnext")
    for path, array in zip(paths, vectors(), strict=True):
        expected = 1e-6 if path[:-1] in scales else VECTORS[path[-1]]
        np.testing.assert_array_equal(array, np.float32(expected), err_msg=str(path))


@pytest.mark.parametrize(
    ("make", "fan_in"),
    [
        (lambda rngs: layers.Convolution(8, 64, (3, 4), rngs=rngs), 3 * 4 * 8),
        (lambda rngs: layers.Convolution(8, 64, 5, rank=1, groups=4, rngs=rngs), 5 * 2),
        (lambda rngs: layers.Pointwise(24, 64, rngs=rngs), 24),
        (lambda rngs: layers.TransposedConvolution(8, 64, 3, rngs=rngs), 3 * 3 * 8),
    ],
)
def test_initial_kernels_are_he_uniform(make, fan_in):
    """Uniform up to sqrt(6 / inputs of an output), so of variance 2 / inputs; another key draws others."""
    kernels = [np.asarray(make(nnx.Rngs(seed)).kernel[...], np.float64) for seed in (0, 1)]
    for kernel in kernels:
        assert 0.97 < np.abs(kernel).max() / math.sqrt(6 / fan_in) <= 1
        assert abs(kernel.mean()) < 4 * math.sqrt(2 / fan_in / kernel.size)
        assert kernel.var() == pytest.approx(2 / fan_in, rel=0.12)
    assert np.abs(kernels[0] - kernels[1]).max() > 0


def test_no_two_kernels_of_a_network_are_drawn_alike():
    state = nnx.state(models.create("fcn", classes=8, in_channels=8, channels=(8, 8), rngs=nnx.Rngs(0)), nnx.Param)
    kernels = [leaf for leaf in jax.tree.leaves(state) if leaf.shape == (4, 4, 8, 8)]
    assert len(kernels) == 2
    assert jnp.abs(kernels[0] - kernels[1]).max() > 0


def test_up_sampling_of_the_dense_network_starts_bilinear():
    options = {"width": 3, "depths": (1, 1, 1, 1, 1), "hidden": 5, "decoder": 4}
    model = jax.jit(lambda: nnx.state(models.create("fcn8s", classes=3, in_channels=2, rngs=nnx.Rngs(0), **options)))()
    kernels = [leaf for leaf in jax.tree.leaves(model) if leaf.shape == (4, 4, 4, 4)]
    assert len(kernels) == 2  # 32 -> 16 -> 8
    taps = np.array([0.25, 0.75, 0.75, 0.25])
    for kernel in kernels:
        np.testing.assert_allclose(kernel, np.multiply.outer(np.outer(taps, taps), np.eye(4)), rtol=1e-6)
