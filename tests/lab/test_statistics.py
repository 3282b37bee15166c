import math

import numpy as np
import pytest
from scipy import stats
from simulated_pairs import LOPSIDED_MEAN, constant, drawn, even, lopsided

from fcnjax.lab.measures.scores import max_relative_difference
from fcnjax.lab.statistics import clustered_mean, number, scientific, varying_share


def one_way(values, groups):
    """Returns the cluster-robust variance of the mean, by its formula."""
    residuals = values - values.mean()
    sums = [residuals[groups == group].sum() for group in np.unique(groups)]
    return len(sums) / (len(sums) - 1) * sum(total**2 for total in sums) / len(values) ** 2


def formula(values, examples, runs):
    by_example, by_run = one_way(values, examples), one_way(values, runs)
    both = one_way(values, examples * 1000 + runs)
    return math.sqrt(max(by_example + by_run - both, by_example, by_run))


def effects(rng, of_example, of_run, residual):
    """Returns values of 40 examples in 4 x 3 runs with effects of these standard deviations."""
    example, run = drawn(rng, 40, 4, 3)
    values = of_example * rng.normal(size=40)[example] + of_run * rng.normal(size=12)[run]
    return values + residual * rng.normal(size=len(run)), example, run


@pytest.mark.parametrize(
    ("sizes", "largest"),
    [((1.0, 1.0, 1.0), "both"), ((1.0, 0.0, 1.0), "example"), ((0.0, 2.0, 1.0), "run")],
)
def test_standard_error_is_the_largest_of_the_three_formulas(sizes, largest):
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(20):
        values, examples, runs = effects(rng, *sizes)
        found = clustered_mean(values, examples, runs)
        assert found.mean == pytest.approx(values.mean())
        assert found.se == pytest.approx(formula(values, examples, runs), rel=1e-10)
        each = {"example": one_way(values, examples), "run": one_way(values, runs)}
        each["both"] = sum(each.values()) - one_way(values, examples * 1000 + runs)
        seen.add(max(each, key=lambda name: each[name]))
    assert largest in seen


def test_interval_has_the_smaller_number_of_clusters_minus_1_as_degrees_of_freedom():
    found = clustered_mean(*effects(np.random.default_rng(0), 1, 1, 1))
    assert (found.df, found.examples, found.runs, found.count) == (11, 40, 12, 160)
    half = 2.200985 * found.se  # printed t table, 11 degrees of freedom
    np.testing.assert_allclose(found.interval(), [found.mean - half, found.mean + half], rtol=1e-6)
    narrow, wide = found.interval(0.8), found.interval(0.99)
    assert wide[0] < narrow[0] < found.mean < narrow[1] < wide[1]


def test_names_of_examples_and_runs_and_the_order_of_values_do_not_matter():
    values, examples, runs = even(np.random.default_rng(0))
    order = np.random.default_rng(1).permutation(len(values))
    found = clustered_mean(values[order], 7 * examples[order] + 10**6, 100 - runs[order])
    expected = clustered_mean(values, examples, runs)
    assert (found.mean, found.se) == (pytest.approx(expected.mean), pytest.approx(expected.se))
    assert found.components == pytest.approx(expected.components)


