"""Reads state dicts from files as PyTorch writes them, and never runs anything from a file."""

import os
import pickle
import re
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from fcnjax.models.weights.state_dict_files import read_state_dict

torch = pytest.importorskip("torch")


def make_state():
    whole = torch.arange(24, dtype=torch.float32)
    return {
        "plain": whole.reshape(2, 3, 2, 2),
        "transposed": whole.reshape(4, 6).T,
        "part": whole[5:9],  # shares its bytes with other tensors
        "double": torch.rand(3, dtype=torch.float64),
        "half": torch.rand(3).half(),
        "brain": torch.rand(3).bfloat16(),
        "counter": torch.tensor(7),
        "empty": torch.zeros(0, 3),
    }


def altered(path, alter):
    """Rewrites an archive with each record replaced by `alter(name, content)`."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, alter(name, content))
    return path


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".pth.tar", ".npz", ".safetensors"])
def test_what_is_written_is_read(suffix, tmp_path):
    state, path = make_state(), tmp_path / f"weights{suffix}"
    arrays = {name: tensor.numpy() for name, tensor in state.items() if name != "brain"}
    if suffix == ".npz":
        np.savez(path, **arrays)
    elif suffix == ".safetensors":
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    else:
        torch.save(state, path)
    read = read_state_dict(path)
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)
    if suffix in (".pt", ".ckpt", ".pth.tar"):
        np.testing.assert_array_equal(read["brain"].astype(np.float32), state["brain"].float().numpy())


def test_files_of_early_versions_are_read(tmp_path):
    state, path = make_state(), tmp_path / "weights.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    read = read_state_dict(path)
    for name, tensor in state.items():
        np.testing.assert_array_equal(np.asarray(read[name], np.float64), tensor.double().numpy())
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"record \d+ is damaged"):
        read_state_dict(path)


def test_the_state_dict_of_a_module_is_plain(tmp_path):
    module, path = torch.nn.BatchNorm2d(3), tmp_path / "module.pt"  # an ordered dictionary with metadata
    torch.save(module.state_dict(), path)
    assert read_state_dict(path).keys() == module.state_dict().keys()


class Malicious:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_nothing_is_run(tmp_path):
    path, made = tmp_path / "weights.pt", tmp_path / "made"
    for version in (True, False):
        for content in (Malicious(made), {"weight": torch.zeros(2), "other": Malicious(made)}):
            torch.save(content, path, _use_new_zipfile_serialization=version)
            with pytest.raises(ValueError, match=r"is a \w+\.mkdir, not a tensor|holds a \w+\.mkdir, not tensors by"):
                read_state_dict(path)
        assert read_state_dict(path, lambda contents: {"weight": contents["weight"]}).keys() == {"weight"}
    np.savez(tmp_path / "weights.npz", weight=np.array([Malicious(made)]))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_state_dict(tmp_path / "weights.npz")
    assert not made.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.nn.Linear(2, 2), r"holds a torch\.nn\.modules\.linear\.Linear, not tensors by name; save model"),
        ({"model": {"weight": torch.zeros(2)}}, "'model' is a dict, not a tensor"),
        ([torch.zeros(2)], "holds a list, not tensors by name"),
    ],
)
def test_files_that_are_not_plain_state_dicts_are_refused(content, message, tmp_path):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=f"weights.pt: {message}"):
        read_state_dict(tmp_path / "weights.pt")


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda name, content: content[:-4] if "/data/" in name else content, "record 0 is damaged"),
        # One dimension of 3 becomes 127 long, negative, or strided beyond the end.
        (lambda name, content: content.replace(b"K\x03\x85", b"K\x7f\x85"), "record 0 is shorter than its tensor"),
        (lambda name, content: content.replace(b"K\x03\x85", b"J\xff\xff\xff\xff\x85"), "record 0 is damaged"),
        (lambda name, content: content.replace(b"K\x01\x85", b"K\x7f\x85"), "record 0 is shorter than its tensor"),
        (
            lambda name, content: content.replace(b"FloatStorage", b"OtherStorage"),
            r"is of torch\.OtherStorage",
        ),
        (
            lambda name, content: b"big" if name.endswith("byteorder") else content,
            "its byte order differs from this machine's",
        ),
        (lambda name, content: content[:20] if name.endswith("data.pkl") else content, "cannot be read"),
    ],
)
def test_damaged_archives_are_refused(alter, message, tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "weights.pt")
    assert read_state_dict(altered(tmp_path / "weights.pt", lambda name, content: content))["weight"].shape == (3,)
    with pytest.raises(ValueError, match=message):
        read_state_dict(altered(tmp_path / "weights.pt", alter))


def test_other_files_are_refused(tmp_path):
    (tmp_path / "weights.pt").write_bytes(pickle.dumps({}))
    with pytest.raises(ValueError, match="neither a zip archive nor a file of PyTorch"):
        read_state_dict(tmp_path / "weights.pt")
    (tmp_path / "weights.pt").write_bytes(b"hello" * 20)
    with pytest.raises(ValueError, match="neither a zip archive nor a file of PyTorch"):
        read_state_dict(tmp_path / "weights.pt")
    (tmp_path / "weights.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(ValueError, match="cannot be read as a state dict"):
        read_state_dict(tmp_path / "weights.safetensors")
    with pytest.raises(
        ValueError,
        match=re.escape("in .safetensors, .npz, .pt, .pth, .bin, .ckpt, .tar, not '.h5'"),
    ):
        read_state_dict(tmp_path / "weights.h5")
    with pytest.raises(FileNotFoundError, match="is not a file"):
        read_state_dict(tmp_path / "none.pt")
