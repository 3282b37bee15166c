"""Run folders: the config, environment and results of a run, and whether it may be resumed.

A folder holds `config.json` (the complete recipe and the format of the folder), `environment.json` (versions, git
revision and hardware of each process that worked on it, and the folder it ran in), `data.json` (hashes of the examples,
see `data_digest`, and the names of the classes), `metrics.jsonl` (without anything that depends on wall time),
`speed.jsonl` (timings), `checkpoints/`, `weights/`, `model/` (the network without the run, see
`fcnjax.training.standalone`), and `result.json`, which is written last and marks the run as finished. Config, record of
the data, checkpoints and weights are sealed (see `fcnjax.sealed`); the seal of a checkpoint covers the metrics before
it. If the config asks for them, `tensorboard/` holds event files and `profile/` a trace. `not_finite.json` lists the
examples of a step whose loss was not finite, and `damaged/` keeps damaged checkpoints.
"""

import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jax

from fcnjax.atomic import LOCK, locked_folder, read_json, write_bytes, write_json
from fcnjax.installation import installed_version
from fcnjax.progress import write_line
from fcnjax.sealed import DamagedFile, read_sealed, write_sealed
from fcnjax.training.compile.compilation import CompileSettings, compile_options, processor
from fcnjax.training.compile.mesh import is_first_host
from fcnjax.training.data_digest import Digest, changed_data, not_compared
from fcnjax.training.settings.config_fields import flat_fields
from fcnjax.training.settings.recipe import Recipe
from fcnjax.xla import FLAGS, refused

# Prefixes of the config fields that do not change what a run computes.
FREE = ("loader.", "log.", "profile.", "checkpoint_", "shard_weights")
CONFIG, DATA, ENVIRONMENT, METRICS = "config.json", "data.json", "environment.json", "metrics.jsonl"
CLASSES, STARTED_IN = "classes", "folder"  # keys of the record of the data, and of an environment
CHECKPOINTS, WEIGHTS, RESULT = "checkpoints", "weights", "result.json"
FORMAT, WRITTEN = "format", 2  # key of the config file, and the version of run folders that this package writes
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "numpy")


