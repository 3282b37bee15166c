"""Decides the claims of an experiment from what was measured.

Primary claims, the statistical ones that are neither exploratory nor controls, form one family: the chance that any of
their verdicts is wrong is at most 5 %. Controls are decided one by one, and exact claims have no sampling error.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

from fcnjax.lab.claims import Claim, Exact, Superiority
from fcnjax.lab.experiment import Experiment
from fcnjax.lab.observations import Observations
from fcnjax.lab.plan import Plan
from fcnjax.lab.power import ALPHA, SUFFICIENT, detectable
from fcnjax.lab.statistics import Estimate, clustered_mean, number, scientific
from fcnjax.naming import unknown_name

Verdict = Literal["holds", "fails", "not decided"]


@dataclass(frozen=True)
class Decision:
    """What became of a claim. None stands for what does not apply or is unknown.

    Attributes:
        claim: the claim.
        verdict: `holds`, `fails` or `not decided`; None if the claim is exploratory.
        estimate: the contrast, clustered by example and run; None for an exact claim.
        p: twice the smaller p-value of the two tests of the claim, at most 1.
        p_holds: p-value of the test that the claim holds alone; neither doubled nor corrected.
        p_holm: `p` corrected for the family; equal to `p` for a control, None without a verdict.
        low: lower bound of the 95 % interval of the contrast, not corrected for the family.
        high: upper bound.
        detectable: difference that this design finds with power 0.8, in the unit of the metric.
        planned_power: power at the margin, computed before the run.
        by_block: the contrast, clustered by block of neighboring examples and run.
        below_margin: whether the claim holds, and an effect as large as the margin is ruled out.
        number: the number that decided an exact claim.
        untested: why a claim that is not declared exploratory has no verdict, as a sentence without its period.
    """

    claim: Claim | Exact
    verdict: Verdict | None
    estimate: Estimate | None = None
    p: float | None = None
    p_holds: float | None = None
    p_holm: float | None = None
    low: float | None = None
    high: float | None = None
    detectable: float | None = None
    planned_power: float | None = None
    by_block: Estimate | None = None
    below_margin: bool = False
    number: float | None = None
    untested: str = ""

    @property
    def statement(self) -> str:
        """The sentence of the claim, without its period."""
        return self.claim.statement

    @property
    def evidence(self) -> str:
        """The numbers behind the verdict, in a sentence or two, in the unit and scale of the claim."""
        if isinstance(self.claim, Exact):
            return _exact_evidence(self.claim, self.number)
        assert self.estimate is not None  # every statistical claim has one
        return _statistical_evidence(self, self.claim, self.estimate)


def decide(
    experiment: Experiment, observations: Observations, plan: Plan | None = None, blocks: int = 0
) -> list[Decision]:
    """Returns the decisions of all claims, in their order.

    Args:
        experiment: the experiment.
        observations: all its runs.
        plan: if given, a primary claim is exploratory unless its planned power is at least 0.8.
        blocks: number of blocks of neighboring examples in the analysis of sensitivity; 0 leaves it out.

    Returns:
        One decision per claim.

    Raises:
        ValueError: if an arm of a claim has no runs, or a run lacks the metric or the number of a claim.
    """
    claims = [claim for claim in experiment.claims if not isinstance(claim, Exact)]
    estimates = [_estimate(claim, observations) for claim in claims]
    by_block = [_estimate(claim, observations, blocks) if blocks else None for claim in claims]
    statistical = iter(decide_statistical(claims, estimates, plan, by_block))
    return [
        _decide_exact(claim, observations) if isinstance(claim, Exact) else next(statistical)
        for claim in experiment.claims
    ]


def decide_statistical(
    claims: Sequence[Claim],
    estimates: Sequence[Estimate],
    plan: Plan | None = None,
    by_block: Sequence[Estimate | None] | None = None,
) -> list[Decision]:
    """Returns the decisions of statistical claims from the estimates of their contrasts.

    Each claim has two one-sided tests, one for `holds` and one for `fails`; its p-value is twice the smaller one.
    Holm's procedure gives each claim of the family its level; a test rejects if twice its p-value is at most that.

    Args:
        claims: the claims [C].
        estimates: the contrast of each claim [C].
        plan: as in `decide`.
        by_block: the contrast of each claim, clustered by block [C].
    """
    untested = [_why_untested(claim, plan) for claim in claims]
    tests = [_tests(claim, estimate) for claim, estimate in zip(claims, estimates, strict=True)]
    family = [index for index, claim in enumerate(claims) if not (untested[index] or claim.control)]
    levels = dict(zip(family, _holm([tests[index].p for index in family]), strict=True))
    decisions = []
    for index, (claim, estimate) in enumerate(zip(claims, estimates, strict=True)):
        decision = Decision(
            claim=claim,
            verdict=None,
            estimate=estimate,
            **_known_numbers(estimate, tests[index]),
            detectable=_detectable(estimate, 1 if claim.control else max(1, len(family))),
            planned_power=plan.power.get(claim.statement) if plan else None,
            by_block=by_block[index] if by_block else None,
            untested="" if claim.exploratory else untested[index],
        )
        if not untested[index]:
            alone = _Level(ALPHA, tests[index].p)
            decision = _with_verdict(decision, tests[index], levels.get(index, alone))
        decisions.append(decision)
    return decisions


class _Tests(NamedTuple):
    """The p-values of the two one-sided tests of a claim; 1 if they are unknown."""

    holds: float
    fails: float

    @property
    def p(self) -> float:
        return min(1.0, 2 * min(self))


class _Level(NamedTuple):
    """The level at which a claim is tested, 0 if Holm's procedure has stopped before it, and its corrected p-value."""

    level: float
    p_holm: float


