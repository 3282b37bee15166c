"""An experiment that trains in a moment: bright and dark noise of several sizes, two arms, two folds, one epoch."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from fcnjax import lab
from fcnjax.data import save_npz
from fcnjax.training import DataSettings, ModelSettings, Recipe

COUNTS = {"train": 24, "validation": 6, "test": 12}
CLASSES = ("dark", "gray", "bright")


def write_data(folder: Path) -> None:
    """Writes the three splits to `folder/noise.npz`; sizes differ, and every class has equally many examples."""
    rng = np.random.default_rng(0)
    for split, count in COUNTS.items():
        labels = np.arange(count) % 3
        sizes = rng.integers(6, 13, size=(count, 2))
        values = [
            (rng.normal(size=(*size, 1)) + label).astype(np.float32) for size, label in zip(sizes, labels, strict=True)
        ]
        save_npz(folder / "noise.npz", values, labels, CLASSES, split)


def make_recipe(folder: Path, **changes: Any) -> Recipe:
    """Returns a recipe of the data in `folder`."""
    data = DataSettings("noise.npz", data_dir=str(folder))
    model = ModelSettings("fcn", channels=(4,), norm="none")
    return dataclasses.replace(Recipe(data, model, epochs=1, batch_size=8, max_buckets=1), **changes)


HIDDEN = {"head.hidden": (3,)}
GAP, CONV = lab.Arm("gap", "GAP-first", {"head.pool_at": 0}), lab.Arm("conv", "conv-first", {"head.pool_at": 1})


def make_experiment(**changes: Any) -> lab.Experiment:
    given: dict[str, Any] = {
        "name": "tiny",
        "question": "?",
        "settings": {"noise": lab.Setting("noise.py", seeds=1, folds=2)},
        "arms": (GAP, lab.Arm("hidden", "hidden", {**HIDDEN, "head.pool_at": 0})),
        "claims": (),
        "measures": (lab.Scores(),),
    }
    return lab.Experiment(**{**given, **changes})


def make_runner(folder: Path, **options: Any) -> lab.Runner:
    """Returns the runner of the tiny experiment, with its runs in `folder/work`; `folder` holds the data."""
    experiment = options.pop("experiment", None) or make_experiment()
    workdir = options.pop("workdir", folder / "work")
    recipe = options.pop("recipe", None) or make_recipe(folder)
    return lab.Runner(experiment, None, recipe, workdir, **options)


def make_normed_runner(folder: Path, *arms: lab.Arm) -> lab.Runner:
    """Returns a runner of arms with batch norms and two buckets, whose data it writes into `folder`."""
    write_data(folder)
    recipe = make_recipe(folder, max_buckets=2)
    recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, norm="batch"))
    return make_runner(folder, experiment=make_experiment(arms=arms), recipe=recipe)


def start_process(folder: Path, log: Path) -> subprocess.Popen:
    """Starts a process that does all runs, and writes the key of each run that it trains to a line of `log`."""
    command = [sys.executable, __file__, str(folder), str(log)]
    root = str(Path(lab.__file__).parents[2])  # the package that is tested, also if another one is installed
    return subprocess.Popen(command, env={**os.environ, "FCNJAX_CACHE_DIR": "", "PYTHONPATH": root})


if __name__ == "__main__":
    from fcnjax.lab import runner

    work, trained = Path(sys.argv[1]), Path(sys.argv[2])

    def logged(recipe: Recipe, path: Path, **options: Any) -> Any:
        with trained.open("a") as file:
            file.write(f"{path.name}\n")
        return _train(recipe, path, **options)

    _train, runner.train = runner.train, logged
    assert make_runner(work).run() is not None
