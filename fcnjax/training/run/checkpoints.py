"""Saves and loads arrays as folders that are complete or absent, and sealed. The only file that imports orbax."""

import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import jax
from orbax.checkpoint import v1 as ocp

from fcnjax.atomic import check_writable
from fcnjax.naming import first_line
from fcnjax.progress import write_line
from fcnjax.sealed import check_folder, seal_folder
from fcnjax.training.compile.mesh import gather_texts, is_first_host, together

T = TypeVar("T")
DAMAGED = "damaged"  # folder beside the checkpoints, which takes those that are not what was written


class Checkpoints:
    """The checkpoints of a run, each a folder `folder/<step>` that is complete or absent.

    A checkpoint is written in the background while training goes on; the previous one stays until it is complete. It is
    sealed then (see `fcnjax.sealed`), by the first host. One that was complete when the process was killed, but not
    sealed, is loaded unchecked.

    Args:
        folder: holds the checkpoints.
        checkpointer: orbax's, open.
        about: JSON value that is saved beside the arrays: the config and versions.
        on_failure: reaction to a checkpoint that cannot be written: "stop" raises OSError, "continue" prints a warning.
    """

    def __init__(self, folder: Path, checkpointer: ocp.training.Checkpointer, about: Any, on_failure: str):
        self._folder, self._checkpointer, self._about, self._on_failure = folder, checkpointer, about, on_failure
        self._saving: tuple[int, Future[None]] | None = None

    @property
    def steps(self) -> list[int]:
        """The steps of the complete checkpoints, ascending."""
        return sorted(checkpoint.step for checkpoint in self._checkpointer.checkpoints)

    @property
    def best(self) -> int | None:
        """The step with the highest validation accuracy, the latest among equals; None without a validated one."""
        known: list[Any] = [checkpoint for checkpoint in self._checkpointer.checkpoints if checkpoint.metrics]
        ranked = [(checkpoint.metrics["accuracy"], checkpoint.step) for checkpoint in known]
        return max(ranked)[1] if ranked else None

    def save(self, step: int, state: Any, accuracy: float | None = None, seal: Any = None):
        """Waits for the previous checkpoint, then starts to save a pytree of arrays as the checkpoint of `step`.

        Args:
            step: number of steps done.
            state: arrays; they may be donated as soon as this returns.
            accuracy: accuracy on the validation split, which ranks the checkpoints; None: not validated.
            seal: JSON value that `load_newest` returns.

        Raises:
            OSError: if this save cannot start or the previous one failed, and `on_failure` is "stop".
        """
        self.wait()
        if step in self.steps:
            return
        metrics: Any = None if accuracy is None else {"accuracy": accuracy}
        with _interrupts_deferred(), self._writing(step):
            check_writable(self._folder)  # after a failure, orbax's threads would live on for minutes
            response: Any = self._checkpointer.save_async(step, state, metrics=metrics, custom_metadata=self._about)
            thread = ThreadPoolExecutor(1, thread_name_prefix="seal")
            self._saving = step, thread.submit(self._seal, step, response.result, seal)
            thread.shutdown(wait=False)  # it ends after this checkpoint

    def _seal(self, step: int, complete: Callable[[], Any], seal: Any) -> None:
        complete()
        if is_first_host():
            seal_folder(self._folder / str(step), seal)

    def wait(self):
        """Waits until the last checkpoint is complete.

        Raises:
            OSError: if it could not be written and `on_failure` is "stop".
        """
        if self._saving is not None:
            (step, sealed), self._saving = self._saving, None
            with _interrupts_deferred(), self._writing(step):
                sealed.result()

    @contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        """Turns any error of orbax or its storage into one message, and raises or prints it."""
        try:
            yield
        except Exception as error:
            with suppress(Exception):
                self._checkpointer.wait()  # otherwise orbax raises the same error at the next save
            for left in self._folder.glob(f"{step}.orbax-checkpoint-tmp*"):  # frees space on a full disk
                shutil.rmtree(left, ignore_errors=True)
            self._checkpointer.reload()  # orbax has already dropped the checkpoints this one replaces
            kept = (
                f"The last complete checkpoint is of step {self.steps[-1]}."
                if self.steps
                else "No checkpoint is complete yet."
            )
            text = f"{self._folder / str(step)}: the checkpoint could not be written ({first_line(error)}). {kept}"
            if self._on_failure == "stop":
                advice = "Free disk space and repeat the command, or set config.checkpoint_failure=continue."
                raise OSError(f"{text} {advice}") from error
            write_line(f"{text} The run continues without it.")


