"""Plugins of pytest that happen to be installed do no harm: their warnings are shown, those of tests are errors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLUGIN = """
import warnings
import pytest


def pytest_configure(config):
    warnings.warn(pytest.PytestWarning("this plugin has been switched off"))
"""
TEST = """
import threading
import warnings


def test_quiet():
    pass


def test_warns():
    warnings.warn("deprecated", DeprecationWarning)


def test_thread_fails():
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
"""


@pytest.mark.parametrize("processes", [0, 2])
def test_a_warning_of_a_plugin_is_not_an_error(tmp_path, processes):
    (tmp_path / "warning_plugin.py").write_text(PLUGIN)
    (tmp_path / "test_inner.py").write_text(TEST)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environ["COLUMNS"] = "200"  # the summary is not cut
    environ["PYTHONPATH"] = os.pathsep.join([str(tmp_path), environ.get("PYTHONPATH", "")])
    options = ["-c", str(ROOT / "pyproject.toml"), f"--rootdir={tmp_path}", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, "-p", "warning_plugin", "-n", str(processes), "test_inner.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120)
    assert "INTERNALERROR" not in done.stdout + done.stderr
    assert "2 failed, 1 passed" in done.stdout, done.stdout
    for failed in ("test_warns - DeprecationWarning", "test_thread_fails - pytest.PytestUnhandledThreadException"):
        assert failed in done.stdout
