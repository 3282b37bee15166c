"""Size tables and batch sizes drawn by hypothesis."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fcnjax.data import BucketPlan


def size_tables(most: int = 60, largest: int = 40, axes: tuple[int, ...] = (1, 2, 3)) -> st.SearchStrategy[np.ndarray]:
    """int32 [N, D] with 1 <= N <= most, D in axes and extents 1 to largest."""
    shapes = st.tuples(st.integers(1, most), st.sampled_from(axes))
    return hnp.arrays(np.int32, shapes, elements=st.integers(1, largest))


def draw_rows(data: st.DataObject, buckets: BucketPlan, hosts: int = 1) -> int | list[int]:
    """One number of rows for all buckets, or one for each; multiples of `hosts`."""
    rows, count = st.integers(1, 5).map(lambda share: share * hosts), len(buckets.shapes)
    return data.draw(st.one_of(rows, st.lists(rows, min_size=count, max_size=count)))
