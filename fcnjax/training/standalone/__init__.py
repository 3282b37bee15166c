"""Models that stand alone: their folder, in the layout of model hubs, and their card."""

from fcnjax.training.standalone.model_files import MODEL, Standalone, is_model, model_folder, read_model, write_model

__all__ = ["MODEL", "Standalone", "is_model", "model_folder", "read_model", "write_model"]
