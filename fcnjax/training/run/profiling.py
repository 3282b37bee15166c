"""A trace of a few steps of a run, for TensorBoard's profile plugin, XProf or Perfetto."""

import warnings
from pathlib import Path
from typing import Any

import jax

from fcnjax.training.settings.observation_settings import ProfileSettings

PROFILE = "profile"


class Profiler:
    """Records a trace of the steps that the settings name, and closes it even if training fails.

    Put `with Profiler(folder, settings) as profiler:` around the loop, `before` and `after` around each step. A run
    that is resumed within these steps records the remaining ones; a run that is resumed after them records nothing. If
    the disk fails, the trace is lost with one warning (and JAX then rejects any other trace in the same process).

    Args:
        folder: the run folder; the trace goes to its `profile/plugins/profile/`, named by its start time.
        settings: which steps to record.
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
        """Starts the trace before the first step to record, and marks each recorded step; `step` counts from 1."""
        if step not in self._steps or self._failed:
            return
        if not self._recording:
            self._start()
        if self._recording:
            self._annotation = jax.profiler.StepTraceAnnotation("train", step_num=step)
            self._annotation.__enter__()

    def after(self, step: int, results: Any) -> None:
        """Ends the trace after the last step to record; call it once a step is dispatched.

        Args:
            step: number of the step, counted from 1.
            results: arrays that the step computes; only the end of the trace waits for them.
        """
        self._end_step()
        if self._recording and step >= self._steps[-1]:
            jax.block_until_ready(results)
            self._stop()

    def _start(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)  # or JAX fails only at the end and leaves its trace open
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
        message = f"{self._folder}: no trace can be recorded ({error}); the run continues without it."
        warnings.warn(message, RuntimeWarning, stacklevel=4)
