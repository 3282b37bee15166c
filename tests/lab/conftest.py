"""Fixtures of the laboratory's tests."""

import subprocess
from pathlib import Path

import pytest
from digits_experiment import CONFIG
from fake_runner import FakeRunner

from fcnjax.lab import command, tuning


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of the tiny experiment, as the current folder, under git."""
    monkeypatch.chdir(tmp_path)
    for module in (command, tuning):
        monkeypatch.setattr(module, "Runner", FakeRunner)
    monkeypatch.setattr("fcnjax.lab.report.report._png", lambda figure, dpi: b"drawn elsewhere")  # it takes seconds
    FakeRunner.reset()
    Path("tiny.py").write_text(CONFIG)
    subprocess.run(["git", "init", "-q"], check=True)
    return tmp_path
