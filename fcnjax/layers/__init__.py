"""Layers that map `Padded` to `Padded` and keep zeros outside each example."""

from fcnjax.layers.convolution import Convolution
from fcnjax.layers.dropout import ChannelDropout
from fcnjax.layers.layer import Layer
from fcnjax.layers.normalization import BatchNorm, GroupNorm, LayerNorm
from fcnjax.layers.pointwise import Activation, LogSoftmax, Pointwise
from fcnjax.layers.windowed_pooling import AveragePool, BlurPool, LPPool, MaxPool

__all__ = [
    "Activation",
    "AveragePool",
    "BatchNorm",
    "BlurPool",
    "ChannelDropout",
    "Convolution",
    "GroupNorm",
    "LPPool",
    "Layer",
    "LayerNorm",
    "LogSoftmax",
    "MaxPool",
    "Pointwise",
]
