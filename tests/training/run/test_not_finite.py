"""A loss, weights or statistics that are not finite: the file, the message, and what a run does not save."""

import dataclasses
import json

import numpy as np
import pytest

from fcnjax.data import ArraySource, Batch
from fcnjax.training import train
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


def test_the_first_example_of_a_source_is_listed_and_filler_rows_are_not(tmp_path):
    part = Batch(np.zeros((2, 4, 4, 1)), np.array([[4, 3], [0, 0]]), np.array([1, 0]), np.array([0, -1]))
    told = report_not_finite(tmp_path, 1, 0, float("nan"), [part])
    assert strict((tmp_path / "not_finite.json").read_text())["examples"] == [{"id": 0, "label": 1, "size": [4, 3]}]
    assert "Its 1 examples are listed" in told


def test_the_values_are_not_needed_any_more(tmp_path):
    parts = [part._replace(values=None) for part in PARTS]
    report_not_finite(tmp_path, 7, 2, float("nan"), parts)
    assert strict((tmp_path / "not_finite.json").read_text())["examples"] == LISTED


def test_a_disk_that_fails_hides_nothing(tmp_path):
    (tmp_path / "file").touch()
    told = report_not_finite(tmp_path / "file", 7, 2, float("nan"), PARTS)
    assert told.startswith("training loss nan at step 7 (epoch 2)")
    assert "listed in" not in told


@pytest.mark.parametrize(
    ("field", "name", "checkpoint_every", "step", "checkpoints"),
    [
        ("statistics", "blocks.0.layers.1.mean", 1, 6, ["3"]),
        ("statistics", "blocks.1.layers.1.variance", 0, 9, None),
        ("weights", "head.layers.0.bias", 0, 9, None),
    ],
)
def test_neither_weights_nor_statistics_that_are_not_finite_are_saved(
    trainer, tmp_path, monkeypatch, field, name, checkpoint_every, step, checkpoints
):
    """In a checkpoint or, at the end of a run with or without checkpoints, as its result."""
    real_step = trainer.step

    def spoilt(state, *rest):
        after, loss = real_step(state, *rest)
        if int(after.step) == step:
            arrays = getattr(after, field)
            after = dataclasses.replace(after, **{field: arrays | {name: arrays[name] + np.float32(np.inf)}})
        return after, loss

    monkeypatch.setattr(trainer, "step", spoilt)
    recipe = dataclasses.replace(trainer.recipe, checkpoint_every=checkpoint_every)
    with pytest.raises(FloatingPointError, match=rf"^weights not finite after training loss \d+\.\d+ at step {step} "):
        train(recipe, tmp_path / "run", trainer=trainer, progress=False)
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert not left & {"weights", "result.json"}
    found = tmp_path / "run" / "checkpoints"
    assert ([path.name for path in found.iterdir()] if found.exists() else None) == checkpoints
