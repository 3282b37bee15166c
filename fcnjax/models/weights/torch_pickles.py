"""Files of `torch.save`, read without running code from them.

A pickle can call any function. This reader knows the few names that tensors need; every other name becomes a
placeholder, which accepts any arguments and state and does nothing. So a checkpoint with an optimizer and arguments of
a script can be read, and its tensors are there, whatever else it holds.
"""

import math
import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np

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
MAGIC = 0x1950A86A20F9469CFC6C  # begins a file of PyTorch before 1.6


class StoredTensor(NamedTuple):
    """A tensor as described by the pickle, unchecked."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any


class Placeholder:
    """Stands for an object of a type that is not read.

    Attributes:
        what: name of the type, with its module.
    """

    what: ClassVar[str] = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        del args, kwargs

    def __new__(cls, *args: Any, **kwargs: Any) -> "Placeholder":
        """Accepts what the constructor of the real type takes."""
        del args, kwargs
        return super().__new__(cls)

    def __call__(self, *args: Any, **kwargs: Any) -> "Placeholder":
        """Returns itself."""
        del args, kwargs
        return self

    def __setstate__(self, state: Any) -> None:
        """Keeps nothing."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Keeps nothing."""

    def append(self, item: Any) -> None:
        """Keeps nothing."""

    def extend(self, items: Any) -> None:
        """Keeps nothing."""

    def add(self, item: Any) -> None:
        """Keeps nothing."""


class _Storage(NamedTuple):
    kind: Any
    key: Any
    length: Any


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any):
        super().__init__(file)
        self.storages: dict[Any, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        # Functions are made here, not shared: a pickle may set attributes of what it names.
        match module, name:
            case "collections", "OrderedDict":
                return OrderedDict
            case "collections", "defaultdict":
                return lambda *args: {}
            case "torch", "Size":
                return tuple
            case "torch._utils", "_rebuild_tensor_v2":
                return lambda storage, offset, shape, strides, *rest: StoredTensor(storage, offset, shape, strides)
            case "torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state":
                return lambda data, *rest: data
            case "torch", _ if name in ITEMS:
                return name
        return type("Placeholder", (Placeholder,), {"what": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> _Storage:
        _, kind, key, _, length, *_ = pid
        self.storages[key] = _Storage(kind, key, length)
        return self.storages[key]


@contextmanager
def opened_pickle(path: Path) -> Iterator[tuple[Any, Callable[[StoredTensor], np.ndarray]]]:
    """Opens a file of `torch.save`.

    Yields:
        What it holds, with a `StoredTensor` for each tensor and a `Placeholder` for each object of another type than
        containers, numbers and strings; and the function that reads a tensor.

    Raises:
        Exception: of any type, if the file is damaged.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            contents, folder = _contents_of_archive(archive)
            yield contents, lambda tensor: _array(tensor, lambda storage: archive.read(f"{folder}data/{storage.key}"))
    else:
        with path.open("rb") as file:
            contents, places = _contents_of_stream(file)
            yield contents, lambda tensor: _array(tensor, lambda storage: _bytes_at(file, places[storage.key]))


def _contents_of_archive(archive: zipfile.ZipFile) -> tuple[Any, str]:
    """Returns what an archive of PyTorch 1.6 or later holds, and the folder of its records."""
    pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError("the archive must hold one data.pkl.")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != sys.byteorder.encode():
        raise ValueError("its byte order differs from this machine's.")
    with archive.open(pickles[0]) as file:
        return _Unpickler(file).load(), folder


def _contents_of_stream(file: BinaryIO) -> tuple[Any, dict[str, tuple[int, int]]]:
    """Returns what a file of earlier versions holds, and where each record lies: its first byte and its bytes.

    The file is a row of pickles (a magic number, a version, facts on the machine, the contents, the keys of the
    records), then each record: the number of its items, and the items.
    """
    try:
        magic = _Unpickler(file).load()
    except Exception:  # other bytes may be any commands of a pickle
        magic = None
    if magic != MAGIC:
        raise ValueError("it is neither a zip archive nor a file of PyTorch.")
    _Unpickler(file).load()
    machine = _Unpickler(file).load()
    if machine.get("little_endian") is not (sys.byteorder == "little"):
        raise ValueError("its byte order differs from this machine's.")
    unpickler = _Unpickler(file)
    contents, keys = unpickler.load(), _Unpickler(file).load()
    places = {}
    for key in keys:
        if len(prefix := file.read(8)) < 8:
            raise ValueError(f"record {key} is damaged.")
        count = int.from_bytes(prefix, sys.byteorder)
        size = count * np.dtype(_item(unpickler.storages[key])).itemsize
        places[key] = (file.tell(), size)
        file.seek(size, 1)
    return contents, places


def _bytes_at(file: BinaryIO, place: tuple[int, int]) -> bytes:
    file.seek(place[0])
    return file.read(place[1])


def _item(storage: _Storage) -> Any:
    if isinstance(storage.kind, str):
        return ITEMS[storage.kind]
    raise ValueError(f"a tensor is of {getattr(storage.kind, 'what', 'an unknown type')}, which is not supported.")


def _array(tensor: StoredTensor, read: Callable[[_Storage], bytes]) -> np.ndarray:
    """Returns a tensor as a view of the bytes of its record; raises ValueError if it would exceed them."""
    storage = tensor.storage
    stored = np.frombuffer(read(storage), _item(storage))
    if len(stored) != storage.length or any(
        type(n) is not int or n < 0 for n in (tensor.offset, *tensor.shape, *tensor.strides)
    ):
        raise ValueError(f"record {storage.key} is damaged.")
    if not math.prod(tensor.shape):
        return np.zeros(tensor.shape, stored.dtype)
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
    if last >= storage.length or math.prod(tensor.shape) > storage.length:
        raise ValueError(f"record {storage.key} is shorter than its tensor.")
    strides = [stride * stored.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(stored[tensor.offset :], tensor.shape, strides, writeable=False)
