"""Heads: from features of any size to logits, and the fixed-size baseline."""

from fcnjax.heads.activation_maps import MapKind, activation_maps, are_probabilities, kind_of_maps, pooled_features
from fcnjax.heads.flatten_dense import FlattenDenseHead, convolutionalize
from fcnjax.heads.from_options import make_head
from fcnjax.heads.head import Conversion, Head

__all__ = [
    "Conversion",
    "FlattenDenseHead",
    "Head",
    "MapKind",
    "activation_maps",
    "are_probabilities",
    "convolutionalize",
    "kind_of_maps",
    "make_head",
    "pooled_features",
]
