"""Results as files: what their hashes see, what JSON keeps, and what a comparison allows."""

import dataclasses
import io
import json
import math

import numpy as np
import pytest
from digits_experiment import tiny_experiment
from fake_runner import FakeRunner
from rich.console import Console

from fcnjax.lab.claims import Exact
from fcnjax.lab.decisions import decide
from fcnjax.lab.observations import Observations
from fcnjax.lab.published.encoding import decoded_number, encoded
from fcnjax.lab.published.reproduction import (
    changed_keys,
    compare_results,
    compare_runs,
    end_reproduction,
    is_reproduced,
    print_comparison,
    reproduction_folder,
    same_conditions,
    sampled_jobs,
)
from fcnjax.lab.published.result import Result, facts_of, hash_of, make_result, read_result, run_row

EXPERIMENT = tiny_experiment()
BARE = Result("tiny", "", "", "digits", "", {}, [], [], [], 3, 2, None, {})


@pytest.fixture
def observations() -> Observations:
    FakeRunner.reset()
    runner = FakeRunner(EXPERIMENT, "digits", None, "runs", learning_rates={}, seeds=range(3))
    found = runner.run()
    assert found is not None
    return found


def result_of(observations: Observations, experiment=EXPERIMENT) -> Result:
    decisions = decide(experiment, observations)
    return make_result(experiment, "digits", observations, decisions, None, {"command": "python -m experiments.tiny"})


def test_a_result_that_is_read_again_is_the_same(observations, tmp_path):
    result = result_of(observations)
    assert read_result(result.write(tmp_path / "result.json")) == result


def test_a_result_names_every_number_of_its_claims(observations):
    claim, *_ = result_of(observations).claims
    decision, *_ = decide(EXPERIMENT, observations)
    assert claim["estimate"]["mean"] == decision.estimate.mean
    assert (claim["low"], claim["high"], claim["p"], claim["p_holm"]) == (
        decision.low,
        decision.high,
        decision.p,
        decision.p_holm,
    )
    assert claim["verdict"] == decision.verdict
    assert claim["margin"] == 0.3


def test_the_hash_of_a_run_sees_every_bit(observations):
    run = observations.runs[0]
    values = run.values["accuracy"].copy()
    values[-1] = np.nextafter(values[-1], 2)
    others = [
        dataclasses.replace(run, values={"accuracy": values}),
        dataclasses.replace(run, values={"other": run.values["accuracy"]}),
        dataclasses.replace(run, values={**run.values, "more": values}),
        dataclasses.replace(run, numbers={**run.numbers, "x": 0.0}),
        dataclasses.replace(run, numbers={name: np.nextafter(number, 9) for name, number in run.numbers.items()}),
        dataclasses.replace(run, losses=run.losses + 1e-7),
        dataclasses.replace(run, ids=run.ids[::-1]),
    ]
    assert hash_of(dataclasses.replace(run, values={"accuracy": run.values["accuracy"].copy()})) == hash_of(run)
    assert len({hash_of(run), *map(hash_of, others)}) == 1 + len(others)


def test_means_leave_out_what_does_not_apply(observations):
    values = np.full(300, np.nan)
    run = dataclasses.replace(observations.runs[0], values={"none": values, "one": np.where(np.arange(300), values, 2)})
    means = encoded(run_row(run))["means"]
    assert means == {"none": "nan", "one": 2.0}


def test_runs_under_several_conditions_are_said_to_be(observations):
    first, *others = observations.runs
    other = dataclasses.replace(first, facts={"versions": "jax 2", "hardware": "1 x cpu (cpu)"})
    facts = facts_of(dataclasses.replace(observations, runs=(other, *others)))
    assert facts == {"versions": "jax 1; jax 2", "hardware": "1 x cpu (cpu)"}


def test_numbers_survive_json():
    numbers = [0.1 + 0.2, 1e-300, -0.0, math.inf, -math.inf, math.nan, None, 7]
    again = [decoded_number(value) for value in json.loads(json.dumps(encoded(numbers), allow_nan=False))]
    assert [repr(value) for value in again] == [repr(value) for value in numbers]
    assert encoded(np.float32(0.1)) == float(np.float32(0.1))
    with pytest.raises(TypeError, match="must be a number, a text"):
        encoded({"a": object()})


def test_unknown_conditions_are_never_the_same():
    known = {"hardware": "1 x cpu", "versions": "jax 1"}
    assert same_conditions(known, {**known, "source": "git 1"})
    assert not same_conditions(known, {**known, "versions": "jax 2"})
    assert not same_conditions({}, {})


