"""Measures whether the tests notice mistakes: `make mutants` changes single lines and runs the tests that mirror them.

Each mutation is made in a copy of the project, never in the project itself. It is caught if a test fails that passes
without it. The sample is a function of the code and a seed. `equivalent.toml` lists, by hand, the mutations that no
test can notice, each with its reason; they are not run and do not count.
"""

import argparse
import contextlib
import functools
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from mutations import Mutation, applied, sample
from tqdm import tqdm

ROOT = Path(__file__).parents[2]
EQUIVALENT = Path(__file__).parent / "equivalent.toml"
MAX_WORKERS = 2
CONTRACT, ARGUMENTS = "tests/layers/test_layers_contract.py", "tests/test_arguments.py"
DEFAULTS = [ARGUMENTS, "tests/layers/test_layer_defaults.py"]
LAYERS = [ARGUMENTS, "tests/layers", "tests/oracles/test_windows.py", "tests/oracles/test_norms.py"]
FIRST = f"{CONTRACT}::test_outputs_depend_on_what_they_should"  # every layer in seconds: most mistakes end there
TOP = ["tests/training/test_build.py", "tests/training/test_speed.py", "tests/training/test_reestimation.py"]
TOP += ["tests/training/compile/test_compilation.py", "tests/training/compile/test_memory_fit.py"]
# The tests that mirror a file: those of the longest of these paths that it begins with.
MIRRORS = {
    "fcnjax/geometry.py": ["tests/test_geometry.py", ARGUMENTS, "tests/layers"],
    "fcnjax/padded.py": ["tests/test_padded.py", ARGUMENTS, CONTRACT, "tests/models/test_models.py"],
    "fcnjax/layers/": LAYERS,
    "fcnjax/layers/normalization.py": ["tests/training/test_reestimation.py", *LAYERS],
    "fcnjax/pooling/": [
        ARGUMENTS,
        "tests/layers/test_layer_defaults.py",
        "tests/pooling",
        "tests/oracles/test_pools.py",
    ],
    "fcnjax/heads/": [ARGUMENTS, "tests/heads", "tests/models/test_models.py"],
    "fcnjax/training/": [*TOP, "tests/training/step", "tests/training/evaluation", "tests/training/run"],
    "fcnjax/training/settings/": ["tests/training/settings", "tests/configs"],
    "fcnjax/training/step/": ["tests/training/step", "tests/training/evaluation"],
    "fcnjax/training/compile/": ["tests/training/compile"],
    "fcnjax/training/compile/mesh.py": ["tests/training/compile/test_distribution.py"],
    "fcnjax/training/evaluation/": ["tests/training/evaluation"],
    "fcnjax/training/run/": ["tests/training/run"],
    "fcnjax/training/run/interruption.py": ["tests/training/run/test_interruption.py"],
}
OWN = {  # tests of files whose name says less
    "fcnjax/training/run/event_files.py": ["tests/training/run/test_journal.py"],
    "fcnjax/training/run/preparation.py": [TOP[0]],
    "fcnjax/training/feeding.py": ["tests/training/test_trainer.py", "tests/training/run/test_loop.py"],
    "fcnjax/training/compile/programs.py": ["tests/training/step/test_mixed.py", *TOP[3:4]],
    "fcnjax/layers/convolution/borders.py": ["tests/oracles/test_windows.py", "tests/models/test_borders.py"],
}
OWN |= {
    f"fcnjax/training/run/{name}.py": [f"tests/training/run/test_{name}.py", "tests/training/run/test_loop.py"]
    for name in ("checkpoints", "reports", "run_folder")
}
OWN |= {f"fcnjax/layers/{name}.py": ["tests/layers/test_layer_oracles.py"] for name in ("linear", "moments", "pyramid")}
SLOW = ("fcnjax/training/compile/mesh.py", "fcnjax/training/run/interruption.py")  # only tests marked slow mirror them
NOT_CAUGHT = ("survived", "too slow", "unclear")
LEFT_OUT = ("__init__.py", "evaluation_figures.py", "sweep_figure.py")  # names only; pictures, which tests do not judge


class Result(NamedTuple):
    """What became of a mutation, and after how many seconds.

    It was "caught" or "survived"; or undecided, because its tests were "too slow", or the test that failed also fails
    without it ("unclear").
    """

    mutation: Mutation
    verdict: str
    seconds: float


