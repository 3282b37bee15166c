"""A network at several sizes: the terms, the sizes and values that they stand for, and figures of groups."""

import math

import numpy as np
import pytest
from synthetic_data import draw_logits

from fcnjax.data import ArraySource
from fcnjax.training import EvaluationResult, check_sizes, measure, parse_sizes, sweep
from fcnjax.training.evaluation.groups import accuracy_interval, grouped
from fcnjax.training.evaluation.sweep_report import sweep_rows, sweep_tables

NATIVE = np.array([[10, 20], [30, 12], [7, 7]])


def sizes_of(term: str, native=NATIVE) -> list[list[int]]:
    (parsed,) = parse_sizes(term, native.shape[1])
    return parsed.sizes(native).tolist()


def test_terms_stand_for_sizes_of_images():
    assert sizes_of("28x16") == [[28, 16]] * 3
    assert sizes_of("14px") == [[14, 28], [35, 14], [14, 14]]
    assert sizes_of("0.5") == [[5, 10], [15, 6], [4, 4]]  # 3.5 to the even number
    assert sizes_of("1") == sizes_of("1.0") == NATIVE.tolist()
    assert sizes_of(".01") == [[1, 1]] * 3
    assert [term.text for term in parse_sizes(" 2, 3px,4x5", 2)] == ["2", "3px", "4x5"]


def test_terms_stand_for_lengths_of_signals_which_are_never_longer_than_they_were():
    lengths = np.array([[100], [40]])
    assert sizes_of("50", lengths) == [[50], [40]]
    assert sizes_of("0.5", lengths) == [[50], [20]]
    assert sizes_of("1", lengths) == lengths.tolist()


@pytest.mark.parametrize("term", ["", "28", "28x", "x28", "-1", "0", "0x3", "16", "1e3", "nan", "3px4", "2x2x2", "²"])
def test_a_term_of_another_form_is_refused_with_what_may_be_given(term):
    with pytest.raises(ValueError, match=r"sizes=.*: term '.*' must be one of HxW such as 28x16, shorter sides"):
        parse_sizes(f"1,{term}", 2)


def test_what_cannot_be_asked_for_is_refused():
    with pytest.raises(ValueError, match="scale 1.5 must be at most 1, as signals are cut"):
        parse_sizes("0.5,1.5", 1)
    with pytest.raises(ValueError, match="term '8x8' must be one of numbers of samples"):
        parse_sizes("8x8", 1)
    with pytest.raises(ValueError, match="'2' must occur once"):
        parse_sizes("2,3,2", 2)
    with pytest.raises(ValueError, match="only images and signals can be brought to other sizes"):
        parse_sizes("0.5", 3)


def test_sizes_that_the_network_cannot_take_are_refused_before_anything_is_read():
    class Unread(ArraySource):
        def __getitem__(self, index, /):
            raise AssertionError("an example was read")

    source = Unread([np.zeros((*size, 1), np.uint8) for size in NATIVE], [0, 0, 0])
    check_sizes(parse_sizes("0.5,28x16", 2), source, (4, 4), 500)
    with pytest.raises(ValueError, match=r"sizes=0.5: brings 1 of 3 examples below .* 5x4 \(example 2: 4x4 .*from 7x7"):
        check_sizes(parse_sizes("1,0.5", 2), source, (5, 4), 500)
    with pytest.raises(ValueError, match="sizes=30x30: brings 3 of 3 examples above 500 positions"):
        check_sizes(parse_sizes("30x30", 2), source, (4, 4), 500)


def test_images_are_resampled_and_signals_are_cut_to_their_middle():
    image = np.repeat(np.arange(8, dtype=np.uint8)[:, None, None] * 30, 8, axis=1)
    scaled = parse_sizes("4x8", 2)[0].changed(ArraySource([image], [0]))[0].values
    assert scaled.shape == (4, 8, 1)
    np.testing.assert_allclose(scaled[1:3, 0, 0], [75, 135], atol=2)  # the means of two rows
    same = parse_sizes("1", 2)[0].changed(ArraySource([image], [0]))[0].values
    np.testing.assert_array_equal(same, image)
    signal = np.arange(40, dtype=np.float32)[:, None]
    cut = parse_sizes("20", 1)[0].changed(ArraySource([signal], [0]))[0].values
    np.testing.assert_array_equal(cut, signal[10:30])


