"""Size tables and batch sizes drawn by hypothesis."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fcnjax.data import BucketPlan


def size_tables(
    max_examples: int = 60, max_extent: int = 40, axes: tuple[int, ...] = (1, 2, 3)
) -> st.SearchStrategy[np.ndarray]:
    """Draws int32 [N, D] with N from 1 to `max_examples`, D from `axes` and extents from 1 to `max_extent`."""
    shapes = st.tuples(st.integers(1, max_examples), st.sampled_from(axes))
    return hnp.arrays(np.int32, shapes, elements=st.integers(1, max_extent))


def draw_rows(data: st.DataObject, buckets: BucketPlan, hosts: int = 1) -> int | list[int]:
    """Draws one number of rows for all buckets, or one for each; multiples of `hosts`."""
    rows, count = st.integers(1, 5).map(lambda share: share * hosts), len(buckets.shapes)
    return data.draw(st.one_of(rows, st.lists(rows, min_size=count, max_size=count)))
