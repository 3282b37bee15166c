import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from size_tables import draw_rows, size_tables

from fcnjax.data import BucketPlan, EpochPlan, EvaluationPlan, plan_buckets

PLANS = [lambda *arguments: EpochPlan(*arguments, seed=3), EvaluationPlan]


def one_epoch(plan, epoch: int = 0) -> list:
    steps = plan.steps_per_epoch
    return [plan.step(step) for step in range(epoch * steps, (epoch + 1) * steps)]


def real_rows(steps) -> list[int]:
    return [row for step in steps for row in step.rows.tolist() if row >= 0]


@given(size_tables(), st.integers(1, 6), st.integers(0, 2**32), st.data())
@settings(max_examples=60, deadline=None)
def test_every_epoch_holds_every_example_exactly_once(sizes, max_buckets, seed, data):
    buckets = plan_buckets(sizes, max_buckets)
    plan = EpochPlan(sizes, buckets, draw_rows(data, buckets), seed)
    for epoch in range(3):
        steps = one_epoch(plan, epoch)
        assert {step.epoch for step in steps} == {epoch}
        assert sorted(real_rows(steps)) == list(range(len(sizes)))


@pytest.mark.parametrize("make", PLANS)
@given(size_tables(), st.integers(1, 6), st.data())
@settings(max_examples=40, deadline=None)
def test_steps_are_well_formed(make, sizes, max_buckets, data):
    buckets = plan_buckets(sizes, max_buckets)
    plan = make(sizes, buckets, draw_rows(data, buckets))
    ragged = Counter()
    for step in one_epoch(plan):
        assert step.shape == tuple(buckets.shapes[step.bucket].tolist())
        assert step.rows.dtype == np.int32
        assert step.rows.shape == (plan.rows_per_bucket[step.bucket],)
        filler = step.rows == -1
        assert not filler[0]
        assert (np.diff(filler.astype(int)) >= 0).all()  # fillers come after the examples
        assert (sizes[step.rows[~filler]] <= step.shape).all()
        ragged[step.bucket] += bool(filler.any())
    assert max(ragged.values()) <= 1


@pytest.mark.parametrize("make", PLANS)
@given(size_tables(), st.integers(1, 6), st.data())
@settings(max_examples=40, deadline=None)
def test_reported_figures_are_what_the_steps_hold(make, sizes, max_buckets, data):
    buckets = plan_buckets(sizes, max_buckets)
    plan = make(sizes, buckets, draw_rows(data, buckets))
    steps = one_epoch(plan)
    rows = plan.rows_per_bucket
    assert plan.filler_rows == sum(int((step.rows == -1).sum()) for step in steps)
    padded = [len(step.rows) * np.prod(step.shape) for step in steps]
    assert plan.waste == pytest.approx(sum(padded) / sizes.prod(axis=1).sum() - 1)
    assert plan.largest_step == max(padded)
    assert (
        plan.batches_per_bucket.tolist() == np.bincount([step.bucket for step in steps], minlength=len(rows)).tolist()
    )
    alone = -(-np.bincount(buckets.assign(sizes), minlength=len(rows)) // rows)  # batches if no remainder were promoted
    assert sum(padded) <= (alone * rows * buckets.shapes.prod(axis=1)).sum()
    assert -(-len(sizes) // rows.max()) <= len(steps) <= alone.sum()


@pytest.fixture
def sizes() -> np.ndarray:
    return np.random.default_rng(0).integers(16, 41, (300, 2))


def test_random_access_equals_sequence(sizes):
    buckets = plan_buckets(sizes, 4)
    first, second = EpochPlan(sizes, buckets, 8, seed=1), EpochPlan(sizes, buckets, 8, seed=1)
    count = 5 * first.steps_per_epoch
    in_order = [first.step(step) for step in range(count)]
    for step in np.random.default_rng(1).permutation(count):
        ours = second.step(step)
        assert ours[:3] == in_order[step][:3]
        np.testing.assert_array_equal(ours.rows, in_order[step].rows)


def test_epochs_and_seeds_differ(sizes):
    buckets = plan_buckets(sizes, 4)
    plan, other = EpochPlan(sizes, buckets, 8, seed=1), EpochPlan(sizes, buckets, 8, seed=2)
    orders = [real_rows(one_epoch(plan, 0)), real_rows(one_epoch(plan, 1)), real_rows(one_epoch(other, 0))]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]
    assert [step.bucket for step in one_epoch(plan, 0)] != [step.bucket for step in one_epoch(plan, 1)]


def test_company_changes_from_epoch_to_epoch(sizes):
    """An epoch draws which examples share a batch, not only the order of the batches."""
    plan = EpochPlan(sizes, plan_buckets(sizes, 4), 8, seed=1)
    batches = [{frozenset(step.rows.tolist()) for step in one_epoch(plan, epoch)} for epoch in (0, 1)]
    assert not batches[0] & batches[1]


def test_first_steps_are_frozen():
    """If these numbers change, every run has a new data order, and resumed runs differ from uninterrupted ones."""
    sizes = np.arange(1, 13)[:, None]
    plan = EpochPlan(sizes, BucketPlan(np.array([[6], [12]])), batch_size=3, seed=0)
    assert [plan.step(step).rows.tolist() for step in range(4)] == [[3, 0, 4], [7, 10, 6], [11, 8, 9], [1, 5, 2]]


def test_plan_survives_pickling(sizes):
    plan = EpochPlan(sizes, plan_buckets(sizes, 4), 8, seed=1)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(plan)).step(77).rows, plan.step(77).rows)


def test_evaluation_keeps_the_order_within_a_bucket(sizes):
    plan = EvaluationPlan(sizes, plan_buckets(sizes, 4), 7)
    assert sorted(real_rows(plan)) == list(range(len(sizes)))
    assert [step.bucket for step in plan] == sorted(step.bucket for step in plan)
    for step in plan:
        assert real_rows([step]) == sorted(real_rows([step]))
    with pytest.raises(IndexError, match=f"global_step={len(plan)}: must be 0 to {len(plan) - 1}"):
        plan.step(len(plan))


def test_a_later_change_of_the_table_does_not_reach_the_plan(sizes):
    plan = EvaluationPlan(sizes, plan_buckets(sizes, 4), 7)
    before = plan.sizes.copy()
    sizes[:] = 16
    np.testing.assert_array_equal(plan.sizes, before)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch_size": 0}, "batch_size=0: must be"),
        ({"batch_size": [8, 8, 0, 8]}, r"batch_size=\[8, 8, 0, 8\]: must be"),
        ({"batch_size": [8, 8]}, r"batch_size=\[8, 8\]: .* or 4, one for each bucket"),
        ({"batch_size": [8, 8, 8, 4], "rows_multiple_of": 8}, "batch_size=.*: must be multiples of 8"),
        ({"seed": -1}, "seed=-1: must be 0 or more"),
        ({"sizes": np.array([[99, 1]])}, r"sizes\[0\]=\(99, 1\): must fit one"),
        ({"sizes": np.array([[9]])}, "D = 2"),
    ],
)
def test_bad_arguments_are_refused(sizes, change, says):
    arguments = {"sizes": sizes, "buckets": plan_buckets(sizes, 4), "batch_size": 8, "seed": 0}
    with pytest.raises(ValueError, match=says):
        EpochPlan(**(arguments | change))


def test_negative_steps_are_refused(sizes):
    with pytest.raises(ValueError, match="global_step=-1: must be 0 or more"):
        EpochPlan(sizes, plan_buckets(sizes, 4), 8, seed=0).step(-1)
