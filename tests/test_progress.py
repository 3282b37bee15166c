import io
import sys

import pytest

from fcnjax.progress import EVERY, FIRST, Lines, progress_bar, write_line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_training_of_110_seconds_leaves_five_lines_in_a_log(capsys):
    clock = Clock()
    with Lines(title="digits", total=1780, unit=" examples", initial=20, clock=clock) as bar:
        for step in range(1, 881):
            clock.now += 0.125
            bar.set_postfix(loss=f"{step / 1000:.3f}")
            bar.update(2)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [
        "digits: 180 of 1,780 examples, 16/s, 00:10 passed, 01:40 left, loss 0.080",
        "digits: 660 of 1,780 examples, 16/s, 00:40 passed, 01:10 left, loss 0.320",
    ]
    assert lines[-1] == "digits: 1,780 of 1,780 examples, 16/s, 01:50 passed, loss 0.880"
    assert len(lines) == 2 + (110 - FIRST) // EVERY == 5


@pytest.mark.parametrize("leave", [True, False])
def test_short_work_writes_nothing_and_rare_counts_are_told_at_once(capsys, leave):
    clock = Clock()
    for _ in Lines(range(50), "sizes", unit=" items", leave=leave, clock=clock):
        clock.now += 0.15
    assert capsys.readouterr().err == ""
    for _ in Lines(iter("abc"), unit=" programs", leave=leave, clock=clock):
        clock.now += 25
    lines = [line.split(",")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["1 programs", "3 programs"]


def test_a_log_that_nobody_reads_does_not_end_the_work(monkeypatch):
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Closed())
    clock = Clock()
    bar = Lines(total=3, clock=clock)
    clock.now += 60
    bar.update()
    assert bar.n == 1


def test_a_terminal_gets_a_bar_with_lines_above_and_a_file_does_not(monkeypatch):
    shown = {}
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        with progress_bar(title="bar", total=10, unit=" steps", mininterval=0) as bar:
            bar.update(5)
            write_line("a line")
            bar.update(5)
        assert bar.n == 10
        shown[type(stream)] = stream.getvalue()
    assert shown[io.StringIO] == "a line\n"
    assert "bar: 100%" in shown[Terminal]
    assert "\ra line\n" in shown[Terminal]


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_a_disabled_bar_is_silent(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(progress_bar(range(3), "bar", disable=True)) == [0, 1, 2]
    assert stream.getvalue() == ""
