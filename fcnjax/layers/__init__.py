"""Layers that map `Padded` to `Padded` and keep zeros outside each example."""

from fcnjax.layers.composition import Concatenate, Residual, Sequential, SkipConnection
from fcnjax.layers.convolution import Convolution, TransposedConvolution
from fcnjax.layers.dropout import ChannelDropout, StochasticDepth
from fcnjax.layers.layer import Layer
from fcnjax.layers.normalization import BatchNorm, GlobalResponseNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from fcnjax.layers.pointwise import Activation, LayerScale, LogSoftmax, Pointwise
from fcnjax.layers.pyramid import SpatialPyramidPool
from fcnjax.layers.spectrogram import LogMel, SpecAugment
from fcnjax.layers.squeeze_excite import SqueezeExcite
from fcnjax.layers.upsampling import Upsample
from fcnjax.layers.windowed_pooling import AveragePool, BlurPool, LPPool, MaxPool

__all__ = [
    "Activation",
    "AveragePool",
    "BatchNorm",
    "BlurPool",
    "ChannelDropout",
    "Concatenate",
    "Convolution",
    "GlobalResponseNorm",
    "GroupNorm",
    "InstanceNorm",
    "LPPool",
    "Layer",
    "LayerNorm",
    "LayerScale",
    "LogMel",
    "LogSoftmax",
    "MaxPool",
    "Pointwise",
    "RMSNorm",
    "Residual",
    "Sequential",
    "SkipConnection",
    "SpatialPyramidPool",
    "SpecAugment",
    "SqueezeExcite",
    "StochasticDepth",
    "TransposedConvolution",
    "Upsample",
]
