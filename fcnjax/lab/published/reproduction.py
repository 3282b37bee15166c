"""A second run of a published experiment, compared with the result: exactly, or within the uncertainty of two runs.

On the same kind of machine with the same versions, every run must have the same bits. Elsewhere, rounding differs and
acts like another seed: each number must lie in the published interval, sqrt(2) wider because both runs are uncertain.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.markup import escape
from scipy import stats

from fcnjax.atomic import read_json, write_json
from fcnjax.lab.observations import Observation
from fcnjax.lab.published.encoding import decoded_number, digest_of
from fcnjax.lab.published.result import Result, run_row
from fcnjax.table_style import tight_table

CONDITIONS = ("hardware", "versions")  # facts: runs with the same ones must agree bit by bit
MARKER = "reproduction.json"  # says which result a folder reproduces, and whether it has ended
WIDER = math.sqrt(2)
Job = tuple[str, int, int]  # arm, seed, fold


class Compared(NamedTuple):
    """One line of a comparison.

    Attributes:
        what: what was compared.
        published: its published value, in words.
        again: its value in the second run, in words.
        agrees: whether they agree.
    """

    what: str
    published: str
    again: str
    agrees: bool


def same_conditions(published: Mapping[str, str], again: Mapping[str, str]) -> bool:
    """Returns whether two runs must have the same bits: the same hardware and versions, and known ones."""
    return all(name in published and published[name] == again.get(name) for name in CONDITIONS)


def sampled_jobs(result: Result, fraction: float, seed: int = 0) -> list[Job]:
    """Returns a random part of the published runs, at least one, in their order.

    Args:
        result: the published result.
        fraction: share of the runs in (0, 1]; 1 returns all.
        seed: seed of the draw.
    """
    jobs = [job_of(row) for row in result.runs]
    count = max(1, round(fraction * len(jobs)))
    chosen = np.random.default_rng(seed).permutation(len(jobs))[:count]
    return [jobs[index] for index in sorted(chosen.tolist())]


def job_of(row: Mapping[str, Any]) -> Job:
    """Returns arm, seed and fold of a row of a result."""
    return row["arm"], row["seed"], row["fold"]


def compare_results(published: Result, again: Result) -> list[Compared]:
    """Returns the comparison of a complete second run: verdicts, contrasts, and on the same machine every run."""
    exact = same_conditions(published.facts, again.facts)
    verdicts = {claim["statement"]: claim for claim in again.claims}
    lines = []
    for claim in published.claims:
        other = verdicts.get(claim["statement"], {})
        before, now = claim["verdict"] or "no verdict", other.get("verdict", "missing") or "no verdict"
        lines.append(Compared(f"verdict: {claim['statement']}", before, now, before == now))
        if claim["test"] != "exact" and other:
            lines.append(_compared_contrast(claim, other, exact))
    if exact:
        rows = {job_of(row): row for row in again.runs}
        lines += [_compared_bits(row, rows.get(job_of(row))) for row in published.runs]
    return lines


def compare_runs(published: Result, again: Iterable[Observation], exact: bool) -> list[Compared]:
    """Returns the comparison of some runs with their published rows.

    Args:
        published: the published result.
        again: the runs that were repeated.
        exact: whether they must have the same bits; else the mean of each metric may differ as far as two runs do.
    """
    rows, lines = {job_of(row): row for row in published.runs}, []
    for run in again:
        row = rows[run.arm, run.seed, run.fold]
        lines += [_compared_bits(row, run_row(run))] if exact else _compared_means(row, run)
    return lines


def changed_keys(published: Result, again: Iterable[Observation]) -> int:
    """Returns how many runs have another key than the published ones: their code, config or data have changed since."""
    keys = {job_of(row): row["key"] for row in published.runs}
    return sum(keys.get((run.arm, run.seed, run.fold)) != run.key for run in again)


def reproduction_folder(root: Path | str, result: Mapping[str, Any]) -> Path:
    """Returns the folder for a second run: that of an interrupted one of the same result, else a new one.

    Args:
        root: folder of all second runs of the experiment; folders in it are numbered.
        result: the published result, as its file holds it; its digest marks the folder.

    Raises:
        ValueError: if a marker is damaged.
    """
    root, digest = Path(root), digest_of(result)
    numbers = sorted(int(path.name) for path in root.glob("*") if path.name.isdigit()) if root.exists() else []
    for number in reversed(numbers):
        marker = root / str(number) / MARKER
        if marker.exists() and read_json(marker) == {"result": digest, "ended": False}:
            return marker.parent
    folder = root / str(1 + max(numbers, default=0))
    write_json(folder / MARKER, {"result": digest, "ended": False})
    return folder


def end_reproduction(folder: Path) -> None:
    """Marks a second run as ended: the next one starts in a new folder."""
    write_json(folder / MARKER, {**read_json(folder / MARKER), "ended": True})


def print_comparison(lines: Sequence[Compared], exact: bool, changed: int, console: Console | None = None) -> None:
    """Prints a comparison as a table, and whether the result was reproduced.

    Args:
        lines: the comparison.
        exact: whether the conditions were the same, so that bits were compared.
        changed: number of runs whose keys have changed.
        console: where to print; standard output by default.
    """
    console = console or Console()
    table = tight_table("", "compared", "published", "again", left=4)
    for line in lines:
        table.add_row("same" if line.agrees else "[red]differs[/red]", *map(escape, line[:3]))
    console.print(table)
    if changed:
        console.print(f"code, config or data of {changed} runs have changed since they were published")
    differ = sum(not line.agrees for line in lines)
    how = "same hardware and versions: bit by bit" if exact else "other hardware or versions: within intervals"
    found = f"{differ} of {len(lines)} differ" if differ else f"all {len(lines)} agree"
    console.print(f"{'not reproduced' if differ else 'reproduced'}: {found} ({how})")


def _compared_bits(row: Mapping[str, Any], other: Mapping[str, Any] | None) -> Compared:
    name = "run {}, seed {}, fold {}".format(*job_of(row))
    if other is None:
        return Compared(name, row["hash"][:8], "missing", False)
    return Compared(name, _run_words(row), _run_words(other), row["hash"] == other["hash"])


def _run_words(row: Mapping[str, Any]) -> str:
    mean = row["means"].get("accuracy")
    words = "" if mean is None else f"accuracy {100 * decoded_number(mean):.2f} %, "
    return f"{words}bits {row['hash'][:8]}"


def _compared_contrast(claim: Mapping[str, Any], other: Mapping[str, Any], exact: bool) -> Compared:
    mean, low, high = (decoded_number(_estimate(claim, name)) for name in ("mean", "low", "high"))
    again = decoded_number(_estimate(other, "mean"))
    name = f"contrast: {claim['statement']}"
    if any(value is None or math.isnan(value) for value in (mean, again)):
        return Compared(name, "unknown", "unknown", mean == again or not exact)
    scale, unit = claim["scale"], claim["unit"]
    published = f"{scale * mean:+.3f} [{scale * low:+.3f}, {scale * high:+.3f}] {unit}"
    inside = mean - WIDER * (mean - low) <= again <= mean + WIDER * (high - mean)
    return Compared(name, published, f"{scale * again:+.3f}", again == mean if exact else inside)


def _estimate(claim: Mapping[str, Any], name: str) -> Any:
    return claim["estimate"]["mean"] if name == "mean" and claim["estimate"] else claim.get(name)


def _compared_means(row: Mapping[str, Any], run: Observation) -> Sequence[Compared]:
    """Compares the mean of each metric with the published one, within the t-interval of a run's mean, sqrt(2) wider."""
    name, lines = "run {}, seed {}, fold {}: ".format(*job_of(row)), []
    for metric, mean in run_row(run)["means"].items():
        before = decoded_number(row["means"].get(metric))
        kept = run.values[metric][~np.isnan(run.values[metric])]
        if before is None or len(kept) < 2:
            lines.append(Compared(name + metric, str(before), str(mean), before == mean))
            continue
        # Where all values agree, one example more or less still may not.
        error = max(float(kept.std(ddof=1)) / math.sqrt(len(kept)), 1 / len(kept))
        width = WIDER * float(stats.t.ppf(0.975, len(kept) - 1)) * error
        again = f"{mean:.4f} (± {width:.4f})"
        lines.append(Compared(name + metric, f"{before:.4f}", again, abs(mean - before) <= width))
    return lines
