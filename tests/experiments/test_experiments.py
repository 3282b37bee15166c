"""The experiments: well-formed, in step with what was published, and with broken arms that fail."""

import dataclasses
import importlib
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from fcnjax import lab, models
from fcnjax.data import PartialSource, Source
from fcnjax.lab.command import folder_name
from fcnjax.lab.runner import Runner, arm_recipe
from fcnjax.training import Recipe, load_sources

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results"
NAMES = sorted(path.stem for path in (ROOT / "experiments").glob("[!_]*.py"))
FEW = {"train": 80, "validation": 20, "test": 40}


@pytest.fixture
def experiment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> lab.Experiment:
    """The experiment of a file, which is not part of the installed package."""
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module(f"experiments.{request.param}").EXPERIMENT


every = pytest.mark.parametrize("experiment", NAMES, indirect=True)


def recipe_of(setting: lab.Setting) -> Recipe:
    config = importlib.import_module(setting.config.removesuffix(".py").replace("/", ".")).get_config()
    return Recipe.from_config(config.to_dict())


@every
def test_an_experiment_is_a_short_file_with_few_primary_claims_and_controls(experiment):
    assert (ROOT / "experiments" / f"{experiment.name}.py").read_text().count("\n") < 150
    primary = [c for c in experiment.claims if not (c.control or getattr(c, "exploratory", False))]
    statistical = [claim for claim in primary if not isinstance(claim, lab.Exact)]
    assert 1 <= len(statistical) <= 3
    assert any(claim.control for claim in experiment.claims)
    assert any(arm.control for arm in experiment.arms)
    again = [arm for arm in experiment.arms if arm.salt]
    assert any(arm.name in claim.arms for arm in again for claim in experiment.claims)
    for arm in again:  # an A/A arm repeats another one
        assert any(arm.overrides == other.overrides and not other.salt for other in experiment.arms)


@every
def test_every_arm_has_a_recipe_in_every_setting(experiment):
    for setting in experiment.settings.values():
        for arm in experiment.arms:
            arm_recipe(recipe_of(setting), setting, arm)


@every
def test_published_results_follow_their_plan_and_their_controls_failed(experiment):
    published = [(name, RESULTS / folder_name(experiment, name)) for name in experiment.settings]
    published = [(name, folder) for name, folder in published if (folder / "result.json").exists()]
    if not published:
        pytest.skip("not published yet")
    for name, folder in published:
        result, plan = lab.read_result(folder / "result.json"), lab.read_plan(folder / "plan.json")
        plan.check(experiment, name, folder / "plan.json")
        assert result.plan == plan.digest
        setting = experiment.setting(name)
        assert len(result.runs) == len(experiment.arms) * setting.seeds * setting.folds
        assert [claim["statement"] for claim in result.claims] == [claim.statement for claim in experiment.claims]
        controls = [claim for claim in result.claims if claim["control"]]
        assert [claim["verdict"] for claim in controls] == ["fails"] * len(controls)
        assert (folder / "report.md").exists()
        if name in experiment.findings:  # else it is about other verdicts than those that were published
            assert result.answer == experiment.findings[name].text


@every
def test_exact_claims_hold_on_a_few_digits_and_those_of_broken_functions_fail(experiment, tmp_path, monkeypatch):
    exact = tuple(claim for claim in experiment.claims if isinstance(claim, lab.Exact))
    arms = tuple(arm for arm in experiment.arms if any(arm.name in claim.arms for claim in exact))
    few = dataclasses.replace(experiment, arms=arms, claims=exact, pictures=())
    monkeypatch.setattr("fcnjax.lab.runner.load_sources", few_digits)
    setting = experiment.setting()
    recipe = dataclasses.replace(recipe_of(setting), epochs=1)
    observations = Runner(few, None, recipe, tmp_path, seeds=1, folds=(0,)).run()
    assert observations is not None
    for decision in lab.decide(few, observations):
        assert decision.verdict == ("fails" if decision.claim.control else "holds"), decision.statement
    assert all(np.isfinite(list(run.numbers.values())).all() for run in observations.runs)


def few_digits(recipe: Recipe) -> dict[str, Source]:
    """Returns some digits of each split."""
    return {name: PartialSource(source, np.arange(FEW[name]), {}) for name, source in load_sources(recipe).items()}


@pytest.mark.parametrize("experiment", ["head_ordering"], indirect=True)
def test_arms_of_head_ordering_differ_in_the_head_alone(experiment):
    setting = experiment.setting()
    trees = {arm.name: arm_recipe(recipe_of(setting), setting, arm).to_dict() for arm in experiment.arms}
    heads = {name: tree.pop("head") for name, tree in trees.items()}
    assert all(tree == trees["linear"] for tree in trees.values())
    for kind in ("hidden", "deep", "max", "norm", "few"):
        gap, conv = heads[f"{kind}-gap"], heads[f"{kind}-conv"]
        assert {key for key in gap if gap[key] != conv[key]} == {"pool_at"}
        assert gap["pool_at"] == 0 < conv["pool_at"]


@pytest.mark.parametrize("experiment", ["all_conv"], indirect=True)
def test_arms_of_all_conv_have_the_parameters_fields_and_products_that_they_state(experiment):
    (stated,) = re.findall(r"([0-9,]+) weights", experiment.question)
    for arm in experiment.arms[:4]:
        given = arm_recipe(recipe_of(experiment.setting()), experiment.setting(), arm).model
        create = partial(models.create, given.name, classes=10, in_channels=1, **given.options)
        model = nnx.eval_shape(lambda create=create: create(rngs=nnx.Rngs(0)))
        rows = model.trace((28, 28))
        assert f"{sum(row.parameters for row in rows):,}" == stated
        field, products = re.findall(r"field (\d+) px, ([\d.]+) million", arm.description)[0]
        assert model.receptive_field == (int(field), int(field))
        assert float(products) == pytest.approx(sum(row.multiply_adds for row in rows) / 1e6, rel=0.03)
