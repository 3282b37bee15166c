"""Saving and loading arrays: the only file that imports orbax, which writes whole folders or none."""

import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import jax
from orbax.checkpoint import v1 as ocp
from tqdm import tqdm

from fcnjax.atomic import check_writable
from fcnjax.naming import first_line

T = TypeVar("T")


class Checkpoints:
    """The checkpoints of a run, each a folder `folder/<step>` that appears whole or not at all.

    A checkpoint is written in the background while training goes on; the one before stays until it is whole.

    Args:
        folder: of the checkpoints.
        checkpointer: orbax's, open.
        about: what is kept beside the arrays, ready for JSON: the config and versions.
        on_failure: "stop" raises where a checkpoint cannot be written, "continue" says so and goes on without it.
    """

    def __init__(self, folder: Path, checkpointer: ocp.training.Checkpointer, about: Any, on_failure: str):
        self._folder, self._checkpointer, self._about, self._on_failure = folder, checkpointer, about, on_failure
        self._saving: tuple[int, Any] | None = None

    @property
    def steps(self) -> list[int]:
        """The steps of the whole checkpoints, ascending."""
        return sorted(checkpoint.step for checkpoint in self._checkpointer.checkpoints)

    @property
    def best(self) -> int | None:
        """The step of the checkpoint with the highest validation accuracy, of equal ones the last; None without any."""
        known: list[Any] = [checkpoint for checkpoint in self._checkpointer.checkpoints if checkpoint.metrics]
        rated = [(checkpoint.metrics["accuracy"], checkpoint.step) for checkpoint in known]
        return max(rated)[1] if rated else None

    def save(self, step: int, state: Any, accuracy: float | None = None):
        """Begins to save a pytree of arrays as the checkpoint of `step`; waits for the end of the one before.

        Args:
            step: number of steps done.
            state: arrays; they may be donated as soon as this returns.
            accuracy: on the validation split, by which the best ones are kept.

        Raises:
            OSError: if this one cannot be begun or the one before could not be written, and the run is to stop then.
        """
        self.wait()
        if step in self.steps:
            return
        metrics: Any = None if accuracy is None else {"accuracy": accuracy}
        with _interrupts_held(), self._failing(step):
            check_writable(self._folder)  # orbax's threads would outlive their failure by minutes
            response = self._checkpointer.save_async(step, state, metrics=metrics, custom_metadata=self._about)
            self._saving = step, response

    def wait(self):
        """Waits until the last checkpoint is whole.

        Raises:
            OSError: if it could not be written, and the run is to stop then.
        """
        if self._saving is not None:
            (step, response), self._saving = self._saving, None
            with _interrupts_held(), self._failing(step):
                response.result()

    def load(self, like: T, step: int | None = None) -> T:
        """Returns a checkpoint, by default the latest, with the structure, shapes and shardings of `like`."""
        step = self.steps[-1] if step is None else step
        with _naming(self._folder / str(step)):
            return self._checkpointer.load(step, _abstract(like))

    @contextmanager
    def _failing(self, step: int) -> Iterator[None]:
        """Turns whatever orbax and its storage raise into one sentence, and says or raises it."""
        try:
            yield
        except Exception as error:
            with suppress(Exception):
                self._checkpointer.wait()  # orbax would raise the same again at the next one
            for left in self._folder.glob(f"{step}.orbax-checkpoint-tmp*"):  # where the disk is full, room is wanted
                shutil.rmtree(left, ignore_errors=True)
            self._checkpointer.reload()  # it already took those for gone that this one was to replace
            kept = f"The last whole one is that of step {self.steps[-1]}." if self.steps else "There is none yet."
            text = f"{self._folder / str(step)}: the checkpoint could not be written ({first_line(error)}). {kept}"
            if self._on_failure == "stop":
                advice = "Make room and repeat the command to go on, or set config.checkpoint_failure=continue."
                raise OSError(f"{text} {advice}") from error
            tqdm.write(f"{text} The run goes on without it.", file=sys.stderr)


@contextmanager
def open_checkpoints(
    folder: Path, *, last: int = 1, best: int = 0, about: Any = None, on_failure: str = "stop"
) -> Iterator[Checkpoints]:
    """Opens the checkpoints of a run; what an interrupted save left behind is removed.

    Args:
        folder: of the checkpoints.
        last: how many of the latest are kept, at least 1.
        best: how many of those with the highest validation accuracy are kept besides.
        about: see `Checkpoints`.
        on_failure: see `Checkpoints`.
    """
    policies = ocp.training.save_decision_policies, ocp.training.preservation_policies
    rated = {"get_metric_fn": lambda metrics: metrics["accuracy"], "keep_checkpoints_without_metrics": False}
    kept = policies[1].AnyPreservationPolicy([policies[1].LatestN(last), policies[1].BestN(n=best, **rated)])
    with _naming(folder):  # it reads what is known of each checkpoint
        opened = ocp.training.Checkpointer(
            str(folder.absolute()),
            save_decision_policy=policies[0].FixedIntervalPolicy(1),
            preservation_policy=kept,
            cleanup_tmp_directories=True,
        )
    with opened:
        checkpoints = Checkpoints(folder, opened, about, on_failure)
        try:
            yield checkpoints
        except BaseException:
            with suppress(OSError):  # what ended the run is to be told, not this
                checkpoints.wait()
            raise
        checkpoints.wait()


def latest_step(folder: Path) -> int:
    """Returns the step of the latest checkpoint in a folder, by its name alone; 0 if there is none."""
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return max((int(name) for name in names if name.isdigit()), default=0)


def read_checkpoint(folder: Path, like: T, which: str) -> T:
    """Returns a checkpoint of a run that may be going on, with the structure, shapes and shardings of `like`.

    Args:
        folder: of the checkpoints.
        like: arrays.
        which: "best" (in validation), "last", or a step.

    Raises:
        FileNotFoundError: if there is none such.
        ValueError: if it cannot be read.
    """
    steps, best = [], None
    if folder.is_dir():
        with _naming(folder), ocp.training.Checkpointer(str(folder.absolute())) as checkpointer:
            known = Checkpoints(folder, checkpointer, None, "stop")
            steps, best = known.steps, known.best
    chosen = {"best": best, "last": steps[-1] if steps else None}.get(which, int(which) if which.isdigit() else None)
    if chosen not in steps:
        there = ", ".join(map(str, steps)) or "none"
        rated = "" if best is not None else " (none was validated: set config.checkpoint_best)"
        raise FileNotFoundError(f"{folder}: no checkpoint {which!r}; there are: {there}{rated}.")
    with _naming(folder / str(chosen)):
        return ocp.load(str((folder / str(chosen)).absolute()), _abstract(like), checkpointable_name="state")


def save_arrays(folder: Path, arrays: Any):
    """Saves a pytree of arrays as a folder, which appears whole or not at all; an older one is replaced.

    Raises:
        OSError: if it cannot be written.
    """
    try:
        with _interrupts_held():
            check_writable(folder.parent)
            ocp.save(str(folder.absolute()), arrays, overwrite=True)
    except Exception as error:
        said = f"{folder}: cannot be written ({first_line(error)})."
        raise OSError(f"{said} Make room, and repeat the command to go on from the last checkpoint.") from error


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
        raise ValueError(
            f"{folder}: cannot be read as the arrays of this network ({first_line(error)}). "
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
