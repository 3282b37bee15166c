import numpy as np
import pytest
from PIL import Image

from fcnjax.data import ArraySource, Example, as_source

TALL, WIDE = np.full((5, 2, 1), 3, np.uint8), np.full((2, 7, 1), 4, np.uint8)


class Items:
    """An object with the two methods alone, which counts how often it is read."""

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


def test_examples_keep_their_ids():
    source = as_source([Example(7, TALL, 0), Example(5, WIDE, 1)])
    assert source.ids.tolist() == [7, 5]
    assert source[1].id == 5


def test_given_sizes_spare_the_pass():
    items = Items([(TALL, 0), (WIDE, 1)])
    source = as_source(items, ["tall", "wide"], sizes=[(5, 2), (2, 7)])
    assert items.reads == 1  # for the channels
    assert source[1].label == 1


def test_a_source_is_returned_as_it_is():
    source = ArraySource([TALL], [0])
    assert as_source(source) is source


@pytest.mark.parametrize(
    ("data", "options", "error", "says"),
    [
        (iter([]), {}, TypeError, "list_iterator lacks __len__ or __getitem__"),
        ([], {}, ValueError, "holds no item"),
        ([TALL], {}, ValueError, r"data\[0\]: is a ndarray; an item is a pair"),
        ([(TALL, "cat")], {}, ValueError, r"data\[0\]: its label 'cat' is no integer"),
        ([(TALL, 0.5)], {}, ValueError, r"data\[0\]: its label 0.5 is no integer"),
        ([{"image": TALL}], {}, ValueError, r"data\[0\]: has the keys \['image'\]; it needs label"),
        ([(TALL, 0), (WIDE[..., 0], 1)], {}, ValueError, r"values\[1\]: got shape \(2, 7\)"),
        ([(TALL.astype(int), 0)], {}, TypeError, r"values\[0\].*int64"),
        ([(TALL, 0), (WIDE, 2)], {"class_names": ["a", "b"]}, ValueError, r"labels\[1\]: got 2"),
        ([(TALL, 0)], {"sizes": [(5, 2)]}, ValueError, "class_names: are missing"),
        ([(TALL, 0)], {"sizes": [(5, 2, 1)], "class_names": ["a"]}, ValueError, r"sizes: got .*\(1, 2\)"),
        ([(TALL, 0)], {"sizes": [(0, 2)], "class_names": ["a"]}, ValueError, "sizes: got"),
    ],
)
def test_what_is_wrong_is_said(data, options, error, says):
    with pytest.raises(error, match=says):
        as_source(data, **options)


def test_items_that_change_their_size_are_refused():
    items = [(TALL, 0), (WIDE, 1)]
    source = as_source(items)
    items[1] = (WIDE[:, :-1], 1)
    with pytest.raises(ValueError, match=r"data\[1\]: has shape \(2, 6, 1\), but \(2, 7, 1\) in the size table"):
        source[1]
