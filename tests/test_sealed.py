"""Sealed files: whatever changes in them is found when they are read, and older ones without a seal are read."""

import json
import shutil

import pytest

from fcnjax.sealed import (
    CHECKSUMS,
    DamagedFile,
    check_folder,
    read_sealed,
    read_sealed_bytes,
    seal_folder,
    write_sealed,
    write_sealed_bytes,
)

VALUE = {"name": "fcn", "rate": 0.1, "sizes": [1, 2], "none": None}


def test_a_sealed_value_is_read_back_and_an_older_file_without_a_seal_too(tmp_path):
    assert read_sealed(write_sealed(tmp_path / "sealed.json", VALUE)) == VALUE
    (tmp_path / "older.json").write_text(json.dumps(VALUE))
    assert read_sealed(tmp_path / "older.json") == VALUE


def test_a_sealed_value_may_be_indented_otherwise_and_its_keys_sorted(tmp_path):
    path = write_sealed(tmp_path / "sealed.json", VALUE)
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    assert read_sealed(path) == VALUE


def test_any_changed_value_is_found(tmp_path):
    path = write_sealed(tmp_path / "sealed.json", VALUE)
    for name, other in {"name": "fcm", "rate": 0.3, "sizes": [2, 1], "none": 0}.items():
        path.write_text(json.dumps({**json.loads(path.read_text()), name: other}))
        with pytest.raises(DamagedFile, match=r"sealed\.json: is damaged \(its content does not match its checksum\)"):
            read_sealed(path)
        write_sealed(path, VALUE)


@pytest.mark.parametrize("content", [b"", b"a", bytes(range(256)) * 3])
def test_sealed_bytes_are_read_back_and_any_change_of_them_is_found(tmp_path, content):
    path = write_sealed_bytes(tmp_path / "some.bin", content)
    assert read_sealed_bytes(path) == content
    whole = path.read_bytes()
    flipped = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    for damaged in (*flipped, b"", whole[:-1], whole[1:], whole + b"a"):
        path.write_bytes(damaged)
        with pytest.raises(DamagedFile, match=r"some\.bin: is damaged .*; read it again\."):
            read_sealed_bytes(path, "read it again")


@pytest.fixture
def folder(tmp_path):
    """A sealed folder."""
    folder = tmp_path / "sealed"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/a.bin").write_bytes(bytes(range(256)))
    (folder / "b").write_bytes(b"")
    seal_folder(folder, {"step": 3})
    return folder


def test_a_sealed_folder_returns_what_was_kept_with_it(folder, tmp_path):
    assert check_folder(folder) == {"step": 3}
    assert check_folder(shutil.copytree(folder, tmp_path / "copy")) == {"step": 3}
    (folder / CHECKSUMS).unlink()
    assert check_folder(folder) is None  # without a seal there is nothing to compare with


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file.write_bytes(bytes(255) + b"\1"), r"deep/a\.bin: is damaged \(its content does not match"),
        (lambda file: file.write_bytes(b"short"), r"deep/a\.bin: is damaged \(it has 5 bytes instead of 256\)"),
        (lambda file: file.unlink(), r"deep/a\.bin: is damaged \(it is missing\)"),
    ],
)
def test_a_damaged_file_of_a_sealed_folder_is_named(folder, damage, said):
    damage(folder / "deep/a.bin")
    with pytest.raises(DamagedFile, match=said):
        check_folder(folder)
