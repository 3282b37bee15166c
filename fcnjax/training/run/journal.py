"""The journal of a run: lines on the terminal, `speed.jsonl`, and TensorBoard's event files.

Everything that depends on wall time goes here and not into `metrics.jsonl`, which a resumed run writes exactly as an
uninterrupted run. Training does not read these files, so a failing disk loses only the reports.
"""

import dataclasses
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fcnjax.atomic import write_text
from fcnjax.progress import write_line
from fcnjax.training.settings.observation_settings import LogSettings
from fcnjax.training.speed import SpeedRow

SPEED, TENSORBOARD = "speed.jsonl", "tensorboard"


class Journal:
    """Writes the reports of a run; with several hosts, only the first should have a journal.

    `with Journal(folder) as journal:` opens the files, and drops reports of steps that a resumed run repeats.

    Args:
        folder: the run folder; it must exist.
        settings: whether to write for TensorBoard.
        resumed_step: number of steps done before this process started.
        terminal: whether each report is also printed on stderr, above the bar if one is shown.
    """

    def __init__(
        self, folder: Path, settings: LogSettings | None = None, *, resumed_step: int = 0, terminal: bool = True
    ):
        self._folder, self._settings = folder, settings or LogSettings()
        self._resumed_step, self._terminal = resumed_step, terminal
        self._failed: set[str] = set()
        self._speed: Any = None
        self._events: Any = None

    def __enter__(self) -> "Journal":
        self._attempt(SPEED, self._open_speed)
        if self._settings.tensorboard:
            self._attempt(TENSORBOARD, self._open_events)
        return self

    def __exit__(self, *error: object) -> None:
        for name, file in ((SPEED, self._speed), (TENSORBOARD, self._events)):
            if file is not None:
                self._attempt(name, file.close, again=True)

    def interval(self, row: SpeedRow, *, loss: float, learning_rate: float) -> None:
        """Reports an interval of training.

        Args:
            row: the figures of the interval.
            loss: mean loss over its steps.
            learning_rate: learning rate of its last step.
        """
        figures = dataclasses.asdict(row)
        self._write_speed(figures)
        shown = {name: value for name, value in figures.items() if name not in ("step", "epoch", "rank", "steps")}
        speeds = {f"speed/{name}": value for name, value in shown.items() if value is not None}
        self._write_events(row.step, {"train/loss": loss, "train/learning_rate": learning_rate} | speeds)
        self._write_line(interval_line(row, loss=loss, learning_rate=learning_rate))

    def evaluation(self, split: str, step: int, *, loss: float, accuracy: float) -> None:
        """Reports the mean loss and the accuracy, in [0, 1], of a split ("validation", "test") after a step."""
        self._write_events(step, {f"{split}/loss": loss, f"{split}/accuracy": accuracy})
        self._write_line(f"step {step:,}  {split}  loss {_figure(loss)}  accuracy {100 * accuracy:.2f} %")

    def _open_speed(self) -> None:
        path = self._folder / SPEED
        if path.is_file():
            lines = [line for line in path.read_text().splitlines(keepends=True) if _step(line) <= self._resumed_step]
            write_text(path, "".join(lines))
        self._speed = path.open("a", buffering=1)  # 1: each line reaches the file at once

    def _open_events(self) -> None:
        from fcnjax.training.run.event_files import EventFile  # slow to import: see its docstring

        self._events = EventFile(self._folder / TENSORBOARD, self._resumed_step)

    def _write_speed(self, figures: dict[str, Any]) -> None:
        self._attempt(SPEED, lambda: print(json.dumps(figures), file=self._speed))

    def _write_events(self, step: int, values: Mapping[str, float]) -> None:
        if self._settings.tensorboard:
            self._attempt(TENSORBOARD, lambda: self._events.scalars(step, values))

    def _write_line(self, line: str) -> None:
        if self._terminal:
            self._attempt("terminal", lambda: write_line(line))

    def _attempt(self, name: str, action: Callable[[], Any], *, again: bool = False) -> None:
        """Runs an action; after a first OSError, which warns, only closing (`again`) is still tried for this name."""
        if name in self._failed and not again:
            return
        try:
            action()
        except OSError as error:
            if name not in self._failed:
                self._failed.add(name)
                where = name if name == "terminal" else self._folder / name
                message = f"{where}: cannot be written ({error}); the run continues without these reports."
                warnings.warn(message, RuntimeWarning, stacklevel=4)


def interval_line(row: SpeedRow, *, loss: float, learning_rate: float) -> str:
    """Returns the line that reports an interval of training.

    >>> row = SpeedRow(1200, 3, 2, 100, 7.88, 812.1, 41.23e6, 0.12, 0.004, 0.861, 3.2, None)
    >>> interval_line(row, loss=0.41234, learning_rate=3.1e-3)
    'step 1,200  epoch 3  loss 0.412  lr 3.1e-3  812 examples/s  41.2 Mpx/s  waste 12 %  input 0.4 %  efficiency 0.86'
    """
    figure, unit = row.throughput
    parts = [
        f"step {row.step:,}",
        f"epoch {row.epoch}",
        f"loss {_figure(loss)}",
        f"lr {_scientific(learning_rate)}",
        f"{_figure(row.examples_per_second)} examples/s",
        f"{_figure(figure)} {unit}",
        f"input {_percent(row.input_share)}",
    ]
    if row.waste is not None:
        parts.insert(-1, f"waste {_percent(row.waste)}")
    if row.efficiency is not None:
        parts.append(f"efficiency {row.efficiency:.2f}")
    return "  ".join(parts)


def _step(line: str) -> float:
    """Returns the step of a line of `speed.jsonl`; infinity if an interruption cut it short, so that it is dropped."""
    try:
        return json.loads(line)["step"] if line.endswith("\n") else float("inf")
    except (ValueError, TypeError, KeyError):
        return float("inf")


def _figure(value: float) -> str:
    """Returns a number with three digits; from 100 on, rounded to an integer."""
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:,.0f} %"


def _scientific(value: float) -> str:
    """Returns a number with two digits and a short exponent: 3.1e-3."""
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits}e{int(exponent)}" if value else "0"
