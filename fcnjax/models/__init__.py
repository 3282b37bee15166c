"""Networks, one file per network, in one registry."""

from fcnjax.models.classifier import Block, Classifier, TraceRow
from fcnjax.models.registry import MODELS, create

__all__ = ["MODELS", "Block", "Classifier", "TraceRow", "create"]
