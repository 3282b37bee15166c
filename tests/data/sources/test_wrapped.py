from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fcnjax.data import (
    ArraySource,
    EpochPlan,
    Example,
    PartialSource,
    ResizedSource,
    SizePolicy,
    Source,
    as_source,
    load_batches,
    plan_buckets,
)
from fcnjax.data.decoding.item_values import as_signal

TALL, WIDE = np.full((5, 2, 1), 3, np.uint8), np.full((2, 7, 1), 4, np.uint8)


class Items:
    """An object that has only the two methods, and counts its reads."""

    def __init__(self, items):
        self.items, self.reads = items, 0

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        self.reads += 1
        return self.items[index]


@pytest.mark.parametrize(
    "items",
    [
        [(TALL, 0), (WIDE, 1)],
        [[TALL, np.int64(0)], [WIDE, np.array(1)]],
        [{"image": TALL, "label": 0}, {"values": WIDE, "label": 1, "file": "b.png"}],
        [{"image": TALL[..., 0], "label": 0}, {"image": WIDE[..., 0], "label": 1}],
        [(Image.fromarray(TALL[..., 0]), 0), (Image.fromarray(WIDE[..., 0]), 1)],
        [Example(0, TALL, 0), Example(1, WIDE, 1)],
    ],
)
def test_every_kind_of_item_is_the_same_example(items):
    source = as_source(Items(items), ["tall", "wide"])
    assert (len(source), source.channels, source.class_names) == (2, 1, ("tall", "wide"))
    assert source.sizes.tolist() == [[5, 2], [2, 7]]
    for index, values in enumerate((TALL, WIDE)):
        assert (source[index].id, source[index].label) == (index, index)
        assert source[index].values.dtype == np.uint8
        np.testing.assert_array_equal(source[index].values, values)


def test_torch_data_sets():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.ones(3, 4, 5, 2), torch.tensor([0, 1, 1]))
    source = as_source(data)
    assert source.sizes.tolist() == [[4, 5]] * 3
    assert (source[2].label, source[2].values.dtype, source.class_names) == (1, np.float32, ("0", "1"))


def test_audio_is_made_a_signal_of_full_scale_one():
    source = as_source([{"audio": np.array([-(2**15), 2**14], np.int16), "label": 0}, {"audio": [0.5] * 3, "label": 1}])
    assert source.sizes.tolist() == [[2], [3]]
    assert source[0].values.tolist() == [[-1.0], [0.5]]
    assert source[1].values.dtype == np.float32


def test_integer_samples_have_the_full_scale_of_their_type():
    as_types = {
        np.int8: -64,
        np.uint8: 64,
        np.int16: -(2**14),
        np.uint16: 2**14,
        np.int32: -(2**30),
        np.int64: -(2**14),
    }
    for dtype, half in as_types.items():
        np.testing.assert_array_equal(as_signal(np.array([half], dtype)), np.array([[-0.5]], np.float32), str(dtype))
    with pytest.raises(ValueError, match="samples of int64 from 0 to 1073741824: must be of 16 bits"):
        as_signal([0, 2**30])


def test_labels_may_be_names():
    source = as_source([(TALL, "tall"), (WIDE, np.str_("broad"))])
    assert (source.class_names, source.labels.tolist(), source[0].label) == (("broad", "tall"), [1, 0], 1)
    given = as_source([(TALL, "tall")], ["wide", "tall"], sizes=[(5, 2)])
    assert given[0].label == 1


def test_examples_keep_their_ids():
    source = as_source([Example(7, TALL, 0), Example(5, WIDE, 1)])
    assert source.ids.tolist() == [7, 5]
    assert source[1].id == 5


def test_given_sizes_avoid_the_pass():
    items = Items([(TALL, 0), (WIDE, 1)])
    source = as_source(items, ["tall", "wide"], sizes=[(5, 2), (2, 7)])
    assert items.reads == 1  # for the channels
    assert source[1].label == 1


def test_a_source_is_returned_as_it_is():
    source = ArraySource([TALL], [0])
    assert as_source(source) is source


class Members:
    """A user's object with the required members of a source; `extra` holds the members that have defaults."""

    def __init__(self, **extra):
        self.sizes, self.ids = np.array([[5, 2], [2, 7]], np.int32), np.array([4, 9], np.int32)
        self.class_names, self.channels = ("tall", "wide"), 1
        self.__dict__ |= extra

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return Example(int(self.ids[index]), (TALL, WIDE)[index], index)


def test_an_object_with_the_members_of_a_source_is_one():
    source = as_source(Members())
    assert isinstance(source, Source)
    assert (len(source), source[1].id, source.channels, source.class_names) == (2, 9, 1, ("tall", "wide"))
    assert (source.names, source.labels, source.unreadable, source.name_of(1)) == (None, None, {}, "example 9")
    assert source.read(0, at_least=(1, 1)).values is TALL
    small = TALL[:1]
    given = Members(
        names=["a", "b"], labels=[0, 1], unreadable={"c": "gone"}, read=lambda index, at_least: Example(4, small, 0)
    )
    source = as_source(given)
    assert (source.names, source.unreadable, source.name_of(1)) == (("a", "b"), {"c": "gone"}, "b")
    assert source.labels.dtype == np.int32
    assert source.read(0, at_least=(1, 1)).values is small


def test_an_object_with_the_members_of_a_source_can_be_loaded_resized_and_cut():
    data = Members()
    plan = EpochPlan(data.sizes, plan_buckets(data.sizes, max_buckets=1), batch_size=2, seed=0)
    ((_, batch),) = load_batches(data, plan, mean=0, std=1, stop_step=1)
    assert sorted(batch.ids.tolist()) == [4, 9]
    assert ResizedSource(data, SizePolicy(max_side=5)).sizes.tolist() == [[5, 2], [1, 5]]
    part = PartialSource(data, np.array([1]), {"example 4": "too small"})
    assert (part.names, part[0].id, part.labels) == (["example 9"], 9, None)


