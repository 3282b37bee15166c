import dataclasses

import numpy as np
import pytest
from synthetic_report import ERRORS, make_decisions, make_experiment, make_plan

from fcnjax.lab.claims import Superiority, difference
from fcnjax.lab.observations import Observations
from fcnjax.lab.plan import Plan, powers
from fcnjax.lab.power import planned_power, predicted_df, predicted_se
from fcnjax.lab.report import summarize, tables


@pytest.fixture(scope="module")
def summary(experiment, observations):
    return summarize(experiment, observations, blocks=40)


def columns(table) -> dict[str, list[str]]:
    return dict(zip(table.columns, map(list, zip(*table.rows, strict=True)), strict=True))


def test_the_table_of_arms_shows_what_the_runs_gave(summary, observations):
    found = columns(tables.arm_table(summary, summary.arms, make_plan()))
    assert found["arm"] == [title for title, _, _ in ERRORS.values()]
    assert found["head"] == [words for _, words, _ in ERRORS.values()]
    for row, name in enumerate(ERRORS):
        runs = observations.of(name)
        correct = np.concatenate([run.values["accuracy"] for run in runs])
        assert found["test accuracy, % [95 %]"][row].startswith(f"{100 * correct.mean():.2f} [")
        last = np.mean([run.losses[-12:].mean() for run in runs])  # a twentieth of 240 steps
        assert found["last training loss"][row] == f"{last:#.3g}"
        assert found["parameters"][row] == f"{runs[0].numbers['parameters']:,.0f}"
    assert set(found["learning rate"]) == {"0.1"}
    assert set(found["runs"]) == {"15"}


def test_the_table_of_arms_leaves_out_what_is_not_known(summary, observations):
    plain = tables.arm_table(summary, summary.broken)
    assert "learning rate" not in plain.columns
    assert [row[0] for row in plain.rows] == ["shuffled labels"]
    bare = tuple(dataclasses.replace(run, numbers={}, losses=np.zeros(0)) for run in observations.runs)
    table = tables.arm_table(summarize(summary.experiment, Observations(bare, 5)), summary.broken)
    assert "parameters" not in table.columns


def test_seeds_have_accuracies_of_their_own(summary, observations):
    arm = summary.arms[1]
    seeds = [
        np.concatenate([run.values["accuracy"] for run in observations.of(arm.arm.name) if run.seed == seed]).mean()
        for seed in range(3)
    ]
    np.testing.assert_allclose(arm.seed_accuracies, seeds)


def test_the_table_of_tuning_marks_the_rate_that_was_used(summary):
    plan = make_plan()
    plan.learning_rates["softmax-pool"] = 0.0125
    table = tables.tuning_table(summary, plan)
    assert table.columns == ("arm", "0.0125", "0.025", "0.05", "0.1", "0.2")
    rows = {row[0]: row[1:] for row in table.rows}
    assert "shuffled labels" not in rows, "it was not tuned"
    linear = np.mean(plan.tuning["linear-gap"]["0.1"])
    assert rows["linear, GAP-first"][0] == "-"
    assert rows["linear, GAP-first"][3] == f"{linear:#.3g} ✓"
    softmax = rows["linear, softmax before pool"]
    assert (softmax[0], softmax[4]) == ("0.200 ✓ edge", "diverged")
    assert sum("✓" in cell for row in rows.values() for cell in row) == len(rows)
    assert '"✓ edge": it is the lowest or the highest that was tried' in table.caption
    assert "edge" not in tables.tuning_table(summary, make_plan()).caption
    for tried in plan.tuning.values():
        del tried["0.025"], tried["0.05"], tried["0.2"]
    plan.tuning["softmax-pool"] = {"0.0125": [0.2]}
    assert "edge" not in str(tables.tuning_table(summary, plan)), "one rate alone has no edge"


def test_the_table_of_a_plan_says_which_primary_claims_can_be_decided():
    alike = dict.fromkeys(("example", "residual"), 0.02) | {"run": 0.0}
    claims = (
        Superiority("wide", difference("linear-gap", "softmax-pool"), margin=0.05),
        Superiority("narrow", difference("linear-gap", "softmax-pool"), margin=0.005),
        Superiority("shown", difference("linear-gap", "max-pool"), exploratory=True),
    )
    experiment = dataclasses.replace(make_experiment(), claims=claims)
    components = dict.fromkeys(("wide", "narrow", "shown"), alike)
    examples = dict.fromkeys(components, 1597)
    power = powers(experiment, components, examples, 3, 5)
    plan = Plan("digits", {}, {}, power, components, seeds=3, folds=5, examples=examples)
    found = columns(tables.planned_table(experiment, plan))
    assert found["statement"] == ["wide", "narrow"]
    assert found[""] == ["can be decided", "no verdict"]
    assert found["margin"] == ["5.00", "0.50"]
    needed = float(found["needed"][0]) / 100
    at_it = dataclasses.replace(claims[0], margin=needed)
    se = predicted_se(alike, 1597, 3, 5)
    assert planned_power(at_it, se, 1, predicted_df(1597, 3, 5)) == pytest.approx(0.8, abs=0.01)


def test_the_table_of_power_has_the_numbers_of_each_statistical_claim(experiment, observations):
    decisions = make_decisions(experiment, observations, make_plan())
    table = tables.power_table(decisions)
    found = columns(table)
    statistical = [decision for decision in decisions if decision.estimate is not None]
    assert found["statement"] == [decision.claim.statement for decision in statistical]
    assert found["standard error"] == [f"{100 * decision.estimate.se:.2f}" for decision in statistical]
    assert found["detectable"] == [f"{100 * decision.detectable:.2f}" for decision in statistical]
    assert found["planned power"][:2] == ["0.91", "0.91"]
    assert table.caption.endswith("All in points of accuracy.")


def test_the_p_of_an_exploratory_claim_is_that_of_the_claim(observations):
    better = Superiority("Softmax belongs last", difference("linear-gap", "softmax-pool"), exploratory=True)
    worse = dataclasses.replace(better, statement="It belongs first", contrast=better.contrast[::-1])
    worse = dataclasses.replace(worse, contrast=tuple(dataclasses.replace(t, weight=-t.weight) for t in worse.contrast))
    experiment = make_experiment(claims=(better, worse))
    decisions = make_decisions(experiment, observations)
    found = columns(tables.exploratory_table(decisions))
    assert found["p, claim holds"] == ["0.00013", "1"]
    assert decisions[0].p == pytest.approx(2 * decisions[0].p_holds)
    assert decisions[0].p_holds + decisions[1].p_holds == pytest.approx(1)


def test_claims_of_several_units_say_which(experiment, observations):
    decisions = make_decisions(experiment, observations)
    other = dataclasses.replace(decisions[0].claim, unit="nats", scale=1.0)
    mixed = [dataclasses.replace(decisions[0], claim=other), *decisions[1:]]
    table = tables.power_table(mixed)
    assert columns(table)["unit"][:2] == ["nats", "points of accuracy"]
    assert "All in" not in table.caption
    assert columns(table)["margin"][:2] == ["0.010", "1.00"]
    assert "unit" in tables.exploratory_table(mixed).columns
