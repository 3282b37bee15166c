"""`python -m fcnjax.bench.gpu` (`make gpu`): all that has to be seen on a card, in one command of a few minutes.

It runs in the environment that it finds and installs nothing. This process computes nothing, so that the card is free
for the stages, each of which is a process of its own with its own time limit (see `fcnjax.bench.stages`).

The order is that of importance. First what only a card can tell and the README states: how exact the answers are, how
fast training is, and whether it repeats. Then the tests, most of which a CPU has run; they get the largest share, and
what the stages before them leave. Then what an experiment costs, and the rest.
"""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fcnjax.atomic import write_json
from fcnjax.bench.gpu_stages import ON_REQUEST, Stages
from fcnjax.bench.stages import FAILED, GRACE, KILLED, LEFT_OUT, Outcome, Stage, run_stage, share
from fcnjax.naming import unknown_name
from fcnjax.training.compile.program_cache import FOLDER
from fcnjax.training.run.run_folder import git_revision

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 460.0
CLOSING = 4.0  # seconds that are kept for the summary
ASK = """
import json, platform, jax
device = jax.devices()[0]
print(json.dumps({"device": device.device_kind, "platform": device.platform, "devices": len(jax.devices()),
                  "jax": jax.__version__, "python": platform.python_version()}))
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the stages and returns 0, whatever they found; `argparse` ends the process for a bad command line."""
    parser = argparse.ArgumentParser("python -m fcnjax.bench.gpu", description="Measures and tests on a card.")
    parser.add_argument("--out", type=Path, default=ROOT / "experiments/results/gpu", help="folder of the results")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="limit of the whole command")
    parser.add_argument("--stages", default="", help="names of stages, joined by commas; default: most")
    parser.add_argument("--small", action="store_true", help="little of everything, for a CPU")
    given = parser.parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGINT):  # also where a shell made us ignore it, as the stages would too
        signal.signal(number, _end)
    end = time.monotonic() + given.seconds - CLOSING
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        environ = stage_environ(scratch)
        names = [stage.name for stage in Stages(scratch.joinpath, scratch, ROOT, small=given.small).all()]
        chosen = given.stages.split(",") if given.stages else [name for name in names if name not in ON_REQUEST]
        for name in chosen:
            if name not in names:
                parser.error(unknown_name("stage", name, names))
        command = ["python -m fcnjax.bench.gpu", *(sys.argv[1:] if argv is None else argv)]
        results = Results(given.out, about_card(environ), " ".join(command))
        stages = Stages(results.path, scratch, ROOT, small=given.small).all()
        run_all([stage for stage in stages if stage.name in chosen], results, end, environ, scratch)
    print(results.table(), flush=True)
    return 0


def run_all(stages: Sequence[Stage], results: "Results", end: float, environ: Mapping[str, str], scratch: Path) -> None:
    """Runs stages one after another until `end` (monotonic), and writes the results after each."""
    for index, stage in enumerate(stages):
        limit = share(stage, stages[index + 1 :], end - time.monotonic())
        with results.log(stage, limit, scratch / f"{stage.name}.log") as write:
            if limit > 2 * GRACE:
                outcome = run_stage(stage, limit, write, environ=environ, folder=ROOT)
            else:
                outcome = Outcome(stage.name, LEFT_OUT, 0.0, limit, None, {"note": "too little time was left"})
        results.add(outcome, scratch / f"{stage.name}.log")


def stage_environ(scratch: Path) -> dict[str, str]:
    """Returns the variables of the stages: this checkout and its version on the path, folders to throw away.

    Args:
        scratch: folder for the metadata of a package that is not installed, for compiled programs and data.
    """
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "TQDM_"))}
    path = [str(ROOT), *filter(None, [environ.get("PYTHONPATH")])]
    try:
        importlib.metadata.version("fcnjax")
    except importlib.metadata.PackageNotFoundError:
        path.insert(0, str(_write_metadata(scratch / "metadata")))
    return environ | {
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
        "TFDS_DATA_DIR": str(scratch / "data"),
        "TQDM_MININTERVAL": "2",
        "COLUMNS": "120",
        FOLDER: str(scratch / "programs"),
    }


