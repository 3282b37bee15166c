"""Runs an experiment: each arm on each draw, trained in a run folder and measured; a second call does what is missing.

The folder of the runs holds `runs/KEY/` (run folders), `measured/KEY-MEASURES.npz` (what was measured of each, see
`Observation`) and `locks/`. Keys are hashes of all that a result depends on (see `keys`), so the folder may hold runs
of several experiments, and of several versions of one. Several processes may work in it: each takes the runs that no
other holds, and waits at the end for the others.
"""

import dataclasses
import gc
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fcnjax.atomic import locked_folder
from fcnjax.data import Source
from fcnjax.lab.draws import Draws, same_examples, sizes_by_id
from fcnjax.lab.experiment import Arm, Experiment, Setting, changed_recipe
from fcnjax.lab.keys import FIRST_PILOT, measure_key, run_key, training_seed
from fcnjax.lab.mappings import near_the_limit
from fcnjax.lab.measures import TrainedRun
from fcnjax.lab.observations import Observation, Observations
from fcnjax.progress import progress_bar, write_line
from fcnjax.sealed import DamagedFile
from fcnjax.training import Recipe, Trainer, load_sources, train
from fcnjax.training.compile.compilation import compiling_ahead, core_count
from fcnjax.training.data_digest import Digest, data_digest
from fcnjax.training.run.finished import load_state
from fcnjax.training.run.run_folder import RunFolder, is_finished, read_environments

MANY_CORES = 8  # with as many, the programs of all arms compile from the start; with fewer, those of one arm at a time
DIVERGED = "diverged"  # number of a run whose loss or scores are not finite
POLL = 0.5  # seconds between looks at what other processes do


class Job(NamedTuple):
    """One run.

    Attributes:
        arm: name of the arm.
        seed: number of the seed.
        fold: number of the fold.
    """

    arm: str
    seed: int
    fold: int


