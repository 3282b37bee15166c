"""Figures of an evaluation against scikit-learn and PyTorch, and properties that hold for any logits."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from synthetic_data import draw_logits

from fcnjax.training.evaluation.metrics import CALIBRATION_BINS, measure, shares


@pytest.mark.parametrize("classes", [2, 5, 6, 40])
def test_counts_are_those_of_scikit_learn(classes):
    logits, labels, sizes = draw_logits(5000, classes)  # more rows than one block of `measure`
    metrics, known = measure(logits, labels, sizes), np.arange(classes)
    assert metrics.ks == ((1, 5) if classes > 5 else (1,))
    for k in metrics.ks:
        if classes > 2:  # for two classes, scikit-learn expects one score per example
            wanted = sklearn_metrics.top_k_accuracy_score(labels, logits, k=k, labels=known, normalize=False)
            assert metrics.correct(k) == wanted
            assert metrics.accuracy(k) == wanted / 5000
    np.testing.assert_array_equal(metrics.predictions, logits.argmax(1))
    np.testing.assert_array_equal(metrics.confusion, sklearn_metrics.confusion_matrix(labels, logits.argmax(1)))
    assert metrics.confusion.dtype == np.int64
    assert 0 < metrics.correct() < metrics.count == 5000
    assert metrics.correct(classes) == 5000


def test_loss_and_probabilities_are_those_of_scikit_learn_and_pytorch():
    torch = pytest.importorskip("torch")
    logits, labels, sizes = draw_logits(300, 7)
    metrics, scores = measure(logits, labels, sizes), torch.tensor(logits, dtype=torch.float64)
    probabilities = torch.softmax(scores, 1).numpy()
    assert metrics.loss == pytest.approx(
        sklearn_metrics.log_loss(labels, probabilities, labels=np.arange(7)), rel=1e-12
    )
    each = torch.nn.functional.cross_entropy(scores, torch.tensor(labels), reduction="none").numpy()
    np.testing.assert_allclose(metrics.losses, each, rtol=1e-12)
    np.testing.assert_allclose(metrics.probabilities, probabilities.max(1), rtol=1e-12)


def test_logits_far_from_zero_neither_overflow_nor_lose_digits():
    logits, labels, sizes = draw_logits(50, 4)
    metrics, far = measure(logits, labels, sizes), measure(logits.astype(np.float64) + 1e6, labels, sizes)
    np.testing.assert_allclose(far.losses, metrics.losses, atol=1e-9)
    certain = measure(np.array([[0.0, -np.inf], [1e4, 0.0]]), np.array([0, 1]), np.ones((2, 1)))
    np.testing.assert_array_equal(certain.losses, [0.0, 1e4])
    np.testing.assert_array_equal(certain.probabilities, [1.0, 1.0])


def test_of_equal_logits_the_first_stands_first_as_in_argmax():
    logits = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    metrics = measure(logits, np.array([0, 1, 2]), np.ones((3, 2)))
    assert metrics.ranks.tolist() == [0, 1, 2]
    assert [metrics.correct(k) for k in (1, 2, 3)] == [1, 2, 3]
    assert metrics.predictions.tolist() == [0, 0, 0]


def test_per_class_figures_are_those_of_a_loop():
    logits, labels, sizes = draw_logits(400, 6)
    labels[labels == 4] = 3  # a class without examples
    metrics = measure(logits, labels, sizes)
    for index in range(6):
        own = logits[labels == index].argmax(1) == index
        assert (metrics.class_correct[index], metrics.class_counts[index]) == (own.sum(), len(own))
    accuracy = shares(metrics.class_correct, metrics.class_counts)
    assert np.isnan(accuracy[4])
    assert accuracy[0] == (logits[labels == 0].argmax(1) == 0).mean()


def test_calibration_error_is_the_sum_over_bins_of_the_paper():
    logits, labels, sizes = draw_logits(700, 8, scale=1.0)
    logits *= 2  # overconfident
    metrics = measure(logits, labels, sizes)
    probabilities = np.exp(logits.astype(np.float64))
    probabilities /= probabilities.sum(1, keepdims=True)
    top, right = probabilities.max(1), probabilities.argmax(1) == labels
    error = 0.0
    for m in range(1, CALIBRATION_BINS + 1):
        inside = (top > (m - 1) / CALIBRATION_BINS) & (top <= m / CALIBRATION_BINS)
        assert metrics.calibration.counts[m - 1] == inside.sum()
        assert metrics.calibration.correct[m - 1] == right[inside].sum()
        if inside.any():
            error += inside.sum() / 700 * abs(right[inside].mean() - top[inside].mean())
    assert metrics.calibration.error == pytest.approx(error, rel=1e-12)
    assert error > 0.05  # large enough to notice a mistake


@pytest.mark.parametrize(("scale", "right", "error"), [(50.0, 10, 0.0), (50.0, 7, 0.3), (0.0, 5, 0.0)])
def test_calibration_at_its_limits(scale, right, error):
    """Certain and always right: 0. Certain and wrong in 3 of 10: 0.3. Right half of the time at probability 0.5: 0."""
    logits = np.tile([scale, 0.0], (10, 1))
    metrics = measure(logits, np.arange(10) >= right, np.ones((10, 2)))
    assert metrics.calibration.error == pytest.approx(error, abs=1e-12)


def test_a_calibration_bin_includes_its_upper_edge_and_excludes_its_lower_one():
    edges = np.arange(CALIBRATION_BINS + 1) / CALIBRATION_BINS
    metrics = measure(*draw_logits(len(edges), 3))
    at_edges = dataclasses.replace(metrics, probabilities=edges)
    assert at_edges.calibration.counts.tolist() == [2] + [1] * (CALIBRATION_BINS - 1)  # 0 is in the first bin
    above = dataclasses.replace(metrics, probabilities=np.minimum(np.nextafter(edges, 2), 1))
    assert above.calibration.counts.tolist() == [1] * (CALIBRATION_BINS - 1) + [2]  # 1 is in the last bin


@given(st.lists(st.integers(1, 12), min_size=1, max_size=60), st.integers(1, 6), st.integers(0, 99))
def test_size_groups_never_tear_equal_sizes_apart(lengths, groups, seed):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(len(lengths), 3)), rng.integers(3, size=len(lengths))
    metrics = measure(logits, labels, np.array(lengths)[:, None])
    found = metrics.by_size(groups)
    assert 1 <= len(found) <= groups
    assert sum(group.examples for group in found) == len(lengths)
    assert sum(group.correct for group in found) == metrics.correct()
    for group in found:
        inside = [group.smallest <= length <= group.largest for length in lengths]
        assert group.examples == sum(inside) > 0
    assert all(a.largest < b.smallest for a, b in pairwise(found))


@given(st.integers(1, 80), st.integers(1, 8))
def test_size_groups_of_distinct_sizes_are_of_equal_count(count, groups):
    lengths = np.random.default_rng(0).permutation(count)[:, None] + 1
    counts = [group.examples for group in measure(np.zeros((count, 2)), np.zeros(count, int), lengths).by_size(groups)]
    assert len(counts) == min(groups, count)
    assert max(counts) - min(counts) <= 1


def test_the_order_of_the_examples_is_no_matter_and_what_has_no_logits_is_left_out():
    logits, labels, sizes = draw_logits(60, 6)
    metrics = measure(logits, labels, sizes)
    places = np.random.default_rng(1).permutation(75)[:60]
    wide = [np.full((75, 6), np.nan, np.float32), np.full(75, -1), np.ones((75, 2), int)]
    for array, given_ in zip(wide, (logits, labels, sizes), strict=True):
        array[places] = given_
    moved = measure(*wide)
    assert (moved.count, moved.left_out, metrics.left_out) == (60, 15, 0)
    np.testing.assert_array_equal(np.flatnonzero(moved.known), np.sort(places))
    for figure in ("confusion", "class_correct", "class_counts"):
        np.testing.assert_array_equal(getattr(moved, figure), getattr(metrics, figure))
    np.testing.assert_array_equal(moved.calibration.counts, metrics.calibration.counts)
    assert (moved.correct(5), moved.by_size()) == (metrics.correct(5), metrics.by_size())
    assert moved.loss == pytest.approx(metrics.loss, rel=1e-12)


@pytest.mark.parametrize("right", [True, False])
def test_a_single_example_counts_in_full(right):
    metrics = measure(np.array([[2.0, 1.0]]), np.array([0 if right else 1]), np.array([[3, 4]]))
    assert (metrics.count, metrics.accuracy(), metrics.accuracy(2)) == (1, float(right), 1.0)
    assert shares(metrics.class_correct, metrics.class_counts)[0 if right else 1] == float(right)
    probability = 1 / (1 + np.exp(-1))
    assert metrics.loss == pytest.approx(-np.log(probability if right else 1 - probability))
    assert metrics.calibration.error == pytest.approx(abs(right - probability))


def test_one_logit_that_is_not_a_number_makes_an_example_unknown():
    logits = np.array([[2.0, 1.0], [np.nan, 1.0], [0.0, 3.0], [2.0, np.nan]])
    metrics = measure(logits, np.array([0, 1, 1, -1]), np.ones((4, 2), int))
    assert metrics.known.tolist() == [True, False, True, False]
    assert (metrics.count, metrics.correct()) == (2, 2)


def test_without_any_logits_counts_are_zero_and_means_are_nan():
    metrics = measure(np.full((3, 2), np.nan), np.full(3, -1), np.ones((3, 2)))
    assert (metrics.count, metrics.left_out, metrics.correct(), metrics.accuracy()) == (0, 3, 0, 0)
    assert metrics.by_size() == []
    assert np.isnan([metrics.loss, metrics.calibration.error]).all()
    assert metrics.confusion.tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": np.array([0, 3])}, r"labels\[1\]=3: must be 0 to 2, one of the 3 classes"),
        ({"labels": np.array([-1, 0])}, r"labels\[0\]=-1: must be 0 to 2"),
        ({"labels": np.array([0])}, r"labels\.shape=\(1,\)"),
        ({"logits": np.zeros(2)}, r"logits\.shape=\(2,\)"),
        ({"sizes": np.zeros((3, 2))}, r"sizes\.shape=\(3, 2\): must be \[N, K\], \[N\] and \[N, D\]"),
    ],
)
def test_what_does_not_fit_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        measure(**{"logits": np.zeros((2, 3)), "labels": np.array([0, 1]), "sizes": np.ones((2, 2))} | changed)


def test_figures_that_mean_nothing_are_refused():
    metrics = measure(np.zeros((2, 3)), np.array([0, 1]), np.ones((2, 2)))
    for k in (0, 4):
        with pytest.raises(ValueError, match=f"k={k}: must be 1 to 3"):
            metrics.correct(k)
    with pytest.raises(ValueError, match="groups=0: must be at least 1"):
        metrics.by_size(0)
