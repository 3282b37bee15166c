"""Models that stand alone: their folder, in the layout of model hubs, their card, and weights from and to PyTorch."""

from fcnjax.training.standalone.exported import export_weights
from fcnjax.training.standalone.imported import ImportedWeights, import_weights
from fcnjax.training.standalone.model_files import MODEL, Standalone, is_model, model_folder, read_model, write_model

__all__ = [
    "MODEL",
    "ImportedWeights",
    "Standalone",
    "export_weights",
    "import_weights",
    "is_model",
    "model_folder",
    "read_model",
    "write_model",
]
