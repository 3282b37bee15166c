from itertools import islice

import numpy as np
import pytest

from fcnjax.data import ArraySource, EpochPlan, EvaluationPlan, load_batches, plan_buckets

MEAN, STD = 0.3, 0.35


@pytest.fixture(scope="module")
def plan(digits) -> EpochPlan:
    sizes = digits["train"].sizes
    return EpochPlan(sizes, plan_buckets(sizes, 8), 32, seed=5)


def assert_equal(items, others):
    for (step, batch), (other_step, other_batch) in zip(items, others, strict=True):
        assert step[:3] == other_step[:3]
        np.testing.assert_array_equal(step.rows, other_step.rows)
        assert batch.unreadable == other_batch.unreadable
        for array, other_array in zip(batch[:4], other_batch[:4], strict=True):
            assert array.dtype == other_array.dtype
            np.testing.assert_array_equal(array, other_array)


def test_batches_hold_the_normalized_examples_and_zeros(digits, plan):
    """Against numpy on one example at a time."""
    source = digits["train"]
    for step, batch in load_batches(source, plan, mean=MEAN, std=STD, stop_step=plan.steps_per_epoch):
        assert batch.values.shape == (32, *step.shape, 1)
        assert [array.dtype for array in batch[:4]] == [np.float32, np.int32, np.int32, np.int32]
        for row, index in enumerate(step.rows.tolist()):
            wanted = np.zeros((*step.shape, 1))
            if index < 0:
                assert (batch.ids[row], batch.labels[row], *batch.sizes[row]) == (-1, 0, 0, 0)
            else:
                example = source[index]
                height, width = example.values.shape[:2]
                wanted[:height, :width] = (example.values / 255 - MEAN) / STD
                assert (batch.ids[row], batch.labels[row]) == (example.id, example.label)
                assert batch.sizes[row].tolist() == [height, width]
            np.testing.assert_allclose(batch.values[row], wanted, atol=1e-6)
            assert (batch.values[row] == 0)[wanted == 0].all()


def test_an_epoch_holds_every_example_once_and_wastes_what_was_planned(digits, plan):
    ids, padded, real, filler = [], 0, 0, 0
    for _, batch in load_batches(digits["train"], plan, mean=MEAN, std=STD, stop_step=plan.steps_per_epoch):
        ids += batch.ids[batch.ids >= 0].tolist()
        padded += batch.values[..., 0].size
        real += batch.sizes.prod(axis=1).sum()
        filler += int((batch.ids < 0).sum())
    source = digits["train"]
    assert sorted(ids) == [source[index].id for index in range(len(source))]
    assert plan.waste == pytest.approx(padded / real - 1)
    assert plan.filler_rows == filler


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_resuming_gives_the_same_batches(digits, plan, threads):
    """Across the end of an epoch, and with another number of threads."""
    start, stop = plan.steps_per_epoch - 3, plan.steps_per_epoch + 4
    source = digits["train"]
    whole = list(load_batches(source, plan, mean=MEAN, std=STD, stop_step=stop))
    resumed = load_batches(source, plan, mean=MEAN, std=STD, start_step=start, stop_step=stop, threads=threads)
    assert_equal(whole[start:], resumed)


def test_training_has_no_end_and_evaluation_has(digits, plan):
    batches = load_batches(digits["train"], plan, mean=MEAN, std=STD, start_step=10**9)
    assert next(batches)[0].epoch == 10**9 // plan.steps_per_epoch
    source = digits["test"]
    evaluation = EvaluationPlan(source.sizes, plan_buckets(source.sizes, 4), 64)
    batches = list(load_batches(source, evaluation, mean=MEAN, std=STD))
    assert len(batches) == len(evaluation)
    assert sum((batch.ids >= 0).sum() for _, batch in batches) == 400
    assert list(load_batches(source, evaluation, mean=MEAN, std=STD, start_step=len(evaluation))) == []


@pytest.mark.parametrize("spatial", [(5,), (5, 3), (5, 3, 2)])
def test_one_to_three_axes_and_several_channels(spatial):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(*[extent + grow for extent in spatial], 2)) for grow in range(4)]
    source = ArraySource(arrays, [0, 1, 1, 0])
    evaluation = EvaluationPlan(source.sizes, plan_buckets(source.sizes, 2), 3)
    for step, batch in load_batches(source, evaluation, mean=[0.0, 1.0], std=[1.0, 2.0]):
        for row, index in enumerate(step.rows.tolist()):
            if index >= 0:
                inside = batch.values[(row, *map(slice, arrays[index].shape[:-1]))]
                np.testing.assert_allclose(inside, (arrays[index] - [0, 1]) / [1, 2], atol=1e-6)


def test_float_values_are_not_divided_by_255():
    source = ArraySource([np.full((2, 2, 1), 0.5), np.full((2, 2, 1), 255, np.uint8)], [0, 1])
    evaluation = EvaluationPlan(source.sizes, plan_buckets(source.sizes), 2)
    ((_, batch),) = load_batches(source, evaluation, mean=0.0, std=1.0)
    np.testing.assert_allclose(batch.values[:, 0, 0, 0], [0.5, 1.0])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mean": [0.1, 0.2]}, r"mean=\[0.1, 0.2\]: must be"),
        ({"mean": np.nan}, "mean=nan: must be"),
        ({"std": 0.0}, "std=0.0: must be"),
        ({"threads": 0}, "threads=0: must be"),
        ({"prefetch": 0}, "prefetch=0: must be"),
        ({"workers": -1}, "workers=-1: must be"),
        ({"host": 1}, "host=1: must be 0 to 0 for 1 hosts"),
        ({"hosts": 3}, "hosts=3: must divide the rows .* rows_multiple_of=3"),
        ({"seed": -1}, "seed=-1: must be"),
        ({"on_error": "ignore"}, "on_error='ignore': must be"),
        ({"start_step": -1}, "start_step=-1: must be"),
        ({"start_step": 9, "stop_step": 8}, "start_step=9: must be"),
    ],
)
def test_bad_arguments_are_refused(digits, plan, change, says):
    with pytest.raises(ValueError, match=says):
        load_batches(digits["train"], plan, **({"mean": MEAN, "std": STD} | change))


def test_a_plan_for_another_split_is_refused(digits, plan):
    with pytest.raises(
        ValueError, match="plan: must be made from the sizes of the source's 400 examples, but was made from 1197"
    ):
        load_batches(digits["test"], plan, mean=MEAN, std=STD)


def test_data_that_left_its_size_table_is_named():
    source = ArraySource([np.ones((2, 2, 1)), np.ones((3, 3, 1))], [0, 1])
    evaluation = EvaluationPlan(source.sizes, plan_buckets(source.sizes, 1), 2)
    source._values[1] = np.ones((2, 3, 1), np.float32)
    with pytest.raises(ValueError, match=r"source\[1\]: example 1 has size \(2, 3\), but the size table says \(3, 3\)"):
        list(islice(load_batches(source, evaluation, mean=0.0, std=1.0), 1))
