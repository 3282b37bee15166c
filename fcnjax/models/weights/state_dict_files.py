"""State dicts from files: safetensors, NumPy's npz, and PyTorch's own, read without running code from them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import numpy as safetensors

from fcnjax.models.weights.torch_pickles import Placeholder, StoredTensor, opened_pickle

Choose = Callable[[Any], Mapping[str, Any]]


class StateDictError(ValueError):
    """What a file holds cannot be used; the message is a sentence without the name of the file."""


def plain(contents: Any) -> Mapping[str, Any]:
    """Returns the contents of a file if they are a state dict and nothing else.

    Raises:
        StateDictError: if they are anything other than tensors by name.
    """
    named = named_contents(contents)
    other = next((name for name, value in named.items() if not is_tensor(value)), None)
    if other is not None:
        raise StateDictError(f"{other!r} is a {type_name(named[other])}, not a tensor; save a plain state dict.")
    return named


def read_state_dict(path: Path | str, choose: Choose = plain) -> dict[str, np.ndarray]:
    """Returns the arrays of a state dict by name.

    Args:
        path: a .safetensors or .npz file, or a .pt, .pth, .bin, .ckpt or .tar (.pth.tar) file of `torch.save`.
        choose: takes what the file holds (nested dictionaries and lists; see `opened_pickle`) and returns the tensors
            to read, by name.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file has another suffix, is damaged, or `choose` refuses what it holds.
    """
    path = Path(path)
    if path.suffix not in READERS:
        raise ValueError(f"{path}: must be a state dict in {', '.join(READERS)}, not {path.suffix!r}; convert it.")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: is not a file; give the path of a state dict.")
    try:
        with READERS[path.suffix](path) as (contents, as_array):
            return {name: as_array(tensor) for name, tensor in choose(contents).items()}
    except StateDictError as error:
        raise ValueError(f"{path}: {error}") from None
    except Exception as error:  # a damaged file may raise anything
        reason = " ".join(str(error).split()).removesuffix(".") or type(error).__name__
        raise ValueError(
            f"{path}: cannot be read as a state dict ({reason}); save one with "
            "torch.save(model.state_dict(), path) or safetensors.torch.save_file(model.state_dict(), path)."
        ) from None


def named_contents(contents: Any) -> Mapping[str, Any]:
    """Returns the contents of a file if they are a dictionary of names; raises StateDictError otherwise."""
    if isinstance(contents, dict) and all(isinstance(name, str) for name in contents):
        return contents
    advice = "save model.state_dict()" if isinstance(contents, Placeholder) else "save a state dict"
    raise StateDictError(f"holds a {type_name(contents)}, not tensors by name; {advice}.")


def is_tensor(value: Any) -> bool:
    """Returns whether a value of a file is a tensor."""
    return isinstance(value, StoredTensor | np.ndarray)


def type_name(value: Any) -> str:
    """Returns the name of the type of a value of a file."""
    return value.what if isinstance(value, Placeholder) else type(value).__name__


@contextmanager
def _opened_npz(path: Path) -> Iterator[tuple[Any, Callable[[Any], np.ndarray]]]:
    with np.load(path, allow_pickle=False) as arrays:
        yield dict(arrays), np.asarray


@contextmanager
def _opened_safetensors(path: Path) -> Iterator[tuple[Any, Callable[[Any], np.ndarray]]]:
    yield safetensors.load_file(path), np.asarray


READERS: dict[str, Callable[[Path], AbstractContextManager[tuple[Any, Callable[[Any], np.ndarray]]]]] = {
    ".safetensors": _opened_safetensors,
    ".npz": _opened_npz,
    **dict.fromkeys((".pt", ".pth", ".bin", ".ckpt", ".tar"), opened_pickle),
}
