import dataclasses

import numpy as np
import pytest
from synthetic_results import CLASSES, SEEDS, TEST_COUNT, make_costs, make_experiment, make_results, make_run

from fcnjax import lab


def changed(results, arm, **edits):
    """Returns results in which the fields of every run of `arm` are mapped by `edits`."""
    runs = tuple(
        dataclasses.replace(run, **{name: edit(getattr(run, name)) for name, edit in edits.items()})
        if run.arm == arm
        else run
        for run in results.runs
    )
    return make_results(runs=runs)


def exactly(results, arm, wrong):
    """Returns results in which `arm` is wrong on the first `wrong[i]` examples with seed i, and right on the others."""
    runs = []
    for run in results.runs:
        if run.arm == arm:
            logits = np.eye(CLASSES)[run.labels]
            logits[: wrong[run.seed]] *= -1
            run = dataclasses.replace(run, final_logits=logits)
        runs.append(run)
    return make_results(runs=tuple(runs))


def test_same_function_holds_with_its_numbers(results):
    claim = lab.same_function(results, "linear-gap", "linear-conv")
    found = lab.compare_functions(results, "linear-gap", "linear-conv")
    assert claim.holds is True
    assert claim.statement == '"linear, GAP-first" and "linear, conv-first" are one function within rounding'
    assert 0 < found.initial < 1e-5
    assert f"{found.initial:.1e}" in claim.evidence
    assert "none of 2000 test predictions differ" in claim.evidence


@pytest.mark.parametrize(
    "edits",
    [
        {"initial_logits": lambda x: x * 1.001},
        {"losses": lambda x: x * 1.001},
        {"initial_logits": lambda x: np.where(np.arange(CLASSES) == 3, np.nan, x)},
        {"losses": lambda x: np.where(np.arange(len(x)) == 49, np.nan, x)},
    ],
)
def test_same_function_fails_when_the_data_say_so(results, edits):
    claim = lab.same_function(changed(results, "linear-conv", **edits), "linear-gap", "linear-conv")
    assert claim.holds is False
    assert claim.verdict == "does not hold"
    assert "are not one function" in claim.statement


def test_same_function_looks_at_every_seed(results):
    runs = tuple(
        dataclasses.replace(run, initial_logits=run.initial_logits + 1)
        if (run.arm, run.seed) == ("linear-conv", 4)
        else run
        for run in results.runs
    )
    assert lab.same_function(make_results(runs=runs), "linear-gap", "linear-conv").holds is False


def test_differences_after_training_are_evidence_and_do_not_decide(results):
    def flip(logits):
        return np.concatenate([logits[:2, ::-1], logits[2:]])

    edited = changed(results, "linear-conv", final_logits=flip)
    before = lab.compare_functions(results, "linear-gap", "linear-conv")
    found = lab.compare_functions(edited, "linear-gap", "linear-conv")
    assert before.differing == 0
    assert found.differing == 2 * len(SEEDS)
    claim = lab.same_function(edited, "linear-gap", "linear-conv")
    assert claim.holds is True
    assert "10 of 2000 test predictions differ" in claim.evidence


def test_later_losses_do_not_count_and_short_runs_say_so(results):
    late = changed(results, "linear-conv", losses=lambda x: np.where(np.arange(len(x)) >= 50, 2 * x, x))
    assert lab.same_function(late, "linear-gap", "linear-conv").holds is True
    short = changed(results, "linear-conv", losses=lambda x: x[:20])
    assert "first 20 steps" in lab.same_function(short, "linear-gap", "linear-conv").evidence


def test_two_different_arms_are_not_one_function(results):
    assert lab.same_function(results, "linear-gap", "hidden-gap").holds is False


@pytest.mark.parametrize(("wrong", "word"), [((6, 5, 6, 5, 6), "more"), ((40, 41, 40, 42, 40), "less")])
def test_accuracy_difference_names_the_direction(results, wrong, word):
    base = exactly(results, "hidden-gap", (20, 20, 20, 20, 20))
    claim = lab.accuracy_difference(exactly(base, "hidden-conv", wrong), "hidden-conv", "hidden-gap")
    assert claim.holds is True
    assert claim.statement == f'"hidden 128, conv-first" is {word} accurate than "hidden 128, GAP-first"'
    mean = 100 * (20 - np.mean(wrong)) / TEST_COUNT
    assert f"{mean:+.2f} percentage points" in claim.evidence
    assert "fixed test set of 400 examples" in claim.evidence


def test_accuracy_difference_says_when_the_interval_holds_zero(results):
    base = exactly(results, "hidden-gap", (10, 12, 9, 14, 11))
    claim = lab.accuracy_difference(exactly(base, "hidden-conv", (12, 9, 11, 10, 14)), "hidden-conv", "hidden-gap")
    assert claim.holds is None
    assert "are statistically indistinguishable with 5 seeds" in claim.statement