class Runner:
    """The runs of an experiment on the data of one setting.

    Args:
        experiment: the arms and the measures.
        setting_name: name of the setting; None: the first one.
        recipe: the recipe of the setting's config; each arm overrides it in part. Its seed is not used.
        workdir: the folder of the runs.
        learning_rates: learning rate by arm; arms that are not named have the recipe's.
        seeds: number of seeds, or their numbers; None: as many as the setting has, from 0.
        folds: numbers of the folds; None: all of the setting.
        shard: number, from 0, and count: this process does every count-th run.
        record_diverged: whether a run whose loss or scores are not finite counts as measured, with the number
            `DIVERGED` and nothing else; otherwise it is an error.

    Attributes:
        recipes: the resolved recipe of each arm.
        draws: the divisions of the data of the first arm.

    Raises:
        ValueError: if an override does not name a field, or arms have different examples.
    """

    def __init__(
        self,
        experiment: Experiment,
        setting_name: str | None,
        recipe: Recipe,
        workdir: Path | str,
        *,
        learning_rates: Mapping[str, float] | None = None,
        seeds: int | Sequence[int] | None = None,
        folds: Sequence[int] | None = None,
        shard: tuple[int, int] = (0, 1),
        record_diverged: bool = False,
    ):
        self.experiment, self.setting, self.workdir = experiment, experiment.setting(setting_name), Path(workdir)
        seeds = self.setting.seeds if seeds is None else seeds
        self.seeds = tuple(range(seeds) if isinstance(seeds, int) else seeds)
        self.folds = tuple(range(self.setting.folds) if folds is None else folds)
        if isinstance(seeds, int) and not 1 <= seeds <= FIRST_PILOT:
            raise ValueError(f"seeds={seeds}: must be 1 to {FIRST_PILOT}; later ones are those of pilots.")
        if not 0 <= shard[0] < shard[1]:
            raise ValueError(f"shard={shard}: must be a number from 0 and a larger count, such as (0, 4).")
        self._shard, self._record_diverged, rates = shard, record_diverged, learning_rates or {}
        self._measure_keys = {name: measure_key(name, experiment.measures) for name in experiment.names}
        # An interrupted run starts again, and no result depends on validation during training.
        recipe = dataclasses.replace(recipe, checkpoint_every=0, checkpoint_steps=0, checkpoint_best=0)
        recipe = dataclasses.replace(recipe, validate_every=0)
        self.recipes = {arm.name: arm_recipe(recipe, self.setting, arm, rates.get(arm.name)) for arm in experiment.arms}
        self._data: dict[str, _Data] = {}
        self._trainers: dict[Any, Trainer] = {}  # by arm, and by what arms share
        self._programs: dict[Any, Any] = {}  # of measures
        self.draws = self._data_of(experiment.arms[0]).draws
        for arm in experiment.arms:
            if not same_examples(self.draws.pool, self._data_of(arm).draws.pool):
                what = f"arm {arm.name!r}: must have the examples of {experiment.arms[0].name!r}"
                raise ValueError(f"{what}; give both the same data set, so that they are paired.")

    @property
    def jobs(self) -> list[Job]:
        """All runs, in the order in which they are done: all arms of a draw, then the next draw."""
        return [Job(arm, seed, fold) for seed in self.seeds for fold in self.folds for arm in self.experiment.names]

    def run(self, jobs: Sequence[tuple[str, int, int]] | None = None) -> Observations | None:
        """Does the missing runs and returns what was measured of all; a progress bar shows runs and time left.

        Args:
            jobs: arm, seed and fold of some of the runs; None: all.

        Returns:
            None if runs of other shards are missing; a line on stderr says how many.
        """
        wanted = self.jobs if jobs is None else [Job(*job) for job in jobs]
        keys = {job: self.key(*job) for job in wanted}
        number, count = self._shard
        mine = dict(list(keys.items())[number::count])
        self._do(mine)
        found = [self._measured(job, key) for job, key in keys.items()]
        done = tuple(each for each in found if each is not None)
        if len(done) < len(found):
            missing = f"{len(found) - len(done)} runs of other shards are missing"
            _say(f"shard {number + 1}/{count}: its {len(mine)} runs are done; {missing}.")
            return None
        _warn_of_versions(done)
        return Observations(done, self.setting.folds)

    def key(self, arm: str, seed: int, fold: int) -> str:
        """Returns the key of a run, the name of its folder."""
        about = self.experiment.arm(arm)
        return run_key(self._recipe_of(about, seed, fold), self.setting, about, seed, fold, self._data_of(about).digest)

    def trained(self, arm: str, seed: int, fold: int) -> TrainedRun:
        """Returns a trained run; it is trained first if it is missing, after a wait if another process does so."""
        job, key = Job(arm, seed, fold), self.key(arm, seed, fold)
        while True:
            with ExitStack() as opened:
                if is_finished(self._folder(key)) or self._locks(opened, key):
                    return self._train(job, key)
            time.sleep(POLL)

    def _do(self, jobs: Mapping[Job, str]) -> None:
        """Does the missing ones of these runs, which have their keys."""
        waiting = {job: key for job, key in jobs.items() if self._measured(job, key, tell=True) is None}
        bar = progress_bar(total=len(jobs), initial=len(jobs) - len(waiting), unit=" runs", title=self.experiment.name)
        with bar, ExitStack() as opened:
            if core_count() >= MANY_CORES:
                self._compile_ahead(opened, list(waiting))
            while waiting:
                before = len(waiting)
                for job, key in list(waiting.items()):
                    bar.set_postfix_str(f"{job.arm}, seed {job.seed}, fold {job.fold}")
                    if self._done(job, key):
                        del waiting[job]
                        bar.update()
                if len(waiting) == before:  # other processes hold all that is left
                    bar.set_postfix_str(f"{len(waiting)} in other processes")
                    time.sleep(POLL)

    def _done(self, job: Job, key: str) -> bool:
        """Does a run that is missing; returns False if another process is doing it."""
        with ExitStack() as opened:
            if not self._locks(opened, key):
                return False
            if self._measured(job, key) is None:  # no other process has done it in between
                if near_the_limit():
                    self._forget_programs()
                self._observed(job, key).save(self._measured_path(job, key))
            return True

    def _observed(self, job: Job, key: str) -> Observation:
        """Returns what the measures find in a run, which is trained first if it is missing."""
        try:
            return self._observe(self._train(job, key), key)
        except FloatingPointError:
            if not self._record_diverged:
                raise
        none = np.zeros(0)
        return Observation(*job, key, none, {}, {DIVERGED: 1.0}, none, none, none.reshape(0, 2))

    def _forget_programs(self) -> None:
        """Frees all compiled programs; a run that needs one again compiles it again."""
        self._trainers.clear()
        self._programs.clear()
        jax.clear_caches()
        gc.collect()

    def _locks(self, opened: ExitStack, key: str) -> bool:
        """Locks a run until `opened` is closed; returns False if another process holds it."""
        try:
            opened.enter_context(locked_folder(self.workdir / "locks" / key))
        except FileExistsError:
            return False
        return True

    def _measured(self, job: Job, key: str, *, tell: bool = False) -> Observation | None:
        """Returns what was measured of a run; None if nothing was, or if the file is damaged, which `tell` prints."""
        try:
            return Observation.load(self._measured_path(job, key))
        except FileNotFoundError:
            return None
        except DamagedFile as error:
            if tell:
                _say(str(error))
            return None

    def _train(self, job: Job, key: str) -> TrainedRun:
        arm, folder = self.experiment.arm(job.arm), self._folder(key)
        recipe, trainer = self._recipe_of(arm, job.seed, job.fold), self.trainer(*job)
        if is_finished(folder):
            state = load_state(trainer, folder)
            test = trainer.evaluate(state, "test")
        else:
            shutil.rmtree(folder, ignore_errors=True)  # what an interrupted process left
            done = train(recipe, folder, trainer=trainer, progress=False)
            state, test = done.state, done.test
        pool = self._data_of(arm).draws.pool
        if not np.isin(trainer.sources["test"].ids, pool.ids).all():  # a pilot tests what no other run does
            pool = trainer.sources["test"]
        return TrainedRun(*job, recipe, trainer, state, test, pool, self._programs)

    def _observe(self, run: TrainedRun, key: str) -> Observation:
        """Returns what the measures find in a run."""
        values: dict[str, np.ndarray] = {}
        numbers: dict[str, float] = {}
        test, folder = run.sources["test"], self._folder(key)
        for measure in self.experiment.measures:
            measured = measure(run)
            if measured is None:
                continue
            for name, each in measured.values.items():
                if np.shape(each) != (len(test),):
                    raise ValueError(f"{measure}: {name!r} must have the shape ({len(test)},), not {np.shape(each)}.")
            repeated = sorted((measured.values.keys() & values) | (measured.numbers.keys() & numbers))
            if repeated:
                raise ValueError(f"{measure}: {repeated} must have names that no other measure uses; rename them.")
            values |= {name: np.asarray(each, np.float64) for name, each in measured.values.items()}
            numbers |= {name: float(each) for name, each in measured.numbers.items()}
        losses = np.array([row["loss"] for row in RunFolder.read_metrics(folder, "train")])
        if len(losses) != run.trainer.steps:
            raise ValueError(
                f"{folder}: must hold {run.trainer.steps} training losses, one per step, not {len(losses)}; "
                "remove the folder to repeat the run."
            )
        arrays = {"losses": losses, "labels": run.labels, "sizes": test.sizes, "ids": test.ids}
        facts = facts_of(run.trainer, folder)
        return Observation(run.arm, run.seed, run.fold, key, values=values, numbers=numbers, facts=facts, **arrays)

    def trainer(self, arm: str, seed: int, fold: int) -> Trainer:
        """Returns the trainer of a run; runs of one recipe share buckets and compiled steps."""
        about, data = self.experiment.arm(arm), self._data_of(self.experiment.arm(arm))
        base, sources = self._trainer_of(about, data), data.draws.sources(seed, fold)
        if about.sources is not None:
            sources = about.sources(sources, seed)
        try:
            return base.on(sources)
        except ValueError:  # sizes that differ from draw to draw: this one has buckets of its own
            return Trainer(base.recipe, sources)

    def _trainer_of(self, arm: Arm, data: "_Data") -> Trainer:
        """Returns the trainer on all data, whose buckets all draws have, made at the first call.

        If the arm changes sizes of examples, it is a trainer on the changed examples of the first draw.
        """
        if arm.name not in self._trainers:
            recipe, sources, change = dataclasses.replace(self.recipes[arm.name], seed=0), data.sources, ""
            if arm.sources is not None:
                changed = arm.sources(data.draws.sources(0, 0), 0)
                if not sizes_by_id(changed).items() <= sizes_by_id(sources).items():
                    sources, change = changed, repr(arm.sources)
            key = (json.dumps(recipe.to_dict()), change)
            if key not in self._trainers:
                self._trainers[key] = Trainer(recipe, sources)
            self._trainers[arm.name] = self._trainers[key]
        return self._trainers[arm.name]

    def _data_of(self, arm: Arm) -> "_Data":
        """Returns the data of an arm; arms that name the same data and sizes share them."""
        recipe = self.recipes[arm.name]
        key = json.dumps([dataclasses.asdict(part) for part in (recipe.data, recipe.size)])
        if key not in self._data:
            sources = load_sources(recipe)
            self._data[key] = _Data(sources, Draws(sources, self.setting), data_digest(sources))
        return self._data[key]

    def _recipe_of(self, arm: Arm, seed: int, fold: int) -> Recipe:
        return dataclasses.replace(self.recipes[arm.name], seed=training_seed(seed, fold, arm.salt))

    def _compile_ahead(self, opened: ExitStack, jobs: Sequence[Job]) -> None:
        """Starts to compile the programs of all arms until `opened` is closed; a run waits for those it needs."""
        firsts = {job.arm: job for job in reversed(jobs)}.values()
        compilations = [each for job in firsts for each in self.trainer(*job).compilations(0, 0)]
        opened.enter_context(compiling_ahead(compilations, progress=False))

    def _folder(self, key: str) -> Path:
        return self.workdir / "runs" / key

    def _measured_path(self, job: Job, key: str) -> Path:
        return self.workdir / "measured" / f"{key}-{self._measure_keys[job.arm]}.npz"