class RunFolder:
    """The folder of one run, entered to start or to resume it, never to overwrite it.

    `with RunFolder(path, recipe) as folder:` locks it: no other process can enter it until the block ends.
    `folder.begin(digest)` makes it a run. With several hosts, only the first reads and writes it.

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
        self._writes, self._warned, self._locked = is_first_host(), False, False
        self._file: Any = None  # the file of metrics, while it is open
        self._waiting = b""  # bytes that are not yet on the disk
        self._digest, self._size = hashlib.sha256(), 0  # of the bytes that are
        if self._writes:
            self._check()

    def __enter__(self) -> "RunFolder":
        if not self._writes:
            return self
        with ExitStack() as entered:
            entered.enter_context(locked_folder(self.path))
            self._locked = True
            entered.callback(self._leave_nothing)
            self._check()  # again: another process may have entered in between
            self._exit = entered.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()
        self._locked = False

    def _leave_nothing(self) -> None:
        """Removes the lock, while it is held, and the folder, if it has not become a run and holds nothing else."""
        if not is_run(self.path) and [entry.name for entry in self.path.iterdir()] == [LOCK]:
            (self.path / LOCK).unlink()
            self.path.rmdir()

    def begin(self, digest: Digest, classes: Sequence[str] = ()):
        """Writes the config, the environment, hashes of the data, and the names of classes, in the locked folder.

        A line on stderr says which labels and values could not be compared, as an earlier version did not hash them.

        Raises:
            FileExistsError: if an interrupted run started on other data.
            ValueError: if a file of the folder is damaged.
        """
        if not self._writes:
            return
        self._check_data(digest)
        environments = read_environments(self.path)
        here = {**environment(CompileSettings.of(self._recipe)), STARTED_IN: os.getcwd()}  # of relative paths
        write_json(self.path / ENVIRONMENT, [*environments, here])
        write_sealed(self.path / CONFIG, {FORMAT: WRITTEN, **self._recipe.to_dict()})  # it makes the folder a run
        write_sealed(self.path / DATA, {**digest, CLASSES: list(classes)} if classes else dict(digest))

    def _check_data(self, digest: Digest) -> None:
        path = self.path / DATA
        known = read_sealed(path) if is_run(self.path) and path.exists() else digest
        changed = changed_data(known, digest)
        if changed is not None:
            raise FileExistsError(
                f"workdir={self.path}: holds an interrupted run, and the {changed} have changed since it started; "
                "restore them, or choose a new folder."
            )
        if splits := not_compared(known, digest):
            said = "hold no hash, or one of another kind; whether they have changed was not checked"
            write_line(f"{path}: labels and values of {', '.join(splits)} {said}.")

    def keep_metrics_until(self, step: int, written: Sequence[Any] | None = None):
        """Drops the metrics after `step` and those of the final test, which a resumed run writes again.

        Args:
            step: step of the checkpoint that the run resumes from; 0 without one.
            written: what `metrics_written` was when that checkpoint was saved; None: unknown.

        Raises:
            ValueError: if the file does not begin with the rows that it had then, or a row is not JSON. A file that
                was removed is said to be missing, and the run continues without its rows.
        """
        if not self._writes:
            return
        content = self.metrics_path.read_bytes() if self.metrics_path.exists() else None
        if written is not None:
            self._check_written(content, step, *written)
        if content is not None:
            # A line without its newline was cut short by the interruption.
            lines = [line for line in content.decode().splitlines(keepends=True) if line.endswith("\n")]
            rows = list(zip(lines, self._parsed(self.path, lines), strict=True))
            content = "".join(line for line, row in rows if row["step"] <= step and row["event"] != "test").encode()
            write_bytes(self.metrics_path, content)
        self._digest, self._size = hashlib.sha256(content or b""), len(content or b"")

    def _check_written(self, content: bytes | None, step: int, size: int, digest: str) -> None:
        if content is None and size:
            lost = f"{self.metrics_path}: is missing; the rows of steps 1 to {step:,} are lost."
            write_line(f"{lost} The run continues with the later ones.")
        elif hashlib.sha256((content or b"")[:size]).hexdigest() != digest or len(content or b"") < size:
            raise DamagedFile(
                self.metrics_path,
                f"its first {size:,} bytes are not those that it had when step {step:,} was saved",
                "restore it from a copy, or remove it to resume without the rows of these steps",
            )

    @property
    def metrics_written(self) -> tuple[int, str]:
        """The bytes of metrics on the disk and their SHA-256 (see `keep_metrics_until`), once all are settled."""
        return self._size, self._digest.hexdigest()

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
                self._digest.update(self._waiting[:written])
                self._size += written
                self._waiting = self._waiting[written:]
        except OSError as error:
            problem = f"{self.metrics_path}: cannot be written ({error})."
            if self._recipe.checkpoint_failure == "stop":
                raise OSError(f"{problem} Free disk space and repeat the command to resume.") from error
            if not self._warned:
                write_line(f"{problem} The run continues without checkpoints until it is writable.")
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
        if (self.path / LOCK).exists() and not self._locked:
            with locked_folder(self.path):  # refuses a folder that another process holds
                pass
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
            flat_fields(json.loads(json.dumps(d))) for d in (_complete(read_config(self.path)), self._recipe.to_dict())
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
        ValueError: if the file is not JSON or not what was written, or a newer version wrote it.
    """
    if not is_run(path):
        raise FileNotFoundError(f"workdir={path}: must hold a run (no {CONFIG} found); train one with 'fcnjax train'.")
    config = read_sealed(path / CONFIG)
    check_format(path / CONFIG, config.pop(FORMAT, 1))
    return config


def check_format(path: Path, written: Any) -> None:
    """Raises ValueError if a newer version wrote a folder in a format that this one does not know."""
    if not isinstance(written, int) or not 1 <= written <= WRITTEN:
        raise ValueError(
            f"{path}: has format {written!r}, and fcnjax {installed_version()} reads 1 to {WRITTEN}; use the version "
            f"that wrote it, which {ENVIRONMENT} names."
        )


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
        "processor": processor(),
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