def moved(result: Result, by: float) -> Result:
    """Returns a result whose first contrast is elsewhere, by a share of the upper half of its interval."""
    claim = {**result.claims[0]}
    half = claim["high"] - claim["estimate"]["mean"]
    claim["estimate"] = {**claim["estimate"], "mean": claim["estimate"]["mean"] + by * half}
    return dataclasses.replace(result, claims=[claim, *result.claims[1:]])


@pytest.mark.parametrize(("by", "agrees"), [(1.41, True), (1.42, False), (-1.41, True), (-1.42, False)])
def test_elsewhere_a_contrast_may_move_within_its_interval_sqrt_2_wider(observations, by, agrees):
    result = result_of(observations)
    elsewhere = dataclasses.replace(moved(result, by), facts={"hardware": "8 x gpu", "versions": "jax 1"})
    lines = compare_results(result, elsewhere)
    assert [line.agrees for line in lines if line.what.startswith("contrast")] == [agrees, True, True]
    assert all(line.agrees for line in lines if line.what.startswith("verdict"))


def test_here_a_contrast_may_not_move_at_all(observations):
    result = result_of(observations)
    assert all(line.agrees for line in compare_results(result, result))
    assert not all(line.agrees for line in compare_results(result, moved(result, 1e-9)))


def test_a_missing_run_or_claim_is_not_a_reproduction(observations):
    result = result_of(observations)
    lines = compare_results(result, dataclasses.replace(result, runs=result.runs[1:], claims=result.claims[1:]))
    assert [line.what for line in lines if not line.agrees] == [
        "verdict: A hidden layer is better",
        "run linear, seed 0, fold 0",
    ]


def test_elsewhere_a_contrast_without_a_verdict_may_move_and_is_shown(observations):
    exploratory = dataclasses.replace(EXPERIMENT.claims[0], exploratory=True)
    result = result_of(observations, tiny_experiment(claims=(exploratory, *EXPERIMENT.claims[1:])))
    far = moved(result, 9)
    lines = compare_results(result, dataclasses.replace(far, facts={"hardware": "8 x gpu", "versions": "jax 1"}))
    assert [line.what for line in lines if not line.agrees] == ["contrast: A hidden layer is better"]
    assert is_reproduced(lines)
    console = Console(file=io.StringIO(), width=200)
    print_comparison(lines, exact=False, changed=0, console=console)
    printed = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "differs" in printed
    assert "1 contrast without a verdict differs\nreproduced: all 5 agree" in printed
    here = compare_results(result, far)
    assert not is_reproduced(here)


def test_an_unknown_contrast_is_the_same_as_itself(observations):
    result = result_of(observations)
    claim = {**result.claims[0], "estimate": {**result.claims[0]["estimate"], "mean": "nan"}}
    result = dataclasses.replace(result, claims=[claim])
    assert is_reproduced(compare_results(result, result))


def drawn(observations: Observations, of_runs: float, of_examples: float, seed: int, shift: float = 0.0):
    """Returns runs whose metric differs between runs and between examples by so much."""
    rng, runs = np.random.default_rng(seed), []
    for run in observations.runs:
        values = np.random.default_rng(0).normal(size=300) * of_examples + of_runs * rng.normal() + shift
        runs.append(dataclasses.replace(run, values={"log loss": values}))
    return dataclasses.replace(observations, runs=tuple(runs))


def elsewhere(observations: Observations, **changes) -> list:
    """Returns the comparison of a run on another machine with the published one."""
    result = published(drawn(observations, seed=0, **{**changes, "shift": 0.0}))
    return compare_runs(result, drawn(observations, seed=1, **changes).runs, exact=False)


def published(observations: Observations) -> Result:
    """Returns a result that holds these runs, whose contrasts are not compared."""
    return dataclasses.replace(BARE, runs=[encoded(run_row(run)) for run in observations.runs])


def test_elsewhere_means_may_differ_as_runs_of_one_arm_do(observations):
    # Runs differ by far more than examples do, and the other way round: the tolerance comes from runs alone.
    assert is_reproduced(elsewhere(observations, of_runs=1.0, of_examples=0.01))
    lines = elsewhere(observations, of_runs=0.01, of_examples=5.0, shift=0.2)
    assert not any(line.agrees for line in lines)


def test_a_shift_that_no_single_run_shows_is_seen_in_all_runs_of_an_arm(observations):
    lines = elsewhere(observations, of_runs=0.1, of_examples=0.1, shift=0.4)
    found = {line.what: line.agrees for line in lines}
    assert not found["6 runs of hidden: log loss"]
    assert sum(found.values()) > 12, "most single runs agree"


