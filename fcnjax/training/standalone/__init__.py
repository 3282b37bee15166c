"""Models that stand alone: their folder, in the layout of model hubs, their card, and weights from PyTorch."""

from fcnjax.training.standalone.imported import ImportedWeights, import_weights
from fcnjax.training.standalone.model_files import MODEL, Standalone, read_model, write_model

__all__ = ["MODEL", "ImportedWeights", "Standalone", "import_weights", "read_model", "write_model"]
