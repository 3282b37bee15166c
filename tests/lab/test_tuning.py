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
from fcnjax.lab.power import pilot_components, pilot_run_variance
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


def test_the_plan_names_the_arms_whose_edge_still_wins(project):
    experiment = tiny_experiment(tuned=(16.0, 32.0))  # of 0.005, and the fake loss is lowest at 0.001
    plan = tuning.tune(Pilots(experiment, "digits", RECIPE, project / "runs"))
    assert plan.learning_rates["linear"] == 0.2  # 1.6, three times halved
    assert plan.at_edge == ["linear", "hidden"]
    plan = tuning.tune(Pilots(tiny_experiment(tuned=(0.005, 0.01, 0.02)), "digits", RECIPE, project / "runs"))
    assert plan.learning_rates["linear"] == 0.001
    assert plan.at_edge == []


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


def test_a_repeated_arm_takes_the_rate_of_an_arm_with_its_data():
    few, fewer = (lab.few_examples(count) for count in (9, 5))
    arms = (
        lab.Arm("all", "all", LINEAR),
        lab.Arm("few", "few", LINEAR, sources=few),
        lab.Arm("few-again", "few, other seeds", LINEAR, sources=few, salt=1),
        lab.Arm("fewer-again", "fewer, other seeds", LINEAR, sources=fewer, salt=1),
        lab.Arm("shuffled", "shuffled", LINEAR, sources=lab.shuffled_labels(), control=True),
    )
    experiment = tiny_experiment(arms=arms, claims=())
    leaders = {arm.name: leader_of(experiment, arm).name for arm in arms}
    assert leaders["few-again"] == "few"
    assert leaders["fewer-again"] == "fewer-again"
    assert leaders["shuffled"] == "all"


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


def accuracies(rates: dict[str, tuple[float, ...]]) -> Observations:
    """Returns pilots of 60 examples, one run per rate of an arm: the share of examples that are correct, by chance."""
    runs = []
    for number, (arm, each) in enumerate(rates.items()):
        rng = np.random.default_rng(number)
        correct = [(rng.random(60) < rate).astype(float) for rate in each]
        runs += [observation(arm, 1000 + seed, {"accuracy": values}) for seed, values in enumerate(correct)]
    return Observations(tuple(runs), 2)


def variances(claims, observations) -> dict[str, dict[str, float]]:
    return pilot_variances(dataclasses.replace(EXPERIMENT, claims=claims), observations, 60)[0]


PILOTS = {"linear": (0.9, 0.9), "hidden": (0.9, 0.4), "linear-again": (0.9, 0.95), "shuffled": (0.3, 0.8)}
FAR = lab.Equivalence("far", lab.difference("hidden", "linear"))
NEAR = lab.Equivalence("near", lab.difference("linear-again", "linear"))
BROKEN = lab.Equivalence("broken", lab.difference("shuffled", "linear"), control=True)
TRIED = lab.Equivalence("tried", lab.difference("shuffled", "linear"), exploratory=True)


def test_the_variance_between_runs_is_shared_by_primary_claims_of_one_kind():
    observations = accuracies(PILOTS)
    own = {each.statement: pilot_run_variance(*observations.contrast(each.contrast)) for each in (FAR, NEAR)}
    assert own["far"] > 0.03 > 0.01 > own["near"]
    found = variances((FAR, NEAR), observations)
    assert found["far"]["run"] == own["far"]  # its own is larger than the mean of both
    assert found["near"]["run"] == np.mean(list(own.values()))


@pytest.mark.parametrize("other", [{"unit": "points of log loss"}, {"margin": 0.1}])
def test_a_claim_of_another_kind_shares_no_variance_between_runs(other):
    observations = accuracies(PILOTS)
    own = pilot_run_variance(*observations.contrast(NEAR.contrast))
    assert variances((FAR, dataclasses.replace(NEAR, **other)), observations)["near"]["run"] == max(0, own)


@pytest.mark.parametrize("other", [BROKEN, TRIED])
def test_claims_that_get_no_verdict_in_the_family_change_no_variance_and_keep_their_own(other):
    observations = accuracies(PILOTS)
    alone = variances((NEAR,), observations)
    found = variances((NEAR, other), observations)
    assert found["near"] == alone["near"]
    assert found[other.statement]["run"] > 0.05
    assert found[other.statement] == pilot_components(*observations.contrast(other.contrast))


def test_rare_disagreement_does_not_hide_the_variance_between_runs():
    correct = np.ones(60)
    runs = [observation("linear", seed, {"accuracy": correct}) for seed in (1000, 1001)]
    few = np.where(np.arange(60) < 4, 0.0, 1.0)  # of the second run; fewer than the 10 that do not count as rare
    runs += [observation("hidden", 1000, {"accuracy": correct}), observation("hidden", 1001, {"accuracy": few})]
    claim = lab.Equivalence("rare", lab.difference("hidden", "linear"))
    values = (few - correct, np.zeros(60))
    residual = np.var(np.concatenate([(values[0] - values[1]) / 2 - np.mean(values[0]) / 2] * 2)) * 120 / 59
    expected = np.var([np.mean(each) for each in values], ddof=1) - residual / 60
    found = variances((claim,), Observations(tuple(runs), 2))["rare"]
    assert found["run"] == pytest.approx(expected)
    assert found["residual"] == pytest.approx(residual + 1 / 60)


def test_a_contrast_without_values_is_refused():
    runs = [run for arm in ("linear", "hidden") for run in accuracies({arm: (0.9, 0.4)}).runs]
    runs = [dataclasses.replace(run, values={**run.values, "none": np.full(60, np.nan)}) for run in runs]
    empty = lab.Superiority("empty", lab.difference("hidden", "linear", "none"))
    with pytest.raises(ValueError, match=r"^claim 'empty': must have a contrast with values .*leave the claim out\.$"):
        variances((FAR, empty), Observations(tuple(runs), 2))


def test_a_contrast_of_one_run_is_unknown_and_leaves_the_others_as_they_are():
    observations = accuracies({**PILOTS, "linear-again": (0.9,)})
    found = variances((FAR, NEAR), observations)
    assert np.isnan(found["near"]["run"])
    assert found["far"] == variances((FAR,), observations)["far"]


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
