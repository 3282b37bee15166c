"""Whether training gives the same bits: twice, and interrupted and resumed, in fresh processes that share nothing.

No process reads a compiled program that another one left, so each chooses its own kernels. Three of them run at the
same time, as on a shared machine: what a compiler times while it chooses kernels then differs between them.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from fcnjax.progress import progress_bar
from fcnjax.table_style import tight_table
from fcnjax.training.compile.program_cache import FOLDER
from fcnjax.training.run.finished import load_run, load_state
from fcnjax.training.run.run_folder import METRICS, STARTED_IN, read_environments
from fcnjax.training.step.step import TrainState

FIRST, AGAIN, RESUMED = "first", "again", "resumed"  # the run folders
INTERRUPTED_AFTER = 5  # rows of metrics
TERMINATED = 143  # exit code of a run that saved its step after SIGTERM, as in `fcnjax.commands.command_line`
SECONDS = 600.0
COMPARED = {AGAIN: "the same training again", RESUMED: "interrupted, then resumed"}
ALONE = {  # variables of the trainings: no cache of programs, and room for others on the device
    FOLDER: "",
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}


def measure(arguments: Sequence[str], seconds: float = SECONDS) -> dict[str, Any]:
    """Trains three times and compares the metrics and the final weights with those of the first run.

    Args:
        arguments: arguments of `fcnjax train` that choose the config, such as `--config=configs/digits.py`.
        seconds: limit of all trainings together.

    Returns:
        The result that `fcnjax bench determinism --json` writes: for each of `COMPARED`, `metrics_equal` (every byte
        of the file), `weights_equal` (every bit of weights and statistics) and `largest_difference` (of any of these
        numbers, relative to the largest of its array), or a `note` on why there is nothing to compare;
        `interrupted_after` (rows of metrics), `seconds` of each process, device and versions.

    Raises:
        ChildProcessError: if the first training fails; the message holds its last line.
        TimeoutError: if the first training does not end in time.
    """
    bar = progress_bar(total=4, title="determinism", unit=" trainings")
    with tempfile.TemporaryDirectory() as folder, bar:
        trainings = _Trainings(Path(folder), arguments, time.monotonic() + seconds)
        processes = map(trainings.started, (FIRST, AGAIN, RESUMED))
        with next(processes) as first, next(processes) as again, next(processes) as interrupted:
            problem = _problem_of(lambda: trainings.interrupt(interrupted, RESUMED, INTERRUPTED_AFTER))
            bar.update()
            trainings.finish(first, FIRST)
            bar.update()
            problems = {AGAIN: _problem_of(lambda: trainings.finish(again, AGAIN)), RESUMED: problem}
            bar.update()
        if not problem:
            with trainings.started(RESUMED) as resumed:
                problems[RESUMED] = _problem_of(lambda: trainings.finish(resumed, RESUMED))
                bar.update()
        about = read_environments(trainings.folder / FIRST)[0]
        return {
            **trainings.compared(problems),
            "interrupted_after": INTERRUPTED_AFTER,
            "seconds": trainings.seconds,
            "arguments": list(arguments),
            "environment": {name: value for name, value in about.items() if name != STARTED_IN},
        }


def table(result: dict[str, Any]) -> Table:
    """Returns the result of `measure` as a table."""
    shown = tight_table("", "metrics", "weights", "largest difference", title="compared with the first training")
    for name, meaning in COMPARED.items():
        one = result[name]
        if "note" in one:
            shown.add_row(meaning, "-", "-", one["note"])
        else:
            same = ("equal" if one[field] else "differ" for field in ("metrics_equal", "weights_equal"))
            shown.add_row(meaning, *same, f"{one['largest_difference']:.1e}")
    return shown


def _problem_of(action: Callable[[], None]) -> str:
    """Returns the message of the error that an action on a process ends in; empty if it succeeds."""
    try:
        action()
    except OSError as error:  # also ChildProcessError and TimeoutError
        return str(error)
    return ""


class _Trainings:
    """The trainings of one config, each in its run folder below `folder`, all to end before `end` (monotonic)."""

    def __init__(self, folder: Path, arguments: Sequence[str], end: float):
        self.folder, self._end = folder, end
        options = ("--config.checkpoint_every=1", "--config.log.tensorboard=False")
        self._command = [sys.executable, "-m", "fcnjax", "train", *arguments, *options]
        self.seconds: dict[str, float] = {}

    @contextmanager
    def started(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """Starts a training, which is killed if it has not ended with the block."""
        begun = time.monotonic()
        with (self.folder / f"{name}.txt").open("ab") as out:
            command = [*self._command, f"--workdir={self.folder / name}"]
            process = subprocess.Popen(command, env={**os.environ, **ALONE}, stdout=out, stderr=out)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - begun, 1)

    def finish(self, process: subprocess.Popen[bytes], name: str) -> None:
        """Waits until a training has ended well."""
        try:
            code = process.wait(max(0.0, self._end - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"training {name!r}: has not ended in time; give more --seconds.") from None
        if code:
            raise ChildProcessError(f"training {name!r}: ended with exit code {code}: {self._last_line(name)}")

    def interrupt(self, process: subprocess.Popen[bytes], name: str, after: int) -> None:
        """Asks a training to end once it has written `after` lines of metrics, and waits until it has."""
        while self.lines(name) < after and process.poll() is None and time.monotonic() < self._end:
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)  # nothing, if it has ended
        try:
            self.finish(process, name)
        except ChildProcessError:
            if process.returncode == TERMINATED:
                return
            raise
        raise ChildProcessError(f"training {name!r}: ended before it could be interrupted; train for more epochs.")

    def lines(self, name: str) -> int:
        """Returns how many lines of metrics a training has written."""
        metrics = self.folder / name / METRICS
        return metrics.read_bytes().count(b"\n") if metrics.exists() else 0

    def compared(self, problems: dict[str, str]) -> dict[str, dict[str, Any]]:
        """Returns the comparison of each training with the first one, or its problem as a note."""
        trainer, first = load_run(self.folder / FIRST)
        results = {}
        for name, problem in problems.items():
            if problem:
                results[name] = {"note": problem}
                continue
            folders = (self.folder / FIRST, self.folder / name)
            difference, equal = _difference(first, load_state(trainer, folders[1]))
            metrics = [(folder / METRICS).read_bytes() for folder in folders]
            results[name] = {
                "metrics_equal": metrics[0] == metrics[1],
                "weights_equal": equal,
                "largest_difference": difference,
            }
        return results

    def _last_line(self, name: str) -> str:
        text = (self.folder / f"{name}.txt").read_text(errors="replace").strip()
        return text.splitlines()[-1] if text else "it printed nothing."


def _difference(first: TrainState, other: TrainState) -> tuple[float, bool]:
    """Returns the largest relative difference of any weight or statistic, and whether all their bits are equal."""
    largest, equal = 0.0, True
    for one, two in ((first.weights, other.weights), (first.statistics, other.statistics)):
        for name in one:
            a, b = np.asarray(one[name]), np.asarray(two[name])
            equal &= a.tobytes() == b.tobytes()
            largest = max(largest, float(np.abs(a - b).max(initial=0.0) / max(np.abs(a).max(initial=0.0), 1e-30)))
    return largest, equal
