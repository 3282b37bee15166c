import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from size_tables import draw_rows, size_tables

from fcnjax.data import BucketPlan, EpochPlan, EvaluationPlan, MixedPlan, RandomCrop, plan_buckets

HOSTS = [1, 2, 4, 8]


def one_epoch(plan: MixedPlan, epoch: int = 0) -> list:
    steps = plan.steps_per_epoch
    return [plan.step(step) for step in range(epoch * steps, (epoch + 1) * steps)]


def examples_of(step) -> list[int]:
    return [row for part in step.micro_batches for row in part.rows.tolist() if row >= 0]


@given(size_tables(), st.integers(1, 16), st.integers(1, 20), st.integers(0, 2**32), st.data())
@settings(max_examples=60)
def test_steps_are_well_formed(sizes, max_buckets, batch_size, seed, data):
    buckets = plan_buckets(sizes, max_buckets)
    plan = MixedPlan(sizes, buckets, batch_size, seed, draw_rows(data, buckets))
    assert plan.steps_per_epoch == -(-len(sizes) // batch_size)
    for epoch in (0, 3):
        steps = one_epoch(plan, epoch)
        assert sorted(row for step in steps for row in examples_of(step)) == list(range(len(sizes)))
        assert [step.examples for step in steps[:-1]] == [batch_size] * (len(steps) - 1)
        for step in steps:
            assert step.epoch == epoch
            assert step.examples == len(examples_of(step))
            used = [part.bucket for part in step.micro_batches]
            assert used == sorted(used)
            for part in step.micro_batches:
                assert part.epoch == epoch
                assert part.shape == tuple(buckets.shapes[part.bucket].tolist())
                assert part.rows.shape == (plan.rows_per_bucket[part.bucket],)
                filler = part.rows == -1
                assert not filler[0]
                assert (np.diff(filler.astype(int)) >= 0).all()
                assert (sizes[part.rows[~filler]] <= part.shape).all()


@given(size_tables(), st.integers(1, 20), st.integers(0, 2**32), st.data())
@settings(max_examples=60)
def test_which_examples_a_step_holds_does_not_depend_on_the_buckets(sizes, batch_size, seed, data):
    plans = []
    for max_buckets in (1, 4, 16):
        buckets = plan_buckets(sizes, max_buckets)
        plans.append(MixedPlan(sizes, buckets, batch_size, seed, draw_rows(data, buckets)))
    crop = RandomCrop(area=(0.35, 1.0), aspect=(3 / 4, 4 / 3))
    cropped = MixedPlan(sizes, buckets, batch_size, seed, 3, lambda epoch: crop.sizes(0, epoch, ids, sizes))
    ids = np.arange(len(sizes))
    for step in range(2 * plans[0].steps_per_epoch):
        examples = [sorted(examples_of(plan.step(step))) for plan in [*plans, cropped]]
        assert examples[1:] == examples[:-1]


@given(size_tables(), st.integers(1, 16), st.integers(1, 20), st.data())
@settings(max_examples=60)
def test_reported_figures_are_what_the_steps_hold(sizes, max_buckets, batch_size, data):
    buckets = plan_buckets(sizes, max_buckets)
    plan = MixedPlan(sizes, buckets, batch_size, 0, draw_rows(data, buckets))
    padded = [sum(len(part.rows) * np.prod(part.shape) for part in step.micro_batches) for step in one_epoch(plan)]
    assert plan.waste == pytest.approx(sum(padded) / sizes.prod(axis=1).sum() - 1)
    parts = [part for step in one_epoch(plan) for part in step.micro_batches]
    assert plan.filler_rows == sum((part.rows == -1).sum() for part in parts)
    assert (
        plan.batches_per_bucket.tolist()
        == np.bincount([p.bucket for p in parts], minlength=len(buckets.shapes)).tolist()
    )
    assert max(padded) <= plan.largest_step
    alone = 0  # micro-batches and positions if no remainder were promoted
    for step, area in zip(one_epoch(plan), padded, strict=True):
        counts = np.bincount(buckets.assign(sizes[examples_of(step)]), minlength=len(buckets.shapes))
        batches = -(-counts // plan.rows_per_bucket)
        assert len(step.micro_batches) <= batches.sum()
        assert area <= (batches * plan.rows_per_bucket * buckets.shapes.prod(axis=1)).sum()
        alone += batches.sum()
    assert len(parts) <= alone


def test_remainders_save_a_micro_batch_where_rows_are_free():
    sizes = np.array([[4]] * 5 + [[9]] * 3)
    step = MixedPlan(sizes, BucketPlan(np.array([[4], [9]])), 8, 0, 4).step(0)
    assert [(part.shape, int((part.rows >= 0).sum())) for part in step.micro_batches] == [((4,), 4), ((9,), 4)]


@given(size_tables(), st.integers(1, 5), st.integers(0, 9), st.integers(1, 9))
@settings(max_examples=40)
def test_drawn_sizes_choose_the_buckets(sizes, max_buckets, epoch, batch_size):
    ids, crop = np.arange(len(sizes)), RandomCrop(area=(0.1, 1.0))
    buckets = plan_buckets(np.concatenate([crop.sizes(0, 0, ids, sizes), sizes]), max_buckets)
    plan = MixedPlan(sizes, buckets, batch_size, 0, 2, lambda epoch: crop.sizes(0, epoch, ids, sizes))
    drawn = crop.sizes(0, epoch, ids, sizes)
    np.testing.assert_array_equal(plan.planned_sizes(epoch), drawn)
    for step in one_epoch(plan, epoch):
        for part in step.micro_batches:
            rows = part.rows[part.rows >= 0]
            assert (drawn[rows] <= part.shape).all()
            assert (buckets.assign(drawn[rows]) <= part.bucket).all()
    padded = [sum(len(part.rows) * np.prod(part.shape) for part in step.micro_batches) for step in one_epoch(plan)]
    assert plan.waste == pytest.approx(sum(padded) / crop.sizes(0, 0, ids, sizes).prod(axis=1).sum() - 1)
    assert max(padded) <= plan.largest_step


def test_the_largest_step_counts_buckets_that_only_drawn_sizes_need():
    sizes, drawn = np.array([[9], [9], [9]]), np.array([[2], [4], [9]])
    plan = MixedPlan(sizes, BucketPlan(np.array([[4], [9]])), 3, 0, [16, 1], lambda epoch: drawn)
    assert [(len(part.rows), part.shape) for part in plan.step(0).micro_batches] == [(16, (4,)), (1, (9,))]
    assert plan.largest_step >= 16 * 4 + 9


@pytest.mark.parametrize("hosts", HOSTS)
@given(size_tables(), st.integers(1, 5), st.integers(1, 20), st.data())
@settings(max_examples=25)
def test_hosts_share_every_step_in_equal_shapes(hosts, sizes, max_buckets, batch_size, data):
    buckets = plan_buckets(sizes, max_buckets)
    rows = draw_rows(data, buckets, hosts)
    mixed = MixedPlan(sizes, buckets, batch_size, 5, rows, rows_multiple_of=hosts)
    bucketed = EpochPlan(sizes, buckets, rows, 5, rows_multiple_of=hosts)
    seen = []
    for whole in one_epoch(mixed):
        shares = [whole.shard(host, hosts) for host in range(hosts)]
        assert {(share.epoch, share.examples) for share in shares} == {(whole.epoch, whole.examples)}
        for part, *parts in zip(whole.micro_batches, *(share.micro_batches for share in shares), strict=True):
            assert_shared(part, parts)
            seen += [row for share in parts for row in share.rows.tolist() if row >= 0]
    assert sorted(seen) == list(range(len(sizes)))
    for plan in (bucketed, EvaluationPlan(sizes, buckets, rows)):
        for step in map(plan.step, range(plan.steps_per_epoch)):
            assert_shared(step, [step.shard(host, hosts) for host in range(hosts)])


def assert_shared(whole, shares):
    assert {share[:3] for share in shares} == {whole[:3]}
    assert len({share.rows.shape for share in shares}) == 1
    np.testing.assert_array_equal(np.concatenate([share.rows for share in shares]), whole.rows)


@pytest.fixture
def sizes() -> np.ndarray:
    return np.random.default_rng(0).integers(16, 41, (300, 2))


def assert_same(ours, other):
    assert ours[:2] == other[:2]
    for part, other_part in zip(ours.micro_batches, other.micro_batches, strict=True):
        assert part[:3] == other_part[:3]
        np.testing.assert_array_equal(part.rows, other_part.rows)


def test_random_access_equals_sequence_and_survives_pickling(sizes):
    ids, crop = np.arange(len(sizes)), RandomCrop(area=(0.35, 1.0))
    plan = MixedPlan(sizes, plan_buckets(sizes, 4), 32, 1, 8)
    count = 3 * plan.steps_per_epoch
    in_order = [plan.step(step) for step in range(count)]
    again = pickle.loads(pickle.dumps(plan))
    for step in np.random.default_rng(1).permutation(count):
        assert_same(again.step(step), in_order[step])
    with_crop = MixedPlan(sizes, plan_buckets(sizes, 4), 32, 1, 8, lambda epoch: crop.sizes(1, epoch, ids, sizes))
    assert_same(with_crop.step(10**9), with_crop.step(10**9))


def test_epochs_and_seeds_differ(sizes):
    plans = [MixedPlan(sizes, plan_buckets(sizes, 4), 32, seed, 8) for seed in (1, 2)]
    sets = [frozenset(examples_of(step)) for plan in plans for step in one_epoch(plan, 0) + one_epoch(plan, 1)]
    assert len(set(sets)) == len(sets)


def test_first_steps_are_frozen():
    """If these numbers change, every run has a new data order, and resumed runs differ from uninterrupted ones."""
    sizes = np.arange(1, 13)[:, None]
    plan = MixedPlan(sizes, BucketPlan(np.array([[6], [12]])), 5, 0, 2)
    assert [[part.rows.tolist() for part in plan.step(step).micro_batches] for step in range(3)] == [
        [[3, 0], [7, 10], [6, -1]],
        [[4, 1], [5, -1], [11, 8]],
        [[2, 9]],
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch_size": 0}, "batch_size=0: must be 1 or more"),
        ({"seed": -1}, "seed=-1: must be 0 or more"),
        ({"micro_batch_size": 0}, "micro_batch_size=0: must be"),
        ({"micro_batch_size": [8, 8]}, r"micro_batch_size=\[8, 8\]: .* 4, one for each bucket"),
        ({"micro_batch_size": 8.0}, "micro_batch_size=8.0: must be"),
        ({"rows_multiple_of": 3}, "micro_batch_size=8: must be multiples of 3"),
        ({"rows_multiple_of": 0}, "rows_multiple_of=0: must be"),
        ({"sizes": np.array([[99, 1]])}, r"sizes\[0\]=\(99, 1\): must fit one"),
        ({"sizes_at": lambda epoch: np.full((2, 2), 16)}, r"sizes_at\(0\): must return 300 sizes, but returned 2"),
        ({"sizes_at": lambda epoch: np.full((300, 2), 99)}, r"=\(99, 99\): must fit one"),
    ],
)
def test_bad_arguments_are_refused(sizes, change, says):
    arguments = {"sizes": sizes, "buckets": plan_buckets(sizes, 4), "batch_size": 32, "seed": 0, "micro_batch_size": 8}
    with pytest.raises(ValueError, match=says):
        MixedPlan(**(arguments | change)).step(0)


@pytest.mark.parametrize(
    ("host", "hosts", "says"),
    [(0, 3, "hosts=3: must divide the 8 rows"), (2, 2, "host=2: must be 0 to 1 for 2 hosts")],
)
def test_bad_shares_and_steps_are_refused(sizes, host, hosts, says):
    plan = MixedPlan(sizes, plan_buckets(sizes, 4), 32, 0, 8)
    with pytest.raises(ValueError, match=says):
        plan.step(0).shard(host, hosts)
    with pytest.raises(ValueError, match="global_step=-1: must be 0 or more"):
        plan.step(-1)
