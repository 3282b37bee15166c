"""A loss that is not finite: the file and the message."""

import json

import numpy as np
import pytest

from fcnjax.data import ArraySource, Batch
from fcnjax.training.run.not_finite import report_not_finite


class NamedSource(ArraySource):
    names = ("kept/a.png", "kept/b.png", "kept/c.png")


PARTS = (
    Batch(np.zeros((3, 4, 5, 1)), np.array([[4, 3], [0, 0], [2, 5]]), np.array([1, 0, 0]), np.array([12, -1, 10])),
    Batch(np.zeros((1, 8, 8, 1)), np.array([[8, 7]]), np.array([1]), np.array([11])),
)
LISTED = [
    {"id": 12, "label": 1, "size": [4, 3]},
    {"id": 10, "label": 0, "size": [2, 5]},
    {"id": 11, "label": 1, "size": [8, 7]},
]


def source(kind: type[ArraySource]) -> ArraySource:
    return kind([np.ones((2, 2, 1))] * 3, [0, 1, 1], first_id=10)


def strict(text: str) -> dict:
    def refuse(name: str):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), np.float32("nan"), -np.inf])
def test_the_examples_of_the_step_are_listed_and_the_sentence_says_what_to_do(tmp_path, loss):
    told = report_not_finite(tmp_path, 7, 2, loss, PARTS, source(ArraySource))
    path = tmp_path / "not_finite.json"
    assert strict(path.read_text()) == {"step": 7, "epoch": 2, "loss": str(float(loss)), "examples": LISTED}
    assert told.startswith(f"training loss {loss} at step 7 (epoch 2): lower config.optimizer.learning_rate, or set ")
    assert "config.optimizer.clip_norm" in told
    assert f"Its 3 examples are listed in {path}." in told


def test_examples_are_named_where_the_source_has_names(tmp_path):
    report_not_finite(tmp_path, 7, 2, float("nan"), PARTS, source(NamedSource))
    names = [example["name"] for example in strict((tmp_path / "not_finite.json").read_text())["examples"]]
    assert names == ["kept/c.png", "kept/a.png", "kept/b.png"]


def test_the_values_are_not_needed_any_more(tmp_path):
    parts = [part._replace(values=None) for part in PARTS]
    report_not_finite(tmp_path, 7, 2, float("nan"), parts)
    assert strict((tmp_path / "not_finite.json").read_text())["examples"] == LISTED


def test_a_disk_that_fails_hides_nothing(tmp_path):
    (tmp_path / "file").touch()
    told = report_not_finite(tmp_path / "file", 7, 2, float("nan"), PARTS)
    assert told.startswith("training loss nan at step 7 (epoch 2)")
    assert "listed in" not in told