def test_accuracy_difference_with_one_seed_is_unknown():
    experiment = make_experiment()
    single = make_results(runs=tuple(make_run(name, 0) for name in experiment.names))
    claim = lab.accuracy_difference(single, "softmax-pool", "linear-gap")
    assert claim.holds is None
    assert claim.verdict == "not decided"
    assert "is unknown: 1 seed gives no interval" in claim.statement
    assert "[unknown, n = 1]" in claim.evidence


@pytest.mark.parametrize(
    ("wrong", "holds", "words"),
    [
        ((10, 12, 9, 14, 11), True, "have the same accuracy with each of 5 seeds"),
        ((11, 13, 10, 15, 12), None, "is open: each of 5 seeds gives the same difference"),
    ],
)
def test_accuracy_difference_without_spread_is_open_unless_it_is_zero(results, wrong, holds, words):
    base = exactly(results, "hidden-gap", (10, 12, 9, 14, 11))
    claim = lab.accuracy_difference(exactly(base, "hidden-conv", wrong), "hidden-conv", "hidden-gap")
    assert claim.holds is holds
    assert words in claim.statement


def test_all_above_flips_at_the_threshold(results):
    lowest = min(results.accuracies(name).mean() for name in results.experiment.names)
    assert lab.all_above(results, 0.96).holds is True
    assert lab.all_above(results, 0.96).statement == "All 6 arms are above 96.0 % mean test accuracy"
    at = lab.all_above(results, lowest)  # "above" excludes the threshold itself
    assert at.holds is False
    assert at.statement.startswith("Only 5 of 6 arms")
    assert "linear, softmax before pool" in at.evidence
    assert lab.all_above(results, 1.0).statement.startswith("None of the 6 arms")
    with pytest.raises(ValueError, match="threshold=96: must be in"):
        lab.all_above(results, 96)


def timed(step_ms):
    costs = tuple(
        dataclasses.replace(cost, step_ms=step_ms if cost.arm == "hidden-conv" else (10.0, 20.0, 10.0))
        for cost in make_costs()
    )
    return lab.cost_ratio(make_results(costs=costs), "hidden-conv", "hidden-gap")


def test_cost_ratio_compares_within_rounds():
    claim = timed((12.0, 24.0, 11.0))
    assert claim.statement.endswith("and its step takes 1.20 times as long")
    assert "needs 10.3 times the head multiply-adds" in claim.statement
    assert "1.20 (median of 3 interleaved rounds, 1.10 to 1.20)" in claim.evidence
    assert "181,936 against 17,664" in claim.evidence
    assert timed((9.0, 24.0, 11.0)).statement.endswith("differs by less than the spread of the rounds")


def test_cost_ratio_without_a_baseline_cost_is_not_decided():
    costs = tuple(
        dataclasses.replace(cost, head_multiply_adds=0) if cost.arm == "hidden-gap" else cost for cost in make_costs()
    )
    assert lab.cost_ratio(make_results(costs=costs), "hidden-conv", "hidden-gap").holds is None


@pytest.mark.parametrize(("small", "large", "word"), [(0.5, 0.0, "less"), (0.0, 0.5, "more"), (0.01, 0.01, None)])
def test_size_effect_follows_the_data(results, small, large, word):
    bins = lab.size_bins(results, 4)
    runs = []
    for run in results.runs:
        logits = np.eye(CLASSES)[run.labels]
        for part, share in ((0, small), (3, large)):
            members = np.flatnonzero(bins.index == part)
            logits[members[: round(share * len(members))]] *= -1
        runs.append(dataclasses.replace(run, final_logits=logits))
    claim = lab.size_effect(make_results(runs=runs), "linear-gap", bins)
    assert claim.holds is (None if word is None else True)
    assert (f"is {word} accurate on the smallest" if word else "are statistically indistinguishable") in claim.statement


def test_size_effect_needs_two_bins(results):
    with pytest.raises(ValueError, match="must be at least 2 bins"):
        lab.size_effect(results, "linear-gap", lab.size_bins(results, 1))


def test_size_bins_hold_every_example_once_in_order(results):
    bins = lab.size_bins(results, 5)
    sides = np.sqrt(results.sizes[:, 0] * results.sizes[:, 1])
    assert bins.counts.sum() == TEST_COUNT
    assert bins.counts.min() > 60
    for i in range(4):
        assert sides[bins.index == i].max() < sides[bins.index == i + 1].min()
    pooled = sum(i.mean * i.n for i in lab.accuracy_by_bin(results, "linear-gap", bins)) / TEST_COUNT
    assert pooled == pytest.approx(results.accuracies("linear-gap").mean())


@pytest.mark.parametrize("sizes", [np.full((TEST_COUNT, 2), 28), np.repeat([[5], [9]], [3, TEST_COUNT - 3], axis=0)])
def test_size_bins_with_few_distinct_sizes_are_never_empty(results, sizes):
    same = make_results(runs=[dataclasses.replace(run, sizes=sizes) for run in results.runs])
    bins = lab.size_bins(same, 5)
    assert bins.counts.min() > 0
    assert bins.counts.sum() == TEST_COUNT
    assert len(bins.labels) == len(bins.counts)
