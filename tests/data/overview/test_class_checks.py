"""Classes that training does not have, under their own or another spelling."""

import unicodedata

import numpy as np
import pytest

from fcnjax.data.overview.class_checks import absent_classes, check_classes, class_notes, other_classes


def counts(**splits):
    return {name: np.array(each) for name, each in splits.items()}


@pytest.mark.parametrize(
    ("trained", "tested", "differs"),
    [
        ("Cat", "cat", "case"),
        (unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café"), "Unicode form"),
        ("red fox", " red  fox", "blanks"),
        ("Red fox", "red fox ", "case, Unicode form or blanks"),
        ("african_elephant", "african_elefant", "spelling"),
    ],
)
def test_the_twin_of_an_absent_class_is_named_and_how_it_differs(trained, tested, differs):
    names = [trained, tested, "zebra"]
    (absent,) = absent_classes(names, counts(train=[9, 0, 9], validation=[1, 0, 1], test=[0, 7, 2]))
    assert (absent.name, absent.counts, absent.twin, absent.differs) == (tested, {"test": 7}, trained, differs)
    with pytest.raises(
        ValueError, match=r"absent_classes=refuse: .* 1 of 3 has none: .* \(7 in test; train has .*allow"
    ):
        check_classes(names, [absent])


def test_similar_classes_that_are_all_there_are_no_twins():
    names = ["class00", "class01", "african_elephant", "african_elefant"]
    absent = absent_classes(names, counts(train=[0, 16, 5, 0], test=[1, 2, 2, 1]))
    assert [(each.name, each.twin) for each in absent] == [("class00", None), ("african_elefant", None)]


def test_classes_that_other_splits_hold_come_first_and_a_long_list_is_cut():
    names = [f"c{index:03}x" for index in range(100)]
    absent = absent_classes(names, counts(train=[1] + [0] * 99, test=[0] * 99 + [4]))
    assert absent[0].text == "'c099x' (4 in test)"
    assert absent[1].text == "'c001x' (none in any split)"
    with pytest.raises(ValueError, match="99 of 100 have none: 'c099x' .* and 94 more; make the names agree") as caught:
        check_classes(names, absent)
    assert len(str(caught.value)) < 500


def test_names_that_could_not_be_printed_are_escaped():
    (absent,) = absent_classes(["\x1b[2J", "\n"], counts(train=[0, 1], test=[1, 1]))
    assert absent.text == r"'\x1b[2J' (1 in test)"


def test_unknown_labels_are_not_checked():
    assert absent_classes(["a", "b"], {"train": None, "test": np.array([1, 1])}) == ()
    assert class_notes(["a", "b"], {"train": None, "test": np.array([1, 0])}) == ([], [])


def test_rare_classes_and_those_that_a_split_lacks_are_noted_and_twins_in_training_warned_of():
    notes, warnings = class_notes(["Cat", "cat", "dog"], counts(train=[9, 9, 4], test=[2, 2, 0]))
    assert notes == [
        "1 of 3 classes has no test example: dog",
        "1 class has fewer than 5 training examples: dog (4)",
    ]
    assert warnings == ["classes 'Cat' and 'cat' differ in case alone; are they one?"]


def test_splits_whose_classes_differ_are_told_apart_by_names_alone():
    assert other_classes("test", ["a", "b"], ["a", "c"]) == "only train has 'c' and only test has 'b'"
    assert other_classes("test", ["b", "a"], ["a", "b"]) == "they are in another order"
