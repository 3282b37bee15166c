"""What two splits share: found in files and arrays, counted, and not where there is nothing."""

import numpy as np
import pytest
from PIL import Image

from fcnjax.data import (
    ArraySource,
    FolderSource,
    JoinedSource,
    PartialSource,
    RelabeledSource,
    ResizedSource,
    SizePolicy,
    as_source,
)
from fcnjax.data.overview import leakage
from fcnjax.data.overview.leakage import PART, check_leaks, find_leaks
from fcnjax.data.overview.origin import positions_in


def arrays(values, first_id=0, groups=None):
    source = ArraySource(values, [index % 2 for index in range(len(values))], first_id=first_id)
    source.groups = groups
    return source


def drawn(count, seed, shape=(6, 7, 1)):
    return list(np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8))


def texts(sources, **options):
    leaks, notes = find_leaks(sources, one_data_set=options.pop("one_data_set", False), **options)
    assert not notes
    return [leak.text for leak in leaks]


def test_splits_that_share_nothing():
    assert texts({"train": arrays(drawn(9, 0)), "test": arrays(drawn(9, 1))}) == []


def test_equal_ids_are_one_example_only_within_a_data_set():
    train, test = arrays(drawn(6, 0)), arrays(drawn(4, 1), first_id=4)
    assert texts({"train": train, "test": test}) == []
    assert texts({"train": train, "test": test}, one_data_set=True) == [
        "2 of 4 examples of test are also in train, such as example 4"
    ]


def test_equal_arrays_are_found_behind_policies_and_selections_and_not_told_twice():
    values = drawn(8, 0)
    whole = arrays([*values, *drawn(4, 1), values[2], values[5]], first_id=100)
    test = PartialSource(whole, np.array([9, 12, 13]), {})
    train = ResizedSource(PartialSource(whole, np.arange(8), {}), SizePolicy(max_side=4))
    assert texts({"train": train, "test": test}) == [
        "2 of 3 examples of test are also in train, such as example 102 = example 112"
    ]
    both = PartialSource(whole, np.array([2, 13]), {})  # example 102 is there twice, but it is one example
    assert texts({"train": train, "test": both}, one_data_set=True) == [
        "1 of 2 examples of test is also in train, such as example 102",
        "1 of 2 examples of test is also in train, such as example 105 = example 113",
    ]


def test_items_and_joined_sources_are_compared_with_arrays_if_they_are_small(monkeypatch):
    values = drawn(6, 0)
    test = arrays([*drawn(1, 1), values[4]], first_id=100)
    items = as_source([(each, index % 2) for index, each in enumerate(values)])
    joined = JoinedSource([arrays(values[:3]), RelabeledSource(arrays(values[3:], 3), ("0", "1"))])
    part = ResizedSource(PartialSource(joined, np.array([1, 2, 4]), {}), SizePolicy(max_side=4))
    for train in (items, joined, part):
        assert [text[:55] for text in texts({"train": train, "test": test})] == [
            "1 of 2 examples of test is also in train, such as examp"
        ]
    monkeypatch.setattr(leakage, "MAX_READ", 6 * 42 - 1)
    leaks, (note,) = find_leaks({"train": items, "test": test}, one_data_set=False)
    assert (leaks, note[:61]) == ((), "the examples of train were not compared with those of other s")
    assert len(texts({"train": items, "test": test}, max_opened=None)) == 1


def test_a_source_of_equal_length_in_another_order_is_compared_by_ids():
    inner = arrays(drawn(4, 0))
    turned = PartialSource(inner, np.array([3, 2, 1, 0]), {})
    assert positions_in(inner, turned).tolist() == [3, 2, 1, 0]


def test_arrays_of_the_same_bytes_but_another_shape_or_type_differ():
    zeros = np.zeros((4, 4, 1), np.uint8)
    assert texts({"train": arrays([zeros]), "test": arrays([zeros.reshape(2, 8, 1)])}) == []
    assert texts({"train": arrays([zeros.astype(np.float32)]), "test": arrays([np.zeros((8, 8, 1), np.uint8)])}) == []


def test_large_arrays_that_differ_outside_of_the_part_compared_first():
    first = np.zeros((2 * PART, 1), np.uint8)
    second = first.copy()
    second[-1] = 1
    assert texts({"train": arrays([first]), "test": arrays([second])}) == []
    assert len(texts({"train": arrays([first]), "test": arrays([first.copy()])})) == 1


@pytest.fixture
def folder(tmp_path):
    pictures = drawn(9, 0, (5, 4, 3))
    for index, (split, label) in enumerate([("train", "a"), ("train", "b"), ("test", "a"), ("test", "b")] * 2):
        path = tmp_path / split / label / f"{index}.bmp"  # without compression: all files have one size
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures[index]).save(path)
    (tmp_path / "test" / "b" / "copy.bmp").write_bytes((tmp_path / "train" / "a" / "4.bmp").read_bytes())
    return tmp_path


def test_equal_files_are_found_and_named(folder):
    sources = {name: FolderSource.images(folder, name) for name in ("train", "test")}
    text = "1 of 5 files of test is also in train, such as train/a/4.bmp = test/b/copy.bmp"
    assert texts(sources, one_data_set=True) == [text]
    leaks, _ = find_leaks(sources, one_data_set=True)
    with pytest.raises(ValueError, match=r"^config.data.leakage=refuse: .* train/a/4.bmp = test/b/copy.bmp; remove"):
        check_leaks(leaks)
    check_leaks(())


def test_files_of_other_sizes_are_never_opened_and_too_many_are_left_out_and_said(folder, monkeypatch):
    sources = {name: FolderSource.images(folder, name) for name in ("train", "test")}
    leaks, notes = find_leaks(sources, one_data_set=True, max_opened=8)
    assert (leaks, notes) == (
        (),
        ("the contents of 9 files of equal sizes were not compared; 'fcnjax data' compares them",),
    )
    for path in sources["test"].paths:
        path.write_bytes(path.read_bytes() + b"\0")
    monkeypatch.setattr(leakage, "_read_part", lambda path: pytest.fail(f"{path} was opened"))
    sources["test"] = FolderSource.images(folder, "test")
    assert texts(sources, one_data_set=True) == []


def test_equal_checksums_of_a_part_are_not_enough(folder, monkeypatch):
    files = {name: FolderSource.images(folder, name) for name in ("train", "test")}
    monkeypatch.setattr(leakage.zlib, "crc32", lambda content: 0)
    assert [text[:23] for text in texts(files, one_data_set=True)] == ["1 of 5 files of test is"]
    assert texts({"train": arrays(drawn(9, 0)), "test": arrays(drawn(9, 1))}) == []


def test_files_that_have_vanished_are_no_leak(folder):
    sources = {name: FolderSource.images(folder, name) for name in ("train", "test")}
    for source in sources.values():
        for path in source.paths:
            path.unlink()
    assert texts(sources, one_data_set=True) == []


def test_shared_groups_are_counted_with_the_largest_named():
    train = arrays(drawn(4, 0), groups=["ann", "bob", "eve", "\0a.png"])
    test = arrays(drawn(5, 1), groups=["bob", "bob", "ann", "zoe", "\0b.png"])
    assert texts({"train": train, "test": test}) == [
        "2 of 3 groups of test are also in train, such as 'bob' (2 examples of test)"
    ]