def result_of(logits, labels, sizes) -> EvaluationResult:
    metrics = measure(logits, labels, sizes)
    return EvaluationResult(metrics.loss, metrics.correct(), metrics.count, logits, labels, sizes, metrics.left_out)


def test_a_sweep_evaluates_the_same_examples_at_every_size():
    logits, labels, sizes = draw_logits(40, 3)
    logits[5] = np.nan
    native = ArraySource([np.full((*size, 1), i, np.uint8) for i, size in enumerate(sizes)], labels, ["a", "b", "c"])
    seen = []

    def evaluate(source) -> EvaluationResult:
        seen.append((source.ids.tolist(), source.sizes.tolist()))
        return result_of(-logits[source.ids], labels[source.ids], source.sizes)

    found = sweep(evaluate, native, result_of(logits, labels, sizes), parse_sizes("6x9,2", 2))
    known = [i for i in range(40) if i != 5]
    assert seen == [(known, [[6, 9]] * 39), (known, (2 * sizes[known]).tolist())]
    assert [(each.name, each.metrics.count) for each in found] == [("own", 39), ("6x9", 39), ("2", 39)]
    np.testing.assert_array_equal(found[1].native, sizes[known])
    header, *rows = ([*row] for row in sweep_rows(found))
    for name, wanted in (("own", logits), ("6x9", -logits)):
        alone = measure(wanted[known], labels[known], sizes[known])
        row = dict(zip(header, next(row for row in rows if row[:2] == [name, "all"]), strict=True))
        assert (row["correct"], row["log_loss"]) == (alone.correct(), alone.loss)
        assert row["calibration_error"] == alone.calibration.error
        for by in ("area", "aspect"):
            assert sum(row[4] for row in rows if row[:2] == [name, by]) == 39
            assert sum(row[5] for row in rows if row[:2] == [name, by]) == alone.correct()
    titles = [table.title for table in sweep_tables(found)]
    assert titles == ["at other sizes", "own size, by area", "own size, by aspect"]


def test_signals_are_grouped_by_length_alone_and_those_that_stay_whole_are_counted():
    labels, lengths = np.array([0, 1, 0, 1]), np.array([[20], [30], [40], [50]])
    logits = np.eye(2)[[0, 1, 1, 1]]
    native = ArraySource([np.zeros((n, 1), np.float32) for (n,) in lengths.tolist()], labels, ["a", "b"])

    def evaluate(source) -> EvaluationResult:
        return result_of(logits, labels, source.sizes)

    found = sweep(evaluate, native, result_of(logits, labels, lengths), parse_sizes("35,0.5", 1))
    assert [each.shorter for each in found] == [0, 2, 0]
    assert [(name, group.lowest, group.metrics.correct()) for name, group in found[0].by(2)] == [
        ("length", 20, 2),
        ("length", 40, 1),
    ]


def test_groups_hold_the_figures_of_their_examples():
    logits, labels, sizes = draw_logits(100, 4)
    ratios = sizes[:, 1] / sizes[:, 0]
    groups = grouped(measure(logits, labels, sizes), ratios, 3)
    assert sum(group.metrics.count for group in groups) == 100
    for group in groups:
        members = (ratios >= group.lowest) & (ratios <= group.highest)
        alone = measure(logits[members], labels[members], sizes[members])
        assert group.metrics.loss == pytest.approx(alone.loss, rel=1e-12)
        assert group.metrics.calibration.error == pytest.approx(alone.calibration.error)
        np.testing.assert_array_equal(group.metrics.confusion, alone.confusion)


def test_the_interval_is_that_of_wilson():
    z = 1.959963984540054
    for correct, count in ((0, 10), (7, 10), (10, 10)):
        share, spread = correct / count, z**2 / count
        middle = (share + spread / 2) / (1 + spread)
        half = z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
        np.testing.assert_allclose(accuracy_interval(correct, count), (middle - half, middle + half), atol=1e-9)
    assert accuracy_interval(0, 0) == (0, 1)
