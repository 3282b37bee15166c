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
from fcnjax.layers.layer import parameter_count
from fcnjax.training import Recipe, abstract_model, load_sources

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results"
NAMES = sorted(path.stem for path in (ROOT / "experiments").glob("[!_]*.py"))
USUAL = ("borders",)  # the others train in `make test-long`
FEW = {"train": 80, "validation": 20, "test": 40}


@pytest.fixture
def experiment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> lab.Experiment:
    """The experiment of a file, which is not part of the installed package."""
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module(f"experiments.{request.param}").EXPERIMENT


every = pytest.mark.parametrize("experiment", NAMES, indirect=True)


def recipe_of(setting: lab.Setting) -> Recipe:
    path, _, network = setting.config.partition(":")
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    config = module.get_config(network) if network else module.get_config()
    return Recipe.from_config(config.to_dict())


@every
def test_an_experiment_is_a_short_file_with_few_primary_claims_and_controls(experiment):
    assert (ROOT / "experiments" / f"{experiment.name}.py").read_text().count("\n") < 150
    for setting in experiment.settings:
        claims = experiment.within(setting).claims
        primary = [c for c in claims if not (c.control or getattr(c, "exploratory", False))]
        assert 1 <= sum(not isinstance(claim, lab.Exact) for claim in primary) <= 3
        assert any(claim.control for claim in claims)
    assert any(arm.control for arm in experiment.arms)
    again = [arm for arm in experiment.arms if arm.salt]
    assert any(arm.name in claim.arms for arm in again for claim in experiment.claims)
    for arm in again:  # an A/A arm repeats another one
        assert any(arm.overrides == other.overrides and not other.salt for other in experiment.arms)


@every
def test_every_arm_has_a_recipe_in_every_setting(experiment):
    for name, setting in experiment.settings.items():
        for arm in experiment.within(name).arms:
            arm_recipe(recipe_of(setting), setting, arm)


@every
def test_published_results_follow_their_plan_and_their_controls_failed(experiment):
    published = [(name, RESULTS / folder_name(experiment, name)) for name in experiment.settings]
    published = [(name, folder) for name, folder in published if (folder / "result.json").exists()]
    if not published:
        pytest.skip("not published yet")
    for name, folder in published:
        result, plan = lab.read_result(folder / "result.json"), lab.read_plan(folder / "plan.json")
        plan.check(experiment.within(name), name, folder / "plan.json")
        assert result.plan == plan.digest
        setting, planned = experiment.setting(name), experiment.within(name)
        assert len(result.runs) == len(planned.arms) * setting.seeds * setting.folds
        assert [claim["statement"] for claim in result.claims] == [claim.statement for claim in planned.claims]
        controls = [claim for claim in result.claims if claim["control"]]
        assert [claim["verdict"] for claim in controls] == ["fails"] * len(controls)
        assert (folder / "report.md").exists()
        if name in experiment.findings:  # else it is about other verdicts than those that were published
            assert result.answer == experiment.findings[name].text


@pytest.mark.parametrize(
    "experiment",
    [name if name in USUAL else pytest.param(name, marks=pytest.mark.long) for name in NAMES],
    indirect=True,
)
def test_exact_claims_hold_on_a_few_digits_and_those_of_broken_functions_fail(experiment, tmp_path, monkeypatch):
    experiment = experiment.within(next(iter(experiment.settings)))
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


@pytest.mark.parametrize("experiment", ["pooling", "small_objects"], indirect=True)
def test_arms_on_scenes_see_the_same_ones_and_differ_in_the_head_alone(experiment):
    scenes = experiment.arms[0].sources
    assert isinstance(scenes, lab.Scenes)
    for arm in experiment.arms:
        assert isinstance(arm.sources, lab.Scenes)
        assert (arm.sources.before is not None) == arm.control
        assert dataclasses.replace(arm.sources, before=None) == scenes
        assert all(field.startswith("head.") for field in arm.overrides)


@pytest.mark.parametrize("experiment", ["flatten_vs_gap"], indirect=True)
def test_arms_of_flatten_vs_gap_take_equally_many_steps_and_state_their_weights(experiment, tmp_path):
    runner = Runner(experiment, None, recipe_of(experiment.setting()), tmp_path)
    for arm in experiment.arms:
        trainer = runner.trainer(arm.name, 0, 0)
        assert trainer.steps == 560, arm.name
        weights = parameter_count(abstract_model(trainer.recipe, trainer.sources["train"]).head)
        if arm.description.endswith("weights"):
            assert arm.description.endswith(f" {weights:,} weights"), arm.name
        expected = int(arm.name.partition("-")[2]) if arm.name[-1].isdigit() else 1277
        assert len(trainer.sources["train"]) == expected, arm.name
    trees = {arm.name: runner.recipes[arm.name].to_dict() for arm in experiment.arms}
    heads = {name: (tree.pop("head"), tree.pop("epochs"))[0] for name, tree in trees.items()}
    assert all(tree == trees["gap"] for tree in trees.values())
    for count in ("100", "320"):
        assert all(heads[f"{head}-{count}"] == heads[head] for head in ("gap", "flatten", "dropped"))


@pytest.mark.parametrize("experiment", ["flatten_vs_gap"], indirect=True)
def test_the_slope_of_flatten_vs_gap_is_that_of_least_squares(experiment):
    counts, weights = np.array([100, 320, 1277]), {term.arm: term.weight for term in experiment.claims[0].contrast}
    advantages = np.array([3.0, 0.5, 0.25])
    values = dict(zip(("gap-100", "gap-320", "gap"), 90 + advantages, strict=True))
    values |= dict.fromkeys(("flatten-100", "flatten-320", "flatten"), 90.0)
    slope = np.polyfit(np.log(counts) / np.log(4), advantages, 1)[0]
    assert sum(weights[name] * value for name, value in values.items()) == pytest.approx(-slope, abs=1e-2)
    assert weights.keys() == values.keys()


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
