import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from scipy import stats
from simulated_pairs import constant, even, most_by_chance, observation
from statsmodels.stats.multitest import multipletests

from fcnjax.lab.claims import Equivalence, Exact, Superiority, Term, difference
from fcnjax.lab.decisions import decide, decide_statistical
from fcnjax.lab.experiment import Arm, Experiment, Setting
from fcnjax.lab.observations import Observations
from fcnjax.lab.statistics import Estimate, clustered_mean

A_B = difference("a", "b")
BETTER, EQUAL = Superiority("a is better", A_B), Equivalence("a equals b", A_B)  # by, or within, 0.01


@pytest.fixture(autouse=True)
def without_collection(monkeypatch):
    """`multipletests` collects garbage in every call, half a second that thousands of decisions cannot spare."""
    monkeypatch.setattr("gc.collect", lambda: 0)


@dataclass
class Plan:
    power: dict[str, float] = field(default_factory=dict)


def estimate(mean, se, df=14):
    return Estimate(mean, se, df, 1597, 15, 4791, {"example": 0.01, "run": 0.0001, "residual": 0.04})


def one(claim, mean, se, df=14):
    return decide_statistical([claim], [estimate(mean, se, df)])[0]


@pytest.mark.parametrize(
    ("claim", "mean", "se", "verdict", "below_margin"),
    [  # 97.5 % quantile of t with 14 degrees of freedom: 2.145
        (BETTER, 0.0216, 0.01, "holds", False),
        (BETTER, 0.0213, 0.01, "not decided", False),
        (BETTER, -0.0116, 0.01, "fails", False),
        (BETTER, -0.0113, 0.01, "not decided", False),
        (BETTER, 0.005, 0.001, "holds", True),
        (BETTER, 0.001, 0.001, "fails", False),
        (EQUAL, 0.0, 0.0046, "holds", False),
        (EQUAL, 0.0, 0.0047, "not decided", False),
        (EQUAL, 0.005, 0.0023, "holds", False),
        (EQUAL, -0.005, 0.0024, "not decided", False),
        (EQUAL, 0.02, 0.0046, "fails", False),
        (EQUAL, -0.02, 0.0046, "fails", False),
        (EQUAL, -0.02, 0.0047, "not decided", False),
    ],
)
def test_verdicts_follow_the_tests(claim, mean, se, verdict, below_margin):
    found = one(claim, mean, se)
    assert (found.verdict, found.below_margin) == (verdict, below_margin)
    assert (found.p <= 0.05) == (verdict != "not decided")
    assert found.p_holm == found.p
    low, high = found.low, found.high
    if claim == EQUAL:
        assert (verdict == "holds") == (-0.01 < low < high < 0.01)
        assert (verdict == "fails") == (low > 0.01 or high < -0.01)
    else:
        assert (verdict == "holds") == (low > 0)


def test_p_values_are_twice_the_smaller_one_of_the_two_tests():
    assert one(BETTER, 0.009, 0.004).p == pytest.approx(2 * stats.t.sf(9 / 4, 14))
    assert one(BETTER, -0.002, 0.004).p == pytest.approx(2 * stats.t.sf(12 / 4, 14))
    assert one(EQUAL, 0.003, 0.004).p == pytest.approx(2 * stats.t.sf(7 / 4, 14))
    assert one(EQUAL, -0.018, 0.004).p == pytest.approx(2 * stats.t.sf(8 / 4, 14))
    assert one(EQUAL, 0.01, 0.004).p == 1


def test_holm_corrects_the_family_of_primary_claims():
    means = [0.031, 0.0245, 0.0255, 0.0, 0.05, 0.024, 0.024]
    claims = [replace(BETTER, statement=str(mean) + str(index)) for index, mean in enumerate(means)]
    claims[4] = replace(claims[4], exploratory=True)
    claims[5] = replace(claims[5], control=True)
    found = decide_statistical(claims, [estimate(mean, 0.01) for mean in means])
    family = [0, 1, 2, 3, 6]
    corrected = multipletests([found[index].p for index in family], method="holm")[1]
    assert [found[index].p_holm for index in family] == pytest.approx(list(corrected))
    verdicts = [decision.verdict for decision in found]
    assert verdicts == ["holds", "not decided", "not decided", "not decided", None, "holds", "not decided"]
    assert found[1].p < 0.05 < found[1].p_holm
    assert (found[4].p_holm, found[5].p_holm) == (None, found[5].p)
    assert found[0].detectable > found[5].detectable  # in a family, and alone


