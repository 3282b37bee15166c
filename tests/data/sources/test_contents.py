"""Hashes of contents: what changes them, what they say they cover."""

import os

import numpy as np
import pytest
import soundfile
from PIL import Image

from fcnjax.data import (
    ArraySource,
    FolderSource,
    PartialSource,
    ResizedSource,
    SizePolicy,
    Source,
    UnreadableExample,
    as_source,
    load_npz,
    save_npz,
)
from fcnjax.data.sources import contents


def values(count=70):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (3 + index % 4, 5, 1), np.uint8) for index in range(count)]


LABELS = [index % 3 for index in range(70)]


@pytest.mark.parametrize("index", [0, 33, 69])
def test_every_label_and_value_in_memory_counts(index):
    first = ArraySource(values(), LABELS).contents
    assert first == ArraySource(values(), LABELS).contents
    assert first.covers == "all labels and values"
    labels, arrays = list(LABELS), values()
    labels[index] = (labels[index] + 1) % 3
    arrays[index][0, 0, 0] ^= 1
    for other in (ArraySource(values(), labels), ArraySource(arrays, LABELS)):
        assert other.contents.covers == first.covers
        assert other.contents.sha256 != first.sha256


def test_the_splits_of_an_npz_file_have_contents_of_their_own(tmp_path):
    path = save_npz(tmp_path / "data.npz", values(), LABELS, ["a", "b", "c"])
    first = load_npz(path).contents
    save_npz(path, values()[:9], LABELS[:9], ["a", "b", "c"], split="test")
    assert load_npz(path).contents == first == ArraySource(values(), LABELS).contents
    labels = LABELS[::-1]
    save_npz(path, values(), labels, ["a", "b", "c"])
    assert load_npz(path).contents.sha256 != first.sha256


@pytest.mark.parametrize("kind", ["images", "audio"])
def test_labels_sizes_and_a_sample_of_a_folder_count(tmp_path, kind):
    suffix = {"images": "bmp", "audio": "wav"}[kind]  # formats in which other values have the same number of bytes
    for index in range(200):
        file = tmp_path / "ab"[index % 2] / f"{index:03}.{suffix}"
        file.parent.mkdir(exist_ok=True)
        if kind == "images":
            Image.new("L", (4, 3 + index % 5), index).save(file)
        else:
            soundfile.write(file, np.full(10 + index % 5, index / 300), 8000)

    def now():
        return getattr(FolderSource, kind)(tmp_path, "all").contents

    first = now()
    assert first.covers == "all labels, the size of every file, and the bytes of 64 of 200 files"
    file = tmp_path / "a" / f"000.{suffix}"
    content, times = file.read_bytes(), file.stat()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # the size and the time stay
    assert now().sha256 != first.sha256
    file.write_bytes(content)
    assert now() == first  # the time alone does not count
    outside = tmp_path / "a" / f"002.{suffix}"
    assert 1 not in contents.sample_positions(200, 64)
    outside.write_bytes(outside.read_bytes() + b"0")  # only its size is covered
    assert now().sha256 != first.sha256


def test_of_large_files_both_ends_count(tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "END", 1000)
    file = tmp_path / "large"
    hashes = set()
    for place in (None, 0, 999, 1000, 1500, 2000, 2999):
        content = bytearray(3000)
        if place is not None:
            content[place] = 1
        file.write_bytes(content)
        found = contents.file_contents([file], np.array([3000]), np.zeros(1, np.int32))
        assert found.covers.endswith("1 of 1 files (of large ones the first and the last MiB)")
        hashes.add(found.sha256)
    assert len(hashes) == 5  # bytes 1000 and 1500 lie between
    file.write_bytes(bytes(2000))
    assert contents.file_contents([file], np.array([2000]), np.zeros(1, np.int32)).covers.endswith("1 of 1 files")


def test_any_object_has_its_labels_and_a_sample():
    items = list(zip(values(), LABELS, strict=True))
    first = as_source(items).contents
    assert first.covers == "all labels, and labels and values of 16 of 70 examples"
    assert as_source(items).contents == first
    for index, counts in ((0, True), (1, False), (69, True)):
        changed = list(items)
        changed[index] = (items[index][0] ^ 1, items[index][1])
        assert (as_source(changed).contents.sha256 != first.sha256) == counts
        changed[index] = (items[index][0], (items[index][1] + 1) % 3)
        assert as_source(changed).contents.sha256 != first.sha256
    sizes = [array.shape[:-1] for array, _ in items]
    unknown = as_source(items, ["a", "b", "c"], sizes).contents
    assert unknown.covers == "no labels, and labels and values of 16 of 70 examples"
    assert as_source([(array, 0) for array, _ in items], ["a", "b", "c"], sizes).contents.sha256 != unknown.sha256


class Damaged(Source):
    """A source of which no example can be decoded."""

    def __init__(self, labels):
        self.sizes, self.ids = np.full((4, 1), 5, np.int32), np.arange(4, dtype=np.int32)
        self.class_names, self.channels, self.labels = ("a", "b"), 1, np.array(labels)

    def __len__(self):
        return 4

    def __getitem__(self, index):
        raise UnreadableExample(str(index), "gone")


def test_values_that_differ_at_each_read_are_not_compared():
    rng = np.random.default_rng(0)

    class Noise(list):
        def __getitem__(self, index):
            return rng.normal(size=(5, 1)), super().__getitem__(index)[1]

    orders = ([0, 1], [0, 1], [1, 0])
    found, again, other = (as_source(Noise((None, label) for label in order)).contents for order in orders)
    assert found == again
    assert found.covers == "all labels, and no values, as they differ from one read to the next"
    assert other.sha256 != found.sha256


def test_examples_that_cannot_be_decoded_count_by_their_reason():
    found, other = Damaged([0, 1, 0, 1]).contents, Damaged([0, 1, 1, 1]).contents
    assert found.covers == "all labels, and labels and values of 4 of 4 examples"
    assert other.sha256 != found.sha256


def test_resized_and_partial_sources_have_the_contents_of_the_whole():
    source = ArraySource(values(), LABELS)
    assert ResizedSource(source, SizePolicy(max_side=4)).contents == source.contents
    assert PartialSource(source, np.array([1, 3]), {}).contents == source.contents
