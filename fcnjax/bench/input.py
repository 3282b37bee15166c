"""The cost of waiting for input: a training loop timed from inside, and the loader compared with bare decoding.

A consumer of a given rate can take the place of training: whether the loader keeps up with a network on a faster
device is then measured without that device.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image
from rich.table import Table

from fcnjax.data import FolderSource, Source
from fcnjax.progress import progress_bar
from fcnjax.table_style import tight_table
from fcnjax.training import Recipe, Trainer, load_sources
from fcnjax.training.compile.compilation import CompileSettings
from fcnjax.training.feeding import count_examples
from fcnjax.training.run.run_folder import environment

TARGET = 0.03  # maximum share of a step's time
CONSUMED_S = 10.0  # how long a consumer of a given rate runs if no number of steps is given
LOADED_S = 5.0  # how long the loader runs alone at least if there is a consumer, which may be fast
MANY_EPOCHS = 10**6  # more than a consumer reaches


class Waited(NamedTuple):
    """What a loop did.

    Attributes:
        steps: number of steps.
        examples: number of real examples.
        seconds: duration of the steps.
        wait: seconds of it that the loop waited for batches.
    """

    steps: int
    examples: int
    seconds: float
    wait: float


def measure(
    recipe: Recipe, steps: int = 0, decoded: int = 500, *, examples_per_s: float | None = None
) -> dict[str, Any]:
    """Trains for an epoch that compiles, then measures the next one; or consumes batches at a given rate.

    Args:
        recipe: what to train, and the settings of the loader.
        steps: number of steps to measure; 0 measures an epoch, or `CONSUMED_S` seconds of a consumer.
        decoded: number of examples that are read to compare decoding speeds, at least 1.
        examples_per_s: rate of a consumer that takes the place of training, greater than 0; None trains.

    Returns:
        The result that `fcnjax bench input --json` writes: `input_wait_share` (the time that the loop waited for
        batches, over the time of its steps), `step_ms`, `wait_ms`, `examples_per_s` of the loop, `consumer_per_s` and
        `loader_vs_consumer` (None without a consumer; below 1 the loader does not keep up),
        `loader_examples_per_s` of the loader alone, `bare_examples_per_s` of one thread that only decodes the same
        images with Pillow or, for other data, only reads the source (`bare` names which), `loader_vs_bare`, the
        recipe's dtype and precision, device and versions.

    Raises:
        ValueError: if `examples_per_s` is not greater than 0.
    """
    if examples_per_s is not None and not examples_per_s > 0:
        raise ValueError(f"images_per_s={examples_per_s}: must be greater than 0.")
    trainer = Trainer(recipe, load_sources(recipe, verify=False))
    loop = (
        _train(trainer, recipe, steps) if examples_per_s is None else _consume(trainer, recipe, steps, examples_per_s)
    )
    loader = _loader_rate(trainer, recipe, decoded, LOADED_S if examples_per_s and not steps else 0)
    bare_name, bare = _bare_rate(trainer.sources["train"], decoded)
    return {
        "input_wait_share": loop.wait / loop.seconds,
        "step_ms": 1e3 * loop.seconds / loop.steps,
        "wait_ms": 1e3 * loop.wait / loop.steps,
        "examples_per_s": loop.examples / loop.seconds,
        "consumer_per_s": examples_per_s,
        "loader_vs_consumer": None if examples_per_s is None else loader / examples_per_s,
        "loader_examples_per_s": loader,
        "bare": bare_name,
        "bare_examples_per_s": bare,
        "loader_vs_bare": loader / bare,
        "steps": loop.steps,
        "threads": recipe.loader.threads,
        "workers": recipe.loader.workers,
        "dtype": recipe.model.dtype or "float32",  # that of the inputs
        "precision": recipe.precision,
        "environment": environment(CompileSettings.of(recipe)),
    }


def _train(trainer: Trainer, recipe: Recipe, steps: int) -> Waited:
    """Trains for an epoch, then for `steps` steps (0: another epoch), which it returns."""
    per_epoch = trainer.steps_per_epoch
    steps = steps or per_epoch
    state = trainer.initial_state(recipe.seed)
    for step, batch in progress_bar(trainer.batches(recipe.seed, 0, per_epoch), "compiling", per_epoch, unit=" steps"):
        state, _ = trainer.step(state, recipe.seed, step, batch)
    jax.block_until_ready(state)
    wait, examples, begun = 0.0, 0, time.perf_counter()
    batches = trainer.batches(recipe.seed, per_epoch, per_epoch + steps)
    pending = None  # as in the training loop, the host is one step ahead of the device
    for step, batch, waited in progress_bar(_timed(batches), "training", steps, unit=" steps"):
        wait += waited
        state, loss = trainer.step(state, recipe.seed, step, batch)
        if pending is not None:
            float(pending)
        pending = loss
        examples += count_examples(batch)
    jax.block_until_ready(state)
    return Waited(steps, examples, time.perf_counter() - begun, wait)


def _consume(trainer: Trainer, recipe: Recipe, steps: int, rate: float) -> Waited:
    """Takes batches as a device would that trains on `rate` examples per second, one step ahead of it.

    Time starts when the first batch is there, so that the start of the loader does not count. A run without a given
    number of steps ends after `CONSUMED_S`.
    """
    last = steps + 1 if steps else trainer.steps_per_epoch * MANY_EPOCHS
    wait = examples = done = 0
    begun = pending = free = 0.0  # when the loop began, when the step before is done, when the device is free
    with progress_bar(title="consuming", unit=" images") as bar:
        for _, batch, waited in _timed(trainer.batches(recipe.seed, 0, last)):
            if not begun:
                begun = free = pending = time.perf_counter()
                continue
            wait, done, count = wait + waited, done + 1, count_examples(batch)
            examples += count
            bar.update(count)
            now = time.perf_counter()
            free = max(free, now) + count / rate
            time.sleep(max(0.0, pending - now))
            pending = free
            if not steps and time.perf_counter() - begun > CONSUMED_S:
                break
        time.sleep(max(0.0, free - time.perf_counter()))
    return Waited(done, examples, time.perf_counter() - begun, wait)


def table(result: dict[str, Any]) -> Table:
    """Returns the result as a table for the terminal."""
    title = f"input, {result['steps']} steps, {result['threads']} threads, {result['workers']} workers"
    shown = tight_table("", "value", title=title)
    share = result["input_wait_share"]
    shown.add_row("waiting for input, share of a step", f"{share:.2%} (at most {TARGET:.0%})")
    for name in ("step_ms", "wait_ms", "examples_per_s", "loader_examples_per_s", "bare_examples_per_s"):
        shown.add_row(f"{name} ({result['bare']})" if name.startswith("bare") else name, f"{result[name]:,.2f}")
    shown.add_row("loader_vs_bare", f"{result['loader_vs_bare']:.2f}")
    if result["consumer_per_s"] is not None:
        shown.add_row("consumer_per_s", f"{result['consumer_per_s']:,.2f}")
        shown.add_row("loader_vs_consumer", f"{result['loader_vs_consumer']:.2f} (more than 1)")
    return shown


def _timed(batches: Iterator[tuple[Any, Any]]) -> Iterator[tuple[Any, Any, float]]:
    """Yields each step and batch with the seconds that the loop waited for them."""
    while True:
        begun = time.perf_counter()
        pair = next(batches, None)
        if pair is None:
            return
        yield *pair, time.perf_counter() - begun


def _loader_rate(trainer: Trainer, recipe: Recipe, count: int, least_s: float) -> float:
    """Returns the examples per second of the loader when nothing else runs, its start included.

    It reads at least `count` examples, or all of an epoch, for at least `least_s` seconds.
    """
    done, begun = 0, time.perf_counter()
    for index, (_, batch) in enumerate(trainer.batches(recipe.seed, 0, trainer.steps_per_epoch * MANY_EPOCHS)):
        done += count_examples(batch)
        enough = done >= count or index + 1 >= trainer.steps_per_epoch
        if enough and time.perf_counter() - begun >= least_s:
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