def test_an_effect_is_below_the_margin_only_at_the_level_of_its_claim():
    near = estimate(0.0065, 0.0015)  # t is 4.3 against 0 and 2.3 against the margin
    assert decide_statistical([BETTER], [near])[0].below_margin
    pair = decide_statistical([BETTER, replace(BETTER, statement="other")], [near, estimate(0.0, 0.01)])
    assert (pair[0].verdict, pair[0].below_margin) == ("holds", False)


def test_a_claim_that_holm_stops_before_is_not_decided():
    means = [0.0235, 0.0233]  # p is 0.034 and 0.036: the first one stops at 0.025
    found = decide_statistical([BETTER, replace(BETTER, statement="b")], [estimate(mean, 0.01) for mean in means])
    assert [decision.verdict for decision in found] == ["not decided", "not decided"]


def test_exploratory_claims_show_numbers_without_a_verdict():
    found = one(replace(BETTER, exploratory=True), -0.05, 0.01)
    assert (found.p < 0.001, found.p_holds > 0.99) == (True, True)
    assert ", p (claim holds) 1.000, " in found.evidence
    found = one(replace(BETTER, exploratory=True), 0.05, 0.01)
    assert (found.verdict, found.p_holm, found.untested) == (None, None, "")
    assert found.low < 0.05 < found.high


def test_claims_with_little_planned_power_are_exploratory():
    claims = [replace(BETTER, statement=name) for name in ("strong", "weak", "unplanned", "broken")]
    claims[3] = replace(claims[3], control=True)
    plan = Plan({"strong": 0.8, "weak": 0.63, "broken": 0.1})
    found = decide_statistical(claims, [estimate(0.024, 0.01)] * 4, plan)
    assert [decision.verdict for decision in found] == ["holds", None, None, "holds"]  # strong is a family of one
    assert [decision.planned_power for decision in found] == [0.8, 0.63, None, 0.1]
    assert found[1].evidence.endswith("No verdict: planned power 0.63 is below 0.8.")
    assert found[2].evidence.endswith("No verdict: the plan has no power for this claim.")


@pytest.mark.parametrize("claim", [BETTER, EQUAL, replace(EQUAL, control=True)])
def test_one_run_decides_nothing(claim):
    unknown = clustered_mean([1.0, 0.0], [0, 1], [0, 0])
    found = decide_statistical([claim, replace(BETTER, statement="known")], [unknown, estimate(0.05, 0.01)])
    assert found[0].verdict == "not decided"
    assert [found[0].p, found[0].p_holm, found[0].low, found[0].high, found[0].detectable] == [None] * 5
    assert found[1].p_holm == pytest.approx(found[1].p * (1 if claim.control else 2))
    assert found[0].evidence == (
        "+50.00 points of accuracy from 2 examples in 1 run: a standard error needs at least two of both."
    )


@pytest.mark.parametrize(("examples", "margin"), [(400, 0.01), (400, 0.02), (1597, 0.005), (1597, 0.01)])
@pytest.mark.parametrize("claims", [1, 10])
def test_agreement_on_all_examples_is_no_proof_of_a_rare_disagreement(examples, margin, claims):
    # One arm is worse on rare examples in all runs, by the margin in the mean. The error is computed, not simulated.
    family = [replace(EQUAL, statement=str(index), margin=margin) for index in range(claims)]
    error = 0.0
    for disagreeing in range(int(examples * margin) + 1):
        found = decide_statistical(family, [clustered_mean(*constant(disagreeing, examples))] * claims)
        error += stats.binom.pmf(disagreeing, examples, margin) * (found[0].verdict == "holds")
    assert error <= (0.05 if claims == 1 else 0.01)  # of ten, 0.005 is the aim: counts so small are skewed


