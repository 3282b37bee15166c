"""Every layer and global pool goes through the padding-invariance contract, in one, two and three dimensions."""

import math

import contract
import exporting
import hypothesis
import jax
import numpy as np
import pytest
from flax import nnx

from fcnjax import layers, pooling
from fcnjax.geometry import FullWindow
from fcnjax.layers import Layer
from fcnjax.layers.convolution.borders import BORDERS
from fcnjax.layers.convolution.cpu import strided
from fcnjax.padded import Padded

CHANNELS = 4


class GlobalPool(Layer):
    """A global pool as a layer, for the same contract."""

    def __init__(self, pool):
        self.pool = pool

    def window(self, rank):
        return (FullWindow(),) * rank

    def transform(self, batch):
        return pooling.pool(batch, self.pool)


def conv(kernel, padding=0, **options):
    def make(rank, rngs):
        pads = padding * rank if isinstance(padding, list) else padding
        return layers.Convolution(CHANNELS, 6, kernel, rank=rank, padding=pads, rngs=rngs, **options)

    return make


def global_pool(name, **options):
    return lambda rank, rngs: GlobalPool(pooling.create(name, channels=CHANNELS, rngs=rngs, **options))


# name -> (rank, rngs) -> layer; each takes CHANNELS channels.
CASES = {
    "conv 3 same": conv(3, padding="same"),
    "conv 3 stride 2 same": conv(3, stride=2, padding="same"),
    "conv 4 stride 2 pad 1": conv(4, stride=2, padding=1),
    "conv 3 dilation 2": conv(3, dilation=2, padding="same"),
    "conv groups": conv(3, groups=2, padding=1),
    "conv uneven pads": conv(2, padding="SAME"),
    "conv no bias": conv(3, padding=1, bias=False),
    "conv depthwise": lambda rank, rngs: layers.Convolution(
        CHANNELS, 8, 3, rank=rank, groups=CHANNELS, padding=1, rngs=rngs
    ),
    **{f"conv {border}": conv(4, padding=[(1, 2)], stride=2, border=border) for border in BORDERS},
    "pointwise": lambda rank, rngs: layers.Pointwise(CHANNELS, 3, rngs=rngs),
    "max pool": lambda rank, rngs: layers.MaxPool(3, rank=rank, stride=2, padding=1),
    "average pool": lambda rank, rngs: layers.AveragePool(3, rank=rank, stride=2, padding=1),
    "max pool ceil": lambda rank, rngs: layers.MaxPool(3, rank=rank, stride=2, ceil=True),
    "average pool ceil": lambda rank, rngs: layers.AveragePool(2, rank=rank, stride=3, padding=1, ceil=True),
    "lp pool": lambda rank, rngs: layers.LPPool(3, 3.0, rank=rank, stride=2, padding=1, ceil=True),
    "blur pool": lambda rank, rngs: layers.BlurPool(3, rank=rank),
    "blur pool 4 zero": lambda rank, rngs: layers.BlurPool(4, rank=rank, border="zero"),
    "batch norm": lambda rank, rngs: layers.BatchNorm(CHANNELS),
    "group norm": lambda rank, rngs: layers.GroupNorm(CHANNELS, groups=2),
    "instance norm": lambda rank, rngs: layers.InstanceNorm(CHANNELS),
    "instance norm without affine": lambda rank, rngs: layers.InstanceNorm(CHANNELS, affine=False),
    "layer norm": lambda rank, rngs: layers.LayerNorm(CHANNELS),
    "rms norm": lambda rank, rngs: layers.RMSNorm(CHANNELS),
    "global response norm": lambda rank, rngs: layers.GlobalResponseNorm(CHANNELS),
    "squeeze and excite": lambda rank, rngs: layers.SqueezeExcite(CHANNELS, 8, rngs=rngs),  # 2 random ReLUs were dead
    "softplus": lambda rank, rngs: layers.Activation(jax.nn.softplus),  # f(0) is not 0
    "layer scale": lambda rank, rngs: layers.LayerScale(CHANNELS),
    "log softmax": lambda rank, rngs: layers.LogSoftmax(),
    "channel dropout": lambda rank, rngs: layers.ChannelDropout(0.5),
    "sequential": lambda rank, rngs: layers.Sequential(
        [conv(3, padding=1, stride=2)(rank, rngs), layers.Activation(jax.nn.softplus)]
    ),
    "residual": lambda rank, rngs: layers.Residual(
        [conv(3, padding=1, stride=2)(rank, rngs), layers.LayerNorm(6)], [conv(1, stride=2)(rank, rngs)]
    ),
    "residual identity": lambda rank, rngs: layers.Residual([layers.Pointwise(CHANNELS, CHANNELS, rngs=rngs)]),
    "concatenate": lambda rank, rngs: layers.Concatenate(
        [[conv(3, padding=1)(rank, rngs)], [layers.AveragePool(3, rank=rank, stride=1, padding=1)], []]
    ),
    "transposed conv": lambda rank, rngs: layers.TransposedConvolution(
        CHANNELS, 6, 5, stride=2, padding=1, rank=rank, rngs=rngs
    ),
    "transposed conv uneven": lambda rank, rngs: layers.TransposedConvolution(
        CHANNELS, 6, 3, stride=2, groups=2, bias=False, rank=rank, rngs=rngs
    ),  # without a bias: its gradient would be a sum that cancels
    "upsample nearest": lambda rank, rngs: layers.Upsample(2, rank=rank),
    "upsample bilinear": lambda rank, rngs: layers.Upsample(3, "bilinear", rank=rank),
    "spatial pyramid max": lambda rank, rngs: layers.SpatialPyramidPool((1, 3), rank=rank),
    "spatial pyramid mean": lambda rank, rngs: layers.SpatialPyramidPool((2,), "mean", rank=rank),
    "skip connection": lambda rank, rngs: layers.SkipConnection(
        [
            layers.MaxPool(2, rank=rank, ceil=True),
            layers.TransposedConvolution(CHANNELS, 6, 4, stride=2, padding=1, rank=rank, rngs=rngs),
        ],
        [layers.Pointwise(CHANNELS, 6, rngs=rngs)],
    ),
    "stochastic depth": lambda rank, rngs: layers.StochasticDepth(0.5),
    "log mel": lambda rank, rngs: layers.LogMel(10, window=0.5, hop=0.2, mels=3, floor=1e-3),
    "spec augment": lambda rank, rngs: layers.SpecAugment(2, 0.5, 1, 0.5),
    **{f"global {name}": global_pool(name) for name in pooling.POOLS},
    "global attention of heads": global_pool("attention", heads=2),
}


