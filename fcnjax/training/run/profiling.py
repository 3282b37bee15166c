"""A profiler's trace of a few steps of a run, for TensorBoard's profile plugin, XProf or Perfetto."""

import warnings
from pathlib import Path
from typing import Any

import jax

from fcnjax.training.settings.observation_settings import ProfileSettings

PROFILE = "profile"


class Profiler:
    """Records the steps that the settings name, and closes the trace also where training ends with an error.

    `with Profiler(folder, settings) as profiler:` around the loop, `before` and `after` around each step. A run that is
    resumed among the steps to record records those that are left; one that is resumed behind them records nothing. A
    disk that fails costs the trace and one warning (and JAX then refuses any other trace in the same process).

    Args:
        folder: the run folder; the trace lies in `profile/plugins/profile/` of it, by the time of its beginning.
        settings: which steps.
    """

    def __init__(self, folder: Path, settings: ProfileSettings):
        self._folder = folder / PROFILE
        self._steps = range(settings.start, settings.start + settings.steps)
        self._recording = self._failed = False
        self._annotation: Any = None

    def __enter__(self) -> "Profiler":
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def before(self, step: int) -> None:
        """Begins the trace if step number `step`, counted from 1, is the first to record. To be called before it."""
        if step not in self._steps or self._failed:
            return
        if not self._recording:
            self._start()
        if self._recording:
            self._annotation = jax.profiler.StepTraceAnnotation("train", step_num=step)
            self._annotation.__enter__()

    def after(self, step: int, results: Any) -> None:
        """Ends the trace if `step` is the last to record. To be called once it is under way.

        Args:
            step: its number, counted from 1.
            results: arrays that the step computes; the end of the trace waits for them, other steps do not.
        """
        self._end_step()
        if self._recording and step >= self._steps[-1]:
            jax.block_until_ready(results)
            self._stop()

    def _start(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)  # JAX would find out at the end, and its trace remain open
            jax.profiler.start_trace(self._folder)
            self._recording = True
        except (OSError, RuntimeError) as error:  # RuntimeError: another trace is being recorded
            self._warn(error)

    def _stop(self) -> None:
        self._end_step()
        if not self._recording:
            return
        self._recording = False
        try:
            jax.profiler.stop_trace()
        except (OSError, RuntimeError) as error:
            self._warn(error)

    def _end_step(self) -> None:
        if self._annotation is not None:
            self._annotation.__exit__(None, None, None)
            self._annotation = None

    def _warn(self, error: Exception) -> None:
        self._failed = True
        told = f"{self._folder}: no trace can be recorded ({error}); the run goes on without."
        warnings.warn(told, RuntimeWarning, stacklevel=4)
