import math

import numpy as np
import pytest
from scipy import stats

from fcnjax import lab

T_975 = {2: 12.706205, 3: 4.302653, 5: 2.776445, 10: 2.262157}  # printed t tables, n - 1 degrees of freedom


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_mean_interval_equals_the_formula_with_tabled_quantiles(n):
    x = np.random.default_rng(n).normal(0.97, 0.01, n)
    mean = sum(x) / n
    deviation = math.sqrt(sum((v - mean) ** 2 for v in x) / (n - 1))
    half = T_975[n] * deviation / math.sqrt(n)
    found = lab.mean_interval(x)
    np.testing.assert_allclose([found.mean, found.low, found.high], [mean, mean - half, mean + half], rtol=1e-6)
    assert found.n == n


def test_nearly_equal_samples_have_an_interval_without_warnings():
    found = lab.mean_interval([0.97, np.nextafter(0.97, 1)])
    assert 0 < found.high - found.low < 1e-14


def test_mean_interval_by_hand():
    found = lab.mean_interval([1.0, 2.0, 3.0])  # s = 1, half = 4.302653 / sqrt(3)
    assert found.mean == 2
    assert found.high - found.mean == pytest.approx(2.484138, abs=1e-6)


def test_higher_confidence_is_wider():
    narrow, wide = (lab.mean_interval([1.0, 2.0, 4.0], confidence) for confidence in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(0)
    covered = [lab.mean_interval(rng.normal(3.0, 2.0, 5)).contains(3.0) for _ in range(2000)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


def test_one_sample_is_unknown_and_says_so():
    found = lab.mean_interval([0.97])
    assert (found.mean, found.n, found.known) == (0.97, 1, False)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.contains(0.97) is None
    assert found.words(scale=100) == "97.00 [unknown, n = 1]"


def test_equal_samples_give_width_zero_at_exactly_their_value():
    found = lab.mean_interval([0.1] * 3)  # sum([0.1] * 3) / 3 is not 0.1
    assert (found.low, found.mean, found.high) == (0.1, 0.1, 0.1)
    assert found.contains(0.1)


def test_a_sample_that_is_not_finite_makes_the_interval_unknown():
    assert not lab.mean_interval([1.0, math.nan, 2.0]).known
    assert not lab.mean_interval([1.0, math.inf]).known


def test_paired_interval_ignores_what_pairs_share():
    shared = np.array([0.90, 0.95, 0.99, 0.93])
    found = lab.paired_interval(shared + np.array([0.01, 0.02, 0.01, 0.02]), shared)
    assert found.mean == pytest.approx(0.015)
    assert found.high - found.low < 0.02
    assert found.contains(0.0) is False


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lab.mean_interval([]), r"x of shape \(0,\): must be \[n\] with n at least 1"),
        (lambda: lab.mean_interval([[1.0]]), r"x of shape \(1, 1\): must be \[n\]"),
        (lambda: lab.mean_interval([1.0, 2.0], 95), "confidence=95: must be inside"),
        (lambda: lab.paired_interval([1.0, 2.0], [1.0]), "must have equal shapes"),
        (lambda: lab.proportion_interval(5, 4), "successes=5, count=4: must be 0 <= successes <= count"),
        (lambda: lab.max_relative_difference([], []), r"a of shape \(0,\): must hold at least one value"),
        (lambda: lab.max_relative_difference([1.0], [1.0, 2.0]), "must have equal shapes"),
    ],
)
def test_impossible_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_proportion_interval_solves_its_equation():
    # Wilson's bounds solve |p - bound| = z sqrt(bound (1 - bound) / n).
    found = lab.proportion_interval(76, 80)
    for bound in (found.low, found.high):
        assert abs(0.95 - bound) == pytest.approx(1.959964 * math.sqrt(bound * (1 - bound) / 80), rel=1e-5)


@pytest.mark.parametrize("successes", [0, 3, 79, 80])
def test_proportion_interval_of_whole_numbers_is_that_of_scipy(successes):
    found = lab.proportion_interval(successes, 80, 0.9)
    expected = stats.binomtest(successes, 80).proportion_ci(0.9, method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("successes", [0, 7])
def test_proportion_interval_stays_within_bounds_and_never_has_width_zero(successes):
    found = lab.proportion_interval(successes, 7)
    assert 0 <= found.low <= successes / 7 <= found.high <= 1
    assert found.high - found.low > 0.3


def test_proportion_difference_reproduces_newcombes_example():
    # Newcombe 1998, table II (a): 56/70 - 48/80, method 10: 0.0524 to 0.3339.
    found = lab.proportion_difference(lab.proportion_interval(56, 70), lab.proportion_interval(48, 80))
    assert (found.mean, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_max_relative_difference():
    assert lab.max_relative_difference([[1.0, -3.0]], [[1.0, -4.0]]) == 0.25
    assert lab.max_relative_difference([0.0], [0.0]) == 0
    assert lab.max_relative_difference([1.0], [0.0]) == math.inf
    assert math.isnan(lab.max_relative_difference([math.nan, 1.0], [1.0, 1.0]))


def test_words_never_write_a_signed_zero():
    assert lab.Interval(-1e-9, -1.0, 1.0, 5).words(signed=True) == "0.00 [-1.00, +1.00]"