@contextmanager
def open_checkpoints(
    folder: Path, *, last: int = 1, best: int = 0, about: Any = None, on_failure: str = "stop"
) -> Iterator[Checkpoints]:
    """Opens the checkpoints of a run, and removes the remains of an interrupted save.

    Args:
        folder: holds the checkpoints.
        last: number of latest checkpoints to keep, at least 1.
        best: number of further checkpoints to keep, those with the highest validation accuracy, at least 0.
        about: see `Checkpoints`.
        on_failure: see `Checkpoints`.

    Yields:
        The checkpoints; the last one is complete when the block has ended.

    Raises:
        ValueError: if a checkpoint cannot be read.
        OSError: if the last checkpoint cannot be written and `on_failure` is "stop".
    """
    orbax: Any = ocp.training  # pyright rejects orbax's own policies as arguments
    preservation = orbax.preservation_policies
    ranked = {"get_metric_fn": lambda metrics: metrics["accuracy"], "keep_checkpoints_without_metrics": False}
    kept = preservation.AnyPreservationPolicy([preservation.LatestN(last), preservation.BestN(n=best, **ranked)])
    with _reading(folder):  # opening reads the metadata of each checkpoint
        opened = orbax.Checkpointer(
            str(folder.absolute()),
            save_decision_policy=orbax.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=kept,
            cleanup_tmp_directories=True,
        )
    with opened:
        checkpoints = Checkpoints(folder, opened, about, on_failure)
        try:
            yield checkpoints
        except BaseException:
            with suppress(OSError):  # the error that ended the run is the one to raise
                checkpoints.wait()
            raise
        checkpoints.wait()


def steps_in(folder: Path) -> list[int]:
    """Returns the steps of the checkpoints in a folder, ascending, judged only by names."""
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(name) for name in names if name.isdigit())


def load_newest(folder: Path, like: T, on_damage: str = "skip") -> tuple[T, Any] | None:
    """Returns the newest whole checkpoint, and what `Checkpoints.save` was given as `seal`; None without checkpoints.

    Damaged ones are moved to the folder `damaged` beside `folder`, and a line says so. Call it before
    `open_checkpoints`, and on all hosts.

    Args:
        folder: holds the checkpoints.
        like: arrays with the structure, shapes and shardings to load.
        on_damage: "skip" goes on to the next older one, "refuse" does not.

    Raises:
        ValueError: if no checkpoint is whole, or one is not and `on_damage` is "refuse".
    """
    damaged: dict[int, str] = {}
    loaded, found = None, 0
    for step in reversed(steps_in(folder)):
        problem, seal = _checked(folder / str(step))
        if not problem and loaded is None:
            try:
                loaded, found = (_load_step(folder, like, step), seal), step
            except ValueError as error:  # of a checkpoint without a seal
                problem = str(error)
        if problem:
            damaged[step] = problem
        if problem and on_damage == "refuse":
            raise ValueError(f"{problem} Or set config.checkpoint_damaged=skip to resume from a whole one.")
    if damaged and loaded is None:
        others = "" if len(damaged) == 1 else f" None of the {len(damaged)} checkpoints is whole."
        raise ValueError(f"{damaged[max(damaged)]}{others} Or remove {folder} to start over.")
    with together("moving damaged checkpoints"):
        if is_first_host():
            for step, problem in damaged.items():
                to = _move(folder / str(step), folder.parent / DAMAGED)
                write_line(f"{problem} It is kept as {to}. The run resumes from step {found:,}.")
    return loaded


