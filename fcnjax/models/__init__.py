"""Networks, one file per network, in one registry."""

from fcnjax.models.classifier import Block, Classifier
from fcnjax.models.registry import MODELS, create
from fcnjax.models.trace_row import TraceRow

__all__ = ["MODELS", "Block", "Classifier", "TraceRow", "create"]