def test_exact_claims_take_the_worst_run():
    runs = [
        replace(observation("a", seed, 0, [1], accuracy=[1]), numbers={"gap": gap}) for seed, gap in enumerate((1, 3))
    ]
    observations = Observations(tuple(runs), folds=1)

    def decided(**limits):
        return decide(experiment(Exact("s", "gap", ("a",), **limits)), observations)[0]

    assert [(decided(at_most=limit).verdict, decided(at_most=limit).number) for limit in (2, 3)] == [
        ("fails", 3),
        ("holds", 3),
    ]
    assert [(decided(at_least=limit).verdict, decided(at_least=limit).number) for limit in (1, 2)] == [
        ("holds", 1),
        ("fails", 1),
    ]
    assert decided(at_most=2.0).evidence == "The largest number of all runs is 3.0e+00; the limit is at most 2.0e+00."
    assert decided(at_most=2.0).p is None


@pytest.mark.parametrize("limit", [{"at_most": 1.0}, {"at_least": 1.0}])
def test_exact_claims_fail_for_nan_and_refuse_what_is_missing(limit):
    runs = [
        replace(observation("a", 0, fold, [1], accuracy=[1]), numbers={"gap": gap})
        for fold, gap in enumerate((1.0, math.nan))
    ]
    claim = Exact("s", "gap", ("a",), **limit)
    found = decide(experiment(claim), Observations(tuple(runs), folds=2))[0]
    assert found.verdict == "fails"
    assert math.isnan(found.number)
    runs[1] = replace(runs[1], numbers={"gain": 1.0})
    with pytest.raises(ValueError, match="arm 'a', seed 0, fold 1: unknown number 'gap'"):
        decide(experiment(claim), Observations(tuple(runs), folds=2))
    with pytest.raises(ValueError, match="arm='b': must have runs"):
        decide(experiment(replace(claim, arms=("a", "b"))), Observations(tuple(runs[:1]), folds=2))


def experiment(*claims):
    arms = (Arm("a", "A"), Arm("b", "B"))
    return Experiment("e", "Which?", {"digits": Setting("configs/digits.py")}, arms, claims, measures=())


