"""The plan: kept exactly, refused when it was edited or belongs to another experiment, and its planned power."""

import dataclasses
import json
import math
import subprocess

import pytest
from digits_experiment import tiny_experiment

from fcnjax import lab
from fcnjax.lab.plan import (
    Plan,
    describe_arm,
    describe_claim,
    describe_recipe,
    describe_setting,
    is_committed,
    powers,
    read_plan,
)
from fcnjax.lab.power import planned_power, predicted_df, predicted_se
from fcnjax.sealed import DamagedFile
from fcnjax.training import DataSettings, Recipe

EXPERIMENT = tiny_experiment()
RECIPE = Recipe(DataSettings("any_size_digits"))
QUIET = {"example": 0.001, "run": 0.0, "residual": 0.001, "varying": 1.0}
NOISY = {"example": 0.001, "run": 0.5, "residual": 4.0, "varying": 1.0}


def make_plan(experiment=EXPERIMENT, **changes) -> Plan:
    statements = [claim.statement for claim in experiment.claims]
    setting = experiment.setting("digits")
    plan = Plan(
        setting="digits",
        learning_rates={arm.name: 0.1 for arm in experiment.arms},
        tuning={"linear": {"0.1": [1.0, 1.5], "0.2": [math.nan, math.inf]}},
        power=powers(experiment, dict.fromkeys(statements, QUIET), dict.fromkeys(statements, 180), 1, 2),
        components=dict.fromkeys(statements, QUIET),
        seeds=setting.seeds,
        folds=setting.folds,
        examples=dict.fromkeys(statements, 180),
        claims=[describe_claim(claim) for claim in experiment.claims],
        arms={arm.name: describe_arm(arm) for arm in experiment.arms},
        data=describe_setting(setting),
        recipe=describe_recipe(RECIPE),
        facts={"versions": "jax 1"},
    )
    return dataclasses.replace(plan, **changes)


def test_a_plan_that_is_read_again_is_the_same(tmp_path):
    plan = make_plan()
    again = read_plan(plan.write(tmp_path / "plan.json"))
    assert again.digest == plan.digest
    assert again.learning_rates == plan.learning_rates
    assert again.power == plan.power
    assert math.isnan(again.tuning["linear"]["0.2"][0])
    assert again.tuning["linear"]["0.2"][1] == math.inf
    again.check(EXPERIMENT, "digits", "plan.json")
    assert again.differs_in(RECIPE) == []


def test_a_plan_that_was_edited_is_refused(tmp_path):
    path = make_plan().write(tmp_path / "plan.json")
    kept = json.loads(path.read_text())
    kept["learning_rates"]["linear"] = 0.3
    path.write_text(json.dumps(kept))
    with pytest.raises(DamagedFile, match="does not match its checksum"):
        read_plan(path)


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("claims", {"claims": EXPERIMENT.claims[:2]}),
        ("claims", {"claims": (dataclasses.replace(EXPERIMENT.claims[0], margin=0.2), *EXPERIMENT.claims[1:])}),
        ("arms", {"arms": (*EXPERIMENT.arms, lab.Arm("new", "new"))}),
        ("arms", {"arms": (dataclasses.replace(EXPERIMENT.arms[0], salt=2), *EXPERIMENT.arms[1:])}),
        ("seeds", {"settings": {"digits": dataclasses.replace(EXPERIMENT.setting("digits"), seeds=4)}}),
        ("folds", {"settings": {"digits": dataclasses.replace(EXPERIMENT.setting("digits"), folds=3)}}),
        ("data", {"settings": {"digits": dataclasses.replace(EXPERIMENT.setting("digits"), train_examples=9)}}),
    ],
)
def test_a_plan_of_another_experiment_is_refused(what, changes):
    with pytest.raises(ValueError, match=rf"^plan\.json: must be a plan .* its {what} have changed since; .*--tune"):
        make_plan().check(tiny_experiment(**changes), "digits", "plan.json")


def test_titles_and_findings_do_not_change_a_plan():
    arms = tuple(dataclasses.replace(arm, title=f"{arm.title}!") for arm in EXPERIMENT.arms)
    make_plan().check(
        tiny_experiment(arms=arms, findings={"digits": lab.Finding("Yes.", ("holds",))}), "digits", "plan.json"
    )


def test_a_plan_names_the_fields_of_another_recipe():
    other = dataclasses.replace(
        RECIPE, epochs=99, seed=5, optimizer=dataclasses.replace(RECIPE.optimizer, momentum=0.5)
    )
    assert make_plan().differs_in(other) == ["epochs", "optimizer.momentum"]


def test_power_is_that_of_the_first_step_of_holm():
    statements = [claim.statement for claim in EXPERIMENT.claims]
    found = powers(EXPERIMENT, dict.fromkeys(statements, NOISY), dict.fromkeys(statements, 6000), 1, 2)
    se, df = predicted_se(NOISY, 6000, 1, 2), predicted_df(6000, 1, 2)
    primary, second, control = EXPERIMENT.claims
    assert found[control.statement] == planned_power(control, se, 1, df)
    weak = {second.statement: NOISY, primary.statement: QUIET, control.statement: QUIET}
    many = dict.fromkeys(statements, 6000)
    found = powers(EXPERIMENT, weak, many, 3, 5)
    assert found[second.statement] < 0.8
    # The hopeless claim has left the family, so that the other one stands alone.
    se, df = predicted_se(QUIET, 6000, 3, 5), predicted_df(6000, 3, 5)
    assert found[primary.statement] == planned_power(primary, se, 1, df)
    assert found[second.statement] == planned_power(second, predicted_se(NOISY, 6000, 3, 5), 2, df)


def test_other_seeds_change_the_power_and_not_the_digest():
    plan = make_plan(components=dict.fromkeys([claim.statement for claim in EXPERIMENT.claims], NOISY))
    few, more = plan.for_seeds(EXPERIMENT, 2), plan.for_seeds(EXPERIMENT, 500)
    assert few.power[EXPERIMENT.claims[0].statement] < 0.5 < 0.99 < more.power[EXPERIMENT.claims[0].statement]
    assert (more.digest, more.seeds) == (plan.digest, plan.seeds)


def test_a_file_is_committed_only_as_it_is(tmp_path):
    def git(*command):
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *who, "-C", str(tmp_path), *command], check=True, capture_output=True)

    path = make_plan().write(tmp_path / "plan.json")
    assert not is_committed(path)
    git("init")
    assert not is_committed(path)
    git("add", ".")
    assert not is_committed(path)
    git("commit", "-m", "Plan")
    assert is_committed(path)
    make_plan(seeds=2).write(path)
    assert not is_committed(path)
