"""How the last incomplete batch of each bucket is filled, on tables small enough to work out by hand."""

import numpy as np

from fcnjax.data import BucketPlan, EvaluationPlan, plan_buckets


def test_remainders_respect_the_rows_of_each_bucket():
    """Two 4s are left over; one batch of 9s has room for one, two batches of three for both."""
    sizes = np.array([[4]] * 6 + [[9]] * 4)
    buckets = BucketPlan(np.array([[4], [9]]))
    steps = list(EvaluationPlan(sizes, buckets, [4, 5]))
    assert [step.rows.tolist() for step in steps] == [[0, 1, 2, 3], [4, 5, -1, -1], [6, 7, 8, 9, -1]]
    steps = list(EvaluationPlan(sizes, buckets, [4, 3]))
    assert [step.rows.tolist() for step in steps] == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_remainders_fill_the_gaps_of_larger_buckets():
    sizes = np.array([[4]] * 5 + [[6]] * 2 + [[9]] * 3)
    plan = EvaluationPlan(sizes, BucketPlan(np.array([[4], [6], [9]])), batch_size=4)
    # One 4 is left over and fits beside the 6s; the remainder of three then does not fit the one free row beside the
    # 9s.
    assert [(step.shape, step.rows.tolist()) for step in plan] == [
        ((4,), [0, 1, 2, 3]),
        ((6,), [4, 5, 6, -1]),
        ((9,), [7, 8, 9, -1]),
    ]


def test_remainders_never_move_to_a_bucket_that_does_not_contain_theirs():
    sizes = np.array([[4, 8], [8, 4]])
    plan = EvaluationPlan(sizes, plan_buckets(sizes, 2), batch_size=2)
    assert (len(plan), plan.filler_rows) == (2, 2)
