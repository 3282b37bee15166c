"""The figures that a run reports, against those that its metrics and its optimizer hold."""

import copy
import dataclasses
import json

import numpy as np
import pytest
from event_readers import shown_scalars

from fcnjax.data import BucketPlan
from fcnjax.training import train
from fcnjax.training.run.reports import Reports
from fcnjax.training.run.run_folder import RunFolder
from fcnjax.training.step.optimizer import learning_rate_at


@pytest.fixture(scope="module")
def reported(trainer, tmp_path_factory):
    """A run of nine steps that reports after steps 2, 3, 4, 6, 8 and 9: intervals of one and of two steps."""
    log = dataclasses.replace(trainer.recipe.log, every_steps=2, tensorboard=True)
    recipe = dataclasses.replace(trainer.recipe, log=log)
    return train(recipe, tmp_path_factory.mktemp("runs") / "reported", trainer=trainer, progress=False)


STEPS = [2, 3, 4, 6, 8, 9]


def test_an_intervals_loss_is_the_mean_of_its_own_steps(reported):
    losses = [row["loss"] for row in RunFolder.read_metrics(reported.folder.path, "train")]
    intervals = zip([0, *STEPS], STEPS, strict=False)
    expected = [(stop, np.mean(losses[start:stop])) for start, stop in intervals]
    shown = shown_scalars(reported.folder.path, "train/loss")
    assert [step for step, _ in shown] == STEPS
    np.testing.assert_allclose([loss for _, loss in shown], [loss for _, loss in expected], rtol=1e-6)
    assert np.ptp([loss for _, loss in expected]) > 1e-3  # the mean of another interval differs


def test_the_learning_rate_is_that_of_the_last_step(reported, trainer):
    settings, steps = trainer.recipe.optimizer, trainer.steps
    expected = [learning_rate_at(settings, steps, step - 1) for step in STEPS]  # steps count from 0 in a schedule
    shown = shown_scalars(reported.folder.path, "train/learning_rate")
    assert [step for step, _ in shown] == STEPS
    np.testing.assert_allclose([rate for _, rate in shown], expected, rtol=1e-6)
    assert (np.diff(expected) < 0).all()


def test_intervals_count_their_own_steps(reported):
    rows = [json.loads(line) for line in (reported.folder.path / "speed.jsonl").read_text().splitlines()]
    assert [(row["step"], row["epoch"], row["steps"]) for row in rows] == [
        (step, (step - 1) // 3, count) for step, count in zip(STEPS, np.diff([0, *STEPS]).tolist(), strict=True)
    ]


def test_speed_is_that_of_examples_with_their_own_number_of_axes(trainer, tmp_path, monkeypatch):
    signals = copy.copy(trainer)
    signals.buckets = BucketPlan(np.array([[4], [6], [8]], np.int32))
    ranks = []
    monkeypatch.setattr("fcnjax.training.run.reports.Speed", ranks.append)
    with RunFolder(tmp_path / "run", trainer.recipe) as folder:
        with Reports(folder, trainer.recipe, signals, 0, terminal=False):
            pass
        with Reports(folder, trainer.recipe, trainer, 0, terminal=False):
            pass
    assert ranks == [1, 2]


def test_evaluations_are_reported_as_in_the_metrics(reported):
    for figure in ("loss", "accuracy"):
        for split in ("validation", "test"):
            rows = RunFolder.read_metrics(reported.folder.path, split)
            shown = shown_scalars(reported.folder.path, f"{split}/{figure}")
            np.testing.assert_allclose([value for _, value in shown], [row[figure] for row in rows], rtol=1e-6)
            assert [step for step, _ in shown] == [row["step"] for row in rows]
