"""Saving and loading arrays: the only file that imports orbax, which writes whole folders or none."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax
from orbax.checkpoint import v1 as ocp

T = TypeVar("T")


class Checkpoints:
    """The latest checkpoint of a run, under `folder/<step>`."""

    def __init__(self, folder: Path, checkpointer: ocp.training.Checkpointer):
        self._folder, self._checkpointer = folder, checkpointer

    @property
    def exist(self) -> bool:
        """Whether there is a whole checkpoint."""
        return self._checkpointer.latest is not None

    def save(self, step: int, state: Any):
        """Saves a pytree of arrays as the checkpoint of `step`, and drops the one before."""
        with _interrupts_held():
            self._checkpointer.save(step, state)

    def load(self, like: T) -> T:
        """Returns the latest checkpoint, with the structure, shapes and shardings of `like`."""
        latest: Any = self._checkpointer.latest
        with _naming(self._folder / str(latest.step)):
            return self._checkpointer.load(latest, _abstract(like))


@contextmanager
def open_checkpoints(folder: Path) -> Iterator[Checkpoints]:
    """Opens the checkpoints of a run; what an interrupted save left behind is removed."""
    policies = ocp.training.save_decision_policies, ocp.training.preservation_policies
    with ocp.training.Checkpointer(
        str(folder.absolute()),
        save_decision_policy=policies[0].FixedIntervalPolicy(1),
        preservation_policy=policies[1].LatestN(1),
        cleanup_tmp_directories=True,
    ) as checkpointer:
        yield Checkpoints(folder, checkpointer)


def save_arrays(folder: Path, arrays: Any):
    """Saves a pytree of arrays as a folder, which appears whole or not at all; an older one is replaced."""
    with _interrupts_held():
        ocp.save(str(folder.absolute()), arrays, overwrite=True)


def load_arrays(folder: Path, like: T) -> T:
    """Returns what `save_arrays` saved, with the structure, shapes and shardings of `like`."""
    with _naming(folder):
        return ocp.load(str(folder.absolute()), _abstract(like))


def _abstract(like: T) -> T:
    return jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding), like)


@contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Turns whatever orbax and its storage raise for a damaged folder into one sentence."""
    try:
        yield
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{folder}: cannot be read as the arrays of this network ({reason}). "
            "Restore it, or remove it and go on from what is left."
        ) from error


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Lets a Ctrl-C wait for the end of a save: in the midst of one, orbax's threads would hang on it for minutes."""
    if threading.current_thread() is not threading.main_thread():  # signals never reach another thread
        yield
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        signal.raise_signal(signal.SIGINT)
