"""Divisions of a data set: stratified, complete, paired between arms, and different for every seed."""

import numpy as np
import pytest

from fcnjax import lab
from fcnjax.data import ArraySource, Source
from fcnjax.lab.draws import Draws, labels_of, same_examples, sizes_by_id

CLASSES = ["a", "b", "c"]


def make_source(count: int, first_id: int, *, known: bool = True) -> Source:
    rng = np.random.default_rng(first_id)
    values = [np.full((*rng.integers(3, 9, size=2), 1), first_id + i, np.float32) for i in range(count)]
    source = ArraySource(values, np.arange(count) * 7 % 3, CLASSES, first_id=first_id)
    if not known:
        source.labels = None  # pyright: ignore[reportAttributeAccessIssue]
    return source


def make_sources(**options) -> dict[str, Source]:
    counts = {"train": (40, 0), "validation": (9, 100), "test": (20, 200)}
    return {split: make_source(*count, **options) for split, count in counts.items()}


def setting(**changes) -> lab.Setting:
    return lab.Setting("some.py", **changes)


@pytest.mark.parametrize("known", [True, False])
def test_folds_are_stratified_and_each_example_is_tested_once_per_seed(known):
    sources = make_sources(known=known)
    draws = Draws(sources, setting(folds=5))
    everything = {*sources["train"].ids.tolist(), *sources["test"].ids.tolist()}
    assert set(draws.pool.ids.tolist()) == everything
    for seed in range(2):
        tested = []
        for fold in range(5):
            splits = draws.sources(seed, fold)
            train, test = (set(splits[name].ids.tolist()) for name in ("train", "test"))
            assert not train & test
            assert train | test == everything
            assert splits["validation"] is sources["validation"]
            counts = np.bincount(labels_of(splits["test"]), minlength=3)
            assert np.abs(counts - np.array([21, 20, 19]) / 5).max() < 1
            tested += sorted(test)
            for index in range(len(test)):  # an example keeps its values, label and size
                example = splits["test"][index]
                assert np.all(example.values == example.id)
                assert example.id == splits["test"].ids[index]
                assert example.values.shape[:2] == tuple(splits["test"].sizes[index])
        assert sorted(tested) == sorted(everything)
    first, other, again = (draws.sources(seed, 0)["test"].ids for seed in (0, 1, 0))
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(first, again)


def test_with_one_fold_the_test_split_stays():
    sources = make_sources()
    draws = Draws(sources, setting(folds=1))
    assert draws.pool is sources["test"]
    assert draws.sources(3, 0) == sources


def test_repeated_ids_and_too_many_folds_are_refused():
    sources = make_sources()
    with pytest.raises(ValueError, match="must have different ids, and 20 occur more than once, such as 0"):
        Draws({**sources, "test": make_source(20, 0)}, setting(folds=1))
    with pytest.raises(ValueError, match=r"folds=50 of some.py: must be at most 19, the number of examples of the sm"):
        Draws(sources, setting(folds=50))


def test_few_examples_are_stratified_nested_and_of_the_seed():
    draws = Draws(make_sources(), setting(folds=2, train_examples=15))
    train = draws.sources(0, 1)["train"]
    assert len(train) == 15
    assert np.bincount(labels_of(train)).tolist() == [5, 5, 5]
    sources = make_sources()
    ids = {count: set(lab.few_examples(count)(sources, 7)["train"].ids.tolist()) for count in (1, 12, 13, 40)}
    assert [len(each) for each in ids.values()] == [1, 12, 13, 40]
    assert ids[1] < ids[12] < ids[13] < ids[40]
    assert ids[12] != set(lab.few_examples(12)(sources, 8)["train"].ids.tolist())
    assert lab.few_examples(12)(sources, 7)["test"] is sources["test"]
    with pytest.raises(ValueError, match="count=41: must be at most 40, the number of training examples"):
        lab.few_examples(41)(sources, 0)
    with pytest.raises(ValueError, match="count=0: must be at least 1"):
        lab.few_examples(0)


def test_shuffled_labels_change_training_labels_alone():
    sources = make_sources()
    shuffled = lab.shuffled_labels()(sources, 0)
    train, before = shuffled["train"], sources["train"]
    assert shuffled["test"] is sources["test"]
    assert not np.array_equal(labels_of(train), labels_of(before))
    np.testing.assert_array_equal(np.bincount(labels_of(train)), np.bincount(labels_of(before)))
    for index in range(len(train)):
        example = train[index]
        assert example.label == labels_of(train)[index] == train.read(index).label
        np.testing.assert_array_equal(example.values, before[index].values)
    assert train.contents.sha256 != before.contents.sha256
    other = lab.shuffled_labels()(sources, 1)["train"]
    assert not np.array_equal(labels_of(other), labels_of(train))
    assert other.contents.sha256 != train.contents.sha256


def test_changes_are_told_apart_by_their_text():
    assert repr(lab.few_examples(5)) == "FewExamples(count=5)"
    assert repr(lab.shuffled_labels()) == "ShuffledLabels()"


def test_the_same_examples_may_have_other_sizes():
    a, b = make_source(5, 0), make_source(5, 1)
    resized = ArraySource([np.ones((20, 20, 1))] * 5, labels_of(a), CLASSES)
    assert same_examples(a, resized)
    assert not same_examples(a, b)
    assert not same_examples(a, ArraySource([np.ones((20, 20, 1))] * 5, [0] * 5, CLASSES))
    sizes = sizes_by_id({"train": a, "test": make_source(3, 50)})
    assert sizes[2] == tuple(a.sizes[2])
    assert len(sizes) == 8
