"""The files of a finished experiment: its result, a row per run, and the report with figures."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fcnjax.atomic import read_json
from fcnjax.lab.decisions import Decision, decide
from fcnjax.lab.experiment import Experiment
from fcnjax.lab.observations import Observations
from fcnjax.lab.plan import Plan
from fcnjax.lab.published.result import FILE, Result, make_result
from fcnjax.lab.report.index import (
    entry_of,
    has_section,
    read_entries,
    update_readme,
    write_index_html,
    write_index_markdown,
)
from fcnjax.lab.report.report import Report, Section, build_report
from fcnjax.lab.report.tables import Table
from fcnjax.lab.report.words import finding_of, verdict_words
from fcnjax.lab.report.writers import write_csv, write_html, write_markdown
from fcnjax.lab.timing import ROUNDS, TrainingTime


class Finished(NamedTuple):
    """A finished experiment.

    Attributes:
        observations: all runs.
        decisions: the decided claims.
        result: what is published.
        report: the same in words and pictures.
    """

    observations: Observations
    decisions: Sequence[Decision]
    result: Result
    report: Report


def finish(
    experiment: Experiment,
    setting: str,
    observations: Observations,
    plan: Plan | None,
    *,
    facts: Mapping[str, str],
    pictures: Sequence[Any] = (),
    times: Sequence[TrainingTime] = (),
    changed: Sequence[str] = (),
) -> Finished:
    """Decides the claims and builds result and report.

    Args:
        experiment: the experiment.
        setting: name of the setting.
        observations: all runs.
        plan: the plan for the number of seeds that were run; None if there is none.
        facts: texts by name, such as the command.
        pictures: drawn pictures of the experiment.
        times: times of training, for a table of their own; they decide nothing.
        changed: fields of the recipe that differ from the plan.
    """
    blocks = experiment.setting(setting).blocks
    decisions = decide(experiment, observations, plan, blocks)
    result = make_result(experiment, setting, observations, decisions, plan, facts, changed)
    extra = (timing_section(experiment, times),) if times else ()
    report = build_report(experiment, setting, observations, decisions, plan, facts, pictures, extra, changed)
    return Finished(observations, decisions, result, report)


def write_outputs(finished: Finished, folder: Path, *, page: bool = True) -> Path:
    """Writes `result.json`, `results.csv`, `report.md` with its figures and, with `page`, `report.html`.

    Returns:
        The path of the report to read.
    """
    finished.result.write(folder / FILE)
    write_csv(finished.observations, folder / "results.csv")
    text = write_markdown(finished.report, folder / "report.md")
    return write_html(finished.report, folder / "report.html") if page else text


def timing_section(experiment: Experiment, times: Sequence[TrainingTime]) -> Section:
    """Returns the section of a report on times of training."""
    baseline = experiment.arm(times[0].baseline).title
    rows = [
        (
            experiment.arm(each.arm).title,
            f"{each.milliseconds:.2f}",
            f"{each.images_per_second:,.0f}",
            f"{each.compiling:.1f}",
            f"{each.seconds:.2f}",
            "1" if each.arm == each.baseline else f"{each.ratio:.3f} [{each.low:.3f}, {each.high:.3f}]",
            str(each.processes),
        )
        for each in times
    ]
    last = (f"time / time of {baseline} [95 %]", "processes")
    columns = ("arm", "step, ms", "images/s", "compilation, s", "all steps, s", *last)
    words = (
        f"Each arm in {ROUNDS} fresh processes in random order: medians, and the ratio of the times of all steps, with "
        "Student's interval of its logarithm over rounds. A step is the mean of steps that have the buckets of an "
        "epoch in proportion. Compilation is that of the programs of training, on all cores and without a cache; it "
        "is not part of the time of all steps, nor are evaluation and the wait for input. No claim is decided by it."
    )
    return Section("Time of training", (words,), tables=(Table(columns, tuple(rows)),))


def write_index(folders: Iterable[Path], index: Path) -> Path:
    """Writes an index over the reports in some folders, as HTML and Markdown, and returns the path of the HTML file.

    Args:
        folders: folders that `write_outputs` wrote; those without a result are left out.
        index: folder of the index.
    """
    entries = [
        entry_of({**read_json(folder / FILE), "page": "report.html"}, Path(os.path.relpath(folder, index)).as_posix())
        for folder in folders
        if (folder / FILE).exists()
    ]
    write_index_markdown(entries, index / "index.md")
    return write_index_html(entries, index / "index.html")


def tell_finding(experiment: Experiment, setting: str, finished: Finished) -> None:
    """Prints how to declare the finding of a published result, unless it has the one that the experiment declares."""
    if not finding_of(experiment, setting, finished.decisions):
        declared = f'lab.Finding("...", {verdict_words(finished.decisions)})'
        print(f"\nfindings: write what was found as {setting!r}: {declared}, and publish again.")


def publish_summary(results: Path, readme: Path) -> None:
    """Writes the index of all published results, and their section of the README if it has its markers.

    Args:
        results: folder of the published results, relative to the root of the project.
        readme: the README, at the root of the project.
    """
    write_index_markdown(read_entries(results), results / "index.md")
    if readme.exists() and has_section(readme):
        update_readme(readme, read_entries(results, within=results.as_posix()))
