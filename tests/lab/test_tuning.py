"""Which learning rates are tried and chosen, and what pilots say about the power of claims."""

import dataclasses
import math

import numpy as np
import pytest
from digits_experiment import LINEAR, tiny_experiment

from fcnjax import lab
from fcnjax.lab import tuning
from fcnjax.lab.experiment import Experiment
from fcnjax.lab.observations import Observation, Observations
from fcnjax.lab.tuning import (
    OnValidation,
    Pilots,
    best_rate,
    leader_of,
    next_rate,
    pilot_variances,
    tuned_losses,
)
from fcnjax.training import DataSettings, OptimizerSettings, Recipe

EXPERIMENT = tiny_experiment()
RECIPE = Recipe(DataSettings("any_size_digits"), optimizer=OptimizerSettings(learning_rate=0.1))


def observation(arm: str, seed: int, values=None, numbers=None) -> Observation:
    ids, empty = np.arange(60), np.zeros(0)
    return Observation(arm, seed, 0, "key", ids, values or {}, numbers or {}, empty, ids % 10, np.ones((60, 2)))


class FakePilots(Pilots):
    """Pilots whose validation loss is a function of the learning rate."""

    def runner(self, arms, measures, rates):
        asked.append(dict(rates))
        runs = []
        for arm in arms:
            loss = LOSSES[arm.name.partition("_rate")[0]](rates[arm.name])
            numbers = {} if loss is None else {tuning.LOSS: loss}
            runs += [observation(arm.name, seed, {}, numbers) for seed in tuning.PILOT_SEEDS]

        class Finished:
            def run(self):
                return Observations(tuple(runs), 2)

        return Finished()


asked: list[dict[str, float]] = []
LOSSES = {}


@pytest.fixture
def pilots(tmp_path):
    asked.clear()
    LOSSES.clear()
    return FakePilots(EXPERIMENT, "digits", RECIPE, tmp_path)


def test_an_edge_that_wins_is_extended_three_times_at_most(pilots):
    LOSSES.update(linear=lambda rate: abs(math.log(rate / 0.1)), hidden=lambda rate: 1 / rate)
    losses = tuned_losses(pilots)
    assert sorted(losses["linear"]) == [0.05, 0.1, 0.2]  # 0.1 was the upper edge
    assert sorted(losses["hidden"]) == [0.05, 0.1, 0.2, 0.4, 0.8]
    assert best_rate(losses["linear"]) == 0.1
    assert best_rate(losses["hidden"]) == 0.8
    assert [len(rates) for rates in asked] == [4, 2, 1, 1]


def test_a_rate_below_the_lowest_is_tried(pilots):
    LOSSES.update(linear=lambda rate: rate, hidden=lambda rate: abs(rate - 0.04))
    losses = tuned_losses(pilots)
    assert min(losses["linear"]) == 0.05 / 8
    assert sorted(losses["hidden"]) == [0.025, 0.05, 0.1]


def test_a_rate_that_diverges_does_not_win(pilots):
    LOSSES.update(linear=lambda rate: None if rate > 0.05 else 2.0, hidden=lambda rate: math.nan if rate > 0.03 else 1)
    losses = tuned_losses(pilots)
    assert losses["linear"][0.1] == [math.inf, math.inf]
    assert best_rate(losses["linear"]) < 0.1
    assert best_rate({1.0: [math.nan, 0.0], 2.0: [math.inf, 0.0]}) is None
    assert next_rate({1.0: [math.nan], 2.0: [math.inf]}) is None


def test_an_arm_without_a_finite_loss_is_refused(pilots):
    LOSSES.update(linear=lambda rate: None, hidden=lambda rate: 1.0)
    with pytest.raises(ValueError, match=r"arm 'linear': must have a finite validation loss at one of .*0\.05, 0\.1"):
        tuning.tune(pilots)


def test_only_pilots_of_their_own_arms_are_tuned(pilots):
    LOSSES.update(linear=lambda rate: 1.0, hidden=lambda rate: 1.0)
    assert set(tuned_losses(pilots)) == {"linear", "hidden"}
    leaders = {arm.name: leader_of(EXPERIMENT, arm).name for arm in EXPERIMENT.arms}
    assert leaders == {"linear": "linear", "hidden": "hidden", "linear-again": "linear", "shuffled": "linear"}


@pytest.mark.parametrize(
    "arm",
    [
        lab.Arm("new", "another config", {**LINEAR, "model.channels": (8,)}, control=True),
        lab.Arm("new", "a control in its config", LINEAR, control=True),
        lab.Arm("new", "other data, compared in earnest", LINEAR, sources=lab.few_examples(9)),
    ],
)
def test_an_arm_that_differs_in_more_is_tuned_by_itself(arm):
    experiment = tiny_experiment(arms=(*EXPERIMENT.arms, arm))
    assert leader_of(experiment, arm) is arm


def test_pilots_test_the_validation_examples():
    sources = {"train": "train", "validation": "validation", "test": "test"}
    assert OnValidation()(sources, 0) == {**sources, "test": "validation"}

    def change(given, seed):
        return {**given, "train": f"few {seed}"}

    assert OnValidation(change)(sources, 7) == {
        "train": "few 7",
        "validation": "validation",
        "test": "validation",
    }


def test_the_variance_between_runs_is_shared_by_claims_of_one_kind_and_not_by_controls():
    def runs_of(arm, rates):  # accuracies of two runs of 60 examples
        rng = np.random.default_rng(len(arm))
        values = [(rng.random(60) < rate).astype(float) for rate in rates]
        return [observation(arm, 1000 + i, {"accuracy": each}) for i, each in enumerate(values)]

    arms = {"linear": (0.9, 0.9), "hidden": (0.9, 0.4), "shuffled": (0.9, 0.8)}
    runs = [run for arm, rates in arms.items() for run in runs_of(arm, rates)]
    claims = (
        lab.Equivalence("far", lab.difference("hidden", "linear")),
        lab.Equivalence("near", lab.difference("shuffled", "linear")),
        lab.Equivalence("broken", lab.difference("hidden", "shuffled"), control=True),
    )
    experiment: Experiment = dataclasses.replace(EXPERIMENT, claims=claims)
    components, _ = pilot_variances(experiment, Observations(tuple(runs), 2), 60)
    means = np.array([run.values["accuracy"].mean() for run in runs]).reshape(3, 2)
    between = [np.var(means[1] - means[0], ddof=1), np.var(means[2] - means[0], ddof=1)]
    within = [components[name]["residual"] / 60 for name in ("far", "near")]
    assert components["far"]["run"] == components["near"]["run"] == pytest.approx(np.mean(between) - np.mean(within))
    assert components["broken"]["run"] != components["far"]["run"]


def test_variances_count_the_examples_that_a_metric_applies_to():
    third = np.where(np.arange(60) < 20, 1.0, np.nan)
    runs = [
        observation(arm, seed, {"small": third, "accuracy": (np.arange(60) + i + seed) % 3 > 0.0})
        for i, arm in enumerate(("linear", "hidden"))
        for seed in (1000, 1001)
    ]
    claims = (
        lab.Superiority("all", lab.difference("hidden", "linear")),
        lab.Superiority("small", lab.difference("hidden", "linear", "small")),
        lab.Exact("exact", "number", ("linear",), at_most=0),
    )
    experiment: Experiment = dataclasses.replace(EXPERIMENT, claims=claims)
    components, examples = pilot_variances(experiment, Observations(tuple(runs), 2), 1597)
    assert examples == {"all": 1597, "small": 532}
    assert components["all"]["residual"] > 0
