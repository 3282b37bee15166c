from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from size_tables import size_tables

from fcnjax.data import BucketPlan, buckets, plan_buckets
from fcnjax.data.bucket_search import exact_intervals


def least_waste(sizes: np.ndarray, most: int) -> float:
    """Optimum by trying every partition of the distinct sizes into `most` groups."""
    distinct, counts = np.unique(sizes, axis=0, return_counts=True)
    best = np.inf
    for groups in product(range(most), repeat=len(distinct)):
        padded = 0
        for group in set(groups):
            held = [index for index, other in enumerate(groups) if other == group]
            padded += counts[held].sum() * distinct[held].max(axis=0).prod()
        best = min(best, padded)
    return best / (distinct.prod(axis=1) * counts).sum() - 1


def equal_count_groups(sizes: np.ndarray, groups: int) -> BucketPlan:
    """What data loaders commonly do: sort by area, cut into groups of equal count."""
    parts = np.array_split(sizes[np.argsort(sizes.prod(axis=1), kind="stable")], groups)
    return BucketPlan(np.unique([part.max(axis=0) for part in parts if len(part)], axis=0))


@given(size_tables(most=6, largest=12), st.integers(1, 3))
@settings(max_examples=60, deadline=None, derandomize=True)  # the search is no proof: a fixed sample judges it
def test_tiny_tables_come_close_to_the_optimum(sizes, most):
    best = 1 + least_waste(sizes, most)
    assert best - 1e-9 <= 1 + plan_buckets(sizes, most).waste(sizes) <= 1.02 * best


@given(size_tables(), st.integers(1, 8), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_every_size_has_a_home(sizes, most, multiple):
    plan = plan_buckets(sizes, most, multiple_of=multiple)
    assert 1 <= len(plan.shapes) <= most
    assert plan.shapes.dtype == np.int32
    assert (plan.shapes % multiple == 0).all()
    assert (sizes <= plan.shapes[plan.assign(sizes)]).all()
    assert (np.diff(plan.shapes.prod(axis=1)) >= 0).all()
    assert set(plan.assign(sizes).tolist()) == set(range(len(plan.shapes)))  # no rectangle is empty


@given(size_tables(), st.integers(1, 8), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_plan_does_not_depend_on_the_order_of_the_table(sizes, most, random):
    order = list(range(len(sizes)))
    random.shuffle(order)
    np.testing.assert_array_equal(plan_buckets(sizes, most).shapes, plan_buckets(sizes[order], most).shapes)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(("most", "share"), [(2, 1.0), (5, 0.7)])
def test_wastes_less_than_equal_count_groups(axes, most, share):
    sizes = np.exp(np.random.default_rng(axes).normal(4, 0.4, (150, axes))).astype(int) + 1
    assert plan_buckets(sizes, most).waste(sizes) < share * equal_count_groups(sizes, most).waste(sizes)


@given(size_tables(axes=(1,)), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_more_intervals_waste_no_more(sizes, most):
    assert plan_buckets(sizes, most + 1).waste(sizes) <= plan_buckets(sizes, most).waste(sizes) + 1e-9


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
    monkeypatch.setattr(buckets, "MOST_DISTINCT", dict.fromkeys((1, 2, 3), 50))
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
    ("published_sizes", "most", "target"),
    [
        ("caltech101", 4, 0.40),
        ("caltech101", 8, 0.205),
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
def test_published_size_lists(published_sizes, most, target):
    assert plan_buckets(published_sizes, most).waste(published_sizes) <= target


def test_homeless_size_is_named():
    plan = BucketPlan(np.array([[4, 4], [8, 2]]))
    with pytest.raises(ValueError, match=r"sizes\[1\]: size \(9, 1\) fits none of the 2 buckets .*\(8, 2\)"):
        plan.assign(np.array([[4, 4], [9, 1]]))


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        (np.zeros((0, 2), int), r"got shape \(0, 2\)"),
        (np.array([4, 5]), r"got shape \(2,\)"),
        (np.ones((3, 4), int), r"got shape \(3, 4\)"),
        (np.ones((3, 2)), "float64"),
        (np.array([[4, 5], [0, 3]]), r"sizes\[1\]: got \[0, 3\]"),
    ],
)
def test_bad_tables_are_refused(sizes, says):
    with pytest.raises(ValueError, match=says):
        plan_buckets(sizes)


@pytest.mark.parametrize("argument", ["max_buckets", "multiple_of"])
def test_bad_numbers_are_refused(argument):
    with pytest.raises(ValueError, match=f"{argument}: got 0"):
        plan_buckets(np.ones((3, 2), int), **{argument: 0})


def test_plans_cannot_be_changed():
    plan = BucketPlan(np.array([[4, 4]]))
    with pytest.raises(ValueError, match="read-only"):
        plan.shapes[0] = 1
