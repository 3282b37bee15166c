"""Hashes of records: one read a file, and a new one when the file or the cache has changed."""

import hashlib
import json
import os

import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from tiny_builders import TinyPhotos

from fcnjax.data import FileOptions, load_source
from fcnjax.data.tfds import record_hashes
from fcnjax.data.tfds.prepare import prepare
from fcnjax.data.tfds.record_hashes import hash_record_file, hash_records


@pytest.fixture
def files(tmp_path):
    files = [tmp_path / f"{index}.array_record" for index in range(3)]
    for index, file in enumerate(files):
        file.write_bytes(bytes([index]) * 1000)
    return files


@pytest.fixture
def read(monkeypatch):
    """The names of the files that are read."""
    names, hash_one = [], record_hashes.hash_record_file
    monkeypatch.setattr(record_hashes, "hash_record_file", lambda file: names.append(file.name) or hash_one(file))
    return names


def test_only_new_and_changed_files_are_read(files, read, tmp_path):
    cache = tmp_path / "cache" / "hashes.json"
    first = hash_records(files, cache, "hashes")
    assert first == [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert sorted(read) == [file.name for file in files]
    assert hash_records(files[::-1], cache, "hashes") == first[::-1]
    assert len(read) == 3
    files[1].write_bytes(bytes([7]) * 1000)
    os.utime(files[1], ns=(0, 1))
    assert hash_records(files, cache, "hashes")[1] != first[1]
    assert read[3:] == ["1.array_record"]


def test_a_damaged_cache_is_rebuilt_and_never_believed(files, read, tmp_path):
    cache = tmp_path / "hashes.json"
    first = hash_records(files, cache, "hashes")
    content = json.loads(cache.read_text())
    content["0.array_record"][2] = "0" * 64
    for damaged in (json.dumps(content), "", "[]", '{"0.array_record": 3}', '{"0.array_record": [1, 2, 3, 4]}'):
        cache.write_text(damaged)
        read.clear()
        assert hash_records(files, cache, "hashes") == first
        assert "0.array_record" in read


def test_a_cache_that_cannot_be_written_is_not_an_error(files, read, tmp_path):
    (tmp_path / "file").write_text("")
    for _ in range(2):
        assert len(hash_records(files, tmp_path / "file" / "hashes.json", "hashes")) == 3
    assert len(read) == 6


def test_records_that_change_have_other_contents(tmp_path):
    prepared = prepare(lambda: TinyPhotos(data_dir=tmp_path, file_format="array_record"))
    options = FileOptions(cache_dir=tmp_path / "scans")

    def now(split="train", options=options):
        return load_source("tiny_photos", split, tmp_path, options).contents

    first = now()
    assert first.covers == "all records of 1 files"
    assert first == now() == now(options=FileOptions())
    assert first.sha256 != now("test").sha256
    assert len(list((tmp_path / "scans").glob("records-*.json"))) == 1
    (records,) = (file for file in prepared.data_path.glob("*train*") if file.is_file())
    whole = records.read_bytes()
    records.write_bytes(whole[:150] + bytes([whole[150] ^ 1]) + whole[151:])
    os.utime(records, ns=(0, 1))
    assert now().sha256 != first.sha256
    records.write_bytes(whole)
    assert now() == first


def record_of(*features: bytes) -> bytes:
    """Returns a message whose field number 1 holds fields number 1, as `tf.train.Example` does."""
    inner = b"".join(b"\x0a" + bytes([len(each)]) + each for each in features)
    return b"\x0a" + bytes([len(inner)]) + inner


def written(path, *records: bytes):
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()
    return path


def test_records_that_differ_only_in_the_order_of_their_features_have_one_hash(tmp_path):
    first = written(tmp_path / "a", record_of(b"label 3", b"image 1"), record_of(b"label 4", b"image 2"))
    second = written(tmp_path / "b", record_of(b"image 1", b"label 3"), record_of(b"label 4", b"image 2"))
    assert first.read_bytes() != second.read_bytes()
    assert hash_record_file(first) == hash_record_file(second)
    others = [
        (record_of(b"label 3", b"image 1"),),
        (record_of(b"label 4", b"image 2"), record_of(b"label 3", b"image 1")),
        (record_of(b"label 3", b"image 2"), record_of(b"label 4", b"image 1")),
        (record_of(b"label 3image 1"), record_of(b"label 4", b"image 2")),
        (b"no message", b"nor this"),
        (b"\x0a\x05cut",),
    ]
    hashes = {hash_record_file(written(tmp_path / f"{number}", *each)) for number, each in enumerate(others)}
    assert len(hashes | {hash_record_file(first)}) == len(others) + 1
