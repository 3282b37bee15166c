"""Where the examples of a source come from, behind size policies and selections.

Axes: N examples.
"""

import numpy as np

from fcnjax.data.sources.relabeled import RelabeledSource
from fcnjax.data.sources.resized import ResizedSource
from fcnjax.data.sources.source import Source
from fcnjax.data.sources.subset import PartialSource
from fcnjax.data.tfds.tfds_source import TfdsSource

MAX_PASS = 10_000  # examples of which labels are read before training, if that takes a pass over the records


def origin(source: Source) -> Source:
    """Returns the source behind size policies, selections and other labels; the source itself if there are none."""
    while isinstance(source, ResizedSource | PartialSource | RelabeledSource):
        source = source.source
    return source


def native_sizes(source: Source) -> np.ndarray:
    """Returns the sizes int [N, D] that the examples of a source have before a size policy."""
    inner = origin(source)
    return source.sizes if inner is source else inner.sizes[positions_in(inner, source)]


def positions_in(inner: Source, source: Source) -> np.ndarray:
    """Returns the positions int [N] that the examples of a source have in its origin."""
    if np.array_equal(inner.ids, source.ids):
        return np.arange(len(source))
    order = np.argsort(inner.ids)
    return order[np.searchsorted(inner.ids, source.ids, sorter=order)]


def known_labels(source: Source, *, read: bool = False) -> np.ndarray | None:
    """Returns the labels int [N] of a source; None if it does not know them.

    Args:
        source: the source.
        read: whether a pass over more than `MAX_PASS` records may be made for them.
    """
    inner = origin(source)
    if not read and isinstance(inner, TfdsSource) and "labels" not in vars(inner) and len(inner) > MAX_PASS:
        return None
    return source.labels
