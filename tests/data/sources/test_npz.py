import io
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcnjax.data import ArraySource, load_npz, load_source, save_npz
from fcnjax.data.sources.npz import npz_splits

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


@pytest.mark.parametrize("cut", ["3", "80%", "-2", "-20%"])
def test_slices_are_disjoint_and_complete(path, cut):
    whole = load_npz(path, "train")
    first, second = (load_source(path.name, split, path.parent) for split in (f"train[:{cut}]", f"train[{cut}:]"))
    assert sorted([*first.ids.tolist(), *second.ids.tolist()]) == whole.ids.tolist()
    assert len(first) == {"3": 3}.get(cut, 8)
    for index, example in enumerate(first[row] for row in range(len(first))):
        assert example.id == first.ids[index]
        np.testing.assert_array_equal(example.values, whole[whole.ids.tolist().index(example.id)].values)


def test_slices_hold_the_classes_in_proportion_though_the_file_is_in_class_order(tmp_path):
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    path = save_npz(tmp_path / "sorted.npz", [np.full((2, 2, 1), n, np.uint8) for n in range(100)], labels)
    test = load_npz(path, "train[80%:]")
    assert np.bincount(test.labels, minlength=3).tolist() == [12, 6, 2]
    assert len(set(np.diff(test.ids))) > 1  # drawn from all of the file


def test_splits_are_joined(path):
    train, test, both = (load_npz(path, split) for split in ("train", "test", "test+train[:50%]"))
    half = load_npz(path, "train[:50%]")
    assert both.ids.tolist() == [*test.ids.tolist(), *half.ids.tolist()]
    assert [both[index].label for index in range(2, 7)] == half.labels.tolist()
    assert set(half.ids) < set(train.ids)


def test_splits_of_a_file_are_listed(path, tmp_path):
    assert npz_splits(path) == ["test", "train"]
    np.savez(tmp_path / "bare.npz", values=np.zeros((1, 2, 2, 1), np.uint8), labels=[0])
    assert npz_splits(tmp_path / "bare.npz") == ["all"]


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


def test_labels_of_any_integer_type_are_class_indices(tmp_path):
    values = np.zeros((2, 3, 4, 1), np.uint8)
    for kind, other in (("uint64", "int64"), ("uint8", "int8"), ("int64", "uint64")):
        arrays = {"train_labels": np.array([0, 2], kind), "test_labels": np.array([1, 0], other)}
        np.savez(tmp_path / "data.npz", train_values=values, test_values=values, **arrays)
        source = load_npz(tmp_path / "data.npz", "train+test")
        assert (source.labels.tolist(), source.class_names) == ([0, 2, 1, 0], ("0", "1", "2"))


V, L = np.zeros(24, np.uint8), np.array([0, 1])
DENSE, SIZES = {"values": V.reshape(2, 3, 4, 1), "labels": L}, [[3, 4], [3, 4]]
RAGGED = {"values": V, "sizes": SIZES, "labels": L}


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


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        (DENSE | {"values": np.uint8(3)}, r"values has the shape \[\]; write \[N, \*S, C\]"),
        (DENSE | {"values": V}, r"values has the shape \[24\]"),
        (DENSE | {"labels": np.int64(1)}, r"labels is int64 \[\]; write integers"),
        (DENSE | {"labels": np.array([0, 2**31 - 1])}, r"labels\[1\]=2147483647: must be 0 to 9999, as there are 2 ex"),
        (DENSE | {"labels": np.array([2**64 - 1, 1], np.uint64)}, r"labels\[0\]=18446744073709551615: must be 0 to"),
        (DENSE | {"labels": np.array([0, -1])}, r"labels\[1\]=-1: must be 0 to 9999"),
        (
            DENSE | {"labels": np.array([0, 2**64 - 1], np.uint64), "class_names": ["a", "b"]},
            r"labels\[1\]=18446744073709551615: must be 0 to 1 \(2 class names\)",
        ),
        (RAGGED | {"sizes": np.float64(SIZES)}, r"sizes.dtype=float64: must be integers"),
        (RAGGED | {"sizes": np.int64(3)}, r"sizes.shape=\(\): must be \[N, D\]"),
        (RAGGED | {"sizes": [3, 4]}, r"sizes.shape=\(2,\): must be \[N, D\]"),
        (RAGGED | {"sizes": [[3, 4], [3, 2**40]]}, r"sizes\[1\]=\[3, 1099511627776\]: must have extents below 2\^31"),
        (RAGGED | {"sizes": np.array([[3, 4], [3, 2**63]], np.uint64)}, r"sizes\[1\]=.*below 2\^31"),
        (RAGGED | {"sizes": [[3, 4, 1], [2**30, 2**30, 16]]}, r"sizes .* does not describe 2 examples"),  # 2**64 = 0
        (RAGGED | {"sizes": [[3, 4], [-3, -4]]}, r"sizes\[1\]=\[-3, -4\]: must have extents of at least 1"),
        (RAGGED | {"channels": "2"}, r"channels is <U1 2; write one integer"),
        (RAGGED | {"channels": 1.5}, r"channels is float64 1.5; write one integer"),
        (RAGGED | {"channels": [1, 2]}, r"channels is int64 \[1, 2\]; write one integer"),
        (RAGGED | {"channels": -1}, r"channels is int64 -1; write one integer of at least 1"),
        (RAGGED | {"channels": 2**62}, r"sizes .* does not describe 2 examples of 4611686018427387904 channels"),
        (DENSE | {"class_names": [["a", "b"]]}, r"class_names is <U1 \[1, 2\]; write strings \[K\]"),
        (DENSE | {"class_names": np.array([b"a", b"b"])}, r"class_names is \|S1 \[2\]; write strings \[K\]"),
        (DENSE | {"class_names": [0.5, 1.5]}, r"class_names is float64 \[2\]; write strings"),
        (DENSE | {"class_names": ["a", "b", "a"]}, r"class_names: 'a' is there 2 times"),
        (DENSE | {"class_names": np.zeros(0, "U1")}, r"class_names=\[\]: must hold at least one name"),
    ],
)
def test_every_array_that_cannot_be_used_is_named_with_its_file(tmp_path, stored, says):
    np.savez(tmp_path / "bad.npz", **stored)
    with pytest.raises(ValueError, match=rf"bad.npz: {says}"):
        load_npz(tmp_path / "bad.npz")
    np.savez(tmp_path / "bad.npz", **{k if k == "class_names" else f"train_{k}": v for k, v in stored.items()})
    with pytest.raises(ValueError, match=rf"bad.npz: (split='train' of )?(train_)?{says}"):
        load_npz(tmp_path / "bad.npz")


