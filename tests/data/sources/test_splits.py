"""Slices of splits: the reference is the arithmetic of TFDS, and complements must share their boundary."""

from types import SimpleNamespace

import pytest
import tensorflow_datasets as tfds
from hypothesis import example, given
from hypothesis import strategies as st

from fcnjax.data.sources.splits import FixedOrder, parse_split, parse_term, positions, split_parts

COUNTS = st.integers(0, 70_000)
PERCENTS = st.one_of(st.integers(-100, 100), st.integers(-1000, 1000).map(lambda tenths: tenths / 10))


def tfds_span(split: str, count: int) -> range:
    infos = {"train": SimpleNamespace(num_examples=count)}
    (part,) = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
    start, stop = part.from_ or 0, count if part.to is None else part.to
    return range(start, max(start, stop))


@given(COUNTS, st.integers(0, 1000), st.integers(0, 1000), st.sampled_from([1, 10]))
@example(5, 50, 100, 1)
def test_percentages_are_those_of_tfds(count, low, high, parts):
    low, high = (f"{bound / parts:g}%" for bound in sorted((low % (100 * parts + 1), high % (100 * parts + 1))))
    for bounds in (f":{high}", f"{low}:", f"{low}:{high}"):
        split = f"train[{bounds}]"
        assert parse_term(split).span(count, strict=True) == tfds_span(split, count)


@given(COUNTS, st.data())
def test_numbers_of_examples_are_those_of_tfds(count, data):
    start, stop = (data.draw(st.integers(-count, count)) for _ in range(2))
    for split in (f"train[{start}:{stop}]", f"train[:{stop}]", f"train[{start}:]"):
        assert len(parse_term(split).span(count, strict=True)) == len(tfds_span(split, count))


@given(COUNTS, PERCENTS)
@example(15, -10)  # TFDS itself overlaps here: [:90%] holds 14 examples, [-10%:] holds 2
@example(10, -1)  # and here its [-1%:] holds everything
def test_complements_share_their_boundary(count, percent):
    before, after = (
        parse_term(f"train[{bounds}]").span(count, strict=True) for bounds in (f":{percent}%", f"{percent}%:")
    )
    assert (before.start, before.stop, after.stop) == (0, after.start, count)
    if percent < 0 and percent == int(percent):
        assert before == parse_term(f"train[:{100 + percent}%]").span(count, strict=True)
        assert before == tfds_span(f"train[:{100 + percent}%]", count)


def test_terms_are_joined_and_positions_run_on_in_the_order_of_the_names():
    counts = {"train": 10, "test": 4}
    parts = split_parts(" train[ 80% : ] + test[:1]+train[5:5]", counts, "digits")
    assert parts == [("train", 8, 10), ("test", 0, 1)]
    assert positions(parts, counts).tolist() == [12, 13, 0]
    assert [term.name for term in parse_split("*_[0-4].wav + all[:]")] == ["*_[0-4].wav", "all"]
    assert parse_term("train[:1_000]").span(2000, strict=True) == range(1000)
    assert parse_term("train[0:50%]").span(10, strict=True) == range(5)


@pytest.mark.parametrize(
    ("split", "says"),
    [
        ("tran", r"unknown split of digits: 'tran': did you mean 'train'\? Known: test, train"),
        ("train+", "unknown split of digits: ''"),
        ("train[a:]", r"split='train\[a:\]' of digits: must be a name, or a slice such as 'train"),
        ("train[1.5:]", "must be a name, or a slice"),
        ("train[5]", "must be a name, or a slice"),
        ("train[:101%]", "must have percentages of -100% to 100%; correct 101%"),
        ("train[:11]", "must stay within the 10 examples of train"),
        ("train[-11:]", "must stay within the 10 examples of train"),
        ("train[3:50%]", "must have two percentages or two numbers"),
        ("train[5:5]", r"split='train\[5:5\]' of digits: holds no example"),
        ("train[8:3]", "holds no example"),
    ],
)
def test_a_bad_split_is_refused_in_one_sentence(split, says):
    with pytest.raises(ValueError, match=says):
        split_parts(split, {"train": 10, "test": 4}, "digits", strict=True)


@pytest.mark.parametrize(
    ("split", "wanted"),
    [
        ("train[:11]", range(10)),
        ("train[-11:3]", range(3)),
        ("train[3:50%]", range(3, 5)),
        ("train[12:]", range(10, 10)),
    ],
)
def test_files_clip_numbers_as_lists_do(split, wanted):
    span = parse_term(split).span(10, strict=False)
    assert list(span) == list(wanted)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), min_size=1, max_size=40), st.integers(0, 100))
def test_slices_keep_groups_whole_and_partition_the_whole(groups, percent):
    """Groups of some class and number of examples."""
    owner = [f"g{index}" for index, (_, count) in enumerate(groups) for _ in range(count)]
    classes = [str(label) for label, count in groups for _ in range(count)]
    order = FixedOrder(classes, [str(index) for index in range(len(owner))], owner)
    cut = round(percent * len(owner) / 100)
    spans = (range(cut), range(cut, len(owner)))
    if any(span and len(span) <= max(count for _, count in groups) / 2 for span in spans):
        return  # a span that may hold no whole group is refused
    first, rest = map(order.part, spans)
    assert sorted(first + rest) == list(range(len(owner)))
    assert not {owner[index] for index in first} & {owner[index] for index in rest}
    assert abs(len(first) - cut) <= max(count for _, count in groups) / 2


def test_slices_of_groups_hold_the_classes_in_proportion():
    owner = [f"{index // 4}" for index in range(4000)]
    classes = ["ab"[index // 4 % 10 == 0] for index in range(4000)]
    order = FixedOrder(classes, [str(index) for index in range(4000)], owner)
    for fold in range(5):
        part = order.part(range(800 * fold, 800 * (fold + 1)))
        assert len(part) == 800
        assert abs(sum(classes[index] == "b" for index in part) - 80) <= 4


def test_a_slice_without_a_whole_group_is_refused():
    order = FixedOrder("abab", "0123", ["x", "x", "x", "y"])
    assert sorted(order.part(range(0, 4))) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="groups stay whole, and the largest has 3 of 4 examples"):
        order.part(range(0, 1) if order.positions[0] != 3 else range(3, 4))
