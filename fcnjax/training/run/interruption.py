"""Ends a run on request: after SIGTERM, which schedulers send, the current step is finished and saved."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax
from jax.experimental import multihost_utils


class Terminated(Exception):
    """The run was asked to end; its message names the saved step. The same command resumes it."""


@contextmanager
def termination_noted() -> Iterator[Callable[[int], bool]]:
    """Records SIGTERM instead of ending the process.

    Yields:
        A function from the number of completed steps to whether to end now. With several hosts it returns True on all
        of them after the same step, a little later than the signal; all hosts must call it after each step.
    """
    if jax.process_count() > 1:  # JAX's coordination service receives the signal and informs all hosts
        yield multihost_utils.reached_preemption_sync_point
        return
    if threading.current_thread() is not threading.main_thread():  # signals never reach another thread
        yield lambda step: False
        return
    noted = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda number, frame: noted.set())
    try:
        yield lambda step: noted.is_set()
    finally:
        signal.signal(signal.SIGTERM, before)
