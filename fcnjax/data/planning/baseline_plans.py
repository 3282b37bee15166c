"""What data loaders commonly do instead of planning: plans to compare with.

Axes: N examples, D spatial axes. The one idea: each is a `BucketPlan` too, so that it is measured in the same way.
"""

import numpy as np

from fcnjax.data.planning.bucket_search import area_groups
from fcnjax.data.planning.buckets import BucketPlan
from fcnjax.data.size_table import checked_table, distinct_sizes


def pad_to_max(sizes: np.ndarray) -> BucketPlan:
    """One rectangle: the bounding box of all sizes, int [N, D].

    >>> pad_to_max(np.array([[3, 9], [5, 2]])).shapes.tolist()
    [[5, 9]]
    """
    return BucketPlan(checked_table("sizes", sizes).max(axis=0, keepdims=True))


def aspect_groups(sizes: np.ndarray) -> BucketPlan:
    """Two rectangles at most: the bounding boxes of what is taller than wide, and of all else.

    Args:
        sizes: int [N, 2], heights and widths.

    Raises:
        ValueError: `sizes` is no table with two axes: others have no aspect ratio.

    Source: the grouping by aspect ratio of torchvision's detection references and of Detectron2.

    >>> aspect_groups(np.array([[3, 9], [5, 2], [2, 4], [7, 1]])).shapes.tolist()
    [[7, 2], [3, 9]]
    """
    sizes = checked_table("sizes", sizes, axes=2)
    tall = sizes[:, 0] > sizes[:, 1]
    groups = (sizes[tall], sizes[~tall])
    return BucketPlan(np.array([group.max(axis=0) for group in groups if len(group)]))


def equal_count_groups(sizes: np.ndarray, groups: int) -> BucketPlan:
    """Sizes sorted by area and cut into `groups` groups of about equally many examples; each its bounding box.

    Args:
        sizes: int [N, D].
        groups: At least 1; where many examples share a size there are fewer rectangles.

    >>> equal_count_groups(np.array([[3, 9], [5, 2], [2, 4], [7, 1]]), 2).shapes.tolist()
    [[7, 4], [5, 9]]
    """
    if groups < 1:
        raise ValueError(f"groups: got {groups}; allowed is 1 or more")
    return BucketPlan(area_groups(*distinct_sizes(checked_table("sizes", sizes)), groups))
