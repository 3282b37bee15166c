"""Times of training of arms, each measured in fresh processes of its own, and their ratios with intervals.

A process is one replicate: within one, the placement of memory and threads is fixed, and repeated timings agree more
than two processes do. Rounds time every arm once, in random order, so that a slow moment affects all arms alike. The
steps that are timed stand for an epoch: they have its buckets in proportion.
"""

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import stats

from fcnjax.atomic import locked_folder, read_json, write_json
from fcnjax.bench import timing as bench_timing
from fcnjax.bench.timing import InOwnProcess, TimedProgram
from fcnjax.data import MixedStep, Source
from fcnjax.lab.draws import Draws, sizes_by_id
from fcnjax.lab.experiment import Arm, ChangeSources, Setting
from fcnjax.lab.keys import code_hash, code_of, described
from fcnjax.lab.published.encoding import digest_of
from fcnjax.lab.runner import arm_recipe
from fcnjax.progress import progress_bar
from fcnjax.training import Recipe, Trainer, load_sources
from fcnjax.training.compile.compilation import core_count
from fcnjax.training.compile.freed_memory import keep_large_blocks
from fcnjax.training.compile.programs import parts_of
from fcnjax.training.run.run_folder import environment

FILE = "timing.json"
ROUNDS = 10
POLL = 1.0  # seconds between looks at a process that measures
BLOCKS, STEPS = 5, 20  # a process reports the median of the mean step times of blocks


@dataclass(frozen=True)
class TimedArm:
    """What is timed of an arm: its training on the first draw.

    Attributes:
        recipe: its recipe, with the same seed and learning rate as all others.
        folds, train_examples: as in `Setting`.
        sources: its change of the sources if that changes sizes, which decide the time of a step; else None.
    """

    recipe: Recipe
    folds: int = 1
    train_examples: int | None = None
    sources: ChangeSources | None = None

    def drawn(self) -> Mapping[str, Source]:
        """Returns the splits of the first draw, as they are."""
        setting = Setting(self.recipe.data.name, folds=self.folds, train_examples=self.train_examples)
        return Draws(load_sources(self.recipe), setting).sources(0, 0)

    def trainer(self) -> Trainer:
        """Returns a trainer on the first draw, with its sizes changed."""
        return Trainer(self.recipe, self.drawn() if self.sources is None else self.sources(self.drawn(), 0))

    def with_change(self, change: ChangeSources | None) -> "TimedArm":
        """Returns the arm with a change of the sources if that changes the size of an example, else itself."""
        if change is None:
            return self
        drawn = self.drawn()
        same = sizes_by_id(change(drawn, 0)).items() <= sizes_by_id(drawn).items()
        return self if same else dataclasses.replace(self, sources=change)


class Timing(NamedTuple):
    """What one process measures.

    Attributes:
        milliseconds: mean time of a training step, over steps that stand for an epoch; the median of several blocks.
        compiling: seconds to compile all programs of training on all cores, without a cache.
    """

    milliseconds: float
    compiling: float


class Work(NamedTuple):
    """How much a training does.

    Attributes:
        steps: number of steps.
        images: number of training examples in all epochs together.
    """

    steps: int
    images: int


@dataclass(frozen=True)
class TrainingTime:
    """How long a training takes, compared with another arm; medians over processes.

    Attributes:
        arm: name of the arm.
        baseline: name of the other arm.
        ratio: geometric mean over rounds of the ratio of the times of all steps together.
        low: lower end of the interval.
        high: upper end.
        milliseconds: time of a step.
        seconds: time of all steps of the recipe, without compilation, evaluation and the wait for input.
        images_per_second: training examples per second of these.
        compiling: seconds of compilation of the programs of training.
        processes: number of processes of each arm.
    """

    arm: str
    baseline: str
    ratio: float
    low: float
    high: float
    milliseconds: float
    seconds: float
    images_per_second: float
    compiling: float
    processes: int


