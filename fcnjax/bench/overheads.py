"""The costs of a run besides computing: the time until its first step is done, and the time of Python in each step.

The timed process runs `fcnjax bench first-step`, which reads what to train from stdin.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import jax.numpy as jnp
import numpy as np

from fcnjax.bench.jax_step import JaxStep, make_step, step_inputs
from fcnjax.bench.layers import Workload
from fcnjax.bench.timing import take_turns
from fcnjax.data import Example, Source
from fcnjax.padded import Padded
from fcnjax.training import Recipe, Trainer, train
from fcnjax.training.compile.compilation import CompiledByShape
from fcnjax.training.run import describe_run
from fcnjax.training.step.step import TrainState

FIRST_STEP = "first-step"  # `fcnjax bench first-step` calls `train_one_step`
DONE = "first step done"


def dispatch_ms(rounds: int, steps: int = 200) -> list[float]:
    """Returns the milliseconds [rounds] that a train step takes when it has almost nothing to compute.

    The network is the thread's with one channel in each block (as many arrays, all of them small), on one example of
    the minimum size that is already on the device. What remains is the way from Python to the device and back.
    """
    work = Workload(1, (8, 8), kernel=4, channels=(1, 1, 1))
    step, state = make_step(work.model())
    images, sizes, labels = map(jnp.asarray, work.draw())
    program = partial(CompiledByShape(step, donate=(0,)), work.size)
    timed = JaxStep(state, [(program, step_inputs(Padded(images, sizes), labels))])
    return take_turns({"step": timed.run}, rounds, steps)["step"]


def first_step_seconds(recipe: Mapping[str, Any], sizes: np.ndarray) -> tuple[float, float]:
    """Returns the seconds from the start of a training process to the end of its first step, cold and warm.

    The same process runs twice, with imports, buckets, run folder, initial weights, loader and programs. The second one
    finds the programs that the first one compiled in JAX's persistent cache, and the buckets that it planned.

    Args:
        recipe: recipe of the run, as nested dictionaries; its data are drawn.
        sizes: int [N, 2], sizes of the training examples.

    Raises:
        RuntimeError: if the process fails; the message holds the last line of its errors.
    """
    request = json.dumps({"recipe": dict(recipe), "sizes": np.asarray(sizes).tolist()})
    with tempfile.TemporaryDirectory() as folder:
        cache = {"JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        memory = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # this process has most of a GPU's memory
        cold, warm = (_seconds_until_done(request, {**os.environ, **cache, **memory}) for _ in range(2))
    return cold, warm


def _seconds_until_done(request: str, environ: Mapping[str, str]) -> float:
    with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile("w+") as errors:
        given.write(request)
        given.seek(0)
        command, begun = [sys.executable, "-m", "fcnjax", "bench", FIRST_STEP], time.perf_counter()
        pipes = {"stdin": given, "stdout": subprocess.PIPE, "stderr": errors, "text": True}
        with subprocess.Popen(command, env=environ, **pipes) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            seconds = time.perf_counter() - begun
        if line.strip() != DONE:
            errors.seek(0)
            raise RuntimeError(f"first step: its process failed: {errors.read().strip().splitlines()[-1:]}.")
    return seconds


class DrawnSource(Source):
    """A source of images of given sizes that cost nothing to read: crops of one random image.

    Args:
        sizes: int [N, 2].
        classes: number of classes; example i has label `i % classes`.
    """

    channels = 3

    def __init__(self, sizes: np.ndarray, classes: int):
        self.sizes = np.asarray(sizes, np.int32)
        self.ids = np.arange(len(sizes), dtype=np.int32)
        self.class_names = tuple(map(str, range(classes)))
        self._image = np.random.default_rng(0).integers(0, 256, (*self.sizes.max(axis=0), 3), np.uint8)

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int, /) -> Example:
        height, width = self.sizes[index].tolist()
        return Example(index, self._image[:height, :width], index % len(self.class_names))


def train_one_step(request: str) -> NoReturn:
    """Runs `fcnjax train` until its first step is done, prints `DONE`, and ends the process.

    Args:
        request: the arguments of `first_step_seconds`, as JSON with the fields `recipe` and `sizes`.
    """
    given = json.loads(request)
    recipe, sizes = given["recipe"], np.array(given["sizes"])
    splits = {"train": sizes, "validation": sizes[::10], "test": sizes[::10]}
    sources = {name: DrawnSource(each, classes=101) for name, each in splits.items()}
    trainer = Trainer(Recipe.from_config(recipe), sources, cache_dir=os.environ["JAX_COMPILATION_CACHE_DIR"])
    describe_run(trainer)
    fit = trainer.fit

    def first_step_of(state: TrainState, seed: int) -> NoReturn:
        assert np.isfinite(float(next(fit(state, seed)).loss))
        print(DONE, flush=True)
        os._exit(0)

    trainer.fit = first_step_of
    with tempfile.TemporaryDirectory() as folder:
        train(trainer.recipe, Path(folder) / "run", trainer=trainer, progress=False)
    raise AssertionError("training ended before its first step.")
