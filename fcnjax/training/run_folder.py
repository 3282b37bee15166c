"""Run folders: what a run was, what it measured, and whether it may go on.

A folder holds `config.json` (the resolved recipe), `environment.json` (versions, git revision, hardware),
`metrics.jsonl` (nothing in it depends on the clock), `checkpoints/`, `weights/`, and last of all `result.json`, whose
presence means that the run is finished.
"""

import datetime
import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

from fcnjax.atomic import write_text
from fcnjax.training.recipe import Recipe

METRICS = "metrics.jsonl"
PACKAGES = ("fcnjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "numpy")


class RunFolder:
    """A folder for one run, opened to start it or to go on with it, never to overwrite it.

    Args:
      path: the folder; made if it does not exist.
      recipe: what the run is to be.

    Raises:
      FileExistsError: if the folder holds a finished run, a run of another recipe, or anything that is not a run.
    """

    def __init__(self, path: Path | str, recipe: Recipe):
        self.path = Path(path)
        self.metrics_path = self.path / METRICS
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            self._check_continuable(recipe)
            return
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.path / "config.json", _json(recipe.to_dict()))
        write_text(self.path / "environment.json", _json(environment()))

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def weights(self) -> Path:
        """Folder of the final weights and statistics."""
        return self.path / "weights"

    def keep_metrics_until(self, step: int):
        """Drops metrics after `step`, and those of the final test: a resumed run writes them again."""
        if self.metrics_path.exists():
            # A line without its newline was cut short by the interruption.
            lines = [line for line in self.metrics_path.read_text().splitlines(keepends=True) if line.endswith("\n")]
            rows = [(line, json.loads(line)) for line in lines]
            kept = [line for line, row in rows if row["step"] <= step and row["event"] != "test"]
            write_text(self.metrics_path, "".join(kept))

    def write_metrics(self, rows: list[dict[str, Any]]):
        """Appends one JSON line per row."""
        with self.metrics_path.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)

    @staticmethod
    def read_metrics(path: Path, event: str) -> list[dict[str, Any]]:
        """Returns the rows of one event ("train", "validation", "test") of the run in a folder, in order."""
        rows = map(json.loads, (path / METRICS).read_text().splitlines())
        return [row for row in rows if row["event"] == event]

    def finish(self, result: dict[str, Any]):
        """Marks the run as finished."""
        write_text(self.path / "result.json", _json(result))

    def _check_continuable(self, recipe: Recipe):
        if not is_run(self.path):
            raise FileExistsError(f"workdir={self.path}: is not empty and holds no run. Choose a new folder.")
        if is_finished(self.path):
            raise FileExistsError(
                f"workdir={self.path}: holds a finished run, which is never overwritten. Choose a new folder."
            )
        old, new = (_flat(json.loads(_json(d))) for d in (read_config(self.path), recipe.to_dict()))
        changed = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
        if changed:
            what = ", ".join(f"{name} was {old.get(name)!r} and is {new.get(name)!r}" for name in changed)
            raise FileExistsError(
                f"workdir={self.path}: holds an interrupted run of another config ({what}). "
                "Go on with its config, or choose a new folder."
            )


def is_run(path: Path) -> bool:
    """Returns whether a folder holds a run, finished or not."""
    return (path / "config.json").is_file()


def is_finished(path: Path) -> bool:
    """Returns whether a folder holds a finished run."""
    return (path / "result.json").is_file()


def read_config(path: Path) -> dict[str, Any]:
    """Returns the config of the run in a folder, as nested dictionaries.

    Raises:
      FileNotFoundError: if the folder holds no run.
    """
    if not is_run(path):
        raise FileNotFoundError(f"workdir={path}: holds no run (no config.json). Train one with 'fcnjax train'.")
    return json.loads((path / "config.json").read_text())


def environment() -> dict[str, Any]:
    """Returns versions, git revision, hardware and time: what one needs to judge whether numbers should agree."""
    device = jax.devices()[0]
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "git_revision": git_revision(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": f"{jax.device_count()} x {device.platform} ({device.device_kind})",
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def git_revision() -> str | None:
    """Returns the commit of the source tree, with "-dirty" if it has uncommitted changes, or None outside of git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value})
    return flat
