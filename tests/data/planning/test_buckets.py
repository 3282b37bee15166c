from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from size_tables import size_tables

from fcnjax.data import BucketPlan, plan_buckets
from fcnjax.data.planning import bucket_search
from fcnjax.data.planning.bucket_search import area_groups, exact_intervals, greedy_buckets, improve
from fcnjax.data.size_table import areas, distinct_sizes


def least_waste(sizes: np.ndarray, max_buckets: int) -> float:
    """The optimum: tries every partition of the distinct sizes into `max_buckets` groups."""
    distinct, counts = np.unique(sizes, axis=0, return_counts=True)
    best = np.inf
    for groups in product(range(max_buckets), repeat=len(distinct)):
        padded = 0
        for group in set(groups):
            members = [index for index, other in enumerate(groups) if other == group]
            padded += counts[members].sum() * distinct[members].max(axis=0).prod()
        best = min(best, padded)
    return best / (distinct.prod(axis=1) * counts).sum() - 1


def equal_count_groups(sizes: np.ndarray, groups: int) -> BucketPlan:
    """Sorts by area and cuts into groups of equal count; independent of `baseline_buckets`."""
    parts = np.array_split(sizes[np.argsort(sizes.prod(axis=1), kind="stable")], groups)
    return BucketPlan(np.unique([part.max(axis=0) for part in parts if len(part)], axis=0))


@given(size_tables(max_examples=6, max_extent=12), st.integers(1, 3))
@settings(max_examples=60, deadline=None, derandomize=True)  # the search has no guarantee: a fixed sample judges it
def test_tiny_tables_come_close_to_the_optimum(sizes, max_buckets):
    best = 1 + least_waste(sizes, max_buckets)
    assert best - 1e-9 <= 1 + plan_buckets(sizes, max_buckets).waste(sizes) <= 1.02 * best


