"""Buckets as data loaders commonly choose them without a search: baselines for `plan_buckets`.

Axes: N examples, D spatial axes. The one idea: each is a `BucketPlan` too, so that all are measured in the same way.
"""

import numpy as np

from fcnjax.data.planning.bucket_search import area_groups
from fcnjax.data.planning.buckets import BucketPlan
from fcnjax.data.size_table import checked_table, distinct_sizes


def pad_to_max(sizes: np.ndarray) -> BucketPlan:
    """Returns one bucket: the bounding box of all sizes, int [N, D].

    >>> pad_to_max(np.array([[3, 9], [5, 2]])).shapes.tolist()
    [[5, 9]]
    """
    return BucketPlan(checked_table("sizes", sizes).max(axis=0, keepdims=True))


def aspect_groups(sizes: np.ndarray) -> BucketPlan:
    """Returns at most two buckets: the bounding boxes of the images that are taller than wide, and of all others.

    Args:
        sizes: int [N, 2], heights and widths.

    Raises:
        ValueError: if `sizes` is not a table with two axes; other sizes have no aspect ratio.

    Source: the grouping by aspect ratio of torchvision's detection references and of Detectron2.

    >>> aspect_groups(np.array([[3, 9], [5, 2], [2, 4], [7, 1]])).shapes.tolist()
    [[7, 2], [3, 9]]
    """
    sizes = checked_table("sizes", sizes, axes=2)
    tall = sizes[:, 0] > sizes[:, 1]
    groups = (sizes[tall], sizes[~tall])
    return BucketPlan(np.array([group.max(axis=0) for group in groups if len(group)]))


def equal_count_groups(sizes: np.ndarray, groups: int) -> BucketPlan:
    """Returns the bounding boxes of sizes sorted by area and cut into groups of about equally many examples.

    Args:
        sizes: int [N, D].
        groups: number of groups, at least 1; there are fewer buckets if many examples share a size.

    Raises:
        ValueError: if `groups` is below 1.

    >>> equal_count_groups(np.array([[3, 9], [5, 2], [2, 4], [7, 1]]), 2).shapes.tolist()
    [[7, 4], [5, 9]]
    """
    if groups < 1:
        raise ValueError(f"groups={groups}: must be 1 or more.")
    return BucketPlan(area_groups(*distinct_sizes(checked_table("sizes", sizes)), groups))