def _why_untested(claim: Claim, plan: Plan | None) -> str:
    """Returns why a claim gets no verdict, or the empty text."""
    if claim.exploratory:
        return "exploratory"
    if plan is None or claim.control:
        return ""
    power = plan.power.get(claim.statement)
    if power is None:
        return "the plan has no power for this claim"
    return "" if power >= SUFFICIENT else f"planned power {power:.2f} is below {SUFFICIENT}"


def _tests(claim: Claim, estimate: Estimate) -> _Tests:
    if not estimate.known:
        return _Tests(1.0, 1.0)

    def above(bound: float) -> float:
        return float(stats.t.sf((estimate.mean - bound) / estimate.se, estimate.df))

    def below(bound: float) -> float:
        return float(stats.t.cdf((estimate.mean - bound) / estimate.se, estimate.df))

    if isinstance(claim, Superiority):
        return _Tests(above(0.0), below(claim.margin))
    return _Tests(max(above(-claim.margin), below(claim.margin)), min(above(claim.margin), below(-claim.margin)))


def _holm(p: Sequence[float]) -> list[_Level]:
    """Returns the level and the corrected p-value of each claim of a family."""
    if not p:
        return []
    rejected, corrected, _, _ = multipletests(p, ALPHA, method="holm")
    levels = np.zeros(len(p))
    levels[np.argsort(p, kind="stable")] = ALPHA / np.arange(len(p), 0, -1)
    levels = np.where(rejected, levels, 0.0)
    return [_Level(float(level), float(p_holm)) for level, p_holm in zip(levels, np.asarray(corrected), strict=True)]


def _with_verdict(decision: Decision, tests: _Tests, at: _Level) -> Decision:
    holds, fails = (2 * p <= at.level for p in tests)
    verdict: Verdict = "holds" if holds else "fails" if fails else "not decided"
    p_holm = at.p_holm if decision.p is not None else None
    return replace(decision, verdict=verdict, p_holm=p_holm, below_margin=holds and fails)


def _known_numbers(estimate: Estimate, tests: _Tests) -> dict[str, Any]:
    """Returns p-values and interval of a decision; none if the standard error is unknown."""
    low, high = estimate.interval()
    return {"p": tests.p, "p_holds": tests.holds, "low": low, "high": high} if estimate.known else {}


def _detectable(estimate: Estimate, claims: int) -> float | None:
    return detectable(estimate.se, estimate.df, claims) if estimate.known else None


def _estimate(claim: Claim, observations: Observations, blocks: int = 0) -> Estimate:
    return clustered_mean(*observations.contrast(claim.contrast), blocks=blocks, unit=claim.largest_effect)


