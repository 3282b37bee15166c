"""Stages: commands that run one after another, each as its own group of processes with its own time limit.

A stage that hangs is killed with all that it started, and costs only itself: what it has written by then counts.
"""

import contextlib
import dataclasses
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ENDED, FAILED, KILLED, LEFT_OUT = "ended", "failed", "killed", "left out"  # how a stage ends
SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # JAX takes memory of the device as it needs it
GRACE = 6.0  # seconds between the request to end and the end


@dataclasses.dataclass(frozen=True)
class Stage:
    """A command with a share of the time.

    Attributes:
        name: name of the stage.
        weight: its share of the time, relative to the weights of the other stages.
        command: what to run, for a number of seconds that it may take.
        figures: returns the key figures from what the command has written, whether or not it came to its end.
        shares_device: whether several of its processes use the device, so that none may take all of its memory.
    """

    name: str
    weight: float
    command: Callable[[float], Sequence[str]]
    figures: Callable[[], dict[str, Any]]
    shares_device: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a stage ended.

    Attributes:
        name: name of the stage.
        how: `ENDED`, `FAILED`, `KILLED` or `LEFT_OUT`.
        seconds: seconds that it took.
        limit: seconds that it might have taken.
        code: exit code; negative for a signal, None if it did not run.
        figures: its key figures; `note` says why there are none.
    """

    name: str
    how: str
    seconds: float
    limit: float
    code: int | None
    figures: dict[str, Any]


def share(stage: Stage, later: Sequence[Stage], seconds: float) -> float:
    """Returns the seconds that a stage gets of those that are left for it and the stages after it.

    What a stage does not use therefore goes to the later ones.
    """
    return seconds * stage.weight / (stage.weight + sum(other.weight for other in later))


def run_stage(
    stage: Stage, limit: float, write: Callable[[bytes], None], *, environ: Mapping[str, str], folder: Path
) -> Outcome:
    """Runs a stage in its own group of processes, and kills the whole group when its limit is over.

    Args:
        stage: what to run.
        limit: seconds, more than twice `GRACE`. The stage is asked to end (as by Ctrl-C) `GRACE` before.
        write: takes the output of the stage, in pieces.
        environ: variables of its environment.
        folder: its working folder.
    """
    begun = time.monotonic()
    usable = limit - GRACE
    with subprocess.Popen(
        list(stage.command(usable)),
        cwd=folder,
        env={**environ, **(SHARED if stage.shares_device else {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        reader = threading.Thread(target=_copy, args=(process.stdout, write), daemon=True)
        reader.start()
        try:
            how = _wait(process, usable)
        finally:
            _kill_group(process.pid)  # and what a stage that ended left behind
            code = process.wait()
            reader.join(5)
    return Outcome(stage.name, how, time.monotonic() - begun, limit, code, _figures(stage))


def _wait(process: subprocess.Popen[bytes], seconds: float) -> str:
    try:
        return FAILED if process.wait(seconds) else ENDED
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        return KILLED


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _copy(stream: Any, write: Callable[[bytes], None]) -> None:
    while piece := os.read(stream.fileno(), 2**16):
        write(piece)


def _figures(stage: Stage) -> dict[str, Any]:
    """Returns the key figures of a stage, or a note: they must not cost the other stages theirs."""
    try:
        return stage.figures()
    except FileNotFoundError:
        return {"note": "it has written no result"}
    except Exception as error:  # files that a killed stage left may hold anything
        return {"note": f"no figures: {type(error).__name__}: {error}"}
