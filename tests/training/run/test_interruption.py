"""A run that is killed at any moment, or asked to end, ends bit for bit like an uninterrupted one. The runs use the
digits config and the command line, in processes that are really killed.
"""

import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from damages import DAMAGES, damage

from fcnjax.data import load_source
from fcnjax.training import Recipe, Trainer
from fcnjax.training.compile.program_cache import FOLDER
from fcnjax.training.run.checkpoints import read_checkpoint
from fcnjax.training.run.run_folder import read_config

KILLS = 20
RICH = {  # recipes that keep the most between steps, and the kills of each in the long test
    "mixed": (
        30,
        (
            "--config.batching=mixed",
            "--config.optimizer.name=muon",
            "--config.ema_decay=0.9",
            "--config.mixup=0.2",
            "--config.checkpoint_last=3",
            "--config.checkpoint_best=2",
        ),
    ),
    "attention": (20, ("--config.head.pool=attention", "--config.optimizer.name=lamb", "--config.loader.workers=2")),
}
SECONDS = 240  # limit of one process
OPTIONS = (
    "--config.epochs=3",
    "--config.checkpoint_steps=10",
    "--config.model.channels=(8,8)",
    "--config.model.dropout=0.2",
)


def command(arguments: list[str], out: str) -> None:
    """Runs the command in this process, with its output in a file."""
    os.environ[FOLDER] = str(Path(out).parent / "cache")
    sys.stdout = sys.stderr = open(out, "a")  # noqa: SIM115 (open as long as the process)
    from fcnjax.commands.main import main

    code = main(["fcnjax", *arguments])
    sys.stdout.flush()
    os._exit(code)


class Runs:
    """Starts `fcnjax train` on the digits config, in processes that have the package already imported."""

    def __init__(self, folder: Path, config: Path):
        data = folder / "data"
        load_source("any_size_digits", "train", str(data))  # prepared once, before anything is killed
        self._arguments = ["train", f"--config={config}", f"--config.data.data_dir={data}", *OPTIONS]
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["fcnjax.commands.train"])
        self.folder = folder

    def start(self, name: str, *options: str) -> multiprocessing.process.BaseProcess:
        arguments = [*self._arguments, *options, f"--workdir={self.folder / name}"]
        process = self._context.Process(target=command, args=(arguments, str(self.folder / f"{name}.txt")))
        process.start()
        return process

    def finish(self, name: str, *options: str) -> Path:
        process = self.start(name, *options)
        process.join(SECONDS)
        assert process.exitcode == 0, (self.folder / f"{name}.txt").read_text()
        return self.folder / name


@pytest.fixture(scope="module")
def runs(tmp_path_factory, request) -> Runs:
    return Runs(tmp_path_factory.mktemp("interrupted"), request.config.rootpath / "configs/digits.py")


@pytest.fixture(scope="module")
def whole(runs) -> Path:
    """An uninterrupted run."""
    return runs.finish("whole")


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def interrupt(process: multiprocessing.process.BaseProcess, metrics: Path, after: int, number: int) -> bool:
    """Sends signal `number` once the metrics have `after` lines; returns whether the run was still going on."""
    end = time.monotonic() + SECONDS
    while lines(metrics) < after and process.is_alive() and time.monotonic() < end:
        time.sleep(0.002)
    alive = process.is_alive()
    if alive and process.pid is not None:
        os.kill(process.pid, number)
    process.join(SECONDS)
    return alive


def assert_same_run(got: Path, wanted: Path) -> None:
    assert (got / "metrics.jsonl").read_bytes() == (wanted / "metrics.jsonl").read_bytes()
    trainer = Trainer(Recipe.from_config(read_config(wanted)))
    like = trainer.initial_state(0)
    states = [read_checkpoint(path / "checkpoints", like, "last") for path in (got, wanted)]
    assert int(states[0].step) == trainer.steps
    jax.tree.map(np.testing.assert_array_equal, *states)  # weights, statistics and optimizer


@pytest.mark.slow
def test_a_run_that_is_killed_twenty_times_ends_bit_for_bit_the_same(runs, whole):
    """At any moment: while it starts, between steps, during an evaluation or a checkpoint."""
    assert_same_run(killed(runs, "killed", lines(whole / "metrics.jsonl"), KILLS), whole)


def killed(runs: Runs, name: str, total: int, kills: int, *options: str) -> Path:
    """Kills a run of `total` rows of metrics at random moments, then lets it end."""
    rng, folder = random.Random(0), runs.folder / name
    for after in sorted(rng.sample(range(1, total - 12), kills)):
        process = runs.start(name, *options)
        time.sleep(rng.uniform(0, 0.02))
        interrupt(process, folder / "metrics.jsonl", after, signal.SIGKILL)
        assert process.exitcode == -signal.SIGKILL, (runs.folder / f"{name}.txt").read_text()
    assert not (folder / "result.json").exists()
    return runs.finish(name, *options)


@pytest.mark.long
@pytest.mark.parametrize("recipe", RICH)
def test_rich_recipes_are_killed_fifty_times(runs, recipe):
    kills, options = RICH[recipe]
    wanted = runs.finish(f"whole {recipe}", *options)
    assert_same_run(killed(runs, recipe, lines(wanted / "metrics.jsonl"), kills, *options), wanted)


@pytest.mark.slow
def test_a_run_that_is_asked_to_end_saves_its_step_and_says_so(runs, whole):
    process = runs.start("ended")
    assert interrupt(process, runs.folder / "ended" / "metrics.jsonl", 44, signal.SIGTERM)
    assert process.exitcode == 143
    said = (runs.folder / "ended.txt").read_text()
    assert "Traceback" not in said
    done = lines(runs.folder / "ended" / "metrics.jsonl")
    assert done >= 44
    assert f"fcnjax train: asked to end; step {done} is saved in {runs.folder / 'ended'}; the same command" in said
    steps = {int(path.name) for path in (runs.folder / "ended" / "checkpoints").iterdir()}
    assert done in steps
    assert_same_run(runs.finish("ended"), whole)


def damage_caches(runs: Runs, whole: Path, trials: int, seed: int) -> None:
    """Flips, cuts or removes a file of the caches of programs, of hashes of data and of buckets, then trains again."""
    rng = random.Random(seed)
    for trial in range(trials):
        caches = [runs.folder / "cache", runs.folder / ".scans"]
        files = sorted(file for folder in caches for file in folder.rglob("*") if file.is_file())
        assert len(files) > 5
        damage(rng.choice(files), rng.choice(DAMAGES), rng)
        assert_same_run(runs.finish(f"damaged {seed} {trial}"), whole)


@pytest.mark.slow
def test_a_sample_of_damages_to_caches_changes_nothing(runs, whole):
    damage_caches(runs, whole, 2, 0)


@pytest.mark.long
def test_no_damage_to_a_cache_changes_anything(runs, whole):
    damage_caches(runs, whole, 40, 1)
