"""The determinism benchmark: real trainings in fresh processes, equal or not."""

import json
import time

import pytest

from fcnjax.bench import determinism
from fcnjax.bench.determinism import AGAIN, FIRST, RESUMED
from fcnjax.commands.main import main

SMALL = ("--config.model.channels=(4,4)", "--config.epochs=1", "--config.max_buckets=1", "--config.batch_size=32")


@pytest.fixture
def config(request, tmp_path, monkeypatch) -> list[str]:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # those of the tests
    return [f"--config={request.config.rootpath / 'configs/digits.py'}", *SMALL]


@pytest.mark.slow  # starts a training process four times
def test_trainings_of_one_config_are_equal_and_an_interrupted_one_is_too(config, tmp_path, capsys):
    assert main(["fcnjax", "bench", "determinism", *config, f"--json={tmp_path / 'out.json'}"]) == 0
    result = json.loads((tmp_path / "out.json").read_text())
    equal = {"metrics_equal": True, "weights_equal": True, "largest_difference": 0.0}
    assert result[AGAIN] == equal
    assert result[RESUMED] == equal
    assert result["interrupted_after"] > 1
    assert capsys.readouterr().out.count("equal") == 4


@pytest.mark.slow  # starts a training process twice
def test_a_training_that_differs_is_found_and_one_without_a_run_is_noted(config, tmp_path):
    end = time.monotonic() + 240
    trainings = determinism._Trainings(tmp_path, config, end)
    with trainings.started(FIRST) as process:
        trainings.finish(process, FIRST)
    other = determinism._Trainings(tmp_path, [*config, "--config.seed=1"], end)
    with other.started(AGAIN) as process:
        other.finish(process, AGAIN)
    compared = trainings.compared({AGAIN: "", RESUMED: "has not ended in time"})
    assert not compared[AGAIN]["metrics_equal"]
    assert not compared[AGAIN]["weights_equal"]
    assert compared[AGAIN]["largest_difference"] > 1e-3
    assert compared[RESUMED] == {"note": "has not ended in time"}


@pytest.mark.parametrize(
    ("arguments", "seconds", "error", "message"),
    [
        (["--config.model.nrom=batch"], 100, ChildProcessError, "exit code 2: .*nrom"),
        ([], 0.01, TimeoutError, "has not ended in time"),
    ],
)
def test_a_first_training_that_fails_says_why(config, arguments, seconds, error, message):
    with pytest.raises(error, match=message):
        determinism.measure([*config, *arguments], seconds)
