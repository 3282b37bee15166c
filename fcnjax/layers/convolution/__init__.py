"""Convolution: the layers, what they see beyond an example's edge, and how they are computed."""

from fcnjax.layers.convolution.convolution import Convolution
from fcnjax.layers.convolution.transposed import TransposedConvolution

__all__ = [
    "Convolution",
    "TransposedConvolution",
]
