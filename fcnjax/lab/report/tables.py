"""Tables of a report: rows of words, the same for every output format."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fcnjax.lab.claims import Exact
from fcnjax.lab.decisions import Decision
from fcnjax.lab.experiment import Experiment
from fcnjax.lab.observations import Observation, Observations
from fcnjax.lab.plan import Plan, expected_error, primary_claims
from fcnjax.lab.power import SUFFICIENT, detectable
from fcnjax.lab.report.summaries import ArmSummary, Summary
from fcnjax.lab.report.words import UNKNOWN, effect_digits, effect_words, interval_words, number_words, p_words
from fcnjax.lab.statistics import Estimate

EDGE = " ✓ edge"  # marks a learning rate that was chosen at the edge of those tried


@dataclass(frozen=True)
class Table:
    """A table of words.

    Attributes:
        columns: headings.
        rows: cells, one per column in each row.
        caption: what the table shows; may be empty.
        left: number of columns that are aligned to the left; the others are aligned to the right, like numbers.

    Raises:
        ValueError: if a row has more or fewer cells than there are columns.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    left: int = 1

    def __post_init__(self):
        for i, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"rows[{i}]={row}: must have {len(self.columns)} cells, one per column {self.columns}."
                )


def arm_table(summary: Summary, arms: Sequence[ArmSummary], plan: Plan | None = None, caption: str = "") -> Table:
    """Returns one row per arm: description, accuracy, tuned learning rate, last training loss, and costs if known.

    Args:
        summary: of all arms; it decides which columns there are.
        arms: those that have a row.
        plan: where tuned learning rates come from; None leaves their column out.
        caption: what the table shows.
    """
    varies = summary.experiment.varies
    accurate = any(each.accuracy for each in summary.arms)
    costs = tuple(dict.fromkeys(name for each in summary.arms for name in each.costs))
    columns = ["arm", "description" if varies == "arm" else varies]
    columns += ["test accuracy, % [95 %]"] * accurate + ["learning rate"] * (plan is not None)
    columns += ["last training loss", *costs, "runs"]
    rows = []
    for each in arms:
        row = [each.arm.title, each.arm.description]
        if accurate:
            row.append(_percent(each.accuracy))
        if plan is not None:
            rate = plan.learning_rates.get(each.arm.name)
            row.append("not tuned" if rate is None else f"{rate:.3g}")
        row.append(f"{each.last_loss:#.3g}" if np.isfinite(each.last_loss) else "not finite")
        row += [f"{each.costs[name]:,.0f}" if name in each.costs else "-" for name in costs]
        rows.append((*row, str(each.runs)))
    return Table(tuple(columns), tuple(rows), caption, left=2)


def size_table(summary: Summary) -> Table:
    """Returns one row per arm and one column per group of sizes: accuracy in per cent with its interval.

    Raises:
        ValueError: if all examples have one size.
    """
    sizes = summary.sizes
    if sizes is None:
        raise ValueError("sizes=None: must be groups of sizes; leave the table out where all examples have one size.")
    counts = np.bincount(sizes.group)
    headings = (f"{label} {sizes.unit} (n = {n:,})" for label, n in zip(sizes.labels, counts, strict=True))
    rows = tuple((each.arm.title, *(_percent(part, 1) for part in each.by_size)) for each in summary.intact)
    caption = "Test accuracy, % [95 %], by side of the example; clustered by example and by run."
    return Table(("arm", *headings), rows, caption)


def exploratory_table(decisions: Sequence[Decision]) -> Table:
    """Returns one row per claim without a verdict: its numbers, not corrected for their count, and why it has none."""
    units = _units(decisions)
    rows = tuple(
        (
            decision.claim.statement,
            decision.untested or "declared exploratory",
            *_unit(decision, units),
            effect_words(decision),
            p_words(decision.p_holds),
            _power(decision.planned_power),
        )
        for decision in decisions
    )
    columns = ("statement", "why", *["unit"] * (len(units) > 1), "difference [95 %]", "p, claim holds", "planned power")
    caption = (
        "Numbers without a verdict: they describe these runs. A small p speaks for the claim, and a large one does not "
        f"speak against it; it is not corrected for the number of claims.{_unit_words(units)}"
    )
    return Table(columns, rows, caption, left=2 + (len(units) > 1))


def power_table(decisions: Sequence[Decision]) -> Table:
    """Returns one row per statistical claim: margin, planned power, standard error, and what it could detect."""
    rows, units = [], _units(decisions)
    for decision in decisions:
        claim, estimate = decision.claim, decision.estimate
        if isinstance(claim, Exact) or estimate is None:
            continue
        digits = effect_digits(claim.scale)
        detectable = UNKNOWN if decision.detectable is None else number_words(claim.scale * decision.detectable, digits)
        error = number_words(claim.scale * estimate.se, digits)
        margin = number_words(claim.scale * claim.margin, digits)
        numbers = (margin, _power(decision.planned_power), error, detectable)
        rows.append((claim.statement, type(claim).__name__.lower(), *_unit(decision, units), *numbers))
    columns = ("statement", "test", *["unit"] * (len(units) > 1))
    caption = (
        "What each claim could decide: the margin, the power that was planned for it, the standard error that the "
        "runs gave, and the smallest difference that they detect with a power of 0.8."
    )
    numbers = ("margin", "planned power", "standard error", "detectable")
    return Table((*columns, *numbers), tuple(rows), f"{caption}{_unit_words(units)}", left=len(columns))


