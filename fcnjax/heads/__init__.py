"""Heads: from features of any size to logits, and the fixed-size baseline."""

from fcnjax.heads.flatten_dense import FlattenDenseHead, convolutionalize
from fcnjax.heads.from_options import make_head
from fcnjax.heads.head import Conversion, Head

__all__ = ["Conversion", "FlattenDenseHead", "Head", "convolutionalize", "make_head"]