def _write_metadata(folder: Path) -> Path:
    """Writes what `importlib.metadata` reads of an installed package, and returns the folder to put on the path."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    metadata = folder / f"fcnjax-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: fcnjax\nVersion: {version}\n")
    return folder


def about_card(environ: Mapping[str, str]) -> dict[str, Any]:
    """Returns device, platform and versions that JAX finds, from a process of its own, or a note on why it failed."""
    try:
        command = [sys.executable, "-c", ASK]
        asked = subprocess.run(command, env=dict(environ), capture_output=True, text=True, timeout=60)
        return json.loads(asked.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return {"device": "unknown", "note": f"JAX did not name a device: {type(error).__name__}: {error}"}


class Results:
    """The files of the results, whose names begin with the name of the card.

    Args:
        folder: where they are; made if it does not exist.
        card: what `about_card` returns.
        command: the command line.
    """

    def __init__(self, folder: Path, card: dict[str, Any], command: str):
        self._folder, self._outcomes = Path(os.path.relpath(folder, ROOT)), []  # stages run in ROOT
        self._about = {"card": card, "command": command, "git_revision": git_revision()}
        self._name = re.sub(r"[^a-z0-9]+", "-", card["device"].lower()).strip("-")
        folder.mkdir(parents=True, exist_ok=True)
        self._log = ROOT / self.path("log", "txt")
        self._log.unlink(missing_ok=True)

    def path(self, stage: str, ending: str = "json") -> Path:
        """Returns the path of the file of a stage, from `ROOT`."""
        return self._folder / f"{self._name}-{stage}.{ending}"

    @contextmanager
    def log(self, stage: Stage, limit: float, copy: Path) -> Iterator[Callable[[bytes], None]]:
        """Yields a function that writes output of a stage to the terminal, and to `copy` as it comes.

        At the end, the log of all stages gets it without the progress that was overwritten on the terminal.
        """
        (ROOT / self.path(stage.name)).unlink(missing_ok=True)  # of an earlier call
        print(f"\n== {stage.name}: at most {limit:.0f} s", flush=True)
        with copy.open("wb", buffering=0) as file:

            def write(piece: bytes) -> None:
                file.write(piece)
                sys.stdout.write(piece.decode(errors="replace"))
                sys.stdout.flush()

            yield write
        text = re.sub(r"[^\n]*\r(?!\n)", "", copy.read_text(errors="replace"))
        with self._log.open("a") as log:
            log.write(f"== {stage.name}: at most {limit:.0f} s\n{text.rstrip()}\n\n")

    def add(self, outcome: Outcome, log: Path) -> None:
        """Adds how a stage ended to the summary, and writes it; of one that failed, the last line of its log too."""
        if outcome.how in (FAILED, KILLED):
            last = re.split(r"[\r\n]+", log.read_text(errors="replace").strip())[-1]
            outcome = dataclasses.replace(outcome, figures=outcome.figures | {"last line": last[-200:]})
        self._outcomes.append(outcome)
        print(f"\n== {_line(outcome)}", flush=True)
        stages = {one.name: {k: v for k, v in dataclasses.asdict(one).items() if k != "name"} for one in self._outcomes}
        write_json(ROOT / self.path("summary"), self._about | {"stages": stages})

    def table(self) -> str:
        """Returns a line for each stage, and where the files are."""
        card = self._about["card"]
        title = f"{card['device']}{': ' + card['note'] if 'note' in card else ''}, jax {card.get('jax', 'unknown')}"
        files = f"results: {self._folder}/{self._name}-*"
        return "\n".join(["", title, *map(_line, self._outcomes), files])


def _line(outcome: Outcome) -> str:
    how = outcome.how if outcome.code in (0, None) else f"{outcome.how} ({outcome.code})"
    figures = ", ".join(f"{name} {_shown(value)}" for name, value in outcome.figures.items())
    return f"{outcome.name:12} {outcome.seconds:5.0f} of {outcome.limit:4.0f} s  {how:12} {figures}"


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1000 else str(value)


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)  # on the way out, the stage that runs is killed


if __name__ == "__main__":
    sys.exit(main())