@given(size_tables(), st.integers(1, 8), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_every_size_has_a_home(sizes, max_buckets, multiple):
    plan = plan_buckets(sizes, max_buckets, multiple_of=multiple)
    assert 1 <= len(plan.shapes) <= max_buckets
    assert plan.shapes.dtype == np.int32
    assert (plan.shapes % multiple == 0).all()
    assert (sizes <= plan.shapes[plan.assign(sizes)]).all()
    assert (np.diff(plan.shapes.prod(axis=1)) >= 0).all()
    assert set(plan.assign(sizes).tolist()) == set(range(len(plan.shapes)))  # no bucket is empty


@given(size_tables(), st.integers(1, 8), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_plan_does_not_depend_on_the_order_of_the_table(sizes, max_buckets, random):
    order = list(range(len(sizes)))
    random.shuffle(order)
    np.testing.assert_array_equal(
        plan_buckets(sizes, max_buckets).shapes, plan_buckets(sizes[order], max_buckets).shapes
    )


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(("max_buckets", "share"), [(2, 1.0), (5, 0.7)])
def test_wastes_less_than_equal_count_groups(axes, max_buckets, share):
    sizes = np.exp(np.random.default_rng(axes).normal(4, 0.4, (150, axes))).astype(int) + 1
    assert plan_buckets(sizes, max_buckets).waste(sizes) < share * equal_count_groups(sizes, max_buckets).waste(sizes)


@given(size_tables(axes=(1,)), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_more_intervals_waste_no_more(sizes, max_buckets):
    assert plan_buckets(sizes, max_buckets + 1).waste(sizes) <= plan_buckets(sizes, max_buckets).waste(sizes) + 1e-9


@given(size_tables(max_extent=200), st.integers(1, 8))
@settings(max_examples=40)
def test_never_worse_than_one_search_from_either_start(sizes, max_buckets):
    distinct, counts = np.unique(sizes, axis=0, return_counts=True)
    for start in (greedy_buckets, area_groups):
        ours, theirs = plan_buckets(sizes, max_buckets), improve(distinct, counts, start(distinct, counts, max_buckets))
        assert ours.waste(sizes) <= BucketPlan(theirs).waste(sizes) + 1e-12


@given(hnp.arrays(np.int32, st.tuples(st.integers(1, 50), st.integers(1, 3)), elements=st.integers(1, 2**31 - 1)))
def test_distinct_sizes_are_those_of_numpy(sizes):
    """Three axes of up to 2^31 do not fit one packed integer."""
    sizes = np.concatenate([sizes, sizes[::2]])
    for ours, numpys in zip(distinct_sizes(sizes), np.unique(sizes, axis=0, return_counts=True), strict=True):
        np.testing.assert_array_equal(ours, numpys)


def test_enough_buckets_waste_nothing():
    sizes = np.array([[3, 4], [4, 3], [3, 4], [9, 9]])
    assert plan_buckets(sizes, 3).waste(sizes) == 0.0
    assert plan_buckets(sizes, 8).shapes.tolist() == [[3, 4], [4, 3], [9, 9]]


def test_assign_takes_the_smallest_that_fits():
    plan = BucketPlan(np.array([[8, 8], [4, 6], [6, 4], [4, 4]]))
    sizes = np.array([[4, 4], [5, 4], [4, 5], [5, 5], [1, 7]])
    by_hand = [
        min(
            (index for index, shape in enumerate(plan.shapes) if (size <= shape).all()),
            key=lambda index: plan.shapes[index].prod(),
        )
        for size in sizes
    ]
    assert plan.assign(sizes).tolist() == by_hand


def test_waste_by_hand():
    plan = BucketPlan(np.array([[2, 3], [4, 4]]))
    assert plan.waste(np.array([[1, 3], [4, 2], [2, 2]])) == pytest.approx((6 + 16 + 6) / (3 + 8 + 4) - 1)


@pytest.mark.parametrize("axes", [2, 3])
def test_coarsened_tables_still_have_a_home(monkeypatch, axes):
    monkeypatch.setattr(bucket_search, "MAX_DISTINCT", dict.fromkeys((1, 2, 3), 50))
    sizes = np.random.default_rng(0).integers(5, 60, (2000, axes))
    plan = plan_buckets(sizes, 8)
    assert (sizes <= plan.shapes[plan.assign(sizes)]).all()
    assert plan.waste(sizes) < 0.8 * equal_count_groups(sizes, 8).waste(sizes)


def test_one_axis_is_exact():
    sizes = np.random.default_rng(1).integers(1, 30, (200, 1))
    distinct, counts = np.unique(sizes, axis=0, return_counts=True)
    shapes = exact_intervals(distinct, counts, 3)
    every_pair = [
        BucketPlan(np.array([[low], [high], [29]])).waste(sizes) for low in range(1, 28) for high in range(low, 29)
    ]
    assert BucketPlan(shapes).waste(sizes) == pytest.approx(min(every_pair))


@pytest.mark.parametrize(
    ("published_sizes", "max_buckets", "target"),
    [
        ("caltech101", 4, 0.40),
        ("caltech101", 8, 0.20),
        ("caltech101", 16, 0.11),
        ("coco_val2017", 4, 0.11),
        ("coco_val2017", 8, 0.042),
        ("coco_val2017", 16, 0.022),
        ("tf_flowers", 4, 0.16),
        ("tf_flowers", 8, 0.048),
        ("tf_flowers", 16, 0.017),
        ("fsdd_lengths", 8, 0.112),
    ],
    indirect=["published_sizes"],
)
def test_published_size_lists(published_sizes, max_buckets, target):
    assert plan_buckets(published_sizes, max_buckets).waste(published_sizes) <= target


@given(size_tables(), st.integers(1, 8), st.integers(1, 4), st.integers(0, 10_000))
@settings(max_examples=40)
def test_batch_sizes_fill_the_budget(sizes, max_buckets, multiple, spare):
    largest = int(areas(plan_buckets(sizes, max_buckets).shapes).max())
    budget = multiple * largest + spare
    plan = plan_buckets(sizes, max_buckets, pixel_budget=budget, rows_multiple_of=multiple)
    assert plan.batch_sizes is not None
    assert plan.batch_sizes.dtype == np.int32
    assert (plan.batch_sizes % multiple == 0).all()
    assert (plan.batch_sizes >= 1).all()
    assert (plan.batch_sizes * areas(plan.shapes) <= budget).all()
    assert ((plan.batch_sizes + multiple) * areas(plan.shapes) > budget).all()


def test_batch_sizes_stay_with_their_buckets():
    plan = BucketPlan(np.array([[9, 9], [2, 8], [4, 4], [1, 3]]), np.array([1, 30, 20, 400]))
    assert plan.shapes.tolist() == [[1, 3], [2, 8], [4, 4], [9, 9]]
    assert plan.batch_sizes.tolist() == [400, 30, 20, 1]
    assert BucketPlan(plan.shapes).batch_sizes is None


@pytest.mark.parametrize(
    ("batch_sizes", "says"),
    [
        ([3], r"batch_sizes=\[3\]: must be 1 or more rows: one integer, or 2"),
        ([3, 0], r"batch_sizes=\[3, 0\]: must be 1 or more rows"),
        ([3, 1.5], r"batch_sizes=\[3.0, 1.5\]: must be"),
        ([3, 2**31], r"batch_sizes=\[3, 2147483648\]: must be"),
    ],
)
def test_bad_batch_sizes_are_refused(batch_sizes, says):
    with pytest.raises(ValueError, match=says):
        BucketPlan(np.array([[4, 4], [8, 2]]), np.array(batch_sizes))


def test_buckets_above_the_budget_are_refused():
    sizes = np.array([[4, 5], [20, 30]])
    with pytest.raises(ValueError, match="pixel_budget=599: must be 600 or more, .* 1 row of bucket 20x30"):
        plan_buckets(sizes, pixel_budget=599)
    with pytest.raises(ValueError, match="pixel_budget=700: must be 2400 or more, .* 4 rows of bucket"):
        plan_buckets(sizes, pixel_budget=700, rows_multiple_of=4)
    with pytest.raises(ValueError, match="rows_multiple_of=0: must be 1 or more"):
        plan_buckets(sizes, pixel_budget=600, rows_multiple_of=0)


def test_homeless_size_is_named():
    plan = BucketPlan(np.array([[4, 4], [8, 2]]))
    with pytest.raises(ValueError, match=r"sizes\[1\]=\(9, 1\): must fit one of the 2 buckets .*\(8, 2\)"):
        plan.assign(np.array([[4, 4], [9, 1]]))


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        (np.zeros((0, 2), int), r"sizes.shape=\(0, 2\): must be"),
        (np.array([4, 5]), r"sizes.shape=\(2,\): must be"),
        (np.ones((3, 4), int), r"sizes.shape=\(3, 4\): must be"),
        (np.ones((3, 2)), "float64"),
        (np.array([[4, 5], [0, 3]]), r"sizes\[1\]=\[0, 3\]: must"),
        (np.array([[4, 5], [2**31, 3]]), r"sizes\[1\]=\[2147483648, 3\]: .* below 2\^31"),
    ],
)
def test_bad_tables_are_refused(sizes, says):
    with pytest.raises(ValueError, match=says):
        plan_buckets(sizes)


@pytest.mark.parametrize("argument", ["max_buckets", "multiple_of"])
def test_bad_numbers_are_refused(argument):
    with pytest.raises(ValueError, match=f"{argument}=0: must be 1 or more"):
        plan_buckets(np.ones((3, 2), int), **{argument: 0})


def test_plans_cannot_be_changed():
    plan = BucketPlan(np.array([[4, 4]]))
    with pytest.raises(ValueError, match="read-only"):
        plan.shapes[0] = 1
