"""Convolution: the layers, the borders of an example, and how both are computed."""

from fcnjax.layers.convolution.convolution import Convolution
from fcnjax.layers.convolution.transposed import TransposedConvolution

__all__ = ["Convolution", "TransposedConvolution"]