def training_time(
    timings: Mapping[str, Sequence[Timing]],
    work: Mapping[str, Work],
    arm: str,
    baseline: str,
    confidence: float = 0.95,
) -> TrainingTime:
    """Returns how long an arm trains, and the ratio to another arm with a t-interval of its logarithm over rounds.

    Args:
        timings: what was measured in each round [R], by arm; R >= 2.
        work: what each arm does.
        arm: name of the arm.
        baseline: name of the arm that it is compared with.
        confidence: coverage of the interval in (0, 1).

    Raises:
        ValueError: if there are fewer than two rounds.

    Source: Student's t; derived here for ratios.
    """
    if len(timings[arm]) < 2:
        raise ValueError(f"timings of {len(timings[arm])} rounds: must be of at least 2; time more processes.")
    steps, compiling = (np.array(column) for column in zip(*timings[arm], strict=True))
    others = np.array([each.milliseconds for each in timings[baseline]])
    logs = np.log(work[arm].steps * steps) - np.log(work[baseline].steps * others)
    half = float(stats.t.ppf((1 + confidence) / 2, len(logs) - 1) * stats.sem(logs))
    ratio, low, high = np.exp([logs.mean(), logs.mean() - half, logs.mean() + half]).tolist()
    milliseconds = float(np.median(steps))
    seconds = 1e-3 * work[arm].steps * milliseconds
    images = work[arm].images / seconds
    about = (milliseconds, seconds, images, float(np.median(compiling)), len(logs))
    return TrainingTime(arm, baseline, ratio, low, high, *about)


def timed_arms(arms: Sequence[Arm], recipe: Recipe, setting: Setting) -> dict[str, TimedArm]:
    """Returns the arms whose training may take different times: of those that differ in the rate alone, the first.

    Args:
        arms: all arms.
        recipe: the recipe that they share.
        setting: the data.

    Raises:
        ValueError: if there are fewer than two.
    """
    kept: dict[str, TimedArm] = {}
    for arm in arms:
        own = dataclasses.replace(arm_recipe(recipe, setting, arm, 1.0), seed=0)
        each = TimedArm(own, setting.folds, setting.train_examples).with_change(arm.sources)
        if each not in kept.values():
            kept[arm.name] = each
    if len(kept) < 2:
        raise ValueError("--timing: must compare trainings, and all arms have the same one; leave it out.")
    return kept


def work_of(arms: Mapping[str, TimedArm]) -> dict[str, Work]:
    """Returns what each arm does on its first draw."""
    trainers = {name: arm.trainer() for name, arm in arms.items()}
    return {
        name: Work(trainer.steps, trainer.recipe.epochs * len(trainer.sources["train"]))
        for name, trainer in trainers.items()
    }


def time_arms(
    arms: Mapping[str, TimedArm], path: Path | str, rounds: int = ROUNDS, seed: int = 0
) -> dict[str, list[Timing]]:
    """Returns what is measured of each arm in each round, in a fresh process each.

    What was measured is kept at `path`: after an interruption, the same call measures the missing rounds. One process
    at a time measures; another one waits, and takes what was measured.

    Args:
        arms: what to time, by name.
        path: a JSON file; one of other arms, code or versions, or of another machine, is replaced.
        rounds: number of processes of each arm.
        seed: seed of the order in each round.
    """
    path = Path(path)
    machine, key = _machine_and_key(arms)
    with ExitStack() as opened:
        _wait_for_lock(opened, path.parent / "locks" / "timing")
        kept = read_json(path) if path.exists() else {}
        done = kept["rounds"][:rounds] if kept.get("key") == key else []
        total, initial = rounds * len(arms), len(done) * len(arms)
        bar = opened.enter_context(progress_bar(total=total, initial=initial, unit=" processes", title="timing"))
        for number in range(len(done), rounds):
            times = {}
            for arm in np.random.default_rng((seed, number)).permutation(list(arms)).tolist():
                times[arm] = _timed_process(arms[arm])
                bar.update()
            done.append(times)
            write_json(path, {"key": key, "machine": machine, "rounds": done})
    return {arm: [Timing(*times[arm]) for times in done] for arm in arms}


