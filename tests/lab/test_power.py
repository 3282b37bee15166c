import math

import numpy as np
import pytest
from scipy import stats
from simulated_pairs import HARD, constant, even, lopsided, most_by_chance

from fcnjax.lab.claims import Equivalence, Superiority, difference
from fcnjax.lab.decisions import decide_statistical
from fcnjax.lab.power import detectable, pilot_components, planned_power, predicted_df, predicted_se
from fcnjax.lab.statistics import clustered_mean

A_B = difference("a", "b")
MANY = 10**6  # degrees of freedom


@pytest.fixture
def without_collection(monkeypatch):
    """`multipletests` collects garbage in every call, half a second that thousands of decisions cannot spare."""
    monkeypatch.setattr("gc.collect", lambda: 0)


@pytest.mark.parametrize(
    ("se", "claims", "points"),
    [(0.175, 1, 0.49), (0.175, 10, 0.64), (0.14, 1, 0.39), (0.10, 1, 0.28), (0.10, 10, 0.365), (0.35, 10, 1.28)],
)
def test_detectable_differences_are_those_of_the_normal_distribution_with_many_runs(se, claims, points):
    assert detectable(se, MANY, claims) == pytest.approx(points, abs=0.006)


@pytest.mark.parametrize("df", [1, 2, 14, 49])
@pytest.mark.parametrize("claims", [1, 3, 10])
def test_a_claim_whose_margin_is_detectable_has_power_80_percent(df, claims):
    margin = detectable(0.002, df, claims)
    assert planned_power(Superiority("s", A_B, margin=margin), 0.002, claims, df) == pytest.approx(0.8, abs=1e-6)


def test_fewer_runs_and_more_claims_need_larger_differences():
    assert detectable(1, MANY, 1) < detectable(1, 14, 1) < detectable(1, 4, 1) < detectable(1, 4, 3)


def test_planned_power_of_one_t_test_is_that_of_the_noncentral_distribution():
    critical = 2.144787  # printed t table, 14 degrees of freedom, 5 % on two sides
    expected = stats.nct.sf(critical, 14, 0.01 / 0.004)
    assert planned_power(Superiority("s", A_B), 0.004, 1, 14) == pytest.approx(expected, abs=1e-6)


def test_planned_power_of_equivalence_is_that_of_two_one_sided_tests():
    # Chow, Shao and Wang, normal distribution: 2 Phi(margin / se - z) - 1.
    expected = 2 * stats.norm.cdf(0.005 / 0.0014 - 1.959964) - 1
    assert planned_power(Equivalence("e", A_B, margin=0.005), 0.0014, 1) == pytest.approx(expected, abs=1e-6)
    assert planned_power(Equivalence("e", A_B, margin=0.001), 0.0014, 1) == 0


@pytest.mark.parametrize(("se", "df"), [(math.nan, 14), (0.001, 0)])
def test_what_is_unknown_has_no_power(se, df):
    assert planned_power(Superiority("s", A_B), se, 1, df) == 0
    assert detectable(se, df, 1) == math.inf


def test_predicted_standard_error_is_that_of_the_formula():
    found = predicted_se({"example": 0.02, "run": 0.0003, "residual": 0.05}, 1597, 3, 5)
    assert found**2 == pytest.approx(0.02 / 1597 + 0.0003 / 15 + 0.05 / (3 * 1597))
    assert predicted_df(1597, 3, 5) == 14
    assert predicted_df(4, 3, 5) == 3


def test_a_pilot_of_one_run_predicts_nothing():
    values, examples, runs = even(np.random.default_rng(0), 200, 1, 1)
    assert math.isnan(predicted_se(pilot_components(values, examples, runs), 1597, 3, 5))


def test_a_pilot_that_sees_no_disagreement_does_not_promise_certainty():
    components = pilot_components(*constant(0, 200, 2, 1))
    assert components == {"example": 0, "run": 0, "residual": 1 / 200, "varying": 0}
    assert predicted_se(components, 1597, 3, 5) == 2 / 1597
    assert predicted_se({**components, "residual": 0.0, "varying": 1.0}, 1597, 3, 5) == 2 / 1597
    seen = {**components, "varying": 0.01}  # 16 of the examples
    assert predicted_se(seen, 1597, 3, 5) == pytest.approx(math.sqrt(1 / 200 / 3 / 1597))


@pytest.mark.parametrize(("draw", "se"), [(even, 0.0018), (lopsided, 0.0034)])
def test_a_large_pilot_predicts_the_standard_error(draw, se):
    rng = np.random.default_rng(0)
    predicted = predicted_se(pilot_components(*draw(rng, 1597, 10, 5)), 1597, 3, 5)
    means = [clustered_mean(*draw(rng)).mean for _ in range(150)]
    assert predicted == pytest.approx(np.std(means), rel=0.15)
    assert predicted == pytest.approx(se, rel=0.15)


def holds(claim, draw, repetitions, **design):
    rng = np.random.default_rng(0)
    decisions = [decide_statistical([claim], [clustered_mean(*draw(rng, **design))])[0] for _ in range(repetitions)]
    return np.mean([decision.verdict == "holds" for decision in decisions])


@pytest.mark.parametrize(
    ("claim", "mean"),
    [(Superiority("s", A_B, margin=0.005), 0.005), (Equivalence("e", A_B, margin=0.007), 0.0)],
)
def test_claims_hold_about_as_often_as_planned(claim, mean, without_collection):
    components = pilot_components(*even(np.random.default_rng(1), 1597, 20, 5))
    planned = planned_power(claim, predicted_se(components, 1597, 3, 5), 1, predicted_df(1597, 3, 5))
    assert 0.6 < planned < 0.95
    assert holds(claim, even, 200, mean=mean) == pytest.approx(planned, abs=0.1)


def test_hard_examples_limit_the_power_that_seeds_can_add():
    components = {"example": HARD * 0.25, "run": 0.0, "residual": 0.03}
    few, many = (predicted_se(components, 1597, seeds, 5) for seeds in (3, 1000))
    assert many > 0.6 * few


def test_chance_in_tests_is_bounded_by_the_binomial_distribution():
    assert stats.binom.sf(200 * most_by_chance(0.05, 200), 200, 0.05) < 0.005


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: detectable(0.0, 14, 1), "se=0.0: must be above 0 and finite, or NaN"),
        (lambda: planned_power(Superiority("s", A_B), 0.1, 0), "claims=0: must be at least 1"),
        (lambda: predicted_se({}, 0, 3, 5), "examples=0: must be at least 1"),
        (lambda: predicted_se({}, 1597, 3, 0), "folds=0: must be at least 1"),
    ],
)
def test_impossible_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
