"""The journal: what a reader finds, what a resumed run writes, and that a failing disk never ends a run."""

import contextlib
import dataclasses
import io
import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from event_readers import read_events, shown_scalars
from tqdm import tqdm

from fcnjax.training.run.journal import Journal, interval_line
from fcnjax.training.settings.observation_settings import LogSettings
from fcnjax.training.speed import SpeedRow

TENSORBOARD = LogSettings(tensorboard=True)
ROW = SpeedRow(
    step=1200,
    epoch=3,
    rank=2,
    steps=100,
    seconds=7.88,
    examples_per_second=812.1,
    positions_per_second=41.23e6,
    waste=0.12,
    input_share=0.004,
    efficiency=0.861,
    compile_seconds=3.25,
    memory_bytes=2**30,
)


def row_at(step: int, **changes) -> SpeedRow:
    return dataclasses.replace(ROW, step=step, **changes)


def report(journal: Journal, *steps: int, loss: float = 0.5):
    for step in steps:
        journal.interval(row_at(step), loss=loss, learning_rate=0.25)


def speed_steps(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "speed.jsonl").read_text().splitlines()]


def test_rows_come_back_from_speed_jsonl(tmp_path):
    with Journal(tmp_path, terminal=False) as journal:
        report(journal, 100, 200)
        assert speed_steps(tmp_path) == [100, 200], "lines reach the file at once"
    rows = [SpeedRow(**json.loads(line)) for line in (tmp_path / "speed.jsonl").read_text().splitlines()]
    assert rows == [row_at(100), row_at(200)]
    assert [path.name for path in tmp_path.iterdir()] == ["speed.jsonl"]


def test_a_resumed_run_has_each_interval_once(tmp_path):
    with Journal(tmp_path, TENSORBOARD, terminal=False) as journal:
        report(journal, 100, 200, 300, loss=1.0)
    with (tmp_path / "speed.jsonl").open("a") as file:
        file.write('{"step": 1, "ep')  # a line that the interruption cut short
    with Journal(tmp_path, TENSORBOARD, resumed_step=200, terminal=False) as journal:
        assert speed_steps(tmp_path) == [100, 200]
        report(journal, 300, 400, loss=2.0)
    assert speed_steps(tmp_path) == [100, 200, 300, 400]
    assert shown_scalars(tmp_path, "train/loss") == [(100, 1.0), (200, 1.0), (300, 2.0), (400, 2.0)]
    with Journal(tmp_path, TENSORBOARD, terminal=False) as journal:  # no checkpoint: starts over
        report(journal, 100, loss=3.0)
    assert speed_steps(tmp_path) == [100]
    assert shown_scalars(tmp_path, "train/loss") == [(100, 3.0)]


def test_every_figure_is_in_the_event_files_once_it_is_reported(tmp_path):
    begun = time.time()
    with Journal(tmp_path, TENSORBOARD, terminal=False) as journal:
        journal.interval(row_at(100, efficiency=None), loss=0.5, learning_rate=0.25)
        assert shown_scalars(tmp_path, "train/loss") == [(100, 0.5)]
        journal.evaluation("validation", 100, loss=0.75, accuracy=0.875)
    version, start, training, evaluation = read_events(tmp_path)
    assert (version.file_version, start.step) == ("brain.Event:2", 1)
    assert {value.tag for value in training.summary.value} == {
        "train/loss",
        "train/learning_rate",
        "speed/seconds",
        "speed/examples_per_second",
        "speed/positions_per_second",
        "speed/waste",
        "speed/input_share",
        "speed/compile_seconds",
        "speed/memory_bytes",
    }
    assert {value.tag: value.simple_value for value in evaluation.summary.value} == {
        "validation/loss": 0.75,
        "validation/accuracy": 0.875,
    }
    assert begun <= training.wall_time <= time.time()