RANDOM = ("channel dropout", "stochastic depth", "spec augment")  # the identity outside training
SIGNALS = ("log mel", "spec augment")  # for one spatial axis only


def make(name: str, rank: int) -> Layer:
    """Returns the layer with shapes instead of weights: the contract draws them."""
    return nnx.eval_shape(lambda: CASES[name](rank, nnx.Rngs(0)))


def smallest(layer: Layer, rank: int) -> int:
    return max(window.min_size for window in layer.window(rank))


@pytest.mark.parametrize(
    ("name", "rank"), [(name, rank) for name in CASES for rank in (1, 2) if rank == 1 or name not in SIGNALS]
)
def test_contract(name, rank):
    layer = make(name, rank)
    contract.check_drawn(layer, rank, CHANNELS, minimum=smallest(layer, rank), train=name in RANDOM, seed=len(name))


OWN, PAIRS = np.eye(CHANNELS, dtype=int), np.kron(np.eye(2, dtype=int), np.ones((1, 2), int))
# Input channels that each output channel depends on, 0 or 1 [C', C]; all, if the name is not listed.
SEEN_CHANNELS = {
    "conv groups": np.repeat(PAIRS, 3, 0),
    "conv depthwise": np.repeat(OWN, 2, 0),
    "group norm": np.repeat(PAIRS, 2, 0),
    "transposed conv uneven": np.repeat(PAIRS, 3, 0),
    "log mel": np.repeat(OWN, 3, 0),
    **{name: OWN for name in CASES if "pool" in name or name.startswith(("upsample", "instance norm"))},
    **{f"global {name}": OWN for name in pooling.POOLS if name != "attention"},
    **dict.fromkeys(("batch norm", "softplus", "layer scale", *RANDOM), OWN),
}
MIRRORED = ("conv reflect", "conv circular")  # what they see at an edge lies beyond the window


def seen(layer: Layer, size: tuple[int, ...], channels=None) -> np.ndarray:
    """Returns bool [P', C', P, C], what each output depends on; the positions follow from the layer's windows."""
    rank = len(size)
    positions = contract.seen_positions(layer.windows(rank), size, layer.out_extent(size))
    channels = np.ones((layer.out_channels(CHANNELS), CHANNELS)) if channels is None else channels
    return np.multiply.outer(positions, channels).transpose(0, 2, 1, 3) > 0


