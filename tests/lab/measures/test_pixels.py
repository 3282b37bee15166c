"""Pixels that buckets pad and that a training sees, counted batch by batch."""

import dataclasses

import numpy as np
import pytest
from tiny_experiment import make_normed_runner

from fcnjax import lab
from fcnjax.data import RandomCrop
from fcnjax.training import Trainer

ARMS = (
    lab.Arm("bucket", "batches of one bucket", {"epochs": 2}),
    lab.Arm("mixed", "mixed batches", {"epochs": 2, "batching": "mixed"}),
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, lab.TrainedRun]:
    runner = make_normed_runner(tmp_path_factory.mktemp("pixels"), *ARMS)
    return {arm.name: runner.trained(arm.name, 0, 1) for arm in ARMS}


def inputs_of(trainer: Trainer, seed: int, epochs: int) -> list:
    """Returns the inputs of all training steps."""
    batches = (batch for _, batch in trainer.batches(seed, 0, epochs * trainer.steps_per_epoch))
    parts = (part for batch in batches for part in (batch if trainer.recipe.batching == "mixed" else [batch]))
    return [trainer.feed.inputs(part)[0] for part in parts]


@pytest.mark.parametrize("name", ["bucket", "mixed"])
def test_waste_buckets_and_programs_are_those_of_the_steps(runs, name):
    run = runs[name]
    inputs = inputs_of(run.trainer, run.recipe.seed, 1)
    padded, real = sum(x.mask.size for x in inputs), sum(int(x.mask.sum()) for x in inputs)
    programs = run.trainer.programs
    kinds = (programs.train_step, programs.accumulate_step, programs.evaluation_step, programs.update)
    compiled = sum(len(kind.programs) for kind in (*kinds, programs.zero_sums))
    expected = {"waste, %": 100 * (padded / real - 1), "buckets": len({x.spatial_shape for x in inputs})}
    assert expected["buckets"] == 2
    assert lab.BucketCosts()(run).numbers == pytest.approx({**expected, "programs": compiled})


def test_real_pixels_are_those_of_all_epochs(runs):
    run = runs["bucket"]
    seen = sum(int(x.mask.sum()) for x in inputs_of(run.trainer, run.recipe.seed, 2))
    per_example = seen // len(run.sources["train"])
    numbers = lab.RealPixels(2 * per_example)(run).numbers
    assert numbers == {"real pixels": seen, "real pixels, off the budget": pytest.approx(0.5, abs=0.01)}
    numbers = lab.RealPixels(per_example // 2)(run).numbers
    assert numbers["real pixels, off the budget"] == pytest.approx(1.0, abs=0.03)


def test_real_pixels_of_crops_are_those_of_the_crops(runs):
    run = runs["bucket"]
    recipe = dataclasses.replace(run.recipe, crop=RandomCrop(area=(0.3, 0.9)))
    cropped = dataclasses.replace(run, recipe=recipe, trainer=Trainer(recipe, run.sources))
    seen = sum(int(x.mask.sum()) for x in inputs_of(cropped.trainer, recipe.seed, 2))
    whole = sum(int(np.prod(size)) for size in run.sources["train"].sizes) * 2
    assert lab.RealPixels(100)(cropped).numbers["real pixels"] == seen < 0.95 * whole
