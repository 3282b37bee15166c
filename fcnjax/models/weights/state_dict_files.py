"""State dicts from files: safetensors, NumPy's npz, and PyTorch's archives, read without running code from them.

A PyTorch file is a zip archive of a pickle and one record of bytes per tensor. A pickle can call any function, so the
reader accepts only the few names that a plain state dict needs and rejects all others.
"""

import math
import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from safetensors import numpy as safetensors

ITEMS = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": jnp.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


def read_state_dict(path: Path | str) -> dict[str, np.ndarray]:
    """Returns the arrays of a state dict by name.

    Args:
        path: a .safetensors, .npz, .pt or .pth file; the last two written by `torch.save(model.state_dict(), path)`
            of PyTorch 1.6 or later.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file has another suffix, is damaged, or contains anything other than named tensors.
    """
    path = Path(path)
    if path.suffix not in READERS:
        raise ValueError(f"{path}: must be a state dict in {', '.join(READERS)}, not {path.suffix!r}; convert it.")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: is not a file; give the path of a state dict.")
    try:
        return READERS[path.suffix](path)
    except Exception as error:  # a damaged file may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{path}: cannot be read as a state dict ({reason}); save one with "
            "torch.save(model.state_dict(), path) or safetensors.torch.save_file(model.state_dict(), path)."
        ) from None


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("the archive must hold one data.pkl.")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != sys.byteorder.encode():
            raise ValueError("its byte order differs from this machine's.")
        with archive.open(pickles[0]) as file:
            state = _Unpickler(file).load()
        if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
            raise ValueError(f"it holds a {type(state).__name__}, not tensors by name.")
        other = next((name for name, tensor in state.items() if not isinstance(tensor, _Tensor)), None)
        if other is not None:
            raise ValueError(f"{other!r} is a {type(state[other]).__name__}, not a tensor.")
        return {name: _array(tensor, archive, folder) for name, tensor in state.items()}


class _Storage(NamedTuple):
    kind: str
    key: str
    length: int


class _Tensor(NamedTuple):
    """A tensor as described by the pickle, unchecked."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *rest: _Tensor(storage, offset, shape, strides)
        if module == "torch" and name in ITEMS:
            return name
        raise pickle.UnpicklingError(f"it uses {module}.{name}, which a plain state dict does not need.")

    def persistent_load(self, pid: Any) -> _Storage:
        _, kind, key, _, length = pid
        return _Storage(kind, key, length)


def _array(tensor: _Tensor, archive: zipfile.ZipFile, folder: str) -> np.ndarray:
    """Returns a tensor as a view of the bytes of its record; raises ValueError if it would exceed them."""
    kind, key, length = tensor.storage
    stored = np.frombuffer(archive.read(f"{folder}data/{key}"), ITEMS[kind])
    if len(stored) != length or any(
        type(n) is not int or n < 0 for n in (tensor.offset, *tensor.shape, *tensor.strides)
    ):
        raise ValueError(f"record {key} is damaged.")
    if not math.prod(tensor.shape):
        return np.zeros(tensor.shape, stored.dtype)
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
    if last >= length or math.prod(tensor.shape) > length:
        raise ValueError(f"record {key} is shorter than its tensor.")
    strides = [stride * stored.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(stored[tensor.offset :], tensor.shape, strides, writeable=False)


READERS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    ".safetensors": safetensors.load_file,
    ".npz": _read_npz,
    ".pt": _read_torch,
    ".pth": _read_torch,
}