def test_blocks_are_equally_many_neighboring_ids():
    values, examples, runs = effects(np.random.default_rng(0), 1, 0.1, 0.1)
    ids = 3 * examples + 5  # with gaps
    found = clustered_mean(values, ids, runs, blocks=8)
    assert found.se == pytest.approx(formula(values, examples // 5, runs))
    assert (found.df, found.examples) == (7, 40)
    assert clustered_mean(values, ids, runs, blocks=1000) == clustered_mean(values, ids, runs)


def test_examples_that_are_alike_within_a_block_widen_the_interval_by_block():
    rng = np.random.default_rng(0)
    example, run = drawn(rng, 400, 3, 5)
    values = rng.normal(size=20)[example // 20] + rng.normal(size=len(run))
    assert clustered_mean(values, example, run, blocks=20).se > 2 * clustered_mean(values, example, run).se


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_examples_that_never_disagree_do_not_prove_that_they_never_will(value):
    _, examples, runs = constant(0, 400)
    found = clustered_mean(np.full(len(runs), value), examples, runs)
    low, high = found.interval()
    exact = stats.binomtest(0, 400).proportion_ci(0.95, method="exact").high  # 0.92 % of new examples may disagree
    assert high - value > exact > 0.0075  # the bound of one side
    assert value - low > exact


def test_floor_holds_for_rare_disagreements_and_for_noise_but_not_where_many_vary():
    assert clustered_mean(*constant(0, 1597)).se == 2 / 1597
    assert clustered_mean(*constant(3, 1597)).se == 2 / 1597  # 1.7 / 1597 by the formula
    assert clustered_mean(*constant(3, 1597), unit=0.1).se == pytest.approx(formula(*constant(3, 1597)))
    values, examples, runs = constant(0, 1597)
    noise = 1e-7 * np.random.default_rng(0).normal(size=len(values))
    assert clustered_mean(noise, examples, runs).se == 2 / 1597
    smooth = 0.01 * np.random.default_rng(0).normal(size=len(values))
    assert clustered_mean(smooth, examples, runs).se == pytest.approx(formula(smooth, examples, runs))


def test_values_that_cancel_in_every_cluster_have_no_interval_of_width_zero():
    examples, runs = np.tile(np.arange(40), 2), np.repeat([0, 1], 40)
    values = np.where((examples + runs) % 2, 1.0, -1.0)
    assert clustered_mean(values, examples, runs).se == 2 / 40


@pytest.mark.parametrize(
    ("values", "examples", "runs"), [([1.0, 0.0], [0, 1], [0, 0]), ([1.0, 0.0], [3, 3], [0, 1]), ([], [], [])]
)
def test_one_run_or_one_example_is_unknown(values, examples, runs):
    found = clustered_mean(values, examples, runs)
    assert not found.known
    assert np.isnan(found.interval()).all()
    assert np.isnan(list(found.components.values())).all()
    assert found.count == len(values)


def test_variance_components_are_unbiased():
    rng = np.random.default_rng(0)
    found = [clustered_mean(*effects(rng, 0.6, 0.8, 1.0)).components for _ in range(300)]
    means = {name: np.mean([each[name] for each in found]) for name in found[0]}
    assert means == pytest.approx({"example": 0.36, "run": 0.64, "residual": 1.0}, rel=0.12)


def test_variance_components_of_complete_tables_are_those_of_the_analysis_of_variance():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(30, 1)) + rng.normal(size=(1, 6)) + rng.normal(size=(30, 6))
    rows, columns = np.indices(table.shape).reshape(2, -1)
    residual = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    error = np.sum(residual**2) / (29 * 5)
    expected = {
        "example": (6 * table.mean(1).var(ddof=1) - error) / 6,
        "run": (30 * table.mean(0).var(ddof=1) - error) / 30,
        "residual": error,
    }
    assert clustered_mean(table.ravel(), rows, columns).components == pytest.approx(expected)


def test_what_one_seed_cannot_tell_apart_counts_as_the_examples():
    rng = np.random.default_rng(0)
    example, run = drawn(rng, 4000, 1, 5)
    found = clustered_mean(rng.normal(size=4000) + rng.normal(size=4000), example, run).components
    assert found["residual"] == 0
    assert found["example"] == pytest.approx(2, rel=0.1)


def test_share_of_examples_that_vary():
    values, examples, _ = constant(3, 40)
    assert varying_share(values, examples) == 3 / 40
    assert varying_share(1 - values, examples) == 3 / 40
    assert varying_share(1e-7 * values, examples) == 0
    assert varying_share([], []) == 0


def coverage(draw, mean, repetitions, **design):
    rng = np.random.default_rng(0)
    intervals = np.array([clustered_mean(*draw(rng, **design)).interval() for _ in range(repetitions)])
    return np.mean((intervals[:, 0] <= mean) & (mean <= intervals[:, 1]))


@pytest.mark.parametrize(("draw", "mean"), [(even, 0.0), (lopsided, LOPSIDED_MEAN)])
def test_intervals_cover_new_examples_and_runs_as_often_as_they_say(draw, mean):
    assert 0.93 <= coverage(draw, mean, 300) <= 0.99


@pytest.mark.long
@pytest.mark.parametrize("seeds", [2, 3, 10])
@pytest.mark.parametrize(("draw", "mean"), [(even, 0.0), (lopsided, LOPSIDED_MEAN)])
def test_intervals_cover_as_often_as_they_say_with_more_repetitions(draw, mean, seeds):
    assert 0.94 <= coverage(draw, mean, 1500, seeds=seeds) <= 0.99


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": [1.0], "examples": [1, 2], "runs": [1]}, "must be equal"),
        ({"values": [[1.0]], "examples": [[1]], "runs": [[1]]}, "must be equal"),
        ({"values": [1.0, math.nan], "examples": [1, 2], "runs": [1, 2]}, "values with 1 that are not finite"),
        ({"values": [1.0], "examples": [1], "runs": [1], "blocks": -1}, "blocks=-1: must be at least 0"),
        ({"values": [1.0], "examples": [1], "runs": [1], "unit": 0.0}, "unit=0.0: must be above 0"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        clustered_mean(**arguments)


def test_confidence_outside_0_and_1_is_refused():
    with pytest.raises(ValueError, match=r"confidence=95: must be inside \(0, 1\); use 0.95 for 95 %"):
        clustered_mean(*constant(1, 20)).interval(95)


def test_max_relative_difference():
    assert max_relative_difference([[1.0, -3.0]], [[1.0, -4.0]]) == 0.25
    assert max_relative_difference([0.0], [0.0]) == 0
    assert max_relative_difference([1.0], [0.0]) == math.inf
    assert math.isnan(max_relative_difference([math.nan, 1.0], [1.0, 1.0]))
    with pytest.raises(ValueError, match=r"a of shape \(0,\): must hold at least one value"):
        max_relative_difference([], [])
    with pytest.raises(ValueError, match="must have equal shapes"):
        max_relative_difference([1.0], [1.0, 2.0])


def test_numbers_in_words():
    assert number(-1e-9, signed=True) == "0.00"
    assert (number(0.5, 1, signed=True), number(-0.5, 1)) == ("+0.5", "-0.5")
    assert (scientific(0.0), scientific(1.26e-7)) == ("0", "1.3e-07")
