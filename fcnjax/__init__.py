"""Convolutional classifiers on images and signals at their native sizes, exact under padding."""

from fcnjax import models, pooling
from fcnjax.heads import Head
from fcnjax.padded import Padded

__version__ = "0.1.0"

__all__ = ["Head", "Padded", "models", "pooling"]
