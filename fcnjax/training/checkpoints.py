"""Saving and loading arrays: the only file that imports orbax, which writes whole folders or none."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax
from orbax.checkpoint import v1 as ocp

T = TypeVar("T")


class Checkpoints:
    """The latest checkpoint of a run, under `folder/<step>`."""

    def __init__(self, checkpointer: ocp.training.Checkpointer):
        self._checkpointer = checkpointer

    @property
    def exist(self) -> bool:
        """Whether there is a whole checkpoint."""
        return self._checkpointer.latest is not None

    def save(self, step: int, state: Any):
        """Saves a pytree of arrays as the checkpoint of `step`, and drops the one before."""
        self._checkpointer.save(step, state)

    def load(self, like: T) -> T:
        """Returns the latest checkpoint, with the structure, shapes and shardings of `like`."""
        return self._checkpointer.load(self._checkpointer.latest, _abstract(like))


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
        yield Checkpoints(checkpointer)


def save_arrays(folder: Path, arrays: Any):
    """Saves a pytree of arrays as a folder, which appears whole or not at all; an older one is replaced."""
    ocp.save(str(folder.absolute()), arrays, overwrite=True)


def load_arrays(folder: Path, like: T) -> T:
    """Returns what `save_arrays` saved, with the structure, shapes and shardings of `like`."""
    return ocp.load(str(folder.absolute()), _abstract(like))


def _abstract(like: T) -> T:
    return jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding), like)
