"""Traces of a few steps: which steps they hold, and that they are always closed."""

import gzip
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from fcnjax.training.run.profiling import Profiler
from fcnjax.training.settings.observation_settings import ProfileSettings


@jax.jit
def compute(x):
    return x @ x


def run(folder: Path, settings: ProfileSettings, steps, fail_at: int | None = None):
    x = jnp.ones((32, 32))
    with Profiler(folder, settings) as profiler:
        for step in steps:
            profiler.before(step)
            if step == fail_at:
                raise KeyError(step)
            profiler.after(step, compute(x))


def traced_steps(folder: Path) -> list[list[int]]:
    """Returns the step numbers in the viewer's file of each trace."""
    files = sorted((folder / "profile").rglob("*.trace.json.gz"))
    traces = [json.loads(gzip.decompress(file.read_bytes()))["traceEvents"] for file in files]
    return [
        sorted(int(event["args"]["step_num"]) for event in events if event.get("name") == "train") for events in traces
    ]


def no_trace_is_open() -> bool:
    with pytest.raises(RuntimeError, match="No profile started"):
        jax.profiler.stop_trace()
    return True


def test_the_steps_that_were_asked_for_are_in_the_trace(tmp_path):
    run(tmp_path, ProfileSettings(start=3, steps=2), range(1, 8))
    assert traced_steps(tmp_path) == [[3, 4]]
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    assert no_trace_is_open()


@pytest.mark.parametrize(("first", "traced"), [(4, [[4, 5]]), (6, [])])
def test_a_resumed_run_records_what_is_left(tmp_path, first, traced):
    run(tmp_path, ProfileSettings(start=2, steps=4), range(first, 9))
    assert traced_steps(tmp_path) == traced


def test_a_second_trace_of_a_run_goes_into_the_same_folder(tmp_path):
    (tmp_path / "profile").mkdir()
    run(tmp_path, ProfileSettings(start=1, steps=2), range(1, 4))
    assert traced_steps(tmp_path) == [[1, 2]]


def test_no_steps_no_trace(tmp_path):
    run(tmp_path, ProfileSettings(), range(1, 20))
    assert not list(tmp_path.iterdir())


def test_an_error_and_an_early_end_close_the_trace(tmp_path):
    with pytest.raises(KeyError):
        run(tmp_path / "error", ProfileSettings(start=1, steps=9), range(1, 20), fail_at=3)
    assert traced_steps(tmp_path / "error") == [[1, 2, 3]]
    run(tmp_path / "short", ProfileSettings(start=2, steps=9), range(1, 4))
    assert traced_steps(tmp_path / "short") == [[2, 3]]
    assert no_trace_is_open()


def test_a_trace_that_is_refused_costs_one_warning(tmp_path):
    (tmp_path / "other").mkdir()
    with jax.profiler.trace(tmp_path / "other"), pytest.warns(RuntimeWarning, match="no trace can be recorded") as told:
        run(tmp_path, ProfileSettings(start=1, steps=4), range(1, 9))
    assert len(told) == 1
    assert traced_steps(tmp_path) == []


def test_a_folder_that_cannot_be_written_costs_one_warning(tmp_path):
    (tmp_path / "profile").touch()
    with pytest.warns(RuntimeWarning, match="no trace can be recorded") as told:
        run(tmp_path, ProfileSettings(start=1, steps=2), range(1, 5))
    assert len(told) == 1
    assert no_trace_is_open()
