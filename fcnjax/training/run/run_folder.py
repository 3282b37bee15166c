"""Run folders: the config, environment and results of a run, and whether it may be resumed.

A folder holds `config.json` (the complete recipe), `environment.json` (versions, git revision and hardware of each
process that worked on it), `data.json` (hashes of the examples' sizes, ids, names and classes), `metrics.jsonl`
(without anything that depends on wall time), `speed.jsonl` (timings), `checkpoints/`, `weights/`, and
`result.json`, which is written last and marks the run as finished. If the config asks for them, `tensorboard/` holds
event files and `profile/` a trace. `not_finite.json` lists the examples of a step whose loss was not finite.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from fcnjax.atomic import locked_folder, read_json, write_json, write_text
from fcnjax.installation import installed_version
from fcnjax.training.compile.compilation import CompileSettings, compile_options
from fcnjax.training.compile.mesh import is_first_host
from fcnjax.training.settings.recipe import Recipe
from fcnjax.xla import FLAGS, refused

# Prefixes of the config fields that do not change what a run computes.
FREE = ("loader.", "log.", "profile.", "checkpoint_", "shard_weights")
CONFIG, DATA, ENVIRONMENT, METRICS = "config.json", "data.json", "environment.json", "metrics.jsonl"
CHECKPOINTS, WEIGHTS, RESULT = "checkpoints", "weights", "result.json"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "numpy")


class RunFolder:
    """The folder of one run, entered to start or to resume it, never to overwrite it.

    `with RunFolder(path, recipe) as folder:` locks it: no other process can enter it until the block ends. With several
    hosts, only the first reads and writes it.

    Args:
        path: the folder; made on entry if it does not exist.
        recipe: recipe of the run.

    Attributes:
        path: the folder.
        metrics_path: its file of metrics.
        checkpoints: its folder of checkpoints.
        weights: its folder of final weights and statistics.

    Raises:
        FileExistsError: if the folder holds a finished run, a run of another recipe (fields in `FREE` may differ), or
            anything that is not a run; on entry, also if another process is working in it.
        ValueError: if its config cannot be read.
    """

    def __init__(self, path: Path | str, recipe: Recipe):
        self.path, self._recipe, self._exit = Path(path), recipe, ExitStack()
        self.metrics_path, self.checkpoints, self.weights = (self.path / n for n in (METRICS, CHECKPOINTS, WEIGHTS))
        self._writes, self._warned = is_first_host(), False
        self._file: Any = None  # the file of metrics, while it is open
        self._waiting = b""  # bytes that are not yet on the disk
        if self._writes:
            self._check()

    def __enter__(self) -> "RunFolder":
        if not self._writes:
            return self
        with ExitStack() as entered:
            entered.enter_context(locked_folder(self.path))
            self._check()  # again: another process may have entered in between
            environments = read_environments(self.path)
            write_json(self.path / ENVIRONMENT, [*environments, environment(CompileSettings.of(self._recipe))])
            write_json(self.path / CONFIG, self._recipe.to_dict())  # last: it makes the folder a run
            self._exit = entered.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()

    def check_data(self, digest: dict[str, str]):
        """Records hashes of the data, or raises FileExistsError if an interrupted run started on other data."""
        if not self._writes:
            return
        path = self.path / DATA
        known = read_json(path) if path.exists() else digest
        changed = sorted(name for name in digest if digest[name] != known.get(name))
        if changed:
            raise FileExistsError(
                f"workdir={self.path}: holds an interrupted run, and the examples of its {changed[0]} split have "
                "changed since it started; restore them, or choose a new folder."
            )
        write_json(path, digest)

    def keep_metrics_until(self, step: int):
        """Drops the metrics after `step` and those of the final test, which a resumed run writes again."""
        if self._writes and self.metrics_path.exists():
            # A line without its newline was cut short by the interruption.
            lines = [line for line in self.metrics_path.read_text().splitlines(keepends=True) if line.endswith("\n")]
            rows = list(zip(lines, self._parsed(self.path, lines), strict=True))
            kept = [line for line, row in rows if row["step"] <= step and row["event"] != "test"]
            write_text(self.metrics_path, "".join(kept))

    @contextmanager
    def appending(self) -> Iterator[Callable[[dict[str, Any]], None]]:
        """Opens the metrics; yields a function that appends one row as a line, which later errors cannot undo.

        If the disk fails, the function raises OSError. If `recipe.checkpoint_failure` is "continue", it prints one
        warning instead, and lines wait in memory until they can be written.
        """
        if not self._writes:
            yield lambda row: None
            return
        with self.metrics_path.open("ab", buffering=0) as file:  # 0: each line reaches the file at once, and only once
            self._file = file
            try:
                yield self._append
            finally:
                self.settled()
                self._file = None

    def settled(self) -> bool:
        """Writes waiting metrics, and returns whether all are in the file, which a checkpoint requires.

        Raises:
            OSError: if the disk fails and `recipe.checkpoint_failure` is "stop".
        """
        try:
            while self._waiting and self._file is not None:
                written = self._file.write(self._waiting)
                self._waiting = self._waiting[written:]
        except OSError as error:
            problem = f"{self.metrics_path}: cannot be written ({error})."
            if self._recipe.checkpoint_failure == "stop":
                raise OSError(f"{problem} Free disk space and repeat the command to resume.") from error
            if not self._warned:
                tqdm.write(f"{problem} The run continues without checkpoints until it is writable.", file=sys.stderr)
            self._warned = True
        return not self._waiting

    def _append(self, row: dict[str, Any]):
        self._waiting += f"{json.dumps(row)}\n".encode()
        self.settled()

    @staticmethod
    def read_metrics(path: Path, event: str) -> list[dict[str, Any]]:
        """Returns the rows of one event ("train", "validation", "test") of the run in a folder, in order."""
        rows = RunFolder._parsed(path, (path / METRICS).read_text().splitlines())
        return [row for row in rows if row["event"] == event]

    @staticmethod
    def _parsed(path: Path, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"{path / METRICS}, line {number}: must be JSON ({error}); restore the file, or train again."
                ) from None

    def finish(self, result: dict[str, Any]):
        """Marks the run as finished."""
        if self._writes:
            write_json(self.path / RESULT, result)

    def _check(self):
        """Raises FileExistsError unless the folder is new or holds an interrupted run of this recipe."""
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(f"workdir={self.path}: is not a folder; choose a new one.")
        if not is_run(self.path):
            names = {entry.name for entry in self.path.iterdir()} if self.path.exists() else set()
            if any(not name.startswith(".") for name in names - {ENVIRONMENT}):  # an early kill may leave these
                raise FileExistsError(f"workdir={self.path}: must be empty or hold an interrupted run; choose another.")
            return
        if is_finished(self.path):
            raise FileExistsError(
                f"workdir={self.path}: holds a finished run, which is never overwritten; choose a new folder."
            )
        old, new = (
            _flat(json.loads(json.dumps(d))) for d in (_complete(read_config(self.path)), self._recipe.to_dict())
        )
        names = (name for name in old.keys() | new.keys() if not name.startswith(FREE))
        changed = sorted(name for name in names if old.get(name) != new.get(name))
        if changed:
            what = ", ".join(f"{name} was {old.get(name)!r} and is {new.get(name)!r}" for name in changed)
            raise FileExistsError(
                f"workdir={self.path}: holds an interrupted run of another config ({what}); "
                "resume it with its own config, or choose a new folder."
            )


def is_run(path: Path) -> bool:
    """Returns whether a folder holds a run, finished or not."""
    return (path / CONFIG).is_file()


def is_finished(path: Path) -> bool:
    """Returns whether a folder holds a finished run."""
    return (path / RESULT).is_file()


def read_config(path: Path) -> dict[str, Any]:
    """Returns the config of the run in a folder, as nested dictionaries.

    Raises:
        FileNotFoundError: if the folder does not hold a run.
        ValueError: if the file is not JSON.
    """
    if not is_run(path):
        raise FileNotFoundError(f"workdir={path}: must hold a run (no {CONFIG} found); train one with 'fcnjax train'.")
    return read_json(path / CONFIG)


def _complete(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a config with defaults for the fields that it lacks; unchanged if it is not a valid recipe."""
    try:
        return Recipe.from_config(config).to_dict()
    except (ValueError, TypeError):
        return config


def read_environments(path: Path) -> list[dict[str, Any]]:
    """Returns the environments of all processes that worked on the run in a folder (see `environment`), in order."""
    file = path / ENVIRONMENT
    return read_json(file, list) if file.exists() else []


def environment(settings: CompileSettings | None = None) -> dict[str, Any]:
    """Returns everything that may make numbers differ: versions, git revision, hardware, XLA's settings, and the time.

    In `xla`, `options` are those of programs with the given settings (default: the default settings), and `refused`
    lists the flags and options that this version of XLA does not accept and that are left out.
    """
    device = jax.devices()[0]
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "git_revision": git_revision(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": f"{jax.device_count()} x {device.platform} ({device.device_kind})",
        "xla": {
            "flags": os.environ.get(FLAGS, ""),
            "options": compile_options(settings or CompileSettings()),
            "refused": refused(),
        },
        "versions": {"fcnjax": installed_version()} | {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def git_revision() -> str | None:
    """Returns the commit of the source tree, with "-dirty" if it has uncommitted changes, or None outside git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value})
    return flat
