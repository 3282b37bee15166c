"""One network at several sizes of the same examples: the figures at each size, and by native area and aspect ratio.

Axes: N examples of a source, n of them that are evaluated at their own size, D spatial axes.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from fcnjax.data import PartialSource, Source
from fcnjax.data.size_table import areas
from fcnjax.progress import progress_bar
from fcnjax.training.evaluation.evaluation_result import EvaluationResult
from fcnjax.training.evaluation.groups import GROUPS, Group, grouped
from fcnjax.training.evaluation.metrics import Metrics
from fcnjax.training.evaluation.size_terms import SizeTerm

OWN = "own"  # name of the size that examples have in an evaluation without terms


class AtSize(NamedTuple):
    """What a network does at one size.

    Attributes:
        name: the size as it was asked for; `OWN` for the first one.
        metrics: figures of the examples.
        native: int32 [n, D], native sizes of the same examples.
        shorter: number of signals that are shorter than the size, and stay whole.
    """

    name: str
    metrics: Metrics
    native: np.ndarray
    shorter: int = 0

    def by(self, groups: int = GROUPS) -> Iterator[tuple[str, Group]]:
        """Yields "area" (or "length") and each group of examples by it, then "aspect" (width / height) likewise."""
        signals = self.native.shape[1] == 1
        numbers = {"length" if signals else "area": areas(self.native)}
        if self.native.shape[1] == 2:
            numbers["aspect"] = self.native[:, 1] / self.native[:, 0]
        for name, each in numbers.items():
            yield from ((name, group) for group in grouped(self.metrics, each, groups))


def sweep(
    evaluate: Callable[[Source], EvaluationResult], native: Source, own: EvaluationResult, terms: Sequence[SizeTerm]
) -> list[AtSize]:
    """Returns the figures of a network at several sizes of the same examples.

    Args:
        evaluate: evaluates examples at the sizes that they have, without the size policy of training.
        native: examples at their native sizes.
        own: the usual evaluation of the same examples. Those that it could not evaluate are left out at all sizes.
        terms: the sizes, which `check_sizes` has accepted.

    Returns:
        The usual evaluation first, then one entry per term.
    """
    known = own.metrics.known
    source = native if known.all() else PartialSource(native, np.flatnonzero(known), {})
    found = [AtSize(OWN, own.metrics, source.sizes)]
    for term in progress_bar(terms, title="sizes", leave=False):
        shorter = 0 if term.size is None else int((source.sizes < np.array(term.size)).sum())
        metrics = evaluate(term.changed(source)).metrics
        whole = shorter if source.sizes.shape[1] == 1 else 0
        found.append(AtSize(term.text, metrics, source.sizes[metrics.known], whole))
    return found
