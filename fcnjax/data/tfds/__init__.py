"""Data sets prepared by TensorFlow Datasets (TFDS), read without TensorFlow."""

from fcnjax.data.tfds.prepare import prepare_by_name
from fcnjax.data.tfds.tfds_source import TfdsSource

__all__ = ["TfdsSource", "prepare_by_name"]
