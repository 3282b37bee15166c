"""Step times of arms, each measured in fresh processes of its own, and their ratios with intervals.

A process is one replicate: within one, the placement of memory and threads is fixed, and repeated timings agree more
than two processes do. Rounds time every arm once, in random order, so that a slow moment affects all arms alike.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from scipy import stats
from tqdm import tqdm

from fcnjax.atomic import locked_folder, read_json, write_json
from fcnjax.bench import timing as bench_timing
from fcnjax.bench.timing import InOwnProcess, TimedProgram
from fcnjax.lab.keys import code_hash, code_of
from fcnjax.lab.published.encoding import digest_of
from fcnjax.memory import keep_large_blocks
from fcnjax.training import Recipe, Trainer
from fcnjax.training.run.run_folder import environment

FILE = "timing.json"
ROUNDS = 10
POLL = 1.0  # seconds between looks at a process that measures
BLOCKS, STEPS = 5, 20  # a process reports the median of the mean step times of blocks


@dataclass(frozen=True)
class StepTimeRatio:
    """How long a training step of an arm takes, compared with another arm.

    Attributes:
        arm: name of the arm.
        baseline: name of the other arm.
        ratio: geometric mean of the ratios of all rounds.
        low: lower end of the interval.
        high: upper end.
        milliseconds: median time of a step of `arm`.
        processes: number of processes of each arm.
    """

    arm: str
    baseline: str
    ratio: float
    low: float
    high: float
    milliseconds: float
    processes: int


def step_time_ratio(
    times: Mapping[str, Sequence[float]], arm: str, baseline: str, confidence: float = 0.95
) -> StepTimeRatio:
    """Returns the ratio of the step times of two arms, with a t-interval of its logarithm over rounds.

    Args:
        times: milliseconds of a step in each round [R], by arm; R >= 2.
        arm: name of the arm.
        baseline: name of the arm that it is compared with.
        confidence: coverage of the interval in (0, 1).

    Raises:
        ValueError: if there are fewer than two rounds.

    Source: Student's t; derived here for ratios.
    """
    if len(times[arm]) < 2:
        raise ValueError(f"times of {len(times[arm])} rounds: must be of at least 2; time more processes.")
    logs = np.log(np.asarray(times[arm])) - np.log(np.asarray(times[baseline]))
    half = float(stats.t.ppf((1 + confidence) / 2, len(logs) - 1) * stats.sem(logs))
    ratio, low, high = np.exp([logs.mean(), logs.mean() - half, logs.mean() + half]).tolist()
    return StepTimeRatio(arm, baseline, ratio, low, high, float(np.median(times[arm])), len(logs))


def timed_recipes(recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """Returns the recipes whose steps may take different times: of arms that differ in the rate alone, the first.

    Raises:
        ValueError: if there are fewer than two.
    """

    def timed(recipe: Recipe) -> Recipe:
        return dataclasses.replace(recipe, seed=0, optimizer=dataclasses.replace(recipe.optimizer, learning_rate=1.0))

    kept: dict[str, Recipe] = {}
    for arm, recipe in recipes.items():
        if timed(recipe) not in kept.values():
            kept[arm] = timed(recipe)
    if len(kept) < 2:
        raise ValueError("--timing: must compare training steps, and all arms have the same one; leave it out.")
    return kept


def time_steps(
    recipes: Mapping[str, Recipe], path: Path | str, rounds: int = ROUNDS, seed: int = 0
) -> dict[str, list[float]]:
    """Returns the milliseconds of a training step in each round, by arm; each is measured in a fresh process.

    What was measured is kept at `path`: after an interruption, the same call measures the missing rounds. One process
    at a time measures; another one waits, and takes what was measured.

    Args:
        recipes: what to time, by arm.
        path: a JSON file; one of other recipes, code or versions, or of another machine, is replaced.
        rounds: number of processes of each arm.
        seed: seed of the order in each round.
    """
    path = Path(path)
    machine, key = _machine_and_key(recipes)
    with ExitStack() as opened:
        _wait_for_lock(opened, path.parent / "locks" / "timing")
        kept = read_json(path) if path.exists() else {}
        done = kept["rounds"][:rounds] if kept.get("key") == key else []
        total, initial = rounds * len(recipes), len(done) * len(recipes)
        bar = opened.enter_context(tqdm(total=total, initial=initial, unit="process", desc="timing"))
        for number in range(len(done), rounds):
            times = {}
            for arm in np.random.default_rng((seed, number)).permutation(list(recipes)).tolist():
                times[arm] = _timed_process(recipes[arm])
                bar.update()
            done.append(times)
            write_json(path, {"key": key, "machine": machine, "rounds": done})
    return {arm: [times[arm] for times in done] for arm in recipes}


def _machine_and_key(recipes: Mapping[str, Recipe]) -> tuple[list[str], str]:
    """Returns the machine in words, and what identifies timings: recipes, machine, versions and code."""
    about = environment()
    machine = [about[name] for name in ("devices", "processor", "platform")]
    code = [code_hash(), *map(code_of, (__file__, bench_timing.__file__))]
    settings = [about[name] for name in ("python", "versions", "xla")]
    return machine, digest_of([{arm: recipe.to_dict() for arm, recipe in recipes.items()}, machine, settings, code])


def _wait_for_lock(opened: ExitStack, folder: Path) -> None:
    """Locks a folder until `opened` is closed, after a wait if another process has it."""
    while True:
        try:
            opened.enter_context(locked_folder(folder))
            return
        except FileExistsError:
            time.sleep(POLL)


def _timed_process(recipe: Recipe) -> float:
    """Returns the median milliseconds of a step over blocks of steps, in a fresh process, after compilation."""
    means = []
    with InOwnProcess(training_steps, recipe) as run:
        run(STEPS)  # compiles
        for _ in range(BLOCKS):
            start = time.perf_counter()
            run(STEPS)
            means.append(1e3 * (time.perf_counter() - start) / STEPS)
    return float(np.median(means))


def training_steps(recipe: Recipe) -> TimedProgram:
    """Returns a program that runs training steps of a recipe on one batch, for `InOwnProcess`."""
    keep_large_blocks()
    trainer = Trainer(recipe)
    mixed = recipe.batching == "mixed"
    batch = next(iter(trainer.batches(0, 0, 1))) if mixed else trainer.typical_batch()
    state = trainer.initial_state(0)

    def run(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            state, _ = trainer.step(state, 0, *batch)
        jax.block_until_ready(state)

    return run
