"""Size tables drawn by hypothesis."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


def size_tables(most: int = 60, largest: int = 40, axes: tuple[int, ...] = (1, 2, 3)) -> st.SearchStrategy[np.ndarray]:
    """int32 [N, D] with 1 <= N <= most, D in axes and extents 1 to largest."""
    shapes = st.tuples(st.integers(1, most), st.sampled_from(axes))
    return hnp.arrays(np.int32, shapes, elements=st.integers(1, largest))
