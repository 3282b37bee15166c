"""Numbers, verdicts and answers in words, the same on pages, in tables and in figures.

A number that is not known is written as such: a page never shows NaN, nor an interval of infinite width.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fcnjax.lab.claims import Claim, Equivalence, Exact
from fcnjax.lab.decisions import Decision
from fcnjax.lab.experiment import NO_VERDICT, Experiment
from fcnjax.lab.statistics import number, scientific

Kind = Literal["primary", "exact", "control", "exploratory"]
Tone = Literal["good", "bad", "open", "plain"]
SYMBOLS: dict[Tone, str] = {"good": "✓", "bad": "✗", "open": "?", "plain": "·"}
TONES: dict[str | None, Tone] = {"holds": "good", "fails": "bad", "not decided": "open", None: "plain"}
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """A decided claim as a page shows it.

    Attributes:
        words: the verdict, such as `holds`, `fails, as it must` or `fails, below the margin of 1 point`.
        tone: whether the verdict is good or bad news, open, or neither; it chooses a symbol and a color.
        statement: the claim, without its period.
        evidence: the numbers, in one or two sentences.
        short: `words` without the size of the margin, for figures that show it.
    """

    words: str
    tone: Tone
    statement: str
    evidence: str
    short: str

    @property
    def symbol(self) -> str:
        """One character that says the tone without color."""
        return SYMBOLS[self.tone]


def number_words(value: float, digits: int = 2, signed: bool = False) -> str:
    """Returns a number with a fixed count of digits; `unknown` if it is not finite."""
    return number(value, digits, signed) if math.isfinite(value) else UNKNOWN


def interval_words(mean: float, low: float, high: float, digits: int = 2, signed: bool = False) -> str:
    """Returns a mean and its interval, such as `98.31 [97.90, 98.72]`."""
    if not math.isfinite(mean):
        return UNKNOWN
    words = number_words(mean, digits, signed)
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{words} [{UNKNOWN}]"
    return f"{words} [{number_words(low, digits, signed)}, {number_words(high, digits, signed)}]"


def p_words(p: float | None) -> str:
    """Returns a p-value with two digits, `< 0.0001` for small ones; `-` if there is none."""
    if p is None or math.isnan(p):
        return "-"
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def effect_words(decision: Decision) -> str:
    """Returns the estimate of a decision with its interval in the claim's unit; the number of an exact claim."""
    if isinstance(decision.claim, Exact):
        return UNKNOWN if decision.number is None else scientific(decision.number)
    if decision.estimate is None or decision.low is None or decision.high is None:
        return UNKNOWN
    scale = decision.claim.scale
    ends = (scale * decision.estimate.mean, scale * decision.low, scale * decision.high)
    return interval_words(*ends, digits=effect_digits(scale), signed=True)


def effect_digits(scale: float) -> int:
    """Returns how many digits an effect has after its point: two for points, three for shares and losses."""
    return 2 if scale >= 10 else 3


def kind_of(experiment: Experiment, decision: Decision) -> Kind:
    """Returns the group of a claim; one about an arm that repeats another one with other seeds is a control."""
    claim = decision.claim
    if claim.control or any(experiment.arm(name).salt for name in claim.arms):
        return "control"
    if isinstance(claim, Exact):
        return "exact"
    return "exploratory" if decision.verdict is None else "primary"


def verdict_of(decision: Decision) -> Verdict:
    """Returns a decision in words; that of a claim which must fail says whether it did."""
    claim, verdict = decision.claim, decision.verdict
    words, tone = verdict or NO_VERDICT, TONES[verdict]
    short = words
    if claim.control:
        words = "fails, as it must" if verdict == "fails" else f"{words}, but must fail"
        tone, short = "good" if verdict == "fails" else "bad", words
    elif not isinstance(claim, Exact) and (side := _side(decision)):
        words, short = f"{words}, {side} the margin of {_margin_words(claim)}", f"{words}, {side} margin"
    return Verdict(words, tone, claim.statement, decision.evidence, short)