def npy(shape, dtype=np.uint8, content=b""):
    """Returns an array file whose header claims a shape."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    )
    return stream.getvalue() + content


def test_a_header_decides_nothing_about_memory(tmp_path):
    path, labels = tmp_path / "bad.npz", io.BytesIO()
    np.save(labels, L)
    for claimed in ((10**13,), (2, 10**12, 5, 1), (-1, 8), (7,)):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("values.npy", npy(claimed, content=bytes(8)))
            archive.writestr("labels.npy", labels.getvalue())
        with pytest.raises(ValueError, match=r"bad.npz: array 'values' claims .* but the file cannot hold them"):
            load_npz(path)
    huge = npy((0xFFFFFF00 - 128,), content=bytes(8))  # and the zip directory claims as much
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("values.npy", huge)
    size = len(huge).to_bytes(4, "little")
    content = path.read_bytes()
    assert content.count(size) == 2
    path.write_bytes(content.replace(size, (0xFFFFFF00).to_bytes(4, "little")))
    with pytest.raises(ValueError, match=r"bad.npz: array 'values' claims .* but the file cannot hold them"):
        load_npz(path)


def test_two_arrays_of_one_name_are_refused_and_other_files_left_out(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, **RAGGED)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("README", "about")
    assert len(load_npz(path)) == 2
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")  # zipfile warns about the second one
        archive.writestr("labels.npy", npy((2,), np.int64, bytes(16)))
    with pytest.raises(ValueError, match=r"data.npz: holds two arrays 'labels'"):
        load_npz(path)


def test_what_compresses_best_is_read(tmp_path):
    zeros = [np.zeros((2000, 3000, 1), np.uint8)] * 2
    assert load_npz(save_npz(tmp_path / "zeros.npz", zeros, [0, 1])).sizes.tolist() == [[2000, 3000]] * 2


def outcome(path, whole):
    """Returns why a file is refused; None if it holds the same examples as `whole`."""
    try:
        source = load_npz(path)
    except ValueError as error:
        return str(error)
    assert (source.class_names, source.labels.tolist()) == (whole.class_names, whole.labels.tolist())
    for index in range(len(whole)):
        np.testing.assert_array_equal(source[index].values, whole[index].values)
    return None


def test_damage_is_named_or_without_effect(path):
    """600 flips, truncations and stretches of zeros at random places."""
    whole, content, draw = load_npz(path), path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for trial in range(600):
        damaged = bytearray(content)
        place = int(draw.integers(len(damaged)))
        if trial % 3 == 0:
            damaged[place] ^= 1 << int(draw.integers(8))
        elif trial % 3 == 1:
            del damaged[place:]
        else:
            damaged[place : place + 20] = bytes(len(damaged[place : place + 20]))
        path.write_bytes(damaged)
        said = outcome(path, whole)
        if said:
            refused += 1
            assert "data.npz" in said
            assert "\n" not in said
            assert len(said) < 400
    assert 400 < refused < 600


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


def test_digits_as_keras_gives_them_are_refused_and_many_channels_are_stated(tmp_path):
    arrays = {"train_values": np.zeros((3, 20, 20), np.uint8), "train_labels": np.array([0, 1, 0])}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=r"split='train' of .*values\[0\].shape=\(20, 20\): .* array\[..., None\]"):
        load_npz(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", **arrays, train_channels=20)
    assert load_npz(tmp_path / "a.npz").channels == 20
    saved = save_npz(tmp_path / "b.npz", arrays["train_values"], arrays["train_labels"], channels=20)
    assert load_npz(saved).sizes.tolist() == [[20]] * 3


def test_labels_that_are_names_agree_in_all_splits(tmp_path):
    arrays = {"train_labels": np.array(["dog", "emu"]), "test_labels": np.array(["cat"])}
    arrays |= {"train_values": np.zeros((2, 4, 4, 1)), "test_values": np.zeros((1, 4, 4, 1))}
    np.savez(tmp_path / "a.npz", **arrays)
    for split, labels in (("train", [1, 2]), ("test", [0])):
        source = load_npz(tmp_path / "a.npz", split)
        assert (source.class_names, source.labels.tolist()) == (("cat", "dog", "emu"), labels)
    np.savez(tmp_path / "a.npz", **arrays, class_names=np.array(["dog", "emu"]))
    with pytest.raises(ValueError, match=r"test_labels\[0\]: unknown class 'cat'"):
        load_npz(tmp_path / "a.npz")


def test_weights_and_groups_come_with_their_examples(tmp_path):
    path, groups = tmp_path / "data.npz", [f"g{index // 2}" for index in range(10)]
    weights = np.linspace(1, 2, 10, dtype=np.float32)
    source = ArraySource(arrays([(3, 4)] * 10), [0, 1] * 5, ["a", "b"], weights=weights, groups=groups)
    save_npz(path, source, split="train")
    save_npz(path, arrays([(3, 4)] * 2), [0, 1], ["a", "b"], split="more", groups=["x", "y"])
    half = load_npz(path, "train[:50%]")
    assert half.weights is not None
    assert half.weights.tolist() == weights[half.ids - 2].tolist()
    assert list(half.groups or ()) == [groups[id - 2] for id in half.ids]
    both = load_npz(path, "more+train")
    assert both.weights is not None
    assert both.weights.tolist() == [1, 1, *weights.tolist()]
    assert list(both.groups or ()) == ["x", "y", *groups]
    save_npz(path, arrays([(3, 4)] * 9), [0] * 9, ["a", "b"], split="train")  # the weights of before are gone
    assert (load_npz(path, "train").weights, load_npz(path, "train").groups) == (None, None)
    np.savez(path, train_values=np.zeros((2, 3, 4, 1)), train_labels=[0, 1], train_weights=[1, -1])
    with pytest.raises(ValueError, match=r"data\.npz: train_weights\[1\]=-1.0: must be finite and above 0"):
        load_npz(path)


def test_slices_keep_groups_whole(tmp_path):
    values, groups = [np.ones((3, 2, 1))] * 20, [f"patient {index // 4}" for index in range(20)]
    path = save_npz(tmp_path / "g.npz", values, [index // 4 % 2 for index in range(20)], groups=groups)
    first, rest = load_npz(path, "train[:50%]"), load_npz(path, "train[50%:]")
    assert not set(first.groups) & set(rest.groups)
    assert sorted([*first.ids, *rest.ids]) == list(range(20))


@pytest.mark.parametrize(
    ("values", "labels", "split"),
    [
        ("x_train", "y_train", "train"),
        ("train_images", "train_labels", "train"),
        ("X", "y", "all"),
        ("images", "labels", "all"),
    ],
)
def test_arrays_of_other_libraries_are_read(tmp_path, values, labels, split):
    np.savez(tmp_path / "other.npz", **{values: np.ones((4, 9, 8, 1), np.uint8), labels: np.array([0, 1, 0, 1])})
    assert npz_splits(tmp_path / "other.npz") == [split]
    assert load_npz(tmp_path / "other.npz", split).sizes.tolist() == [[9, 8]] * 4


def test_a_file_without_known_arrays_says_what_it_holds(tmp_path):
    np.savez(tmp_path / "other.npz", pictures=np.ones((4, 9)), kinds=np.ones(4))
    with pytest.raises(
        ValueError, match=r"must hold arrays values and labels, .* its arrays are pictures \[4, 9\], kinds \[4\]"
    ):
        load_npz(tmp_path / "other.npz")


def test_a_column_of_labels_is_told_how_to_become_a_list(tmp_path):
    np.savez(tmp_path / "column.npz", values=np.ones((4, 9, 8, 1)), labels=np.zeros((4, 1), int))
    with pytest.raises(ValueError, match=r"write integers or strings \[N\], labels\[:, 0\]"):
        load_npz(tmp_path / "column.npz")