def seen_by_bins(layer: layers.SpatialPyramidPool, size: tuple[int, ...]) -> np.ndarray:
    """Returns bool [1, C', P, C]: level by level, bins in row-major order, C channels each."""
    blocks = []
    for bins in layer.levels:
        positions = np.ones((1, 1), int)
        for n in size:
            inside = [[i * n // bins <= place < -(-(i + 1) * n // bins) for place in range(n)] for i in range(bins)]
            positions = np.kron(positions, np.array(inside, int))
        blocks += [np.multiply.outer(positions, OWN).transpose(0, 2, 1, 3).reshape(-1, math.prod(size), CHANNELS)]
    return np.concatenate(blocks)[None] > 0


def expected_dependence(name: str, layer: Layer, size: tuple[int, ...]) -> np.ndarray:
    if isinstance(layer, layers.SpatialPyramidPool):
        return seen_by_bins(layer, size)
    if isinstance(layer, layers.Concatenate):
        conv, pool, identity = layer.branches
        return np.concatenate([seen(conv, size), seen(pool, size, OWN), seen(identity, size, OWN)], axis=1)
    expected = seen(layer, size, SEEN_CHANNELS.get(name))
    if isinstance(layer, layers.LogMel):  # the first weight of a periodic Hann window is 0
        (window,) = layer.window(1)
        for frame in range(len(expected)):
            expected[frame, :, frame * window.stride] = False
    return expected


@pytest.mark.parametrize("name", CASES)
def test_outputs_depend_on_what_they_should(name):
    """Otherwise the contract could hold for a layer with weights that hide its mistakes."""
    size = (8,) if name in SIGNALS else (4, 5)
    (example,) = contract.draw_examples([size], CHANNELS, seed=1)
    layer = make(name, len(size))
    expected = expected_dependence(name, layer, size)
    contract.check_dependence(layer, example, expected, exactly=name not in MIRRORED)


def test_batch_statistics_depend_on_every_position():
    (example,) = contract.draw_examples([(4, 5)], CHANNELS, seed=1)
    expected = np.multiply.outer(np.ones((20, 20)), OWN).transpose(0, 2, 1, 3) > 0
    contract.check_dependence(layers.BatchNorm(CHANNELS), example, expected, train=True)


VOLUMES = [
    "conv 3 stride 2 same",
    "max pool",
    "batch norm",
    "instance norm",
    "global response norm",
    "squeeze and excite",
    "global logsumexp",
    "global attention",
]


@pytest.mark.parametrize("name", VOLUMES)
def test_contract_of_volumes(name):
    contract.check_drawn(make(name, 3), 3, CHANNELS, seed=3)


@pytest.mark.parametrize("rank", [1, 2])
def test_contract_of_winograd(monkeypatch, rank):
    """Only large convolutions use Winograd; no other test has these channels, so no cached program lacks it."""
    monkeypatch.setattr(strided, "MIN_SAVED", -np.inf)
    layer = nnx.eval_shape(lambda: layers.Convolution(7, 5, 4, stride=2, padding=1, rank=rank, rngs=nnx.Rngs(0)))
    contract.check_drawn(layer, rank, 7, minimum=2, seed=rank)


@pytest.mark.parametrize("rank", [1, 2])
def test_contract_of_batch_statistics(rank):
    @hypothesis.settings(max_examples=3)
    @hypothesis.given(contract.sizes(rank))
    def check(sizes):
        contract.check_batch(layers.BatchNorm(CHANNELS), contract.draw_examples(sizes, CHANNELS, seed=5))

    check()


@pytest.mark.parametrize("name", CASES)
def test_a_batch_of_no_rows_gives_no_rows(name):
    rank = 1 if name in SIGNALS else 2
    layer, extent = make(name, rank), (14,) * rank
    out = contract.of_no_rows(layer, extent, CHANNELS)
    expected = (1,) * rank if isinstance(layer, GlobalPool) else layer.out_extent(extent)
    assert out.values.shape == (0, *expected, layer.out_channels(CHANNELS))
    assert out.sizes.shape == (0, rank)


@pytest.mark.parametrize("name", CASES)
def test_an_exported_program_takes_any_number_of_examples_of_any_size(name):
    rank = 1 if name in SIGNALS else 2
    layer = contract.randomize(make(name, rank))
    least = smallest(layer, rank)
    program = exporting.exported(layer, rank, CHANNELS, least)
    sizes = [(least, least + 4), (least + 1, least + 2)], [(least + 6, least + 1)] * 3
    batches = [Padded.stack(contract.draw_examples([n[:rank] for n in each], CHANNELS, seed=1)) for each in sizes]
    exporting.check_export(layer, program, batches)


def test_every_layer_is_in_the_contract():
    covered = {type(make(name, 1)) for name in CASES}
    public = {getattr(layers, name) for name in layers.__all__} - {Layer}
    assert public <= covered, f"layers without a contract test: {public - covered}"


def test_the_contract_can_fail():
    """A layer with an output that depends on the padded shape, as with pads that XLA chooses, must not pass."""

    class MeanOverThePadding(Layer):
        def transform(self, batch):
            mean = jax.numpy.mean(batch.values, axis=batch.spatial_axes, keepdims=True)
            return batch.replace(batch.values - mean)

    with pytest.raises(AssertionError, match="relative difference"):
        contract.check(MeanOverThePadding(), contract.draw_examples([(5, 8), (2, 5)], CHANNELS, seed=0))

    class ReadsRawNeighbors(Layer):
        def transform(self, batch):
            return batch.replace(batch.values + jax.numpy.roll(batch.raw_values, -1, 1))

    with pytest.raises(AssertionError, match="relative difference"):
        contract.check(ReadsRawNeighbors(), contract.draw_examples([(5, 8), (2, 5)], CHANNELS, seed=0))

    class FillsThePadding(Layer):
        def transform(self, batch):
            return type(batch)(batch.values + 1, batch.sizes)

    with pytest.raises(AssertionError, match="not zero outside"):
        contract.check(FillsThePadding(), contract.draw_examples([(5, 8), (2, 5)], CHANNELS, seed=0))
