"""A whole experiment with real runs: tuned, published, and reproduced bit by bit."""

import json
import subprocess
from pathlib import Path

import pytest
from digits_experiment import CONFIG, tiny_experiment

from fcnjax import lab
from fcnjax.lab import command
from fcnjax.lab.published.result import read_result

RESULTS = Path("experiments/results/tiny")


@pytest.mark.slow
def test_an_experiment_is_tuned_published_and_reproduced(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("tiny.py").write_text(CONFIG)
    experiment = tiny_experiment(tuned=(1.0,), measures=(lab.Scores(), lab.ByArea(3)))
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]

    command.run(experiment, ["tiny", "--tune"])
    plan = lab.read_plan(RESULTS / "plan.json")
    assert plan.examples == dict.fromkeys(plan.power, 180)  # of 240 digits, 60 are for validation
    for words in (["init", "-q"], ["add", "experiments"], [*who, "commit", "-qm", "Plan"]):
        subprocess.run(["git", *words], check=True)
    command.run(experiment, ["tiny", "--publish"])
    result = read_result(RESULTS / "result.json")
    assert len(result.runs) == 8
    assert {run["examples"] for run in result.runs} == {90}
    assert set(result.runs[0]["means"]) >= {"accuracy", "log loss", "accuracy, smallest third"}
    pilots = json.loads((RESULTS / "plan.json").read_text())["facts"]
    assert pilots["hardware"] == result.facts["hardware"]

    capsys.readouterr()
    command.run(experiment, ["tiny", "--reproduce", "--fraction=0.25"])
    assert "reproduced: all 2 agree (same hardware and versions: bit by bit)" in capsys.readouterr().out
    assert len(list(Path("runs/reproduce/tiny/1/measured").iterdir())) == 2
