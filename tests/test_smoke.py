"""Training, resuming and evaluating with the command, from another folder, as a user does."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fcnjax import xla

CONFIG = Path(__file__).parent.parent / "configs" / "digits.py"
SMALL = ["--config.model.channels=(4,8)", "--config.epochs=10", "--config.checkpoint_every=1", "--config.batch_size=32"]


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """Returns a function that starts `fcnjax` with arguments in another folder, without the tests' XLA flags."""
    folder = tmp_path_factory.mktemp("elsewhere")
    environ = {name: value for name, value in os.environ.items() if name != xla.FLAGS}
    data = {"TFDS_DATA_DIR": str(folder / "data"), "FCNJAX_CACHE_DIR": str(folder / "programs")}

    def start(*arguments, **more):
        return subprocess.Popen(
            [sys.executable, "-m", "fcnjax", *arguments],
            cwd=folder,
            env=environ | data | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    start.folder = folder
    return start


def finish(process) -> str:
    """Waits until a command succeeds, and returns its stdout."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    return out


def measured(folder: Path) -> dict[str, bytes]:
    """Returns what a run measured, without the time that it took."""
    return {
        "metrics": (folder / "metrics.jsonl").read_bytes(),
        "result": re.sub(rb'"seconds": [^,}]*', b"", (folder / "result.json").read_bytes()),
    }


@pytest.mark.slow
def test_a_run_is_trained_killed_resumed_and_evaluated(command):
    whole = finish(command("train", f"--config={CONFIG}", "--workdir=whole", *SMALL))
    assert re.search(r"test accuracy [\d.]+%", whole)

    compiled_anew = {"FCNJAX_CACHE_DIR": ""}  # a GPU's compiler may choose other kernels, unless it is told not to
    process = command("train", f"--config={CONFIG}", "--workdir=killed", *SMALL, **compiled_anew)
    checkpoints = command.folder / "killed" / "checkpoints"
    begun = time.monotonic()
    while not any(entry.name.isdigit() for entry in (checkpoints.iterdir() if checkpoints.exists() else ())):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < begun + 200
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (command.folder / "killed" / "result.json").exists()
    finish(command("train", f"--config={CONFIG}", "--workdir=killed", *SMALL, **compiled_anew))
    assert measured(command.folder / "killed") == measured(command.folder / "whole")

    evaluated = finish(command("evaluate", "--workdir=killed"))
    assert re.search(r"test accuracy [\d.]+%", whole).group() in evaluated
    (environment, _) = json.loads((command.folder / "killed" / "environment.json").read_text())
    assert environment["xla"].keys() == {"flags", "options", "refused"}