def _side(decision: Decision) -> str:
    """Returns where a contrast lies that failed its claim, or that holds and is small: `below` or `outside` the margin.

    A superiority fails because the contrast is below the margin, also where its interval lies above 0.
    """
    if isinstance(decision.claim, Exact) or not (decision.verdict == "fails" or decision.below_margin):
        return ""
    return "outside" if isinstance(decision.claim, Equivalence) else "below"


def _margin_words(claim: Claim) -> str:
    """Returns the margin of a claim with the first word of its unit, such as `1 point` or `0.05 nats`."""
    size, unit = f"{claim.scale * claim.margin:g}", claim.unit.partition(" ")[0]
    return f"{size} {unit.removesuffix('s') if size == '1' else unit}".strip()


def verdict_counts(experiment: Experiment, decisions: Sequence[Decision]) -> dict[str, int]:
    """Returns how many primary and exact claims hold, fail or are not decided; counts of 0 are left out."""
    decided = (d.verdict for d in decisions if kind_of(experiment, d) in ("primary", "exact") and d.verdict)
    found = Counter(decided)
    return {verdict: found[verdict] for verdict in ("holds", "fails", "not decided") if found[verdict]}


def verdict_words(decisions: Sequence[Decision]) -> tuple[str, ...]:
    """Returns the verdicts of all claims that are not declared exploratory, as a `Finding` names them."""
    return tuple(d.verdict or NO_VERDICT for d in decisions if not getattr(d.claim, "exploratory", False))


def finding_of(experiment: Experiment, setting_name: str, decisions: Sequence[Decision]) -> str:
    """Returns the text of the experiment's finding for these data; empty if it was written for other verdicts."""
    finding = experiment.findings.get(setting_name)
    return finding.text if finding and finding.verdicts == verdict_words(decisions) else ""


def answer_words(
    experiment: Experiment, setting_name: str, decisions: Sequence[Decision], as_planned: bool = False
) -> str:
    """Returns the answer to the experiment's question: its finding if it is about this run, else verdicts in words.

    Args:
        experiment: the question, and what was found.
        setting_name: name of the setting.
        decisions: the decided claims.
        as_planned: whether the runs have the planned seeds and recipe; a finding is about no others.
    """
    finding = finding_of(experiment, setting_name, decisions) if as_planned else ""
    return finding or _decided_words(experiment, decisions)


def _decided_words(experiment: Experiment, decisions: Sequence[Decision]) -> str:
    """Returns the verdict of the first claim with its numbers, and how many claims have which verdict."""
    decided = [d for d in decisions if d.verdict and kind_of(experiment, d) in ("primary", "exact")]
    if not decided:
        return "No claim of this run has a verdict. The numbers below describe these runs, and no more."
    first = decided[0]
    numbers = effect_words(first)
    if isinstance(first.claim, Exact):
        numbers += ", exact"
    else:
        numbers += f" {first.claim.unit}, margin {_margin_words(first.claim)}"
    verdict = "is not decided" if first.verdict == "not decided" else first.verdict
    verdict = f"{verdict}, {side} the margin" if (side := _side(first)) else verdict
    opening = f'The first claim {verdict} ({numbers}): "{first.claim.statement}".'
    return f"{opening} {count_words(verdict_counts(experiment, decisions))}"


def counted(verdict: str, count: int) -> str:
    """Returns a count with its verb, such as `1 holds`, `2 fail` or `3 not decided`."""
    verb = {"holds": "hold", "fails": "fail"}.get(verdict, verdict) if count > 1 else verdict
    return f"{count} {verb}"


def count_words(counts: Mapping[str, int]) -> str:
    """Returns counts of verdicts as a sentence: `Of 5 claims, 3 hold, 1 fails and 1 is not decided.`."""
    total = sum(counts.values())
    parts = [counted(verdict, count) for verdict, count in counts.items()]
    parts = [part.replace(" not", " are not" if counts.get("not decided", 0) > 1 else " is not") for part in parts]
    return f"Of {total} claim{'s' * (total > 1)}, {listed(parts)}."


def listed(parts: Sequence[str]) -> str:
    """Returns parts as words: `a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def failed_controls(decisions: Sequence[Decision]) -> tuple[str, ...]:
    """Returns the statements of claims that must fail and did not."""
    return tuple(d.claim.statement for d in decisions if d.claim.control and d.verdict != "fails")