def main():
    """Runs the sample and prints the report."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sample", type=int, default=150, help="number of changed lines (default: 150)")
    options.add_argument("--seed", type=int, default=0, help="seed of the sample (default: 0)")
    options.add_argument(
        "--limit", type=float, default=600, help="seconds for the tests of one mutation (default: 600)"
    )
    options.add_argument("--workers", type=int, default=MAX_WORKERS, choices=range(1, MAX_WORKERS + 1))
    options.add_argument("--out", type=Path, default=ROOT / "runs/mutants", help="folder of results, which are kept")
    options.add_argument("--first", type=int, help="runs only the first so many of the sample")
    options.add_argument("--list", action="store_true", help="prints the sample and runs nothing")
    given = options.parse_args()
    drawn = sample(ROOT, mutable_files(), given.sample, given.seed)[: given.first]
    if given.list:
        print("\n".join(map(str, drawn)))
        return
    equivalent = read_equivalent(EQUIVALENT)
    wanted = [mutation for mutation in drawn if not reason_of(mutation, equivalent)]
    given.out.mkdir(parents=True, exist_ok=True)
    kept = given.out / "results.jsonl"
    results = read_results(kept, wanted)
    with (
        tempfile.TemporaryDirectory() as folder,
        copies(Path(folder), given.workers) as free,
        ThreadPoolExecutor(given.workers) as pool,
        kept.open("a", buffering=1) as file,
    ):
        todo = [pool.submit(tried, mutation, free, given.limit) for mutation in wanted if mutation not in results]
        for done in tqdm(as_completed(todo), total=len(todo), unit=" mutations"):
            if done.exception():  # ends the run at once; what is done is kept
                pool.shutdown(wait=False, cancel_futures=True)
            result = done.result()
            results[result.mutation] = result
            file.write(json.dumps([*result.mutation, result.verdict, round(result.seconds, 1)]) + "\n")
    report = report_of([results[m] for m in wanted], [(m, reason_of(m, equivalent)) for m in drawn], given.seed)
    (given.out / "report.txt").write_text(report)
    print(report)


def mutable_files() -> list[str]:
    """Returns the files that are mutated."""
    found = [file for start in MIRRORS for file in (ROOT / start).rglob("*.py")]
    found += [ROOT / start for start in MIRRORS if start.endswith(".py")]
    return sorted({str(file.relative_to(ROOT)) for file in found if file.name not in LEFT_OUT})


def mirrors_of(file: str) -> list[list[str]]:
    """Returns pytest's arguments for a file, twice: for its doctests and its own tests, and for all that mirror it.

    A module without a file of tests has those that import it as its own.
    """
    tests = MIRRORS[max((start for start in MIRRORS if file.startswith(start)), key=len)]
    (*folders, name) = Path(file).with_suffix("").parts[1:]
    own = Path("tests", *folders, f"test_{name}.py")
    quick = [
        file,
        *OWN.get(file, [str(own)] if (ROOT / own).exists() else importing(name)),
        *([FIRST] if CONTRACT in tests or "tests/layers" in tests else []),
    ]
    marks = [] if file in SLOW else ["-m", "not slow"]
    return [[*marks, *quick], [*marks, *tests]]


@functools.cache
def importing(name: str) -> list[str]:
    """Returns the tests that import a module of this name, at most three, the shortest files first."""
    found = [
        path
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(rf"\b{name}\b.* import|import .*\b{name}\b", path.read_text())
    ]
    found.sort(key=lambda path: path.stat().st_size)
    return [str(path.relative_to(ROOT)) for path in found[:3]]


def read_equivalent(path: Path) -> dict[tuple[str, str, str], str]:
    """Returns the reasons of the equivalent mutations by file, line before and line after."""
    entries = tomllib.loads(path.read_text()).get("mutation", [])
    return {(entry["file"], entry["before"], entry["after"]): entry["reason"] for entry in entries}


def reason_of(mutation: Mutation, equivalent: dict[tuple[str, str, str], str]) -> str:
    """Returns why a mutation changes nothing; empty if it is not listed."""
    return equivalent.get((mutation.file, mutation.before, mutation.after), "")


def read_results(path: Path, wanted: Sequence[Mutation]) -> dict[Mutation, Result]:
    """Returns the results of earlier runs. Survivors are tried again, because the tests may have improved."""
    results = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        file, number, before, after, verdict, seconds = json.loads(line)
        mutation = Mutation(file, number, before, after)
        if mutation in wanted and verdict == "caught":
            results[mutation] = Result(mutation, verdict, seconds)
    return results


@contextlib.contextmanager
def copies(folder: Path, count: int) -> Iterator["queue.Queue[Path]"]:
    """Copies the project's files, with uncommitted changes; yields the copies that nobody uses."""
    listed = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.splitlines()
    free: queue.Queue[Path] = queue.Queue()
    for number in range(count):
        copy = folder / str(number)
        for name in names:
            if (ROOT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, copy / name)
        free.put(copy)
    yield free


