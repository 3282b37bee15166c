"""Labels in another list of classes: matched by name, whatever the order, and unknown classes never silently lost."""

import numpy as np
import pytest

from fcnjax.data import ArraySource, Example, RelabeledSource, UnreadableExample, as_source


class Lazy:
    """Examples of classes c, a, x, whose labels are unknown until they are read; the one at 1 cannot be decoded."""

    sizes, ids, channels, class_names = np.ones((4, 2), np.int32), np.arange(4, dtype=np.int32), 1, ("c", "a", "x")

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 1:
            raise UnreadableExample("1.png", "damaged")
        return Example(index, np.full((1, 1, 1), index, np.uint8), (0, 0, 1, 2)[index])


def arrays(labels, names) -> ArraySource:
    return ArraySource([np.full((1, 1, 1), index, np.uint8) for index in range(len(labels))], labels, names)


def test_labels_count_in_the_other_list_whatever_the_order():
    source = RelabeledSource(arrays([0, 1, 1, 0], ("c", "a")), ("a", "b", "c"))
    assert source.labels is not None
    assert source.labels.tolist() == [2, 0, 0, 2] == [source[i].label for i in range(4)]
    assert [source.read(i).label for i in range(4)] == [2, 0, 0, 2]
    assert [source[i].values.item() for i in range(4)] == [0, 1, 2, 3]
    assert (source.class_names, dict(source.skipped)) == (("a", "b", "c"), {})


def test_unknown_classes_are_refused_by_name_or_skipped_and_counted():
    given = arrays([0, 1, 2, 0, 3, 1], ("cat", "dgo", "fish", "no example", "owl")[:4])
    with pytest.raises(ValueError, match=r"^unknown class 'dgo': did you mean 'dog'\? .*Also unknown: 'fish', 'no"):
        RelabeledSource(given, ("dog", "cat"))
    source = RelabeledSource(given, ("dog", "cat"), "skip")
    assert source.skipped == {"dgo": 2, "fish": 1, "no example": 1}
    assert [source[i].values.item() for i in range(len(source))] == [0, 3]
    assert source.ids.tolist() == [0, 3]
    with pytest.raises(ValueError, match="all 6 examples have classes that the model lacks: unknown class 'cat'"):
        RelabeledSource(given, ("a", "b"), "skip")
    with pytest.raises(ValueError, match="unknown unknown_classes 'ignore'"):
        RelabeledSource(given, ("dog", "cat"), "ignore")


def test_a_class_without_examples_need_not_be_known():
    assert RelabeledSource(arrays([0, 0], ("cat", "owl")), ("dog", "cat")).labels.tolist() == [1, 1]  # pyright: ignore


def test_labels_that_are_unknown_until_examples_are_read_are_read_once():
    source = RelabeledSource(as_source(Lazy()), ("a", "b", "c"), "skip")
    assert source.labels.tolist() == [2, -1, 0]  # pyright: ignore[reportOptionalMemberAccess]
    assert source.skipped == {"x": 1}
    assert [source[i].label for i in (0, 2)] == [2, 0]
    with pytest.raises(UnreadableExample):
        source[1]
