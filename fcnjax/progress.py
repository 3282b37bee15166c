"""Progress of long work: a bar with rate and time left on a terminal, a plain line now and then anywhere else.

The one idea: a log file keeps all that is written to it, so it gets a line after `FIRST` seconds and then one every
`EVERY` seconds, and short work leaves nothing.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

from tqdm import tqdm

Bar = tqdm  # what `progress_bar` returns
FIRST, EVERY = 10.0, 30.0  # seconds: to the first line of a work, and from one line to the next


class Lines(tqdm):
    """The progress bar of a stream that is no terminal: it writes lines. It has the members of `tqdm` that we use.

    Args:
        iterable: as for `tqdm`, as are `title`, `total`, `unit`, `initial`, and `leave`.
        clock: returns the present time in seconds.
    """

    def __init__(
        self,
        iterable: Iterable[Any] | None = None,
        title: str = "",
        total: int | None = None,
        *,
        unit: str = "",
        initial: int = 0,
        leave: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ):
        super().__init__(iterable, title, total, initial=initial, leave=leave, disable=True)  # it draws nothing
        self._title, self._of, self._clock, self._note = title, unit.strip(), clock, ""
        self._first, self._begun = initial, clock()
        self._due, self._written = self._begun + FIRST, initial

    def __iter__(self) -> Iterator[Any]:
        assert self.iterable is not None
        for item in self.iterable:
            yield item
            self.update()
        self.close()

    def update(self, n: float | None = 1) -> None:
        """Counts `n` more, and writes a line if one is due."""
        self.n += n or 0
        if self._clock() >= self._due:
            self._write()

    def set_postfix(self, ordered_dict: Any = None, refresh: bool | None = True, **figures: Any) -> None:
        """Sets figures that the next line ends with."""
        self.set_postfix_str(
            ", ".join(f"{name} {value}" for name, value in {**(ordered_dict or {}), **figures}.items())
        )

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        """Sets the words that the next line ends with."""
        self._note = s

    def close(self) -> None:
        """Writes a last line if there was one before, and more has been done since."""
        if self.leave and self._first < self._written < self.n:
            self._write()

    def _write(self) -> None:
        now = self._clock()
        self._due, self._written = now + EVERY, self.n
        with contextlib.suppress(OSError):  # nobody reads on, and the work is worth more than this line
            write_line(self._line(now - self._begun))

    def _line(self, seconds: float) -> str:
        rate = (self.n - self._first) / max(seconds, 1e-9)
        done = f"{self.n:,}" + (f" of {self.total:,}" if self.total else "") + (f" {self._of}" if self._of else "")
        parts = [done, f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s", f"{tqdm.format_interval(seconds)} passed"]
        if self.total and rate and self.n < self.total:
            parts.append(f"{tqdm.format_interval((self.total - self.n) / rate)} left")
        return f"{self._title}: " * bool(self._title) + ", ".join([*parts, *([self._note] if self._note else [])])


def progress_bar(
    iterable: Iterable[Any] | None = None,
    title: str = "",
    total: int | None = None,
    *,
    unit: str = "it",
    initial: int = 0,
    leave: bool = True,
    disable: bool = False,
    delay: float = 0,
    mininterval: float = 0.1,
) -> Bar:
    """Returns the progress of work on stderr: a bar if it is a terminal, else lines (see `Lines`).

    Args:
        iterable: what is gone through; None: call `update` for what is done, and `close` at the end.
        title: begins each bar or line.
        total: what `update` counts to; None: the length of `iterable`, if it has one.
        unit: name of what is counted, with a space before it.
        initial: how much is done already.
        leave: whether the finished bar, or a last line, stays.
        disable: whether nothing is written.
        delay: seconds before the bar appears.
        mininterval: seconds between two drawings of the bar.
    """
    notebook = type(sys.stderr).__module__.startswith("ipykernel")  # it draws bars, and is no terminal
    if disable or notebook or sys.stderr.isatty():
        options = {"leave": leave, "disable": disable, "delay": delay, "mininterval": mininterval}
        return tqdm(iterable, title, total, unit=unit, initial=initial, **options)
    return Lines(iterable, title, total, unit=unit, initial=initial, leave=leave)


def write_line(text: str, file: TextIO | None = None) -> None:
    """Writes a line above any bar.

    Args:
        text: the line, or several.
        file: where to; None: stderr.
    """
    tqdm.write(text, file=sys.stderr if file is None else file)