def simulated_observations(rng, mean=0.0, **numbers):
    """Returns runs of `a` and `b` over 1,597 digits, 3 seeds and 5 folds; `b` is always right."""
    values, examples, runs = even(rng, mean=mean)
    observations = []
    for run in np.unique(runs):
        here = runs == run
        for arm, correct in (("a", 1 + values[here]), ("b", np.ones(here.sum()))):
            each = observation(arm, int(run) // 5, int(run) % 5, examples[here], accuracy=correct)
            observations.append(replace(each, numbers=numbers))
    return Observations(tuple(observations), folds=5)


def test_decisions_stand_in_the_order_of_the_claims_with_their_evidence():
    observations = simulated_observations(np.random.default_rng(0), gap=0.5)
    exact = Exact("exact", "gap", ("a", "b"), at_most=0.1)
    wide = Equivalence("within 3 points", A_B, margin=0.03)
    found = decide(experiment(BETTER, exact, wide), observations, blocks=20)
    assert [decision.statement for decision in found] == ["a is better", "exact", "within 3 points"]
    assert [decision.verdict for decision in found] == ["fails", "fails", "holds"]
    contrast = observations.contrast(A_B)
    assert found[0].estimate == clustered_mean(*contrast)
    assert found[0].by_block == clustered_mean(*contrast, blocks=20)
    assert found[0].evidence == (
        "-0.27 points of accuracy [-0.78, +0.24]: 1,597 examples in 15 runs, standard error 0.24, Holm p < 0.001, "
        "margin 1.00, detectable with power 0.8: 0.80. Standard deviation 1.44 between examples, 0.56 between runs, "
        "12.75 within both; by block [-0.90, +0.35]."
    )
    assert decide(experiment(wide), observations)[0].by_block is None


def test_evidence_is_in_the_unit_and_scale_of_the_claim():
    claim = Superiority("s", (Term("a", "loss"),), margin=0.001, unit="nats", scale=1.0, exploratory=True)
    assert one(claim, 0.0123, 0.00047).evidence.startswith(
        "+0.01230 nats [+0.01129, +0.01331]: 1,597 examples in 15 runs"
    )


def test_a_small_effect_that_holds_shows_the_p_of_both_tests():
    assert "Holm p < 0.001, p (claim holds) 0.003, below the margin of 1.00" in one(BETTER, 0.0032, 0.001).evidence
    assert "p (claim holds)" not in one(BETTER, 0.03, 0.001).evidence


def rate(claim, verdict, repetitions, mean):
    rng = np.random.default_rng(0)
    found = [decide_statistical([claim], [clustered_mean(*even(rng, mean=mean))])[0] for _ in range(repetitions)]
    return np.mean([decision.verdict == verdict for decision in found])


BORDERS = [(BETTER, "holds", 0.0), (BETTER, "fails", 0.01), (EQUAL, "holds", 0.01), (EQUAL, "fails", -0.01)]


@pytest.mark.parametrize(("claim", "verdict", "mean"), BORDERS)
def test_wrong_verdicts_at_the_border_are_rare(claim, verdict, mean):
    assert rate(claim, verdict, 150, mean) <= most_by_chance(0.05, 150)


@pytest.mark.long
@pytest.mark.parametrize(("claim", "verdict", "mean"), BORDERS)
def test_wrong_verdicts_at_the_border_are_rare_with_more_repetitions(claim, verdict, mean):
    assert rate(claim, verdict, 2000, mean) <= most_by_chance(0.05, 2000)


def any_wrong(repetitions, claims=6):
    """Returns how often a family of claims that are all at the border has a wrong verdict, with Holm and without."""
    rng = np.random.default_rng(0)
    family = [replace(EQUAL if index % 2 else BETTER, statement=str(index), margin=0.01) for index in range(claims)]
    wrong = np.zeros(2)
    for _ in range(repetitions):
        means = np.array([claim.margin if claim in family[1::2] else 0.0 for claim in family])
        errors = 0.002 * np.sqrt(rng.chisquare(14, claims) / 14)
        estimates = [
            estimate(mean, error) for mean, error in zip(means + 0.002 * rng.normal(size=claims), errors, strict=True)
        ]
        wrong[0] += any(each.verdict == "holds" for each in decide_statistical(family, estimates))
        alone = [decide_statistical([claim], [each])[0] for claim, each in zip(family, estimates, strict=True)]
        wrong[1] += any(each.verdict == "holds" for each in alone)
    return wrong / repetitions


def test_any_wrong_verdict_in_a_family_is_rare():
    corrected, uncorrected = any_wrong(150)
    assert corrected <= most_by_chance(0.05, 150)
    assert uncorrected > 0.08


@pytest.mark.long
def test_any_wrong_verdict_in_a_family_is_rare_with_more_repetitions():
    assert any_wrong(2000)[0] <= most_by_chance(0.05, 2000)


def test_the_floor_of_an_interaction_is_that_of_its_largest_effect():
    ids = range(40)
    runs = tuple(
        observation(arm, seed, 0, ids, small=np.ones(40), large=np.ones(40)) for arm in ("a", "b") for seed in range(3)
    )
    interaction = (Term("a", "small"), Term("a", "large", -1.0), Term("b", "small", -1.0), Term("b", "large"))
    simple = (Term("a", "small"), Term("b", "small", -1.0))
    contrasts = {"simple": simple, "interaction": interaction}
    claims = [replace(BETTER, statement=name, contrast=contrast) for name, contrast in contrasts.items()]
    found = decide(experiment(*claims), Observations(runs, folds=1))
    assert [decision.estimate.se for decision in found] == [2 / 40, 4 / 40]