def _machine_and_key(arms: Mapping[str, TimedArm]) -> tuple[list[str], str]:
    """Returns the machine in words, and what identifies timings: arms, machine, versions and code."""
    about = environment()
    machine = [about[name] for name in ("devices", "processor", "platform")]
    code = [code_hash(), *map(code_of, (__file__, bench_timing.__file__))]
    settings = [about[name] for name in ("python", "versions", "xla")]
    timed = {name: _described(arm) for name, arm in arms.items()}
    return machine, digest_of([timed, machine, settings, code])


def _described(arm: TimedArm) -> list[Any]:
    changes = None if arm.sources is None else described(arm.sources)
    return [arm.recipe.to_dict(), arm.folds, arm.train_examples, changes]


def _wait_for_lock(opened: ExitStack, folder: Path) -> None:
    """Locks a folder until `opened` is closed, after a wait if another process has it."""
    while True:
        try:
            opened.enter_context(locked_folder(folder))
            return
        except FileExistsError:
            time.sleep(POLL)


def _timed_process(arm: TimedArm) -> Timing:
    """Returns what a fresh process measures: compilation, then the median over blocks of the mean time of a step."""
    means = []
    with InOwnProcess(training_steps, arm) as run:
        run(0)  # returns when the process is ready
        start = time.perf_counter()
        run(1)  # compiles
        compiling = time.perf_counter() - start
        run(STEPS)  # warms up
        for _ in range(BLOCKS):
            start = time.perf_counter()
            run(STEPS)
            means.append(1e3 * (time.perf_counter() - start) / STEPS)
    return Timing(float(np.median(means)), compiling)


def training_steps(arm: TimedArm) -> TimedProgram:
    """Returns a program that runs training steps of an arm, for `InOwnProcess`; its first step compiles all programs.

    Each `STEPS` steps have the buckets of an epoch in proportion.
    """
    keep_large_blocks()
    jax.config.update("jax_enable_compilation_cache", False)
    trainer = arm.trainer()
    batches, state, turn = spread_batches(trainer, STEPS), trainer.initial_state(0), 0

    def run(steps: int) -> None:
        nonlocal state, turn
        if turn == 0 < steps:
            _compile_training(trainer)
        for _ in range(steps):
            state, _ = trainer.step(state, 0, *batches[turn % len(batches)])
            turn += 1
        jax.block_until_ready(state)

    return run


def spread_batches(trainer: Trainer, count: int) -> list[tuple[Any, Any]]:
    """Returns training steps with their batches that stand for an epoch, shuffled.

    They are evenly spaced in the order of their padded positions. Steps of one bucket share a batch.
    """
    plan = trainer.plan(0)
    parts = (parts_of(plan.step(index)) for index in range(plan.steps_per_epoch))
    positions = [sum(len(part.rows) * math.prod(part.shape) for part in step) for step in parts]
    order = np.argsort(positions, kind="stable")
    chosen = order[((np.arange(count) + 0.5) * len(order) / count).astype(int)]
    kept: dict[Any, tuple[Any, Any]] = {}
    keys = []
    for index in np.random.default_rng(0).permutation(chosen).tolist():
        step = plan.step(index)
        keys.append(index if isinstance(step, MixedStep) else step.shape)
        if keys[-1] not in kept:
            kept[keys[-1]] = next(iter(trainer.batches(0, index, index + 1)))
    return [kept[key] for key in keys]


def _compile_training(trainer: Trainer) -> None:
    """Compiles all programs of training side by side."""
    with ThreadPoolExecutor(core_count()) as pool:
        jobs = trainer.programs.for_training(trainer.plan(0), 0)
        list(pool.map(lambda job: job.programs.compile(job.shape, *job.args), jobs))
