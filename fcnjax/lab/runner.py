"""Runs an experiment: every arm with every seed, each in a run folder; a second call does the missing runs.

The folder of the experiment holds `experiment.json` (base recipe and arms), `runs/<arm>/seed_<n>/` (the run folders),
`results/<arm>/seed_<n>.npz` (the data of each run that the report needs) and `costs.json`.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
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
from fcnjax.training.compile.compilation import compiling_ahead, core_count
from fcnjax.training.run.finished import load_state
from fcnjax.training.run.run_folder import RunFolder, is_finished, read_environments
from fcnjax.training.settings.recipe import PACE

TIMING_ROUNDS, TIMING_STEPS = 7, 6
MANY_CORES = 8  # with as many, the programs of all arms compile from the start; with fewer, those of one arm at a time


class Runner:
    """The runs of one experiment in one folder.

    Args:
        experiment: the arms.
        recipe: the recipe that all arms share and each arm overrides in part; its seed is not used.
        seeds: the seeds; every arm has one run with each.
        workdir: the folder of the experiment; new, or of the same experiment and recipe.

    Raises:
        FileExistsError: if the folder holds another experiment, or anything else.
        ValueError: if an override does not name a field of the recipe.
    """

    def __init__(self, experiment: Experiment, recipe: Recipe, seeds: Sequence[int], workdir: Path | str):
        self.experiment, self.seeds, self.workdir = experiment, tuple(seeds), Path(workdir)
        # An interrupted run starts again, and no result depends on validation during training.
        recipe = dataclasses.replace(recipe, checkpoint_every=0, validate_every=0)
        self.recipes = {arm.name: arm_recipe(recipe, arm) for arm in experiment.arms}
        self._claim_folder(recipe)
        self.sources = load_sources(recipe)
        self._trainers: dict[str, Trainer] = {}
        self._compiled: set[str] = set()  # arms whose programs have begun to compile

    def run(self) -> Results:
        """Does the missing runs and returns the results of all runs; a progress bar shows runs and time left.

        Raises:
            FileExistsError: if another process is working in the folder.
        """
        with locked_folder(self.workdir):
            return self._run_all()

    def _run_all(self) -> Results:
        runs = []
        jobs = [(arm, seed) for seed in self.seeds for arm in self.experiment.names]
        missing = [job for job in jobs if not self._result_path(*job).exists()]
        bar = tqdm(total=len(jobs), initial=len(jobs) - len(missing), unit="run", desc=self.experiment.name)
        with bar, ExitStack() as opened:
            if core_count() >= MANY_CORES:
                self._compile_ahead(opened, missing)
            for arm, seed in jobs:
                path = self._result_path(arm, seed)
                if not path.exists():
                    bar.set_postfix_str(f"{arm}, seed {seed}")
                    self._compile_ahead(opened, [(arm, seed)])
                    self._run_one(arm, seed).save(path)
                    bar.update()
                runs.append(RunResult.load(path))
        return Results(self.experiment, tuple(runs), self._costs(), self._facts())

    def _compile_ahead(self, opened: ExitStack, runs: Iterable[tuple[str, int]]) -> None:
        """Starts to compile the programs of these runs until `opened` is closed; the runs wait for what they need."""
        jobs = []
        for arm, seed in runs:
            if arm not in self._compiled:
                self._compiled.add(arm)
                jobs += self.trainer(arm).compilations(seed, 0)
        if jobs:
            opened.enter_context(compiling_ahead(jobs, progress=False))

    def trainer(self, arm: str) -> Trainer:
        """Returns the trainer of an arm, which the first call creates."""
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
        if is_finished(path):  # interrupted after the end of the run and before its result was saved
            final = trainer.evaluate(load_state(trainer, path), "test")
        else:
            final = train(recipe, path, trainer=trainer, progress=False).test
        source = self.sources["test"]
        labels, ids = zip(*((source[i].label, source[i].id) for i in range(len(source))), strict=True)
        losses = [row["loss"] for row in RunFolder.read_metrics(path, "train")]
        steps = recipe.epochs * trainer.steps_per_epoch
        if len(losses) != steps:
            raise ValueError(
                f"{path}: must hold {steps} training losses, one per step, not {len(losses)}; "
                "remove the folder to repeat the run."
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
            "buckets": f"{len(trainer.buckets.shapes)}, padded / real area - 1 = {trainer.plan(0).waste:.2f}",
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
                    f"workdir={self.workdir}: must hold results of this config (different: {', '.join(changed)}); "
                    "choose a new folder."
                )
        elif self.workdir.exists() and any(self.workdir.iterdir()):
            raise FileExistsError(f"workdir={self.workdir}: must be empty or hold an experiment; choose a new folder.")
        else:
            write_json(path, mine)

    def _signature(self, recipe: Recipe) -> dict[str, Any]:
        arms = {f"arm {arm.name}": {**arm.overrides} for arm in self.experiment.arms}
        common = {name: value for name, value in recipe.to_dict().items() if name not in PACE}
        # Through JSON, so that tuples are lists, as in the file.
        return json.loads(json.dumps({"name": self.experiment.name, **common, **arms}))

    def _run_path(self, arm: str, seed: int) -> Path:
        return self.workdir / "runs" / arm / f"seed_{seed}"

    def _result_path(self, arm: str, seed: int) -> Path:
        return self.workdir / "results" / arm / f"seed_{seed}.npz"


def _all_of(facts: Iterable[str]) -> str:
    """Returns the distinct facts, in order; more than one if the conditions changed between runs."""
    return "; ".join(dict.fromkeys(facts)) or "unknown"


def arm_recipe(recipe: Recipe, arm: Arm) -> Recipe:
    """Returns the recipe of an arm: the shared recipe with the arm's overrides.

    Raises:
        ValueError: if an override does not name a field; the message names the nearest field.
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
    """Returns the measured costs of the arms: multiply-adds of the head, and time of a training step.

    The steps of all arms are timed in interleaved rounds on the same batch, of the bucket that is used most often, so
    that a slow moment of the machine affects all arms.

    Args:
        trainers: trainer by arm; all with the same data and batch size.

    Returns:
        One cost per arm. The multiply-adds are counted, not timed.
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
