"""The default arguments of every layer and pool: networks and users leave them out."""

import inspect

import jax
import pytest

from fcnjax import layers, pooling
from fcnjax.layers.normalization import NORMS, norm_layers
from fcnjax.random_streams import SPECTROGRAM_MASKS

WINDOWED = {"rank": 2, "stride": None, "padding": 0, "ceil": False}
MASKS = {"time_masks": 2, "time_width": 0.2, "frequency_masks": 2, "frequency_width": 0.2, "stream": SPECTROGRAM_MASKS}
LINEAR = {"rank": 2, "stride": 1, "padding": 0, "groups": 1, "bias": True}
DEFAULTS = {
    "Activation": {},
    "AveragePool": WINDOWED,
    "BatchNorm": {"momentum": 0.9, "epsilon": 1e-5},
    "BlurPool": {"kernel": 3, "stride": 2, "rank": 2, "border": "reflect"},
    "ChannelDropout": {"stream": 0},
    "Concatenate": {},
    "Convolution": {**LINEAR, "dilation": 1, "border": "zero"},
    "GlobalResponseNorm": {"epsilon": 1e-6},
    "GroupNorm": {"affine": True, "epsilon": 1e-5},
    "InstanceNorm": {"affine": True, "epsilon": 1e-5},
    "LPPool": {"p": 2.0},
    "Layer": {},
    "LayerNorm": {"epsilon": 1e-6},
    "LayerScale": {"initial": 1e-6},
    "LogMel": {"sample_rate": 8000, "window": 0.025, "hop": 0.01, "mels": 64, "f_min": 0.0, "f_max": None}
    | {"floor": 1e-6, "bins": None},
    "LogSoftmax": {},
    "MaxPool": WINDOWED,
    "Pointwise": {"bias": True},
    "RMSNorm": {"epsilon": 1e-6},
    "Residual": {"shortcut": ()},
    "Sequential": {"layers": ()},
    "SkipConnection": {"shortcut": ()},
    "SpatialPyramidPool": {"levels": (1, 2, 4), "method": "max", "rank": 2},
    "SpecAugment": MASKS,
    "SqueezeExcite": {"activation": jax.nn.relu, "gate": jax.nn.sigmoid},
    "StochasticDepth": {"stream": 0},
    "TransposedConvolution": {**LINEAR, "bilinear": False},
    "Upsample": {"method": "nearest", "rank": 2},
}
OF_POOLS = {
    "top_k": {"k": 5},
    "logsumexp": {"r": 5.0},
    "logsumexp_learnable": {"r": 5.0},
    "gem": {"p": 3.0, "epsilon": 1e-6},
    "attention": {"heads": 1, "kernel_init": jax.nn.initializers.zeros},
    "auto": {"alpha": 0.0},
}


def defaults(kind) -> dict:
    parameters = inspect.signature(kind.__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


@pytest.mark.parametrize("name", layers.__all__)
def test_defaults_of_layers_are_pinned(name):
    assert defaults(getattr(layers, name)) == DEFAULTS[name]


@pytest.mark.parametrize("name", pooling.POOLS)
def test_defaults_of_pools_are_pinned(name):
    assert defaults(pooling.POOLS[name]) == OF_POOLS.get(name, {})


def test_commuting_with_affine_layers_is_pinned():
    """Heads convert their order by it: of all pools, only the mean commutes."""
    assert [name for name, kind in pooling.POOLS.items() if kind.commutes_with_affine] == ["mean"]


@pytest.mark.parametrize("channels", [6, 16])
def test_norms_by_name_are_pinned(channels):
    made = {name: norm_layers(name, channels) for name in NORMS}
    kinds = {"none": [], "batch": [layers.BatchNorm], "group": [layers.GroupNorm], "layer": [layers.LayerNorm]}
    assert {name: [type(layer) for layer in found] for name, found in made.items()} == kinds
    assert {layer.channels for found in made.values() for layer in found} == {channels}
    assert made["group"][0].groups == min(8, channels)
