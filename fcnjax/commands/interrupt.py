"""What Ctrl-C does: a command ends with exit code 130 and one sentence, at whatever moment the signal comes.

Python raises KeyboardInterrupt wherever the main thread happens to be. In a callback of its garbage collector, such as
JAX's `_xla_gc_callback`, or in a destructor, Python prints the exception and drops it: the signal is lost, most often
while modules are imported. Until a command runs, there is nothing to clean up: the handler ends the process. While it
runs, KeyboardInterrupt is raised as usual, and again if it has been dropped.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INTERRUPTED = 130  # exit code, one of those of `fcnjax.commands.command_line`
LOST_AFTER = 0.5  # seconds after which a KeyboardInterrupt that is not being handled was caught by something else


def end_on_interrupt() -> None:
    """Ends the process at once when the user presses Ctrl-C, except within `interruptible`.

    It changes nothing where the signal is ignored, as in a job that a shell runs in the background.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def _end(number: int, frame: Any) -> None:
    os.write(2, b"\nfcnjax: interrupted.\n")  # not print: the signal may come in the middle of one
    os._exit(INTERRUPTED)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raises KeyboardInterrupt within it when the user presses Ctrl-C, and again if something has caught it."""
    before = signal.getsignal(signal.SIGINT)
    if before is not _end:  # no command of ours: whoever calls it decides
        yield
        return
    raiser, told = _Raiser(), sys.unraisablehook
    sys.unraisablehook = lambda dropped: None if dropped.exc_type is KeyboardInterrupt else told(dropped)
    signal.signal(signal.SIGINT, raiser)
    try:
        yield
    finally:
        raiser.stop()
        signal.signal(signal.SIGINT, before)
        sys.unraisablehook = told


class _Raiser:
    """The handler that raises KeyboardInterrupt, and repeats the signal until the exception has arrived."""

    def __init__(self):
        self._timer: threading.Timer | None = None
        self._repeated = False

    def __call__(self, number: int, frame: Any) -> None:
        repeated, self._repeated = self._repeated, False
        self.stop()
        self._timer = threading.Timer(LOST_AFTER, self._repeat)
        self._timer.daemon = True
        self._timer.start()
        if not (repeated and _arriving()):
            raise KeyboardInterrupt

    def stop(self) -> None:
        """Stops repeating the signal."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _repeat(self) -> None:
        self._repeated = True
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _arriving() -> bool:
    """Returns whether the main thread is cleaning up after a KeyboardInterrupt, on the way to whoever handles it."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None