def _checked(folder: Path) -> tuple[str, Any]:
    """Returns what is damaged in a sealed folder, "" if nothing, on all hosts; and, on the first, its `about`."""
    problem, about = "", None
    if is_first_host():
        try:
            about = check_folder(folder)
        except (ValueError, OSError) as error:
            problem = first_line(error)
    return gather_texts(problem)[0], about


def _move(folder: Path, to: Path) -> Path:
    """Moves a folder into another one, under a name that is free, and returns the new path."""
    to.mkdir(exist_ok=True)
    names = (f"{folder.name}{end}" for end in ("", *(f"-{number}" for number in range(2, 1000))))
    free = next(to / name for name in names if not (to / name).exists())
    return folder.rename(free)


def read_checkpoint(folder: Path, like: T, which: str) -> T:
    """Returns a checkpoint of a run, which may be in progress, with the structure, shapes and shardings of `like`.

    Args:
        folder: holds the checkpoints.
        like: arrays.
        which: "best" (highest validation accuracy), "last", or a step.

    Raises:
        FileNotFoundError: if that checkpoint does not exist.
        ValueError: if it cannot be read, or is not what was written.
    """
    steps, best = steps_in(folder), None
    if which == "best" and steps:
        with _reading(folder), ocp.training.Checkpointer(str(folder.absolute())) as checkpointer:
            best = Checkpoints(folder, checkpointer, None, "stop").best
    chosen = {"best": best, "last": steps[-1] if steps else None}.get(which, int(which) if which.isdigit() else None)
    if chosen not in steps:
        available = ", ".join(map(str, steps)) or "none"
        hint = " (no checkpoint was validated: set config.checkpoint_best)" if which == "best" and steps else ""
        raise FileNotFoundError(f"checkpoint={which}: must be best, last or a step of {folder}: {available}{hint}.")
    check_folder(folder / str(chosen))
    return _load_step(folder, like, chosen)


def _load_step(folder: Path, like: T, step: int) -> T:
    with _reading(folder / str(step)):
        return ocp.load(str((folder / str(step)).absolute()), _abstract(like), checkpointable_name="state")


def save_arrays(folder: Path, arrays: Any):
    """Saves a pytree of arrays as a folder that is complete or absent; an older one is replaced.

    Raises:
        OSError: if it cannot be written.
    """
    try:
        with _interrupts_deferred():
            check_writable(folder.parent)
            ocp.save(str(folder.absolute()), arrays, overwrite=True)
            if is_first_host():
                seal_folder(folder)
    except Exception as error:
        raise OSError(
            f"{folder}: cannot be written ({first_line(error)}); "
            "free disk space and repeat the command to resume from the last checkpoint."
        ) from error


def load_arrays(folder: Path, like: T) -> T:
    """Returns what `save_arrays` saved, with the structure, shapes and shardings of `like`.

    Raises:
        ValueError: if it cannot be read, or is not what was written.
    """
    check_folder(folder)
    with _reading(folder):
        return ocp.load(str(folder.absolute()), _abstract(like))


def _abstract(like: T) -> T:
    return jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding), like)


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Turns any error of orbax or its storage for a damaged folder into one message."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"{folder}: cannot be read as the arrays of this network ({first_line(error)}); "
            "restore it, or remove it and resume from the remaining checkpoints."
        ) from error


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Defers Ctrl-C until the block has ended: during a save, orbax's threads would hang on it for minutes."""
    if threading.current_thread() is not threading.main_thread():  # signals never reach another thread
        yield
        return
    deferred: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: deferred.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if deferred:
        signal.raise_signal(signal.SIGINT)
