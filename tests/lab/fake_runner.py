"""A runner whose runs take no time: what it measures is drawn from arm, seed and fold."""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from fcnjax.lab.experiment import changed_recipe
from fcnjax.lab.observations import Observation, Observations
from fcnjax.lab.tuning import LOSS

POOL, VALIDATION = 600, 200
FACTS = {"hardware": "1 x cpu (cpu)", "versions": "jax 1"}
ACCURACY = {"linear": 0.9, "linear-again": 0.9, "hidden": 0.9, "shuffled": 0.1}


class FakeRunner:
    """A runner with the interface of `Runner`.

    Attributes:
        done: all runs of all runners: folder, arm, seed and fold.
        facts: of all further runs.
        rounding: part of what is drawn, as if on another machine.
        interrupt_after: number of runs after which the next one is interrupted; None: never.
    """

    done: list[tuple[str, str, int, int]]
    facts: dict[str, str]
    rounding: int
    interrupt_after: int | None

    @classmethod
    def reset(cls):
        cls.done, cls.facts, cls.rounding, cls.interrupt_after = [], FACTS, 0, None

    def __init__(
        self,
        experiment,
        setting_name,
        recipe,
        workdir,
        *,
        learning_rates=None,
        seeds: Sequence[int] = (),
        folds=None,
        shard=(0, 1),
        record_diverged=False,
    ):
        self.experiment, self.setting, self.workdir, self.rates = experiment, setting_name, str(workdir), learning_rates
        self.folds = experiment.setting(setting_name).folds
        self.jobs = [
            (arm, seed, fold)
            for seed in seeds
            for fold in (range(self.folds) if folds is None else folds)
            for arm in experiment.names
        ]
        self.shard, arms = shard, experiment.arms
        self.recipes = {arm.name: changed_recipe(recipe, arm.overrides) for arm in arms if recipe}
        self.draws = dataclasses.make_dataclass("FakeDraws", ["pool"])(range(POOL))

    def key(self, arm: str, seed: int, fold: int) -> str:
        return f"{arm}-{seed}-{fold}"

    def run(self, jobs=None):
        wanted = list(jobs or self.jobs)
        number, count = self.shard
        for job in wanted[number::count]:
            if (self.workdir, *job) not in self.done:
                if self.interrupt_after is not None and len(self.done) >= self.interrupt_after:
                    raise KeyboardInterrupt
                self.done.append((self.workdir, *job))
        if not {(self.workdir, *job) for job in wanted} <= set(self.done):
            return None
        return Observations(tuple(self.observe(*job) for job in wanted), self.folds)

    def observe(self, arm: str, seed: int, fold: int) -> Observation:
        pilot = seed >= 1000
        ids = np.arange(VALIDATION) + POOL if pilot else np.arange(fold, POOL, self.folds)
        text = f"{arm} {seed} {fold} {self.rates} {self.rounding}"
        draw = np.random.default_rng(int(hashlib.sha256(text.encode()).hexdigest()[:8], 16))
        correct = (draw.random(len(ids)) < ACCURACY.get(arm.partition("_rate")[0], 0.9)).astype(float)
        numbers = {LOSS: abs(self.rates[arm] - 0.001) if arm in self.rates else 1.0}
        sizes, labels = np.full((len(ids), 2), 20), ids % 10
        return Observation(
            arm,
            seed,
            fold,
            self.key(arm, seed, fold),
            ids,
            {"accuracy": correct},
            numbers,
            np.ones(20),
            labels,
            sizes,
            self.facts,
        )
