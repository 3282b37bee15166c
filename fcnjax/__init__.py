"""Convolutional classifiers on images and signals at their native sizes, exact under padding."""

from fcnjax.installation import explain_missing

try:
    from fcnjax import models, pooling
    from fcnjax.data import load_source, plan_buckets
    from fcnjax.heads import Head
    from fcnjax.padded import Padded
    from fcnjax.training import evaluate, load_model, train
except ModuleNotFoundError as error:
    explain_missing(error)

__version__ = "0.1.0"

__all__ = ["Head", "Padded", "evaluate", "load_model", "load_source", "models", "plan_buckets", "pooling", "train"]
