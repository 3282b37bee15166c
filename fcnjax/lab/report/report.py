"""A report as a value: the answer, then sections of paragraphs, verdicts, tables and pictures.

`fcnjax.lab.report.writers` writes it as Markdown, HTML or terminal tables; nothing here depends on an output format.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from types import MappingProxyType

from matplotlib.figure import Figure

from fcnjax.lab.decisions import Decision
from fcnjax.lab.experiment import Experiment, Setting
from fcnjax.lab.observations import Observations
from fcnjax.lab.plan import Plan
from fcnjax.lab.report.figures import NARROW, WIDE, accuracy_figure, loss_figure, size_figure
from fcnjax.lab.report.forest import contrast_figure
from fcnjax.lab.report.measured import drawn_kinds, metric_figure, metric_table, metrics_of, number_table
from fcnjax.lab.report.notes import is_as_planned, notes
from fcnjax.lab.report.summaries import Summary, summarize
from fcnjax.lab.report.tables import (
    Table,
    arm_table,
    exploratory_table,
    fact_table,
    power_table,
    size_table,
    tuning_table,
)
from fcnjax.lab.report.words import (
    Verdict,
    answer_words,
    kind_of,
    listed,
    verdict_counts,
    verdict_of,
)


@dataclass(frozen=True)
class Picture:
    """A drawn figure.

    Attributes:
        name: slug, the file name in the `figures` folder of a Markdown report.
        png: content of the image file.
        caption: what it shows; also the alternative text.
        narrow: content of the image file for the width of a phone; empty if there is none.
        chart: whether it is a plot on white, whose colors a dark page may invert; not so photographs and maps.
    """

    name: str
    png: bytes
    caption: str
    narrow: bytes = b""
    chart: bool = False


@dataclass(frozen=True)
class Section:
    """A part of a report with a heading; empty fields are left out.

    Attributes:
        title: heading.
        paragraphs: plain text, one string per paragraph.
        verdicts: decided claims.
        tables: tables with captions.
        pictures: figures with captions.
        parts: sections one level below, after all else.
    """

    title: str
    paragraphs: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    parts: tuple["Section", ...] = ()


@dataclass(frozen=True)
class Report:
    """A report of one experiment on one data set.

    Attributes:
        title: heading.
        question: what was asked.
        answer: what was found, in two sentences.
        counts: number of primary and exact claims by verdict.
        extent: what was run, such as `digits, 9 arms, 135 runs`.
        warnings: what keeps the verdicts from being trusted, one sentence each.
        sections: in the order of reading.
    """

    title: str
    question: str
    answer: str
    counts: Mapping[str, int]
    extent: str
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]


def picture(name: str, figure: Figure, caption: str, dpi: int = 144) -> Picture:
    """Returns a figure as a `Picture`.

    Args:
        name: slug, the file name in the `figures` folder of a Markdown report.
        figure: any matplotlib figure.
        caption: a sentence that says what it shows.
        dpi: pixels per inch; 144 is sharp at the width of a README.

    Returns:
        The picture; equal figures give equal bytes.
    """
    return Picture(name, _png(figure, dpi), caption)


def chart(name: str, draw: Callable[[float], Figure], caption: str) -> Picture:
    """Returns a plot for a desktop and for a phone.

    Args:
        name: slug, the file name in the `figures` folder of a Markdown report.
        draw: draws the plot at a width in inches.
        caption: a sentence that says what it shows.

    Returns:
        The picture; equal figures give equal bytes.
    """
    return Picture(name, _png(draw(WIDE), 144), caption, _png(draw(NARROW), 180), chart=True)


def build_report(
    experiment: Experiment,
    setting_name: str,
    observations: Observations,
    decisions: Sequence[Decision],
    plan: Plan | None = None,
    facts: Mapping[str, str] = MappingProxyType({}),
    pictures: Sequence[Picture] = (),
    extra: Sequence[Section] = (),
    changed: Sequence[str] = (),
) -> Report:
    """Returns the report of an experiment.

    Args:
        experiment: what was asked.
        setting_name: the data; a key of `experiment.settings`.
        observations: what was measured; at least one run.
        decisions: one per claim, in the order of the claims.
        plan: the plan that was committed before the run; None says that nothing was tuned.
        facts: texts by name, such as the command, before those of the runs.
        pictures: further pictures.
        extra: further sections, placed before "How it was measured".
        changed: fields of the recipe that differ from the plan.

    Raises:
        ValueError: if there are no runs, or the experiment has no such setting.
    """
    setting = experiment.setting(setting_name)
    summary = summarize(experiment, observations, setting.blocks)
    shown = (Section("Pictures", pictures=tuple(pictures)),) if pictures else ()
    planned = is_as_planned(setting.seeds, observations, plan, changed)
    return Report(
        title=experiment.title,
        question=experiment.question,
        answer=answer_words(experiment, setting_name, decisions, planned),
        counts=verdict_counts(experiment, decisions),
        extent=f"{setting_name}, {len(summary.arms)} arms, {summary.runs:,} runs, {summary.examples:,} test examples",
        warnings=notes(summary, setting_name, observations, decisions, plan, changed),
        sections=_sections(summary, setting, observations, decisions, plan, facts, (*shown, *extra)),
    )


def _sections(
    summary: Summary,
    setting: Setting,
    observations: Observations,
    decisions: Sequence[Decision],
    plan: Plan | None,
    facts: Mapping[str, str],
    between: Sequence[Section],
) -> tuple[Section, ...]:
    """Returns what was found, the sections `between`, and how it was found."""
    verdicts, arms = _verdict_section(summary.experiment, decisions), _arm_section(summary, setting, plan)
    power, method = (
        _plan_section(summary, decisions, plan),
        _method_section(summary, setting, plan, observations, facts),
    )
    measured = _metric_section(summary, observations)
    return tuple(filter(None, (verdicts, arms, _size_section(summary), measured, *between, power, method)))


def _png(figure: Figure, dpi: int) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _verdict_section(experiment: Experiment, decisions: Sequence[Decision]) -> Section:
    groups = {
        kind: [decision for decision in decisions if kind_of(experiment, decision) == kind]
        for kind in ("primary", "exact", "control", "exploratory")
    }
    parts = [
        Section(title, (words,), tuple(map(verdict_of, groups[kind]))) for kind, title, words in _GROUPS if groups[kind]
    ]
    if groups["exploratory"]:
        parts.append(Section("Exploratory", tables=(exploratory_table(groups["exploratory"]),)))
    if any(decision.estimate is not None for decision in decisions):
        words = (
            "Every contrast with its 95 % interval. The gray box is the margin: an equivalence holds inside it; a "
            "difference holds to the right of 0, and fails where it stays short of the margin. Verdicts are corrected "
            "for the number of claims and intervals are not, so an interval alone does not decide."
        )
        drawn = chart("contrasts", lambda width: contrast_figure(decisions, width), words)
        parts.append(Section("All contrasts", pictures=(drawn,)))
    return Section("Verdicts", parts=tuple(parts))


_GROUPS = (
    ("primary", "Primary claims", "Decided by a test, corrected for the number of these claims (Holm, 5 %)."),
    ("exact", "Exact claims", "About numbers without sampling error: no test is needed."),
    (
        "control",
        "Controls",
        "What is broken on purpose must fail, and an arm that is trained twice must not differ from itself: otherwise "
        "the verdicts above mean little.",
    ),
)


def _arm_section(summary: Summary, setting: Setting, plan: Plan | None) -> Section:
    by = f"{setting.blocks} blocks of neighboring examples" if setting.blocks else "example"
    words = f"Intervals (95 %) are clustered by {by} and by run." if any(a.accuracy for a in summary.arms) else ""
    tables = [arm_table(summary, summary.intact, plan, words)]
    if summary.broken:
        tables.append(
            arm_table(summary, summary.broken, plan, "Arms that are broken on purpose; no figure shows them.")
        )
    pictures = []
    if any(each.accuracy for each in summary.intact):
        caption = "Test accuracy of every arm: mean with 95 % interval, and a small dot per seed."
        pictures.append(chart("accuracy", lambda width: accuracy_figure(summary, width), caption))
    if any(each.losses for each in summary.intact):
        caption = "Training loss of every arm: thin lines are runs, the thick one their mean; the other arms in gray."
        pictures.append(chart("loss", lambda width: loss_figure(summary, width), caption))
    return Section("Arms", tables=tuple(tables), pictures=tuple(pictures))


def _size_section(summary: Summary) -> Section | None:
    if summary.sizes is None:
        return None
    words = (
        "The side of an example is the geometric mean of its extents (the square root of height x width for images)."
    )
    caption = "Accuracy by size of the test example, with 95 % bands; the other arms in gray."
    drawn = chart("accuracy_by_size", lambda width: size_figure(summary, width), caption)
    return Section("Accuracy by size", (words,), tables=(size_table(summary),), pictures=(drawn,))


def _metric_section(summary: Summary, observations: Observations) -> Section | None:
    metrics = metrics_of(observations, [each.arm.name for each in summary.intact])
    numbers = number_table(summary, observations)
    tables = ((metric_table(summary, metrics),) if metrics else ()) + ((numbers,) if numbers else ())
    way = "in each way in which it was measured: mean with 95 % interval, clustered by example and by run."
    pictures = tuple(
        chart(
            f"metric_{re.sub('[^a-z0-9]+', '_', kind.lower())}",
            lambda width, each=each: metric_figure(summary, each, width),
            f"{kind[0].upper()}{kind[1:]} {way}",
        )
        for kind, each in drawn_kinds(metrics).items()
    )
    return Section("What was measured", tables=tables, pictures=pictures) if tables else None


def _plan_section(summary: Summary, decisions: Sequence[Decision], plan: Plan | None) -> Section | None:
    power = power_table(decisions)
    tables = ((power,) if power.rows else ()) + ((tuning_table(summary, plan),) if plan and plan.tuning else ())
    return Section("Power and tuning", tables=tables) if tables else None


def _method_section(
    summary: Summary, setting: Setting, plan: Plan | None, observations: Observations, facts: Mapping[str, str]
) -> Section:
    seeds = f"{summary.seeds} seed{'s' * (summary.seeds > 1)}"
    if summary.folds > 1:
        design = (
            f"With each of {seeds}, the {summary.examples:,} examples are divided into {summary.folds} new stratified "
            "folds; every arm is trained on all folds but one and tested on that one, so that each example is "
            "tested once per seed."
        )
    else:
        design = f"Every arm is trained with {seeds} and tested on the same {summary.examples:,} examples."
    decided = (
        "A claim is about the mean difference per test example and run; its standard error is clustered by example and "
        "by run, so that it covers new examples and new seeds."
    )
    tuned = (
        "The learning rate of each arm was tuned on validation examples, which no test uses, before these runs."
        if plan is not None
        else "No arm was tuned."
    )
    facts = {"config": setting.config, **facts, **_run_facts(observations, plan)}
    return Section("How it was measured", (f"{design} {decided} {tuned}",), tables=(fact_table(facts),))


def _run_facts(observations: Observations, plan: Plan | None) -> dict[str, str]:
    """Returns the facts of all runs, those that differ between runs side by side, and the digest of the plan."""
    names = dict.fromkeys(name for run in observations.runs for name in run.facts)
    facts = {
        name: listed(list(dict.fromkeys(run.facts[name] for run in observations.runs if name in run.facts)))
        for name in names
    }
    return facts | ({} if plan is None else {"plan": plan.digest})
