"""Tiny runs on a folder of images and on one of recordings, whose data is then moved away."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
from PIL import Image

from fcnjax.commands.main import main
from fcnjax.training import Recipe, TrainedRun, train

COUNTS = {"train": 8, "validation": 2, "test": 6}  # of each class
CLASSES = ("bright", "dark one")
RATE = 4000


class Finished(NamedTuple):
    """A run without its data set.

    Attributes:
        path: the run folder.
        run: what was trained.
        files: the files of the test split, in their order, in another place.
    """

    path: Path
    run: TrainedRun
    files: list[Path]


def _image(rng: np.random.Generator, label: int) -> np.ndarray:
    height, width = rng.integers(12, 30, 2)
    return rng.integers(120 - 100 * label, 255 - 100 * label, (height, width, 3)).astype(np.uint8)


def _write_images(root: Path) -> None:
    rng = np.random.default_rng(0)
    for split, count in COUNTS.items():
        for label, name in enumerate(CLASSES):
            for number in range(count):
                path = root / split / name / f"{number}.{'jpg' if number % 2 else 'png'}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(_image(rng, label)).save(path)


def _write_recordings(root: Path) -> None:
    rng = np.random.default_rng(1)
    for split, count in COUNTS.items():
        for label, name in enumerate(CLASSES):
            for number in range(count):
                path = root / split / name / f"{number}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                time = np.arange(rng.integers(1200, 2000))
                noise = 0.05 * rng.standard_normal(len(time))
                soundfile.write(path, 0.5 * np.sin(time * (0.2 + 0.6 * label)) + noise, RATE)


def _finished(folder: Path, write, data: dict, **fields) -> Finished:
    root = folder / "data"
    write(root)
    splits = {f"{name}_split": name for name in COUNTS}
    recipe = {"data": {**data, **splits, "data_dir": str(root)}, "epochs": 1, "batch_size": 8, "max_buckets": 2}
    run = train(Recipe.from_config({**recipe, **fields}), folder / "run", progress=False)
    root.rename(folder / "elsewhere")
    files = sorted((folder / "elsewhere" / "test").rglob("*.*"))
    return Finished(folder / "run", run, files)


@pytest.fixture(scope="package")
def photos(tmp_path_factory) -> Finished:
    data = {"name": "image_folder", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    model = {"name": "fcn", "channels": (4, 4), "norm": "batch"}
    return _finished(tmp_path_factory.mktemp("photos"), _write_images, data, model=model, size={"max_side": 24})


@pytest.fixture(scope="package")
def recordings(tmp_path_factory) -> Finished:
    data = {"name": "audio_folder", "sample_rate": RATE}
    frontend = {"name": "log_mel", "mels": 8, "f_max": 2000.0}
    model = {"name": "fcn", "channels": (4, 4)}
    return _finished(tmp_path_factory.mktemp("sounds"), _write_recordings, data, model=model, frontend=frontend)


@pytest.fixture
def predict_with(capsys):
    """Returns a function that runs the command with the network of a run, and returns exit code, stdout and stderr."""

    def run(finished: Finished, *arguments) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["fcnjax", "predict", f"--model={finished.path}", *map(str, arguments)])
        return code, *capsys.readouterr()

    return run
