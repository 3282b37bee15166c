"""Ratios of step times, and timings that go on where they stopped."""

import dataclasses
from contextlib import ExitStack

import numpy as np
import pytest

from fcnjax.atomic import locked_folder
from fcnjax.lab import timing
from fcnjax.lab.timing import step_time_ratio, time_steps, timed_recipes
from fcnjax.training import DataSettings, ModelSettings, Recipe
from fcnjax.training.run.run_folder import environment

RECIPES = {name: Recipe(DataSettings("any_size_digits"), epochs=epochs) for name, epochs in (("a", 1), ("b", 2))}


def test_a_ratio_is_the_geometric_mean_with_the_t_interval_of_its_logarithm():
    times = {"a": [2.0, 4.0, 2.0], "b": [1.0, 1.0, 2.0]}  # ratios 2, 4, 1
    found = step_time_ratio(times, "a", "b")
    logs = np.log([2, 4, 1])
    half = 4.302653 * logs.std(ddof=1) / np.sqrt(3)  # 0.975 quantile of t with 2 degrees of freedom
    assert found.ratio == pytest.approx(2)
    assert (found.low, found.high) == pytest.approx((2 * np.exp(-half), 2 * np.exp(half)), rel=1e-5)
    assert (found.milliseconds, found.processes) == (2.0, 3)


def test_a_slow_round_cancels_out_of_the_ratio():
    steady = {"a": [3.0] * 4, "b": [2.0] * 4}
    slow = {arm: [1 * values[0], *(7 * value for value in values[1:])] for arm, values in steady.items()}
    assert step_time_ratio(slow, "a", "b").ratio == pytest.approx(1.5)


def test_one_round_is_refused():
    with pytest.raises(ValueError, match="times of 1 rounds: must be of at least 2"):
        step_time_ratio({"a": [1.0], "b": [1.0]}, "a", "b")


@pytest.fixture
def timed(monkeypatch):
    """Counts the processes, which take as long as the recipe has epochs."""
    calls = []

    def process(recipe):
        calls.append(recipe.epochs)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return float(recipe.epochs)

    monkeypatch.setattr(timing, "_timed_process", process)
    return calls


def test_an_interrupted_timing_repeats_its_unfinished_round_only(timed, tmp_path):
    path = tmp_path / "timing.json"
    with pytest.raises(KeyboardInterrupt):
        time_steps(RECIPES, path, rounds=4)
    assert time_steps(RECIPES, path, rounds=4) == {"a": [1.0] * 4, "b": [2.0] * 4}
    assert len(timed) == 6 + 4  # two whole rounds were kept
    time_steps(RECIPES, path, rounds=4)
    assert len(timed) == 10


def test_timings_of_other_recipes_are_not_taken(timed, tmp_path):
    path = tmp_path / "timing.json"
    time_steps({"a": RECIPES["a"]}, path, rounds=2)
    assert time_steps({"a": RECIPES["b"]}, path, rounds=2) == {"a": [2.0] * 2}


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("environment", lambda: {**environment(), "versions": {"jax": "0.0.1"}}),
        ("code_hash", lambda: "other"),
        ("code_of", lambda file: "other"),
    ],
)
def test_timings_of_other_code_or_versions_are_not_taken(timed, tmp_path, monkeypatch, name, changed):
    path = tmp_path / "timing.json"
    time_steps(RECIPES, path, rounds=1)
    time_steps(RECIPES, path, rounds=1)
    assert len(timed) == 2
    monkeypatch.setattr(timing, name, changed)
    time_steps(RECIPES, path, rounds=1)
    assert len(timed) == 4


def test_a_second_process_waits_and_takes_what_the_first_one_measured(timed, tmp_path, monkeypatch):
    path = tmp_path / "timing.json"
    first = time_steps(RECIPES, path, rounds=2)
    measured = path.read_text()
    path.unlink()
    with ExitStack() as other:
        other.enter_context(locked_folder(tmp_path / "locks" / "timing"))

        def end(seconds):
            path.write_text(measured)
            other.close()

        monkeypatch.setattr(timing.time, "sleep", end)
        assert time_steps(RECIPES, path, rounds=2) == first
    assert len(timed) == 4


def test_the_order_of_a_round_is_random(timed, tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(timing, "_timed_process", lambda recipe: order.append(recipe.epochs) or 1.0)
    time_steps(RECIPES, tmp_path / "timing.json", rounds=20)
    first = order[::2]
    assert 5 < first.count(1) < 15


def test_arms_that_differ_in_data_or_rate_alone_are_timed_once():
    faster = dataclasses.replace(RECIPES["a"].optimizer, learning_rate=0.5)
    recipes = {**RECIPES, "c": dataclasses.replace(RECIPES["a"], seed=7, optimizer=faster), "d": RECIPES["b"]}
    assert list(timed_recipes(recipes)) == ["a", "b"]


@pytest.mark.slow
def test_a_process_times_real_steps(tmp_path):
    recipe = Recipe(
        DataSettings("any_size_digits", train_split="train[:32]", validation_split="train[:4]", test_split="train[:4]"),
        ModelSettings(channels=(4,)),
        batch_size=8,
        max_buckets=1,
    )
    (milliseconds,) = time_steps({"a": recipe}, tmp_path / "timing.json", rounds=1)["a"]
    assert 0 < milliseconds < 10_000