def planned_table(experiment: Experiment, plan: Plan) -> Table:
    """Returns one row per primary claim of a plan: its margin and power, and the margin that a power of 0.8 needs.

    Args:
        experiment: the experiment, with the claims of the plan's setting.
        plan: its plan.
    """
    primary, rows = primary_claims(experiment), []
    family = sum(plan.power[claim.statement] >= SUFFICIENT for claim in primary)
    for claim in primary:
        se, df = expected_error(claim, plan.components, plan.examples, plan.seeds, plan.folds)
        needed = detectable(se, df, max(1, family))
        margins = (number_words(claim.scale * each, effect_digits(claim.scale)) for each in (claim.margin, needed))
        power = plan.power[claim.statement]
        words = "can be decided" if power >= SUFFICIENT else "no verdict"
        rows.append((claim.statement, claim.unit, words, *margins, _power(power)))
    caption = (
        f"What the runs can decide, by the pilots. A primary claim with a power below {SUFFICIENT} gets no verdict; "
        "needed: about the smallest margin with that power (an equivalence needs somewhat more)."
    )
    return Table(("statement", "unit", "", "margin", "needed", "planned power"), tuple(rows), caption, left=3)


def tuning_table(summary: Summary, plan: Plan) -> Table:
    """Returns one row per tuned arm and one column per learning rate: the mean validation loss; ✓ marks the choice.

    A choice at the edge of what was tried is marked too: a better rate may lie beyond it.
    """
    rates = sorted({rate for losses in plan.tuning.values() for rate in losses}, key=float)
    rows = []
    for arm in summary.experiment.arms:
        tried = plan.tuning.get(arm.name)
        if not tried:
            continue
        chosen = plan.learning_rates.get(arm.name)
        edges = (min(tried, key=float), max(tried, key=float)) if len(tried) > 1 else ()
        marks = {
            rate: EDGE if rate in edges else " ✓"
            for rate in tried
            if chosen is not None and math.isclose(chosen, float(rate))
        }
        rows.append((arm.title, *(_tuned(tried.get(rate), marks.get(rate, "")) for rate in rates)))
    caption = (
        "Mean validation loss over pilot seeds, which no other run uses, at each learning rate; ✓ marks the rate with "
        "the lowest, with which the arm was trained."
    )
    if any(cell.endswith(EDGE) for row in rows for cell in row):
        caption += f' "{EDGE.strip()}": it is the lowest or the highest that was tried; a better one may lie beyond it.'
    return Table(("arm", *(f"{float(rate):.3g}" for rate in rates)), tuple(rows), caption)


def fact_table(facts: Mapping[str, str]) -> Table:
    """Returns one row per fact about how the results were measured."""
    return Table(("what", "value"), tuple(facts.items()), left=2)


def run_rows(observations: Observations) -> list[dict[str, str]]:
    """Returns one row per run for `write_csv`: the mean of each metric and all numbers, in full precision.

    A run that lacks a metric or a number has an empty cell.
    """
    metrics = sorted({name for run in observations.runs for name in run.values})
    numbers = sorted({name for run in observations.runs for name in run.numbers})
    arms = tuple(dict.fromkeys(run.arm for run in observations.runs))
    return [_run_row(run, metrics, numbers) for arm in arms for run in observations.of(arm)]


def _run_row(run: Observation, metrics: Sequence[str], numbers: Sequence[str]) -> dict[str, str]:
    row: dict[str, Any] = {"arm": run.arm, "seed": run.seed, "fold": run.fold, "key": run.key, "examples": len(run.ids)}
    for name in metrics:
        known = run.values[name][~np.isnan(run.values[name])] if name in run.values else np.zeros(0)
        row[f"mean {name}"] = repr(float(known.mean())) if known.size else ""
    for name in numbers:
        row[name] = repr(float(run.numbers[name])) if name in run.numbers else ""
    row["steps"] = len(run.losses)
    row["last training loss"] = repr(float(run.losses[-1])) if len(run.losses) else ""
    return {name: str(cell) for name, cell in row.items()}


def _percent(estimate: Estimate | None, digits: int = 2) -> str:
    if estimate is None:
        return "-"
    low, high = estimate.interval()
    return interval_words(100 * estimate.mean, 100 * max(low, 0.0), 100 * min(high, 1.0), digits)


def _units(decisions: Sequence[Decision]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(d.claim.unit for d in decisions if not isinstance(d.claim, Exact)))


def _unit(decision: Decision, units: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the cell of the unit; none where all claims share one, which the caption names."""
    return () if len(units) < 2 else ("-" if isinstance(decision.claim, Exact) else decision.claim.unit,)


def _unit_words(units: tuple[str, ...]) -> str:
    return f" All in {units[0]}." if len(units) == 1 else ""


def _power(power: float | None) -> str:
    return "-" if power is None or not np.isfinite(power) else f"{power:.2f}"


def _tuned(losses: Sequence[float] | None, mark: str) -> str:
    if not losses:
        return "-"
    mean = float(np.mean(losses))
    words = f"{mean:#.3g}" if np.isfinite(mean) else "diverged"
    return words + mark
