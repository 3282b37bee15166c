"""A second run of a published experiment, compared with the result: exactly, or within the uncertainty of two runs.

On the same kind of machine with the same versions, every run must have the same bits. Elsewhere, rounding differs and
acts like another seed: no verdict may change, each contrast must lie in the published interval, sqrt(2) wider because
both runs are uncertain, and a mean must not be farther off than two runs of one arm are from each other.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.markup import escape
from scipy import stats

from fcnjax.atomic import read_json, write_json
from fcnjax.lab.claims import Claim, Exact
from fcnjax.lab.observations import Observation
from fcnjax.lab.published.encoding import decoded_number, digest_of
from fcnjax.lab.published.result import Result, run_row
from fcnjax.lab.statistics import scientific
from fcnjax.table_style import tight_table

CONDITIONS = ("hardware", "versions")  # facts: runs with the same ones must agree bit by bit
MARKER = "reproduction.json"  # says which result a folder reproduces, and whether it has ended
WIDER = math.sqrt(2)
FEW = 6  # runs of an arm; fewer have an uncertain standard deviation
CONFIDENCE = 0.95  # that a good second run elsewhere agrees in all its means
Job = tuple[str, int, int]  # arm, seed, fold


class Compared(NamedTuple):
    """One line of a comparison.

    Attributes:
        what: what was compared.
        published: its published value, in words.
        again: its value in the second run, in words.
        agrees: whether they agree.
        decides: whether a difference means that the result was not reproduced.
    """

    what: str
    published: str
    again: str
    agrees: bool
    decides: bool = True


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


def compare_runs(
    published: Result, again: Iterable[Observation], exact: bool, claims: Iterable[Claim | Exact] = ()
) -> list[Compared]:
    """Returns the comparison of some runs with their published rows.

    Unless they must have the same bits, the mean of each metric is compared, of each run and of all runs of an arm, and
    numbers of exact claims must be on the published side of the limit. The tolerance is that of all means together: if
    nothing but the seeds differs, all of them agree in 95 % of the comparisons.

    Args:
        published: the published result.
        again: the runs that were repeated.
        exact: whether they must have the same bits.
        claims: the claims of the experiment.

    Source: two-sample t-test with the published standard deviation, Bonferroni's correction; derived here.
    """
    rows, again = {job_of(row): row for row in published.runs}, list(again)
    pairs = [(rows[run.arm, run.seed, run.fold], run_row(run)) for run in again]
    if exact:
        return [_compared_bits(*pair) for pair in pairs]
    means = _mean_pairs(pairs)
    lines = [_compared_mean(published, each, len(means)) for each in means]
    limits = [claim for claim in claims if isinstance(claim, Exact)]
    return lines + [
        _compared_number(*pair, claim) for pair in pairs for claim in limits if pair[0]["arm"] in claim.arms
    ]


def is_reproduced(lines: Iterable[Compared]) -> bool:
    """Returns whether nothing differs that decides."""
    return all(line.agrees or not line.decides for line in lines)


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
        differs = "[red]differs[/red]" if line.decides else "[yellow]differs[/yellow]"
        table.add_row("same" if line.agrees else differs, *map(escape, line[:3]))
    console.print(table)
    if changed:
        console.print(f"code, config or data of {changed} runs have changed since they were published")
    deciding = [line for line in lines if line.decides]
    differ = sum(not line.agrees for line in deciding)
    beside = sum(not line.agrees for line in lines) - differ
    if beside:
        console.print(f"{beside} contrast{'s' * (beside > 1)} without a verdict differ{'s' * (beside == 1)}")
    how = "same hardware and versions: bit by bit" if exact else "other hardware or versions: within intervals"
    found = f"{differ} of {len(deciding)} differ" if differ else f"all {len(deciding)} agree"
    console.print(f"{'not reproduced' if differ else 'reproduced'}: {found} ({how})")


def _compared_bits(row: Mapping[str, Any], other: Mapping[str, Any] | None) -> Compared:
    name = _run_name(row)
    if other is None:
        return Compared(name, row["hash"][:8], "missing", False)
    return Compared(name, _run_words(row), _run_words(other), row["hash"] == other["hash"])


def _run_name(row: Mapping[str, Any]) -> str:
    return "run {}, seed {}, fold {}".format(*job_of(row))


def _run_words(row: Mapping[str, Any]) -> str:
    mean = row["means"].get("accuracy")
    words = "" if mean is None else f"accuracy {100 * decoded_number(mean):.2f} %, "
    return f"{words}bits {row['hash'][:8]}"


def _compared_contrast(claim: Mapping[str, Any], other: Mapping[str, Any], exact: bool) -> Compared:
    mean, low, high = (decoded_number(_estimate(claim, name)) for name in ("mean", "low", "high"))
    again = decoded_number(_estimate(other, "mean"))
    name = f"contrast: {claim['statement']}"
    decides = exact or claim["verdict"] is not None
    if any(value is None or math.isnan(value) for value in (mean, again)):
        return Compared(name, "unknown", "unknown", _estimate(claim, "mean") == _estimate(other, "mean") or not exact)
    scale, unit = claim["scale"], claim["unit"]
    published = f"{scale * mean:+.3f} [{scale * low:+.3f}, {scale * high:+.3f}] {unit}"
    inside = mean - WIDER * (mean - low) <= again <= mean + WIDER * (high - mean)
    return Compared(name, published, f"{scale * again:+.3f}", again == mean if exact else inside, decides)


def _estimate(claim: Mapping[str, Any], name: str) -> Any:
    return claim["estimate"]["mean"] if name == "mean" and claim["estimate"] else claim.get(name)


class _Pair(NamedTuple):
    """Two means of a metric.

    Attributes:
        what: the run, or the runs of an arm.
        arm: name of the arm.
        metric: name of the metric.
        published: the published mean; NaN if there is none.
        again: that of the second run.
        runs: number of runs in each.
    """

    what: str
    arm: str
    metric: str
    published: float
    again: float
    runs: int = 1


def _mean_pairs(pairs: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[_Pair]:
    """Returns the means of each metric of each run, and of all runs of an arm: these show what shifts them alike.

    Args:
        pairs: rows of runs as in a result, published and again.
    """
    singles = []
    for row, other in pairs:
        for metric in dict.fromkeys((*row["means"], *other["means"])):
            values = (decoded_number(each["means"].get(metric, math.nan)) for each in (row, other))
            singles.append(_Pair(_run_name(row), row["arm"], metric, *values))
    groups: dict[tuple[str, str], list[_Pair]] = {}
    for pair in singles:
        if not math.isnan(pair.published + pair.again):  # else the line of the run tells
            groups.setdefault((pair.arm, pair.metric), []).append(pair)
    together = []
    for (arm, metric), group in groups.items():
        if (count := len(group)) > 1:
            means = (statistics.fmean(values) for values in zip(*((p.published, p.again) for p in group), strict=True))
            together.append(_Pair(f"{count} runs of {arm}", arm, metric, *means, runs=count))
    return singles + together


def _compared_mean(result: Result, pair: _Pair, comparisons: int) -> Compared:
    """Compares two means within what differs between two published runs of the arm, or means of as many runs."""
    deviation, df = _deviation(result, pair.arm, pair.metric)
    width = 0.0  # one run tells nothing about others
    if df:
        quantile = float(stats.t.ppf(1 - (1 - CONFIDENCE) / 2 / comparisons, df))
        width = WIDER * quantile * deviation / math.sqrt(pair.runs)
    same = math.isnan(pair.published) and math.isnan(pair.again)
    agrees = same or abs(pair.again - pair.published) <= width
    name = f"{pair.what}: {pair.metric}"
    return Compared(name, f"{pair.published:.4f}", f"{pair.again:.4f} (± {width:.4f})", agrees)


def _deviation(result: Result, arm: str, metric: str) -> tuple[float, int]:
    """Returns the standard deviation of the means of a metric over the runs of an arm, and its degrees of freedom.

    A few runs tell little about it: such an arm takes that of all arms together, unless its own is larger.
    """
    means: dict[str, list[float]] = {}
    for row in result.runs:
        value = decoded_number(row["means"].get(metric, math.nan))
        if not math.isnan(value):
            means.setdefault(row["arm"], []).append(value)
    variances = {name: (np.var(values, ddof=1), len(values) - 1) for name, values in means.items() if len(values) > 1}
    variance, df = variances.get(arm, (0.0, 0))
    if df + 1 < FEW and variances:
        both, weights = zip(*variances.values(), strict=True)
        variance, df = max(variance, np.average(both, weights=weights)), sum(weights)
    # Where all runs agree, one example more or less still may not.
    return max(math.sqrt(variance), 1 / min(row["examples"] for row in result.runs)), df


def _compared_number(row: Mapping[str, Any], other: Mapping[str, Any], claim: Exact) -> Compared:
    """Compares on which side of the limit of an exact claim a number of a run is."""
    before, now = (decoded_number(each["numbers"].get(claim.number, math.nan)) for each in (row, other))
    name = f"{_run_name(row)}: {claim.number}"
    return Compared(name, scientific(before), scientific(now), claim.allows(before) == claim.allows(now))
