"""Examples in groups of about equal count by a number such as their area, and intervals for accuracies.

Axes: n examples that have logits.
"""

from typing import NamedTuple

import numpy as np

from fcnjax.data.size_table import quantile_groups
from fcnjax.training.evaluation.metrics import Metrics

GROUPS = 4
CONFIDENCE = 0.95


class Group(NamedTuple):
    """Examples of neighboring numbers.

    Attributes:
        lowest: lowest number in the group.
        highest: highest number in the group.
        metrics: figures of its examples.
    """

    lowest: float
    highest: float
    metrics: Metrics


def grouped(metrics: Metrics, numbers: np.ndarray, groups: int = GROUPS) -> list[Group]:
    """Returns the examples in groups of about equal count, lowest numbers first (see `quantile_groups`).

    Args:
        metrics: figures of n examples.
        numbers: [n], such as the area of each.
        groups: number of groups to ask for, at least 1.

    Raises:
        ValueError: if `groups` is below 1.
    """
    index = quantile_groups(numbers, groups)
    members = [index == group for group in range(index.max(initial=-1) + 1)]
    return [Group(float(numbers[m].min()), float(numbers[m].max()), metrics.part(m)) for m in members]


def accuracy_interval(correct: int, examples: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Returns the Wilson interval of an accuracy, over examples that might have been drawn.

    Args:
        correct: number of correct examples.
        examples: number of examples.
        confidence: coverage, in (0, 1).

    Returns:
        Lower and upper bound, in [0, 1]; 0 and 1 without examples.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    >>> low, high = accuracy_interval(93, 100)
    >>> round(low, 3), round(high, 3)
    (0.863, 0.966)
    """
    from scipy.stats import binomtest  # here: it takes a third of a second, which only a report needs

    if not examples:
        return 0.0, 1.0
    interval = binomtest(correct, examples).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)
