import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcnjax.data import ArraySource, load_npz, load_source, save_npz

SIZES = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=8)


def arrays(sizes, channels=2, dtype=np.uint8):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, channels)).astype(dtype) for size in sizes]


@settings(max_examples=25, deadline=None)
@given(sizes=SIZES, channels=st.integers(1, 3), dtype=st.sampled_from([np.uint8, np.float32]))
def test_what_is_saved_is_loaded(tmp_path_factory, sizes, channels, dtype):
    path = tmp_path_factory.mktemp("npz") / "data.npz"
    given_arrays, labels = arrays(sizes, channels, dtype), [index % 2 for index in range(len(sizes))]
    source = load_npz(save_npz(path, given_arrays, labels, ["a", "b"]))
    assert source.sizes.tolist() == [list(size) for size in sizes]
    assert (source.channels, source.class_names) == (channels, ("a", "b"))
    for index, array in enumerate(given_arrays):
        assert source[index].values.dtype == dtype
        np.testing.assert_array_equal(source[index].values, array)
        assert (source[index].id, source[index].label) == (index, labels[index])


@pytest.fixture
def path(tmp_path):
    """A file with two splits, saved one after the other; the second comes from a source."""
    path = tmp_path / "data.npz"
    save_npz(path, arrays([(3, 4)] * 10), [0, 1] * 5, ["a", "b"])
    return save_npz(path, ArraySource(arrays([(2, 2), (5, 1)]), [1, 1], ["a", "b"]), split="test")


def test_splits_share_a_file_and_have_ids_of_their_own(path):
    train, test = load_npz(path, "train"), load_npz(path, "test")
    assert (len(train), len(test)) == (10, 2)
    assert sorted([*train.ids.tolist(), *test.ids.tolist()]) == list(range(12))
    assert train[0].id == train.ids[0]


@pytest.mark.parametrize(
    ("split", "positions"),
    [
        ("train[:3]", [0, 1, 2]),
        ("train[80%:]", [8, 9]),
        ("train[-1:]", [9]),
        ("train[10%:-70%]", [1, 2]),
        ("train[8:] + train[:1]", [8, 9, 0]),
    ],
)
def test_slices(path, split, positions):
    whole, part = load_npz(path, "train"), load_source(path.name, split, path.parent)
    assert part.ids.tolist() == whole.ids[positions].tolist()
    np.testing.assert_array_equal(part[0].values, whole[positions[0]].values)


def test_splits_are_joined(path):
    train, test, both = (load_npz(path, split) for split in ("train", "test", "test+train[:50%]"))
    assert both.ids.tolist() == [*test.ids.tolist(), *train.ids[:5].tolist()]
    assert [both[index].label for index in range(7)] == [1, 1, 0, 1, 0, 1, 0]


def test_files_that_plain_numpy_wrote(tmp_path):
    values, labels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4, 1), np.array([0, 2])
    np.savez(tmp_path / "dense.npz", values=values, labels=labels)
    np.savez(
        tmp_path / "ragged.npz", train_values=values.reshape(-1), train_sizes=[[3, 4], [3, 4]], train_labels=labels
    )
    for name, split in (("dense", "train"), ("dense", "all"), ("ragged", "train")):
        source = load_npz(tmp_path / f"{name}.npz", split)
        assert source.class_names == ("0", "1", "2")
        np.testing.assert_array_equal(source[1].values, values[1])


V, L = np.zeros(24, np.uint8), np.array([0, 1])


@pytest.mark.parametrize(
    ("stored", "split", "error", "says"),
    [
        ({"values": V, "sizes": [[3, 4], [3, 4]], "labels": L}, "valid", ValueError, "unknown split .* Known: train"),
        ({"values": V, "sizes": [[3, 4], [3, 4]], "labels": L}, "train[2:]", ValueError, "holds no example"),
        ({"values": V, "sizes": [[3, 4], [3, 4]], "labels": L}, "train[a:]", ValueError, "must be a name, or a slice"),
        ({"values": V, "sizes": [[3, 4], [3, 5]], "labels": L}, "train", ValueError, "sizes .* does not describe 2"),
        ({"values": V, "sizes": [[3, 8]], "labels": L}, "train", ValueError, "sizes .* does not describe 2"),
        ({"values": V, "sizes": [[3, 4], [3, 4]]}, "train", ValueError, "labels is missing"),
        ({"values": V.reshape(3, 4, 2, 1), "labels": L}, "train", ValueError, "holds 3 examples for 2 labels"),
        ({"values": V.reshape(2, 3, 4, 1), "labels": L / 1}, "train", ValueError, "labels is float64"),
        ({"values": V.reshape(2, 3, 4, 1).astype(int), "labels": L}, "train", TypeError, "split='train' of .*int64"),
        ({"values": V.reshape(2, 3, 4, 1), "labels": L, "class_names": ["a"]}, "train", ValueError, "=1: must"),
        ({"values": np.array([1, "a"], object), "labels": L}, "train", ValueError, "save_npz, which needs no pickle"),
    ],
)
def test_problems_of_a_file_are_named(tmp_path, stored, split, error, says):
    np.savez(tmp_path / "bad.npz", **stored)
    with pytest.raises(error, match=says):
        load_npz(tmp_path / "bad.npz", split)


def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_npz(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("not a zip archive")
    with pytest.raises(ValueError, match="text.npz: not an .npz file"):
        load_npz(tmp_path / "text.npz")
    np.save(tmp_path / "one.npy", V)
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(ValueError, match="not an .npz file"):
        load_npz(tmp_path / "one.npz")


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ((arrays([(2, 2)]),), ValueError, "labels=None: must hold one label"),
        ((arrays([(2, 2)]), [0], ["x"]), ValueError, "other class names"),
        (([np.zeros((1, 1, 2), np.uint8), np.zeros((1, 1, 2))], [0, 1], ["a", "b"]), TypeError, "float32.*uint8"),
        ((arrays([(2, 2)]), [0], ["a", "b"], "a b"), ValueError, "letters"),
    ],
)
def test_what_cannot_be_saved_leaves_the_file_alone(path, arguments, error, says):
    before = path.read_bytes()
    with pytest.raises(error, match=says):
        save_npz(path, *arguments)
    assert path.read_bytes() == before
