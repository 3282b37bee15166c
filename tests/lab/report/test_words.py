import dataclasses
import math

import pytest
from synthetic_report import make_experiment

from fcnjax.lab.claims import Equivalence, Exact, Superiority, difference
from fcnjax.lab.decisions import Decision
from fcnjax.lab.report import words
from fcnjax.lab.statistics import Estimate

CLAIM = Superiority("The maximum is better", difference("max-pool", "linear-gap"))
ESTIMATE = Estimate(0.0123, 0.004, 14, 100, 15, 1500, dict.fromkeys(("example", "run", "residual"), 0.0))


def decided(verdict, **changes):
    claim = dataclasses.replace(CLAIM, **changes)
    return Decision(claim, verdict, ESTIMATE, p=0.01, low=0.0037, high=0.0209)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: words.number_words(-0.001), "0.00"),
        (lambda: words.number_words(1.234, signed=True), "+1.23"),
        (lambda: words.number_words(math.nan), "unknown"),
        (lambda: words.interval_words(98.3, 97.9, 98.7, 1), "98.3 [97.9, 98.7]"),
        (lambda: words.interval_words(98.3, math.nan, math.inf, 1), "98.3 [unknown]"),
        (lambda: words.p_words(None), "-"),
        (lambda: words.p_words(2e-6), "< 0.0001"),
        (lambda: words.effect_words(decided("holds")), "+1.23 [+0.37, +2.09]"),
        (lambda: words.effect_words(decided("holds", scale=1.0)), "+0.012 [+0.004, +0.021]"),
        (lambda: words.count_words({"holds": 1}), "Of 1 claim, 1 holds."),
        (lambda: words.count_words({"fails": 2, "not decided": 1}), "Of 3 claims, 2 fail and 1 is not decided."),
        (lambda: words.count_words({"holds": 2, "not decided": 2}), "Of 4 claims, 2 hold and 2 are not decided."),
    ],
)
def test_numbers_and_counts_in_words(call, expected):
    assert call() == expected


@pytest.mark.parametrize(
    ("verdict", "control", "expected", "tone", "symbol"),
    [
        ("holds", False, "holds", "good", "✓"),
        ("fails", False, "fails, below the margin of 1 point", "bad", "✗"),
        ("not decided", False, "not decided", "open", "?"),
        (None, False, "no verdict", "plain", "·"),
        ("fails", True, "fails, as it must", "good", "✓"),
        ("holds", True, "holds, but must fail", "bad", "✗"),
        ("not decided", True, "not decided, but must fail", "bad", "✗"),
    ],
)
def test_a_verdict_has_words_and_a_symbol_besides_its_color(verdict, control, expected, tone, symbol):
    found = words.verdict_of(decided(verdict, control=control))
    assert (found.words, found.tone, found.symbol) == (expected, tone, symbol)


def test_an_effect_below_the_margin_is_said():
    found = words.verdict_of(dataclasses.replace(decided("holds"), below_margin=True))
    assert (found.words, found.short) == ("holds, below the margin of 1 point", "holds, below margin")


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        (CLAIM, "fails, below the margin of 1 point"),
        (dataclasses.replace(CLAIM, margin=0.005), "fails, below the margin of 0.5 points"),
        (
            dataclasses.replace(CLAIM, margin=0.05, scale=1.0, unit="nats per area"),
            "fails, below the margin of 0.05 nats",
        ),
        (Equivalence("They are equal", CLAIM.contrast), "fails, outside the margin of 1 point"),
        (Exact("Two are one", "n", ("linear-gap",), at_most=0.0), "fails"),
    ],
)
def test_a_failure_says_on_which_side_of_the_margin(claim, expected):
    exact = isinstance(claim, Exact)
    found = Decision(claim, "fails", number=0.5) if exact else dataclasses.replace(decided("fails"), claim=claim)
    assert words.verdict_of(found).words == expected


def test_the_answer_names_the_margin_of_its_first_claim():
    experiment = make_experiment()
    small = Decision(CLAIM, "fails", ESTIMATE, p=0.01, low=0.0037, high=0.0095)
    assert words.answer_words(experiment, "digits", [small]) == (
        "The first claim fails, below the margin (+1.23 [+0.37, +0.95] points of accuracy, margin 1 point): "
        '"The maximum is better". Of 1 claim, 1 fails.'
    )
    opened = dataclasses.replace(small, verdict="not decided")
    assert "The first claim is not decided (+1.23 [+0.37, +0.95] points of accuracy, margin 1 point)" in (
        words.answer_words(experiment, "digits", [opened])
    )


def test_counts_and_the_answer_leave_controls_and_claims_without_verdict_out():
    experiment = make_experiment()
    exact = Exact("Two are one", "n", ("linear-gap",), at_most=0.0)
    again = dataclasses.replace(CLAIM, contrast=difference("linear-again", "linear-gap"))
    decisions = [
        decided("fails", control=True),
        decided(None, exploratory=True),
        dataclasses.replace(decided("holds"), claim=again),
        Decision(exact, "holds", number=0.0),
        decided("not decided"),
    ]
    assert [words.kind_of(experiment, decision) for decision in decisions] == [
        "control",
        "exploratory",
        "control",
        "exact",
        "primary",
    ]
    assert words.verdict_counts(experiment, decisions) == {"holds": 1, "not decided": 1}
    assert words.answer_words(experiment, "digits", decisions) == (
        'The first claim holds (0, exact): "Two are one". Of 2 claims, 1 holds and 1 is not decided.'
    )
