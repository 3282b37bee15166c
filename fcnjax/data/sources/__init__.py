"""Sources: the types of examples and sources, and data sets in memory, in one file or in a user's own object."""

from fcnjax.data.sources.arrays import ArraySource
from fcnjax.data.sources.joined import JoinedSource
from fcnjax.data.sources.npz import load_npz, save_npz
from fcnjax.data.sources.relabeled import RelabeledSource
from fcnjax.data.sources.resized import ChangedSource, ResizedSource, cropped, scaled
from fcnjax.data.sources.size_policy import SizePolicy
from fcnjax.data.sources.source import Example, Ignored, Source, UnreadableExample
from fcnjax.data.sources.subset import PartialSource, without_small
from fcnjax.data.sources.wrapped import as_source

__all__ = [
    "ArraySource",
    "ChangedSource",
    "Example",
    "Ignored",
    "JoinedSource",
    "PartialSource",
    "RelabeledSource",
    "ResizedSource",
    "SizePolicy",
    "Source",
    "UnreadableExample",
    "as_source",
    "cropped",
    "load_npz",
    "save_npz",
    "scaled",
    "without_small",
]
