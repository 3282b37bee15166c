"""`make gpu`: a stage that hangs costs only itself, what is there is found, and the whole command runs on a CPU."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fcnjax.bench import gpu, gpu_stages, outcomes, stages
from fcnjax.bench.stages import ENDED, FAILED, KILLED, Stage, run_stage, share

ROOT = Path(__file__).parents[2]
HANGS = """
import json, os, signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('child ready', flush=True)"
started = subprocess.Popen([sys.executable, "-c", child + "; time.sleep(600)"])
print("working", flush=True)
json.dump([os.getpid(), started.pid], open("pids.json", "w"))
time.sleep(600)
"""
LEAVES_A_CHILD = """
import json, os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
json.dump([child.pid], open("pids.json", "w"))
"""


def run(tmp_path: Path, script: str, limit: float) -> tuple[stages.Outcome, bytes]:
    """Runs a script as a stage, which reports the process ids that the script has written."""
    written: list[bytes] = []
    pids = tmp_path / "pids.json"
    command = [sys.executable, "-c", script]
    stage = Stage("one", 1.0, lambda seconds: command, lambda: {"pids": json.loads(pids.read_text())})
    outcome = run_stage(stage, limit, written.append, environ=os.environ, folder=tmp_path)
    return outcome, b"".join(written)


def is_running(pid: int) -> bool:
    """Returns whether a process runs. A zombie, which only waits for its parent (perhaps not us), does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def assert_gone(pids: list[int]) -> None:
    end = time.monotonic() + 5
    while any(map(is_running, pids)) and time.monotonic() < end:
        time.sleep(0.01)
    assert not any(map(is_running, pids))


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads processes from /proc")


@needs_proc
def test_a_stage_that_hangs_is_killed_with_its_children_and_what_it_wrote_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "GRACE", 0.5)
    outcome, written = run(tmp_path, HANGS, limit=6.0)
    assert outcome.how == KILLED
    assert outcome.code == -signal.SIGKILL
    assert b"working" in written
    assert b"child ready" in written
    assert len(outcome.figures["pids"]) == 2
    assert_gone(outcome.figures["pids"])


@needs_proc
def test_a_stage_that_ends_leaves_no_process_behind(tmp_path):
    outcome, _ = run(tmp_path, LEAVES_A_CHILD, limit=60.0)
    assert outcome.how == ENDED
    assert_gone(outcome.figures["pids"])


def test_a_stage_that_fails_says_how_and_that_it_has_no_result(tmp_path):
    outcome, written = run(tmp_path, "raise SystemExit('a reason')", limit=60.0)
    assert (outcome.how, outcome.code) == (FAILED, 1)
    assert outcome.figures == {"note": "it has written no result"}
    assert written == b"a reason\n"


def test_time_that_a_stage_leaves_goes_to_the_later_ones():
    first, second, third = (
        Stage(name, weight, lambda seconds: [], dict) for name, weight in zip("abc", (1, 2, 1), strict=True)
    )
    assert share(first, (second, third), 40.0) == 10
    assert share(second, (third,), 36.0) == 24  # after the first has taken 4 seconds
    assert share(third, (), 7.0) == 7


def test_a_checkout_that_is_not_installed_gets_its_version_on_the_path(tmp_path, monkeypatch):
    def missing(name):
        raise gpu.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(gpu.importlib.metadata, "version", missing)
    environ = gpu.stage_environ(tmp_path)
    script = "import importlib.metadata as m; print(m.version('fcnjax'), next(m.distributions(name='fcnjax'))._path)"
    command = [sys.executable, "-S", "-c", script]  # -S: does not see what is installed
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True)
    version, path = done.stdout.split()
    assert f'version = "{version}"' in (ROOT / "pyproject.toml").read_text()
    assert path.startswith(str(tmp_path))


def test_tests_that_were_cut_short_are_counted_and_failures_keep_their_traceback(tmp_path):
    (tmp_path / "test_some.py").write_text(
        "import os, pytest, time\n"
        "def test_good(): pass\n"
        "def test_bad(): assert 1 == 2, 'not equal'\n"
        "@pytest.mark.skip(reason='no card')\ndef test_skipped(): pass\n"
        "@pytest.fixture\ndef broken(): raise OSError('no disk')\n"
        "def test_error(broken): pass\n"
        "def test_dies(): os._exit(1)\n"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), environ.get("PYTHONPATH", "")])
    options = ["-p", "no:cacheprovider", "-p", "fcnjax.bench.outcomes", "--outcomes=out", "-n", "1"]
    command = [sys.executable, "-m", "pytest", *options, f"--rootdir={tmp_path}", "-c", os.devnull]
    subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, timeout=120)
    result = outcomes.summarized(tmp_path / "out")
    assert result["counts"] == {"passed": 1, "failed": 3, "skipped": 1}
    assert "not equal" in result["failed"]["test_some.py::test_bad"]
    assert "no disk" in result["failed"]["test_some.py::test_error"]
    assert "crashed" in result["failed"]["test_some.py::test_dies"]
    assert result["skipped"] == {"Skipped: no card": 1}
    assert "test_some.py::test_good" in result["slowest"]
    assert outcomes.summarized(tmp_path / "none")["counts"] == {"passed": 0, "failed": 0, "skipped": 0}


def test_an_unknown_stage_is_named_before_anything_runs(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        gpu.main([f"--out={tmp_path / 'out'}", "--stages=exactnes"])
    assert ended.value.code == 2
    assert "unknown stage 'exactnes': did you mean 'exactness'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_all_stages_have_a_command_and_few_files(tmp_path):
    names = set()
    made = gpu_stages.Stages(lambda name: names.add(name) or tmp_path / name, tmp_path, ROOT, small=False).all()
    for stage in made:
        assert stage.command(60.0)[0] == sys.executable
    assert len({stage.name for stage in made}) == len(made)
    assert len(names | {"tests", "summary", "log"}) <= 8
    assert sum(stage.weight for stage in made) > 0


@pytest.mark.long  # a few stages, each in a process of its own: a minute
def test_the_whole_command_runs_on_a_cpu(tmp_path):
    chosen = "exactness,bench,tests,ablation,input"  # determinism has its own tests
    options = ["--small", "--seconds=240", f"--stages={chosen}", f"--out={tmp_path}"]
    environ = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "fcnjax.bench.gpu", *options]
    done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    files = {path.name for path in tmp_path.iterdir()}
    measured = {f"cpu-{name}.json" for name in ("summary", "exactness", "bench", "tests", "input")}
    assert files == measured | {"cpu-log.txt"}
    summary = json.loads((tmp_path / "cpu-summary.json").read_text())
    assert list(summary["stages"]) == chosen.split(",")
    assert {stage["how"] for stage in summary["stages"].values()} == {ENDED}, done.stdout
    assert summary["stages"]["exactness"]["figures"]["float32 logits"] < 1e-5
    assert summary["stages"]["bench"]["figures"]["planned images/s"] > 0
    assert summary["stages"]["tests"]["figures"]["passed"] > 50
    assert summary["stages"]["input"]["figures"]["loader_examples_per_s"] > 0
    assert summary["stages"]["ablation"]["figures"]["runs"] == 6
    assert summary["card"]["platform"] == "cpu"
    assert done.stdout.splitlines()[-2].startswith("input")
