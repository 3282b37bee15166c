"""The cost of waiting for input: a training loop timed from inside, and the loader compared with bare decoding."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from PIL import Image
from rich.table import Table
from tqdm import tqdm

from fcnjax.data import FolderSource, Source
from fcnjax.table_style import tight_table
from fcnjax.training import Recipe, Trainer, load_sources
from fcnjax.training.feeding import count_examples
from fcnjax.training.run.run_folder import environment

TARGET = 0.03  # maximum share of a step's time


def measure(recipe: Recipe, steps: int = 0, decoded: int = 500) -> dict[str, Any]:
    """Trains for an epoch that compiles, then measures the next one.

    Args:
        recipe: what to train, and the settings of the loader.
        steps: number of steps to measure; 0 measures an epoch.
        decoded: number of examples that are read to compare decoding speeds, at least 1.

    Returns:
        The result that `fcnjax bench input --json` writes: `input_wait_share` (the time that the loop waited for
        batches, over the time of its steps), `step_ms`, `wait_ms`, `examples_per_s` of training,
        `loader_examples_per_s` of the loader alone, `bare_examples_per_s` of one thread that only decodes the same
        images with Pillow or, for other data, only reads the source (`bare` names which), `loader_vs_bare`, device and
        versions.
    """
    trainer = Trainer(recipe, load_sources(recipe, verify=False))
    train, per_epoch = trainer.sources["train"], trainer.steps_per_epoch
    steps = steps or per_epoch
    state = trainer.initial_state(recipe.seed)
    for step, batch in tqdm(trainer.batches(recipe.seed, 0, per_epoch), "compiling", per_epoch, unit=" steps"):
        state, _ = trainer.step(state, recipe.seed, step, batch)
    jax.block_until_ready(state)
    wait, examples, begun = 0.0, 0, time.perf_counter()
    batches = trainer.batches(recipe.seed, per_epoch, per_epoch + steps)
    pending = None  # as in the training loop, the host is one step ahead of the device
    for step, batch, waited in tqdm(_timed(batches), "training", steps, unit=" steps"):
        wait += waited
        state, loss = trainer.step(state, recipe.seed, step, batch)
        if pending is not None:
            float(pending)
        pending = loss
        examples += count_examples(batch)
    jax.block_until_ready(state)
    seconds = time.perf_counter() - begun
    loader = _loader_rate(trainer, recipe, decoded)
    bare_name, bare = _bare_rate(train, decoded)
    return {
        "input_wait_share": wait / seconds,
        "step_ms": 1e3 * seconds / steps,
        "wait_ms": 1e3 * wait / steps,
        "examples_per_s": examples / seconds,
        "loader_examples_per_s": loader,
        "bare": bare_name,
        "bare_examples_per_s": bare,
        "loader_vs_bare": loader / bare,
        "steps": steps,
        "threads": recipe.loader.threads,
        "workers": recipe.loader.workers,
        "environment": environment(),
    }


def table(result: dict[str, Any]) -> Table:
    """Returns the result as a table for the terminal."""
    title = f"input, {result['steps']} steps, {result['threads']} threads, {result['workers']} workers"
    shown = tight_table("", "value", title=title)
    share = result["input_wait_share"]
    shown.add_row("waiting for input, share of a step", f"{share:.2%} (at most {TARGET:.0%})")
    for name in ("step_ms", "wait_ms", "examples_per_s", "loader_examples_per_s", "bare_examples_per_s"):
        shown.add_row(f"{name} ({result['bare']})" if name.startswith("bare") else name, f"{result[name]:,.2f}")
    shown.add_row("loader_vs_bare", f"{result['loader_vs_bare']:.2f}")
    return shown


def _timed(batches: Iterator[tuple[Any, Any]]) -> Iterator[tuple[Any, Any, float]]:
    """Yields each step and batch with the seconds that the loop waited for them."""
    while True:
        begun = time.perf_counter()
        pair = next(batches, None)
        if pair is None:
            return
        yield *pair, time.perf_counter() - begun


def _loader_rate(trainer: Trainer, recipe: Recipe, count: int) -> float:
    """Returns the examples per second of the loader when nothing else runs; it reads at least `count` of an epoch."""
    done, begun = 0, time.perf_counter()
    for _, batch in trainer.batches(recipe.seed, 0, trainer.steps_per_epoch):
        done += count_examples(batch)
        if done >= count:
            break
    return done / (time.perf_counter() - begun)


def _bare_rate(source: Source, count: int) -> tuple[str, float]:
    """Returns how examples were read without the loader, and the examples per second of one thread.

    Image files are decoded by Pillow alone; examples of other data are taken from the source one after the other.
    """
    files = getattr(source, "source", source)  # a resized source holds the source with the files
    count = min(count, len(source))
    if isinstance(files, FolderSource) and source.sizes.shape[1] == 2:
        what, mode, paths = "bare Pillow loop", "RGB" if source.channels == 3 else "L", files.paths[:count]
        begun = time.perf_counter()
        for path in paths:
            with contextlib.suppress(OSError), Image.open(path) as image:  # a damaged file costs time here too
                np.asarray(image.convert(mode))
    else:
        what, begun = "source alone", time.perf_counter()
        for index in range(count):
            source[index]
    return what, count / (time.perf_counter() - begun)