def test_good_reproductions_of_many_means_seldom_differ(observations):
    wrong = 0
    for seed in range(60):
        result = published(drawn(observations, 0.1, 0.1, seed))
        wrong += not is_reproduced(compare_runs(result, drawn(observations, 0.1, 0.1, seed + 1000).runs, exact=False))
    assert wrong <= 7  # 95 % of binomial draws of 60 with 5 % are below


def test_arms_of_two_runs_share_their_standard_deviation(observations):
    two = dataclasses.replace(observations, runs=tuple(run for run in observations.runs if run.seed == 0))
    lines = elsewhere(two, of_runs=0.1, of_examples=0.1, shift=2.0)
    assert not any(line.agrees for line in lines)  # the t quantile of one degree of freedom allows 200 deviations
    assert is_reproduced(elsewhere(two, of_runs=0.1, of_examples=0.1))
    one = dataclasses.replace(observations, runs=tuple(run for run in two.runs if run.fold == 0))
    assert not is_reproduced(elsewhere(one, of_runs=0.1, of_examples=0.1))


def test_a_mean_that_became_unknown_or_is_missing_differs(observations):
    run = observations.runs[0]
    result = published(observations)
    for values in ({"accuracy": np.full(300, np.nan)}, {}):
        lines = compare_runs(result, [dataclasses.replace(run, values=values)], exact=False)
        assert [line.agrees for line in lines] == [False]
    none = dataclasses.replace(run, values={"accuracy": np.full(300, np.nan)})
    result = published(dataclasses.replace(observations, runs=(none, *observations.runs[1:])))
    assert [line.agrees for line in compare_runs(result, [none], exact=False)] == [True]


@pytest.mark.parametrize(("again", "agrees"), [(9e-13, True), (2e-12, False), (math.nan, False)])
def test_elsewhere_a_number_of_an_exact_claim_stays_on_its_side_of_the_limit(observations, again, agrees):
    claims = [Exact("one function", "gap", ("linear",), at_most=1e-12), EXPERIMENT.claims[0]]
    claims.append(Exact("another", "other", ("hidden",), at_least=1.0))
    run = dataclasses.replace(observations.runs[0], numbers={"gap": 1e-13, "other": 5.0})
    result = published(dataclasses.replace(observations, runs=(run, *observations.runs[1:])))
    other = dataclasses.replace(run, numbers={"gap": again, "other": 0.0})
    lines = compare_runs(result, [other], exact=False, claims=claims)
    assert [line.what for line in lines] == ["run linear, seed 0, fold 0: accuracy", "run linear, seed 0, fold 0: gap"]
    assert [line.agrees for line in lines] == [True, agrees]


def test_a_single_other_answer_in_a_run_without_errors_is_within_rounding(observations):
    runs = [dataclasses.replace(run, values={"accuracy": np.ones(300)}) for run in observations.runs]
    run, result = runs[0], result_of(dataclasses.replace(observations, runs=tuple(runs)))
    other = dataclasses.replace(run, values={"accuracy": np.where(np.arange(300) < 1, 0.0, 1.0)})
    far = dataclasses.replace(run, values={"accuracy": np.where(np.arange(300) < 20, 0.0, 1.0)})
    assert [line.agrees for line in compare_runs(result, [other], exact=False)] == [True]
    assert [line.agrees for line in compare_runs(result, [far], exact=False)] == [False]
    assert [line.agrees for line in compare_runs(result, [other], exact=True)] == [False]


def test_keys_tell_that_code_or_config_has_changed(observations):
    result = result_of(observations)
    changed = [dataclasses.replace(observations.runs[0], key="other"), *observations.runs[1:]]
    assert changed_keys(result, observations.runs) == 0
    assert changed_keys(result, changed) == 1


def test_a_sample_of_runs_is_seeded_and_of_the_wanted_size(observations):
    result = result_of(observations)
    assert len(sampled_jobs(result, 1.0)) == 24
    fifth = sampled_jobs(result, 0.2)
    assert len(fifth) == len(set(fifth)) == 5
    assert sampled_jobs(result, 0.2) == fifth
    assert sampled_jobs(result, 0.2, seed=1) != fifth
    assert len(sampled_jobs(result, 0.001)) == 1


def test_only_an_interrupted_reproduction_of_the_same_result_goes_on(tmp_path):
    first = reproduction_folder(tmp_path, {"a": 1})
    assert reproduction_folder(tmp_path, {"a": 1}) == first
    other = reproduction_folder(tmp_path, {"a": 2})
    assert other != first
    assert reproduction_folder(tmp_path, {"a": 1}) == first
    end_reproduction(first)
    assert reproduction_folder(tmp_path, {"a": 1}) not in (first, other)
    assert reproduction_folder(tmp_path, {"a": 2}) == other
