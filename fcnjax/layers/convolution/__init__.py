"""Convolution: the layer, what it sees beyond an example's edge, and how it is computed."""

from fcnjax.layers.convolution.convolution import Convolution

__all__ = [
    "Convolution",
]
