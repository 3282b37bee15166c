"""The reports of a run while it trains: the loss of each step, loss and speed per interval, and evaluations."""

import math
from contextlib import AbstractContextManager, ExitStack
from typing import Any, NoReturn

import numpy as np

from fcnjax.training.compile.mesh import is_first_host
from fcnjax.training.evaluation.evaluation_result import EvaluationResult
from fcnjax.training.run.journal import Journal
from fcnjax.training.run.not_finite import report_not_finite
from fcnjax.training.run.run_folder import RunFolder
from fcnjax.training.settings.recipe import Recipe
from fcnjax.training.speed import Speed
from fcnjax.training.step.optimizer import make_schedule
from fcnjax.training.trainer import StepResult, Trainer


class Reports:
    """The metrics, the speed and the journal of a run, open while it trains.

    Args:
        folder: the run folder, entered.
        recipe: recipe of the run.
        trainer: trainer of the run.
        start: number of steps done before.
        terminal: whether intervals and evaluations are also printed on the terminal.
    """

    def __init__(self, folder: RunFolder, recipe: Recipe, trainer: Trainer, start: int, *, terminal: bool):
        self._folder, self._recipe, self._trainer = folder, recipe, trainer
        self._start, self._terminal, self._opened = start, terminal, ExitStack()
        self._schedule = make_schedule(recipe.optimizer, trainer.steps)
        self._losses: list[float] = []

    def __enter__(self) -> "Reports":
        with ExitStack() as opened:
            self._write = opened.enter_context(self._folder.appending())
            self._journal = None
            if is_first_host():
                journal = Journal(
                    self._folder.path, self._recipe.log, resumed_step=self._start, terminal=self._terminal
                )
                self._journal = opened.enter_context(journal)
            self._speed = Speed(self._trainer.buckets.shapes.shape[1])  # last: its timing starts here
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._opened.__exit__(*error)

    def step(self, number: int, done: StepResult) -> float:
        """Waits for a step's loss, records it and returns it.

        Raises:
            FloatingPointError: if the loss is not finite.
        """
        loss, epoch = float(done.loss), done.work.epoch
        if not math.isfinite(loss):
            self._refuse("training loss", number, done)
        row = {"event": "train", "step": number, "epoch": epoch, "loss": loss, "examples": done.examples}
        self._write(row | ({"unreadable": done.unreadable} if done.unreadable else {}))
        self._speed.done(done.work, waited=done.waited, compiled=done.compiled)
        self._losses.append(loss)
        return loss

    def refuse_weights(self, number: int, done: StepResult) -> NoReturn:
        """Raises FloatingPointError for a step after which the weights are not finite."""
        self._refuse("weights not finite after training loss", number, done)

    def _refuse(self, what: str, number: int, done: StepResult) -> NoReturn:
        source, loss = self._trainer.sources["train"], float(done.loss)
        epoch, parts = done.work.epoch, done.parts
        raise FloatingPointError(report_not_finite(self._folder.path, number, epoch, loss, parts, source, what=what))

    def interval(self):
        """Reports the steps since the last report."""
        row = self._speed.row()
        if self._journal is not None:
            rate = np.asarray(self._schedule(row.step - 1)).item()
            self._journal.interval(row, loss=float(np.mean(self._losses)), learning_rate=rate)
        self._losses.clear()

    def evaluation(self, split: str, step: int, result: EvaluationResult):
        """Records and reports the evaluation of a split after a step."""
        row = {
            "event": split,
            "step": step,
            "loss": result.loss,
            "accuracy": result.accuracy,
            "correct": result.correct,
            "count": result.count,
        }
        self._write(row | ({"unreadable": result.unreadable} if result.unreadable else {}))
        if self._journal is not None:
            self._journal.evaluation(split, step, loss=result.loss, accuracy=result.accuracy)

    def paused(self) -> AbstractContextManager[None]:
        """Pauses the timing of training while the block runs."""
        return self._speed.paused()
