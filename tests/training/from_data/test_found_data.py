"""What data are: folders of images or recordings by their content, npz files, sources; and the splits cut from them."""

import numpy as np
import pytest
import soundfile
from PIL import Image

from fcnjax.data import ArraySource, save_npz
from fcnjax.training.from_data import find_data

RNG = np.random.default_rng(0)


def write_images(root, folders, count=10):
    for folder in folders:
        (root / folder).mkdir(parents=True)
        for number in range(count):
            values = RNG.integers(0, 255, (9, 12, 3)).astype(np.uint8)
            Image.fromarray(values).save(root / folder / f"{number}.jpg")


def splits(found):
    return tuple(found.fields[f"{name}_split"] for name in ("train", "validation", "test"))


@pytest.mark.parametrize(
    ("folders", "wanted"),
    [
        (("cat", "dog"), ("all[:80%]", "all[80%:90%]", "all[90%:]")),
        (("train/a", "test/a"), ("train[:90%]", "train[90%:]", "test")),
        (("training/a", "Val/a"), ("training[:90%]", "training[90%:]", "Val")),
        (("train/a", "valid/a", "testing/a"), ("train", "valid", "testing")),
        (("train/a",), ("train[:80%]", "train[80%:90%]", "train[90%:]")),
        (("train", "cat"), ("all[:80%]", "all[80%:90%]", "all[90%:]")),  # a class of this name
    ],
)
def test_splits_of_a_folder(tmp_path, folders, wanted):
    write_images(tmp_path, folders)
    found = find_data(tmp_path)
    assert (found.kind, found.fields["name"], splits(found)) == ("images", "image_folder", wanted)


def test_content_and_not_names_tell_recordings_from_images(tmp_path):
    for folder, rate in (("yes", 22050), ("no", 8000)):
        (tmp_path / folder).mkdir()
        for number in range(5):
            soundfile.write(tmp_path / folder / f"{number}.png", RNG.standard_normal(50), rate, format="WAV")
    found = find_data(tmp_path)
    assert (found.kind, found.fields["name"], found.fields["sample_rate"]) == ("recordings", "audio_folder", 8000)
    for number in range(5):
        (tmp_path / "no" / f"{number}.png").unlink()
        soundfile.write(tmp_path / "no" / f"{number}.wav", RNG.standard_normal(50), 22050)
    assert find_data(tmp_path).fields["sample_rate"] == 16_000
    write_images(tmp_path, ("pictures",), count=5)
    with pytest.raises(ValueError, match="must hold files of one kind, and of 15 that were opened 5 are images and 10"):
        find_data(tmp_path)


def test_an_npz_file(tmp_path):
    path = save_npz(tmp_path / "mine.npz", [np.ones((4, 1))] * 4, [0, 1, 0, 1])
    assert splits(find_data(path)) == ("train[:80%]", "train[80%:90%]", "train[90%:]")
    save_npz(path, [np.ones((4, 1))] * 4, [0, 1, 0, 1], split="test")
    assert splits(find_data(str(path))) == ("train[:90%]", "train[90%:]", "test")


def source(count=60, first_id=0):
    labels = np.repeat([0, 1], [count // 3, count - count // 3])  # in the order of classes
    return ArraySource([np.full((3, 4, 1), n, np.uint8) for n in range(count)], labels, ["a", "b"], first_id=first_id)


def test_a_single_source_is_cut_in_proportion_to_its_classes():
    found = find_data(source())
    parts = found.sources or {}
    assert [len(parts[name]) for name in ("train", "validation", "test")] == [48, 6, 6]
    assert np.bincount(np.asarray(parts["test"].labels)).tolist() == [2, 4]
    ids = np.concatenate([part.ids for part in parts.values()])
    assert sorted(ids) == list(range(60))


@pytest.mark.parametrize(
    ("given", "counts"),
    [
        (("train", "test"), (54, 6, 60)),
        (("train", "validation"), (54, 6, 60)),
        (("train", "validation", "test"), (60, 60, 60)),
    ],
)
def test_missing_splits_are_cut_from_train(given, counts):
    found = find_data({name: source(first_id=100 * index) for index, name in enumerate(given)})
    assert tuple(len((found.sources or {})[name]) for name in ("train", "validation", "test")) == counts


@pytest.mark.parametrize(
    ("train", "test", "classes"),
    [
        (["dog", "cat"], ["dog"], ("cat", "dog")),
        (["dog", "cat"], ["dog", "Cat"], ("Cat", "cat", "dog")),  # the class checks name the twin
        ([0, 1], [10, 2, 1], tuple(map(str, range(11)))),
    ],
)
def test_splits_of_pairs_have_the_classes_of_all_of_them(train, test, classes):
    data = {"train": train * 10, "test": test}
    pairs = {name: [(np.ones((3, 3, 1), np.uint8), each) for each in labels] for name, labels in data.items()}
    for name, found in (find_data(pairs).sources or {}).items():
        assert found.class_names == classes
        labels = [classes[label] for label in np.asarray(found.labels)]
        assert set(labels) == set(map(str, data["test" if name == "test" else "train"]))
        assert [classes[found[index].label] for index in range(len(found))] == labels


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda root: root / "absent", FileNotFoundError, "must be a folder with a folder for each class"),
        (lambda root: root, ValueError, "holds no media file"),
        (lambda root: {"test": source()}, ValueError, "must hold 'train'"),
        (lambda root: {"train": source(), "tset": source()}, ValueError, "rename 'tset'"),
        (lambda root: 3, TypeError, "must be a folder, an .npz file, a source"),
    ],
)
def test_refused(tmp_path, make, error, message):
    with pytest.raises(error, match=message):
        find_data(make(tmp_path))


def test_too_few_examples_to_cut_splits_from_are_refused(tmp_path):
    write_images(tmp_path, ("cat", "dog"), count=4)
    with pytest.raises(ValueError, match="holds 8 examples to cut splits from; add some, to at least 10"):
        find_data(tmp_path)
    with pytest.raises(ValueError, match="sources: holds 9 examples"):
        find_data(source(9))


def test_files_of_no_known_kind_and_splits_without_train_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.jpg").write_text("not an image")
    with pytest.raises(ValueError, match=r"none of 1 files .* such as a/x.jpg"):
        find_data(tmp_path)
    write_images(tmp_path / "splits", ("test/a", "val/a"))
    with pytest.raises(ValueError, match="has the splits test, val, and none to train on"):
        find_data(tmp_path / "splits")


def test_splits_that_differ_in_case_alone_are_refused(tmp_path):
    write_images(tmp_path, ("train/a", "Train/a", "test/a"), count=1)
    with pytest.raises(ValueError, match="has the splits Train and train, which differ in case alone"):
        find_data(tmp_path)


def test_splits_are_known_by_what_they_are_called(tmp_path):
    write_images(tmp_path, ("training_set/a", "training_set/b", "test_set/a", "test_set/b"), count=5)
    assert splits(find_data(tmp_path)) == ("training_set[:90%]", "training_set[90%:]", "test_set")