class _Data(NamedTuple):
    """The data of an arm: the splits of its recipe, their divisions, and what identifies them."""

    sources: Mapping[str, Source]
    draws: Draws
    digest: Digest


def arm_recipe(recipe: Recipe, setting: Setting, arm: Arm, learning_rate: float | None = None) -> Recipe:
    """Returns the recipe of an arm: the shared one with the overrides of the setting, of the arm, and a tuned rate.

    Raises:
        ValueError: if an override does not name a field; the message names the nearest field.
    """
    rate = {} if learning_rate is None else {"optimizer.learning_rate": learning_rate}
    return changed_recipe(recipe, {**setting.overrides, **arm.overrides, **rate})


def facts_of(trainer: Trainer, folder: Path) -> dict[str, str]:
    """Returns how a finished run was made, in words."""
    about, recipe = read_environments(folder)[-1], trainer.recipe
    counts = ", ".join(f"{len(source):,} {name}" for name, source in trainer.sources.items())
    return {
        "data": f"{recipe.data.name}: {counts}",
        "training": (
            f"{recipe.epochs} epochs of {trainer.steps_per_epoch} steps, batches of up to {recipe.batch_size}, "
            f"{recipe.optimizer.name}"
        ),
        "hardware": f"{about['devices']}, {about['processor']}, {about['platform']}",
        "versions": ", ".join(f"{name} {version}" for name, version in about["versions"].items()),
        "source": f"git {about['git_revision']}",
    }


def _warn_of_versions(observations: Any) -> None:
    made_with = sorted({each.facts["versions"] for each in observations if each.facts})
    if len(made_with) > 1:
        _say(f"runs were made with different versions: {'; and '.join(made_with)}. Remove the folder to repeat them.")


def _say(text: str) -> None:
    write_line(text)