@pytest.mark.parametrize(
    ("data", "options", "error", "says"),
    [
        (iter([]), {}, TypeError, "list_iterator lacks __len__ or __getitem__"),
        ([], {}, ValueError, "must hold at least one item"),
        ([TALL], {}, ValueError, r"data\[0\]: must be a pair .*, not a ndarray"),
        ([(TALL, "cat"), (WIDE, 0)], {}, ValueError, r"labels\[0\]='cat': must be an integer"),
        (
            [(TALL, "cat")],
            {"class_names": ["cats"]},
            ValueError,
            r"labels\[0\]: unknown class 'cat'",
        ),
        ([(TALL, 0.5)], {}, ValueError, r"data\[0\]: the label must be an integer or a name, not 0.5"),
        ([(TALL, np.eye(3)[1])], {}, ValueError, r"data\[0\]: the label .*; give its argmax if it is one-hot"),
        ([(np.zeros((1, 28, 28)), 0)], {}, ValueError, r"give array.transpose\(1, 2, 0\), or tensor.permute"),
        ([({"audio": np.zeros((1, 900)), "label": 0})], {}, ValueError, r"900 channels; give array.T for signals"),
        ([{"image": TALL}], {}, ValueError, r"data\[0\]: must have the key 'label' .*; its keys are \['image'\]"),
        ([(TALL, 0), (WIDE[..., 0], 1)], {}, ValueError, r"values\[1\].shape=\(2, 7\): must have the rank"),
        ([(TALL.astype(int), 0)], {}, TypeError, r"values\[0\].*int64"),
        ([(TALL, 0), (WIDE, 2)], {"class_names": ["a", "b"]}, ValueError, r"labels\[1\]=2: must be"),
        (
            [(TALL, 0), (WIDE, 2**31 - 1)],
            {},
            ValueError,
            r"labels\[1\]=2147483647: must be 0 to 9999, as there are 2",
        ),
        ([(TALL, 0), (WIDE, 2**63)], {}, ValueError, r"labels\[1\]=9223372036854775808: must be 0 to 9999"),
        ([(TALL, -1)], {}, ValueError, r"labels\[0\]=-1: must be 0 to 9999"),
        ([(TALL, 2**40)], {"class_names": ["a"]}, ValueError, r"labels\[0\]=1099511627776: must be 0 to 0"),
        ([Example(2**31, TALL, 0)], {}, ValueError, r"data\[0\].id=2147483648: must be 0 to 2\^31 - 1"),
        ([(TALL, 0)], {"class_names": ["a", "b", "a"]}, ValueError, "class_names: 'a' is there 2 times"),
        ([(TALL, 0)], {"class_names": [b"a"]}, ValueError, r"class_names\[0\]=b'a': must be a string"),
        ([(TALL, 0)], {"class_names": "ab"}, ValueError, "class_names='ab': must be a list of names"),
        ([(TALL, 0)], {"sizes": [(5, 2)]}, ValueError, "class_names=None: must be given with sizes"),
        (
            [(TALL, 0)],
            {"sizes": [(5, 2, 1)], "class_names": ["a"]},
            ValueError,
            r"sizes.shape=\(1, 3\): .* D = 2",
        ),
        (
            [(TALL, 0)],
            {"sizes": [(5, 2)] * 2, "class_names": ["a"]},
            ValueError,
            "each of the 1 items, not 2",
        ),
        ([(TALL, 0)], {"sizes": [(0, 2)], "class_names": ["a"]}, ValueError, r"sizes\[0\]=\[0, 2\]: must"),
    ],
)
def test_bad_items_are_refused(data, options, error, says):
    with pytest.raises(error, match=says):
        as_source(data, **options)


def test_as_many_classes_as_fit_the_examples_are_counted():
    assert len(as_source([(TALL, 9999)]).class_names) == 10_000
    with pytest.raises(ValueError, match=r"labels\[0\]=10000: must be 0 to 9999"):
        as_source([(TALL, 10_000)])
    assert len(ArraySource([TALL] * 2000, [19_999] * 2000).class_names) == 20_000
    with pytest.raises(ValueError, match=r"labels\[1\]=20000: must be 0 to 19999"):
        ArraySource([TALL] * 2000, [0, *[20_000] * 1999])


def test_items_that_change_their_size_are_refused():
    items = [(TALL, 0), (WIDE, 1)]
    source = as_source(items)
    items[1] = (WIDE[:, :-1], 1)
    with pytest.raises(ValueError, match=r"data\[1\].shape=\(2, 6, 1\): must be \(2, 7, 1\) as in the size table"):
        source[1]


class _Named(list):
    """A list of items that knows the names of its classes, as data sets of torchvision and Hugging Face do."""


@pytest.mark.parametrize("attribute", ["classes", "features"])
def test_a_data_set_may_know_the_names_of_its_classes(attribute):
    data = _Named([(np.ones((3, 4, 1)), 1), (np.ones((2, 5, 1)), 0)])
    setattr(
        data, attribute, ["cat", "dog"] if attribute == "classes" else {"label": SimpleNamespace(names=["cat", "dog"])}
    )
    assert as_source(data).class_names == ("cat", "dog")
    assert as_source(data, ["x", "y"]).class_names == ("x", "y")
    data.append((np.ones((2, 5, 1)), 2))
    with pytest.raises(ValueError, match=r"labels\[2\]=2: must be 0 to 1"):
        as_source(data)
