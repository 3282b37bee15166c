"""Several sources as one."""

import numpy as np
import pytest

from fcnjax.data import ArraySource, JoinedSource


def make(count: int, first_id: int, names=("a", "b"), channels: int = 1) -> ArraySource:
    values = [np.full((2 + i, 3, channels), first_id + i, np.float32) for i in range(count)]
    return ArraySource(values, [i % 2 for i in range(count)], names, first_id=first_id)


def test_examples_follow_each_other_with_all_that_is_known_of_them():
    parts = make(3, 10), make(1, 2), make(2, 50)
    joined = JoinedSource(parts)
    every = [part[index] for part in parts for index in range(len(part))]
    assert len(joined) == len(every) == 6
    for index, example in enumerate(every):
        for read in (joined[index], joined.read(index, (1, 1))):
            assert (read.id, read.label) == (example.id, example.label) == (joined.ids[index], joined.labels[index])
            np.testing.assert_array_equal(read.values, example.values)
        assert tuple(joined.sizes[index]) == example.values.shape[:2]
    assert joined.name_of(3) == "example 2"
    with pytest.raises(IndexError, match="index=6: must be 0 to 5"):
        joined[6]


def test_names_and_unknown_labels_are_kept():
    first, second = make(2, 0), make(2, 5)
    second.names = ["x.png", "y.png"]
    second.labels = None  # pyright: ignore[reportAttributeAccessIssue]
    joined = JoinedSource([first, second])
    assert list(joined.names) == ["example 0", "example 1", "x.png", "y.png"]
    assert joined.labels is None


def test_contents_change_with_any_part():
    first, second = make(2, 0), make(2, 5)
    assert JoinedSource([first, second]).contents == JoinedSource([make(2, 0), make(2, 5)]).contents
    assert JoinedSource([first, second]).contents.sha256 != JoinedSource([first, make(2, 6)]).contents.sha256


def test_parts_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="must have different ids, and 1 occur more than once, such as 3"):
        JoinedSource([make(2, 2), make(2, 3)])
    for other in (make(2, 5, ("a", "c")), make(2, 5, channels=2)):
        with pytest.raises(ValueError, match="must all have the same channels and classes"):
            JoinedSource([make(2, 0), other])