def _decide_exact(claim: Exact, observations: Observations) -> Decision:
    numbers = []
    for arm in claim.arms:
        runs = observations.of(arm)
        if not runs:
            raise ValueError(
                f"arm={arm!r}: must have runs for the claim {claim.statement!r}; run the experiment first."
            )
        for run in runs:
            if claim.number not in run.numbers:
                where = f"arm {arm!r}, seed {run.seed}, fold {run.fold}"
                raise ValueError(f"{where}: {unknown_name('number', claim.number, run.numbers)}")
            numbers.append(run.numbers[claim.number])
    found = float(np.max(numbers) if claim.at_most is not None else np.min(numbers))  # NaN if one is
    return Decision(claim=claim, verdict="holds" if claim.allows(found) else "fails", number=found)


def _limit(claim: Exact) -> float:
    limit = claim.at_least if claim.at_most is None else claim.at_most
    assert limit is not None  # `Exact` checks that it has one
    return limit


def _exact_evidence(claim: Exact, found: float | None) -> str:
    which, limit = ("smallest", "at least") if claim.at_most is None else ("largest", "at most")
    value = "unknown" if found is None else scientific(found)
    return f"The {which} number of all runs is {value}; the limit is {limit} {scientific(_limit(claim))}."


def _statistical_evidence(decision: Decision, claim: Claim, estimate: Estimate) -> str:
    where = f"{estimate.examples:,} examples in {estimate.runs} run{'' if estimate.runs == 1 else 's'}"
    if not estimate.known:
        mean = "no value" if math.isnan(estimate.mean) else _scaled(claim, estimate.mean, 2, signed=True)
        sentences = [f"{mean} {claim.unit} from {where}: a standard error needs at least two of both"]
    else:
        digits = _digits(claim.scale * estimate.se)
        interval = _interval_words(claim, estimate, digits)
        details = [
            where,
            f"standard error {_scaled(claim, estimate.se, digits)}",
            *_test_words(decision, claim, digits),
        ]
        sentences = [
            f"{_scaled(claim, estimate.mean, digits, signed=True)} {claim.unit} {interval}: {', '.join(details)}",
            _spread_words(decision, claim, estimate, digits),
        ]
    if decision.untested:
        sentences.append(f"No verdict: {decision.untested}")
    return " ".join(f"{sentence}." for sentence in sentences)


def _test_words(decision: Decision, claim: Claim, digits: int) -> list[str]:
    """Returns the p-value, the margin, and which effect the test would find."""
    p, name = (decision.p, "p") if claim.control else (decision.p_holm, "Holm p")
    if decision.verdict is None:
        p, name = decision.p_holds, "p (claim holds)"
    words = [] if p is None else [f"{name} {_p_words(p)}"]
    if decision.below_margin and decision.p_holds is not None:  # the smaller p is then that of the margin
        words.append(f"p (claim holds) {_p_words(decision.p_holds)}")
    words.append(
        f"{'below the margin of' if decision.below_margin else 'margin'} {_scaled(claim, claim.margin, digits)}"
    )
    if decision.detectable is not None:
        words.append(f"detectable with power {SUFFICIENT}: {_scaled(claim, decision.detectable, digits)}")
    return words


def _p_words(p: float) -> str:
    return "< 0.001" if p < 0.001 else number(p, 3)


def _spread_words(decision: Decision, claim: Claim, estimate: Estimate, digits: int) -> str:
    """Returns how much single values vary, and the interval with errors clustered by block."""
    spread = {name: math.sqrt(variance) for name, variance in estimate.components.items()}
    example, run, residual = (_scaled(claim, spread[name], digits) for name in ("example", "run", "residual"))
    words = f"Standard deviation {example} between examples, {run} between runs, {residual} within both"
    block = decision.by_block
    return f"{words}; by block {_interval_words(claim, block, digits)}" if block and block.known else words


def _interval_words(claim: Claim, estimate: Estimate, digits: int) -> str:
    low, high = (_scaled(claim, bound, digits, signed=True) for bound in estimate.interval())
    return f"[{low}, {high}]"


def _scaled(claim: Claim, value: float, digits: int, signed: bool = False) -> str:
    return number(claim.scale * value, digits, signed)


def _digits(se: float) -> int:
    """Returns the decimals that show two significant digits of a standard error, from 2 to 8."""
    return min(8, max(2, 1 - math.floor(math.log10(se))))
