"""The tables and figures of what was measured, on numbers that can be checked by hand."""

import numpy as np
import pytest

from fcnjax.lab import Arm, Experiment, Setting
from fcnjax.lab.observations import Observation, Observations
from fcnjax.lab.report.figures import NARROW, WIDE
from fcnjax.lab.report.measured import drawn_kinds, metric_figure, metric_table, metrics_of, number_table
from fcnjax.lab.report.summaries import summarize
from fcnjax.lab.statistics import clustered_mean

ARMS = (
    Arm("a", "first", {}, ""),
    Arm("b", "second", {}, ""),
    Arm("again", "first again", {}, "", salt=1),
    Arm("broken", "broken", {}, "", control=True),
)
EXPERIMENT = Experiment(
    name="x",
    title="?",
    question="?",
    varies="arm",
    settings={"digits": Setting("configs/digits.py")},
    arms=ARMS,
    claims=(),
    measures=(),
)
NAMES = tuple(arm.name for arm in ARMS[:3])
EXAMPLES = 40


def values_of(arm: str, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([NAMES.index(arm) if arm in NAMES else 9, seed])
    right = (rng.random(EXAMPLES) < 0.75).astype(float)
    found = {
        "accuracy": right,
        "log loss": rng.random(EXAMPLES),
        "accuracy, small": 1 - right,
        "accuracy, large": np.zeros(EXAMPLES),
        "shift, none": np.zeros(EXAMPLES),
        "shift, some": 0.3 + rng.random(EXAMPLES),
    }
    if arm == "b":
        del found["accuracy, large"]
    return found


def run_of(arm: str, seed: int, values=values_of) -> Observation:
    numbers = {"parameters": 10.0, "difference": 1e-7 * (seed + 1), "programs made": 3.0}
    ids, sizes = np.arange(EXAMPLES), np.full((EXAMPLES, 2), 28)
    labels = np.zeros(EXAMPLES, int)
    return Observation(arm, seed, 0, f"{arm}{seed}", ids, values(arm, seed), numbers, np.ones(3), labels, sizes, {})


def observed(values=values_of) -> Observations:
    return Observations(tuple(run_of(arm.name, seed, values) for arm in ARMS for seed in range(3)), 1)


@pytest.fixture(scope="module")
def observations() -> Observations:
    return observed()


@pytest.fixture(scope="module")
def summary(observations):
    return summarize(EXPERIMENT, observations)


def test_metrics_of_one_kind_stand_together(observations):
    metrics = metrics_of(observations, NAMES)
    assert [metric.name for metric in metrics] == [
        "accuracy",
        "accuracy, small",
        "accuracy, large",
        "log loss",
        "shift, none",
        "shift, some",
    ]
    assert [metric.way for metric in metrics[:2]] == ["as they are", "small"]
    # "shift, none" is 0 for every example, and no share of right answers
    assert [metric.percent for metric in metrics] == [True] * 3 + [False] * 3
    assert list(metrics[2].estimates) == ["a", "again"]


def test_accuracy_alone_and_what_is_not_finite_are_left_out():
    def values(arm: str, seed: int) -> dict[str, np.ndarray]:
        odd = np.full(EXAMPLES, np.inf if arm == "b" else 1.0)
        return {"accuracy": np.ones(EXAMPLES), "log loss": odd, "Brier score": np.full(EXAMPLES, np.nan)}

    assert metrics_of(observed(values), NAMES) == ()


def test_the_table_has_the_mean_and_the_clustered_error_of_each_arm(summary, observations):
    table = metric_table(summary, metrics_of(observations, NAMES))
    assert table.columns == ("metric", "first", "second", "first again")
    rows = {row[0]: row[1:] for row in table.rows}
    small = np.concatenate([values_of("a", seed)["accuracy, small"] for seed in range(3)])
    estimate = clustered_mean(small, np.tile(np.arange(EXAMPLES), 3), np.repeat(np.arange(3), EXAMPLES))
    assert rows["accuracy, small, %"][0] == f"{100 * small.mean():.2f} ± {100 * estimate.se:.2f}"
    assert rows["accuracy, large, %"][1] == "-"
    shift = np.mean([values_of("b", seed)["shift, some"] for seed in range(3)])
    assert rows["shift, some"][1].startswith(f"{shift:.3g} ± 0.0")


def test_numbers_that_differ_between_runs_are_shown_as_a_range(summary, observations):
    table = number_table(summary, observations)
    assert table is not None
    assert table.columns == ("arm", "difference", "programs made")  # fewer than arms, so arms have the rows
    assert table.rows == tuple((title, "1e-07 to 3e-07", "3") for title in ("first", "second", "first again"))


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_a_figure_has_a_row_for_each_way_and_a_mark_for_each_arm(summary, observations, width):
    kinds = drawn_kinds(metrics_of(observations, NAMES))
    assert list(kinds) == ["accuracy"]
    figure = metric_figure(summary, kinds["accuracy"], width)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["as they are", "small", "large"]
    marks = [(line.get_xdata()[0], round(line.get_ydata()[0])) for line in axes.lines if len(line.get_xdata()) == 1]
    expected = []
    for row, name in enumerate(("accuracy", "accuracy, small", "accuracy, large")):
        for arm in ("a", "b") if row < 2 else ("a",):
            expected.append((100 * np.mean([values_of(arm, seed)[name] for seed in range(3)]), row))
    np.testing.assert_allclose(marks, expected)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["first", "second"]
