"""Runs an experiment: every arm with every seed, each in a run folder, going on where an interruption stopped it.

Under the experiment's folder: `experiment.json` (base recipe and arms), `runs/<arm>/seed_<n>/` (the run folders),
`results/<arm>/seed_<n>.npz` (what the report needs of each run) and `costs.json`.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from fcnjax.atomic import locked_folder, read_json, write_json
from fcnjax.bench.timing import take_turns
from fcnjax.lab.experiment import Arm, Experiment
from fcnjax.lab.results import ArmCost, Results, RunResult
from fcnjax.training import Recipe, Trainer, load_sources, train
from fcnjax.training.run.loop import load_state
from fcnjax.training.run.run_folder import RunFolder, is_finished, read_environments
from fcnjax.training.settings.recipe import PACE

TIMING_ROUNDS, TIMING_STEPS = 7, 6


class Runner:
    """The runs of one experiment in one folder.

    Args:
        experiment: the arms.
        recipe: what all arms share; each arm overrides some of it. Its seed is not used.
        seeds: one run of every arm for each.
        workdir: the experiment's folder; new, or of the same experiment and recipe.

    Raises:
        FileExistsError: if the folder holds another experiment, or anything else.
        ValueError: for an override that names no field of the recipe.
    """

    def __init__(self, experiment: Experiment, recipe: Recipe, seeds: Sequence[int], workdir: Path | str):
        self.experiment, self.seeds, self.workdir = experiment, tuple(seeds), Path(workdir)
        # The unit of resumption is a whole run, and no result depends on what validation said on the way.
        recipe = dataclasses.replace(recipe, checkpoint_every=0, validate_every=0)
        self.recipes = {arm.name: arm_recipe(recipe, arm) for arm in experiment.arms}
        self._claim_folder(recipe)
        self.sources = load_sources(recipe)
        self._trainers: dict[str, Trainer] = {}

    def run(self) -> Results:
        """Runs what is not done yet and returns everything; a bar shows the runs and the time left.

        Raises:
            FileExistsError: if another process is working in the folder.
        """
        with locked_folder(self.workdir):
            return self._run_all()

    def _run_all(self) -> Results:
        runs = []
        jobs = [(arm, seed) for seed in self.seeds for arm in self.experiment.names]
        done = sum(self._result_path(*job).exists() for job in jobs)
        with tqdm(total=len(jobs), initial=done, unit="run", desc=self.experiment.name) as bar:
            for arm, seed in jobs:
                path = self._result_path(arm, seed)
                if not path.exists():
                    bar.set_postfix_str(f"{arm}, seed {seed}")
                    self._run_one(arm, seed).save(path)
                    bar.update()
                runs.append(RunResult.load(path))
        return Results(self.experiment, tuple(runs), self._costs(), self._facts())

    def trainer(self, arm: str) -> Trainer:
        """Returns the trainer of an arm, made when it is first needed."""
        if arm not in self._trainers:
            self._trainers[arm] = Trainer(self.recipes[arm], self.sources)
        return self._trainers[arm]

    def trained_model(self, arm: str, seed: int) -> Any:
        """Returns the trained network of a finished run."""
        trainer = self.trainer(arm)
        return trainer.model(load_state(trainer, self._run_path(arm, seed)))

    def _run_one(self, arm: str, seed: int) -> RunResult:
        trainer, path = self.trainer(arm), self._run_path(arm, seed)
        recipe = dataclasses.replace(self.recipes[arm], seed=seed)
        initial = trainer.evaluate(trainer.initial_state(seed), "test")
        if is_finished(path):  # interrupted between the end of the run and the saving of its result
            final = trainer.evaluate(load_state(trainer, path), "test")
        else:
            final = train(recipe, path, trainer=trainer, progress=False).test
        source = self.sources["test"]
        labels, ids = zip(*((source[i].label, source[i].id) for i in range(len(source))), strict=True)
        losses = [row["loss"] for row in RunFolder.read_metrics(path, "train")]
        if len(losses) != recipe.epochs * trainer.steps_per_epoch:
            raise ValueError(
                f"{path}: its metrics hold {len(losses)} training losses, one for each of the "
                f"{recipe.epochs * trainer.steps_per_epoch} steps is needed; remove the folder to train the run again."
            )
        return RunResult(
            arm, seed, np.array(losses), initial.logits, final.logits, np.array(labels), source.sizes, np.array(ids)
        )

    def _costs(self) -> tuple[ArmCost, ...]:
        path = self.workdir / "costs.json"
        if not path.exists():
            costs = measure_costs({arm: self.trainer(arm) for arm in self.experiment.names})
            write_json(path, [dataclasses.asdict(cost) for cost in costs])
        return tuple(ArmCost(**cost) for cost in read_json(path, list))

    def _facts(self) -> dict[str, str]:
        first = self.recipes[self.experiment.names[0]]
        trainer = self.trainer(self.experiment.names[0])
        runs = [self._run_path(arm, seed) for arm in self.experiment.names for seed in self.seeds]
        environments = [environment for path in runs for environment in read_environments(path)]
        counts = ", ".join(f"{len(source):,} {name}" for name, source in self.sources.items())
        return {
            "data": f"{first.data.name}: {counts}; every example counted exactly once",
            "training": (
                f"{first.epochs} epochs of {trainer.steps_per_epoch} steps, batches of up to {first.batch_size}, "
                f"{first.optimizer.name} at {first.optimizer.learning_rate:g} for all arms (not tuned per arm)"
            ),
            "pairing": "a seed fixes initial weights, data order and augmentation, the same in every arm",
            "rectangles": f"{len(trainer.buckets.shapes)}, padded / real area - 1 = {trainer.plan(0).waste:.2f}",
            "hardware": _all_of(f"{about['devices']}, {about['platform']}" for about in environments),
            "versions": _all_of(
                ", ".join(f"{name} {version}" for name, version in about["versions"].items()) for about in environments
            ),
            "source": _all_of(f"git {about['git_revision']}" for about in environments),
        }

    def _claim_folder(self, recipe: Recipe) -> None:
        path, mine = self.workdir / "experiment.json", self._signature(recipe)
        if path.exists():
            theirs = read_json(path)
            keys = (mine.keys() | theirs.keys()) - set(PACE)
            changed = sorted(key for key in keys if mine.get(key) != theirs.get(key))
            if changed:
                raise FileExistsError(
                    f"workdir={self.workdir}: holds results of another config (different: {', '.join(changed)}). "
                    "Choose a new folder."
                )
        elif self.workdir.exists() and any(self.workdir.iterdir()):
            raise FileExistsError(f"workdir={self.workdir}: is not empty and holds no experiment. Choose a new folder.")
        else:
            write_json(path, mine)

    def _signature(self, recipe: Recipe) -> dict[str, Any]:
        arms = {f"arm {arm.name}": {**arm.overrides} for arm in self.experiment.arms}
        common = {name: value for name, value in recipe.to_dict().items() if name not in PACE}
        return json.loads(json.dumps({"name": self.experiment.name, **common, **arms}))  # tuples as JSON keeps them

    def _run_path(self, arm: str, seed: int) -> Path:
        return self.workdir / "runs" / arm / f"seed_{seed}"

    def _result_path(self, arm: str, seed: int) -> Path:
        return self.workdir / "results" / arm / f"seed_{seed}.npz"


def _all_of(facts: Iterable[str]) -> str:
    """Returns the different ones, in order: more than one if the runs of an experiment were not made alike."""
    return "; ".join(dict.fromkeys(facts)) or "unknown"


def arm_recipe(recipe: Recipe, arm: Arm) -> Recipe:
    """Returns the recipe of an arm: the shared one with the arm's overrides, by dotted field.

    Raises:
        ValueError: for an override that names no field, with the nearest one.
    """
    tree = recipe.to_dict()
    for name, value in arm.overrides.items():
        *groups, field = name.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
        branch[field] = value
    return Recipe.from_config(tree)


def measure_costs(trainers: Mapping[str, Trainer]) -> list[ArmCost]:
    """Measures what each arm's head and step cost.

    The arms take turns on the same batch, the one in the most used rectangle, so that a slow moment of the machine
    meets all of them.

    Args:
        trainers: by arm; all of the same data and batch size.

    Returns:
        For each arm the head's multiply-adds per test image, counted, and the step's milliseconds in each round.
    """
    batch = next(iter(trainers.values())).typical_batch()

    def timed(trainer: Trainer) -> Callable[[int], None]:
        state = trainer.initial_state(0)

        def run(steps: int) -> None:
            nonlocal state
            for _ in range(steps):
                state, _ = trainer.step(state, 0, *batch)
            jax.block_until_ready(state)

        return run

    times = take_turns({arm: timed(trainer) for arm, trainer in trainers.items()}, TIMING_ROUNDS, TIMING_STEPS)
    return [ArmCost(arm, _head_multiply_adds(trainer), tuple(times[arm])) for arm, trainer in trainers.items()]


def _head_multiply_adds(trainer: Trainer) -> float:
    model = trainer.model(trainer.initial_state(0))
    return float(np.mean([model.head_multiply_adds(size) for size in trainer.sources["test"].sizes.tolist()]))