def tried(mutation: Mutation, free: "queue.Queue[Path]", limit: float) -> Result:
    """Makes a mutation in a free copy, runs its tests, and restores the copy."""
    copy = free.get()
    path = copy / mutation.file
    source = path.read_text()
    begun = time.monotonic()
    try:
        path.write_text(applied(mutation, source))
        verdict, output = "survived", ""
        for arguments in mirrors_of(mutation.file):
            if verdict == "survived":
                verdict, output = run_tests(copy, arguments, limit)
        path.write_text(source)
        if verdict == "caught" and not passes(copy, failing(output), limit):
            verdict = "unclear"
    finally:
        path.write_text(source)
        free.put(copy)
    return Result(mutation, verdict, time.monotonic() - begun)


def failing(output: str) -> str:
    """Returns the test, or the file that could not be imported, at which pytest stopped; empty if it crashed."""
    found = re.search(
        r"^(?:FAILED|ERROR) (\S+\.py(?:::\w+)*(?:\[.*?\])?)(?: - .*)?$", output, re.MULTILINE
    )  # no line of a log
    return found[1] if found else ""


@functools.cache
def passes(copy: Path, test: str, limit: float) -> bool:
    """Returns whether a test passes without a mutation; True if the mutation crashed before any test."""
    if not test:
        return True
    return run_tests(copy, ["--collect-only", test] if test.endswith(".py") else [test], limit)[0] == "survived"


def run_tests(copy: Path, arguments: Sequence[str], limit: float) -> tuple[str, str]:
    """Returns the verdict and the output of tests in a copy; they stop at the first failure."""
    command = [sys.executable, "-m", "pytest", "-n0", "-x", "-q", "-p", "no:cacheprovider", *arguments]
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryFile("w+") as file:  # a pipe would stay open in processes that a crashed test leaves
        pipes = {"stdout": file, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(command, cwd=copy, env=environment, start_new_session=True, **pipes)
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            return "too slow", ""
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # those processes, too
            process.wait()
        file.seek(0)
        output = file.read()
    if process.returncode == 5:  # a module without doctests or tests of its own
        return "survived", output
    if process.returncode == 4:  # otherwise 1, a test failed; 2, an import failed; below 0, the process crashed
        raise RuntimeError(f"{' '.join(command)}: did not run tests\n{output[-3000:]}")
    return ("caught" if process.returncode else "survived"), output


def report_of(results: Sequence[Result], drawn: Sequence[tuple[Mutation, str]], seed: int) -> str:
    """Returns the counts by room, the survivors, and the equivalent mutations with their reasons."""
    counts = Counter(result.verdict for result in results)
    caught, rooms = counts["caught"], sorted({room_of(result.mutation.file) for result in results})
    lines = [f"{len(drawn)} mutations of seed {seed}: {caught} of {len(results)} caught"]
    lines[0] += f" ({caught / max(len(results), 1):.1%})" + "".join(f", {counts[v]} {v}" for v in NOT_CAUGHT)
    equivalent = [(mutation, reason) for mutation, reason in drawn if reason]
    lines[0] += f", {len(equivalent)} equivalent ones not run"
    for room in rooms:
        own = [result for result in results if room_of(result.mutation.file) == room]
        lines.append(f"  {room}: {sum(result.verdict == 'caught' for result in own)} of {len(own)}")
    for verdict in NOT_CAUGHT:
        lines += ["", f"{verdict}:"] + [f"  {result.mutation}" for result in results if result.verdict == verdict]
    lines += ["", "equivalent:"] + [f"  {mutation}\n    {reason}" for mutation, reason in equivalent]
    return "\n".join(lines) + "\n"


def room_of(file: str) -> str:
    """Returns the room of a file: its folder, or the file itself at the top."""
    parts = Path(file).parts
    return "/".join(parts[1:2] if len(parts) < 4 or parts[1] != "training" else parts[1:3])


if __name__ == "__main__":
    main()