def test_tensorboard_itself_reads_the_files_and_forgets_what_is_done_again(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with Journal(tmp_path, TENSORBOARD, terminal=False) as journal:
        report(journal, 100, 200, 300, loss=1.0)
    with Journal(tmp_path, TENSORBOARD, resumed_step=200, terminal=False) as journal:
        report(journal, 300, 400, loss=2.0)
    reader = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    shown = [(event.step, event.value) for event in reader.Scalars("train/loss")]
    assert shown == [(100, 1.0), (200, 1.0), (300, 2.0), (400, 2.0)]
    assert shown == shown_scalars(tmp_path, "train/loss")


def test_lines_stand_above_the_bar_and_bare_in_a_log_file(tmp_path, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with Journal(tmp_path) as journal:
        report(journal, 1200)
        journal.evaluation("validation", 1200, loss=0.25, accuracy=0.9)
        assert stream.getvalue().splitlines() == [
            interval_line(ROW, loss=0.5, learning_rate=0.25),
            "step 1,200  validation  loss 0.25  accuracy 90.00 %",
        ]
        with tqdm(total=10, file=stream, desc="bar", ascii=True) as bar:
            bar.update(5)
            report(journal, 1300)
    pieces = [piece for piece in stream.getvalue().replace("\r", "\n").split("\n")[2:] if piece.strip()]
    starts = [piece[:4] for piece in pieces]
    at = starts.index("step")
    assert pieces[at] == interval_line(row_at(1300), loss=0.5, learning_rate=0.25)
    assert at > 0, "the bar was there before"
    assert set(starts[:at]) == set(starts[at + 1 :]) == {"bar:"}


def test_no_terminal_no_line(tmp_path, capsys):
    with Journal(tmp_path, terminal=False) as journal:
        report(journal, 100)
        journal.evaluation("test", 100, loss=0.25, accuracy=0.9)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("changes", "loss", "learning_rate", "told"),
    [
        (
            {"rank": 1, "positions_per_second": 812_345.0},
            12.345,
            0.0,
            "loss 12.3  lr 0  812 examples/s  812 ksamples/s",
        ),
        ({"examples_per_second": 99.97}, 1e-5, 1.0, "loss 1e-05  lr 1.0e0  100 examples/s"),
        ({"examples_per_second": 12_345.6}, 0.5, 2.5e-10, "lr 2.5e-10  12,346 examples/s"),
        ({"waste": None, "efficiency": None}, 0.5, 1e-3, "41.2 Mpx/s  input 0.4 %"),
        ({"waste": 0.0999, "input_share": 1.0}, 0.5, 1e-3, "waste 10 %  input 100 %  efficiency 0.86"),
    ],
)
def test_figures_are_short(changes, loss, learning_rate, told):
    assert told in interval_line(row_at(1200, **changes), loss=loss, learning_rate=learning_rate)


@contextlib.contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """Makes writing past `size` bytes of any file fail with OSError, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_becomes_full_costs_the_files_and_one_warning_each(tmp_path, capsys):
    with Journal(tmp_path, TENSORBOARD) as journal:
        report(journal, 100)
        with no_file_beyond(1000), pytest.warns(RuntimeWarning, match="cannot be written") as told:
            report(journal, *range(200, 1200, 100))
        report(journal, 1200)
    assert sorted(str(warning.message).split(":")[0] for warning in told) == [
        str(tmp_path / "speed.jsonl"),
        str(tmp_path / "tensorboard"),
    ]
    assert len(capsys.readouterr().err.splitlines()) == 12, "the terminal goes on"
    with Journal(tmp_path, TENSORBOARD, resumed_step=100, terminal=False) as journal:  # the next process writes
        report(journal, 200, loss=2.0)
    assert speed_steps(tmp_path) == [100, 200]


def test_files_that_cannot_be_opened_cost_one_warning_each(tmp_path):
    (tmp_path / "tensorboard").touch()
    (tmp_path / "speed.jsonl").mkdir()
    journal = Journal(tmp_path, TENSORBOARD, terminal=False)
    with pytest.warns(RuntimeWarning, match="the run continues without these reports") as told, journal:
        report(journal, 100, 200)
    assert len(told) == 2


def test_a_terminal_that_is_gone_costs_one_warning(tmp_path, monkeypatch):
    with open("/dev/full", "w", buffering=1) as gone:
        monkeypatch.setattr(sys, "stderr", gone)
        with pytest.warns(RuntimeWarning, match="^terminal: cannot be written"), Journal(tmp_path) as journal:
            report(journal, 100, 200)
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            gone.close()
    assert speed_steps(tmp_path) == [100, 200]


def test_reports_are_due_at_the_end_of_epochs_and_every_so_many_steps():
    due = [[step for step in range(1, 13) if LogSettings(every).due(step, 6)] for every in (0, 4, 1)]
    assert due == [[6, 12], [4, 6, 8, 12], list(range(1, 13))]
