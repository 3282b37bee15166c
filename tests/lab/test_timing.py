"""Ratios of times of training, timings that go on where they stopped, and the steps that stand for an epoch."""

import dataclasses
from contextlib import ExitStack

import jax
import numpy as np
import pytest
from compilations import counted_compilations

from fcnjax import lab
from fcnjax.atomic import locked_folder
from fcnjax.lab import timing
from fcnjax.lab.timing import TimedArm, Timing, Work, spread_batches, time_arms, timed_arms, training_time, work_of
from fcnjax.training import DataSettings, ModelSettings, Recipe, Trainer
from fcnjax.training.run.run_folder import environment

RECIPE = Recipe(DataSettings("any_size_digits"), epochs=1)
ARMS = {"a": TimedArm(RECIPE), "b": TimedArm(dataclasses.replace(RECIPE, epochs=2))}
SAME = {"a": Work(10, 40), "b": Work(10, 40)}


def timings(*milliseconds: float) -> list[Timing]:
    return [Timing(each, 10 * each) for each in milliseconds]


def test_a_ratio_is_the_geometric_mean_with_the_t_interval_of_its_logarithm():
    times = {"a": timings(2.0, 4.0, 2.0), "b": timings(1.0, 1.0, 2.0)}  # ratios 2, 4, 1
    found = training_time(times, SAME, "a", "b")
    logs = np.log([2, 4, 1])
    half = 4.302653 * logs.std(ddof=1) / np.sqrt(3)  # 0.975 quantile of t with 2 degrees of freedom
    assert found.ratio == pytest.approx(2)
    assert (found.low, found.high) == pytest.approx((2 * np.exp(-half), 2 * np.exp(half)), rel=1e-5)
    assert (found.milliseconds, found.compiling, found.processes) == (2.0, 20.0, 3)
    assert (found.seconds, found.images_per_second) == pytest.approx((0.02, 2000))


def test_times_are_those_of_all_steps():
    times = {"a": timings(2.0, 2.0), "b": timings(1.0, 1.0)}
    found = training_time(times, {"a": Work(30, 90), "b": Work(20, 20)}, "a", "b")
    assert (found.ratio, found.seconds, found.images_per_second) == pytest.approx((3.0, 0.06, 1500))


def test_a_slow_round_cancels_out_of_the_ratio():
    steady = {"a": [3.0] * 4, "b": [2.0] * 4}
    slow = {arm: timings(values[0], *(7 * value for value in values[1:])) for arm, values in steady.items()}
    assert training_time(slow, SAME, "a", "b").ratio == pytest.approx(1.5)


def test_one_round_is_refused():
    with pytest.raises(ValueError, match="timings of 1 rounds: must be of at least 2"):
        training_time({"a": timings(1.0), "b": timings(1.0)}, SAME, "a", "b")


@pytest.fixture
def timed(monkeypatch):
    """Counts the processes, which take as long as the recipe has epochs."""
    calls = []

    def process(arm):
        calls.append(arm.recipe.epochs)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return Timing(float(arm.recipe.epochs), 0.5)

    monkeypatch.setattr(timing, "_timed_process", process)
    return calls


def test_an_interrupted_timing_repeats_its_unfinished_round_only(timed, tmp_path):
    path = tmp_path / "timing.json"
    with pytest.raises(KeyboardInterrupt):
        time_arms(ARMS, path, rounds=4)
    assert time_arms(ARMS, path, rounds=4) == {"a": [Timing(1.0, 0.5)] * 4, "b": [Timing(2.0, 0.5)] * 4}
    assert len(timed) == 6 + 4  # two whole rounds were kept
    time_arms(ARMS, path, rounds=4)
    assert len(timed) == 10


@pytest.mark.parametrize(
    "other",
    [
        ARMS["b"],
        TimedArm(RECIPE, folds=2),
        TimedArm(RECIPE, train_examples=9),
        TimedArm(RECIPE, sources=lab.one_size((9, 9))),
    ],
)
def test_timings_of_other_arms_are_not_taken(timed, tmp_path, other):
    path = tmp_path / "timing.json"
    time_arms({"a": ARMS["a"]}, path, rounds=2)
    assert time_arms({"a": other}, path, rounds=2) == {"a": [Timing(other.recipe.epochs, 0.5)] * 2}
    assert len(timed) == 4


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
    time_arms(ARMS, path, rounds=1)
    time_arms(ARMS, path, rounds=1)
    assert len(timed) == 2
    monkeypatch.setattr(timing, name, changed)
    time_arms(ARMS, path, rounds=1)
    assert len(timed) == 4


def test_a_second_process_waits_and_takes_what_the_first_one_measured(timed, tmp_path, monkeypatch):
    path = tmp_path / "timing.json"
    first = time_arms(ARMS, path, rounds=2)
    measured = path.read_text()
    path.unlink()
    with ExitStack() as other:
        other.enter_context(locked_folder(tmp_path / "locks" / "timing"))

        def end(seconds):
            path.write_text(measured)
            other.close()

        monkeypatch.setattr(timing.time, "sleep", end)
        assert time_arms(ARMS, path, rounds=2) == first
    assert len(timed) == 4


def test_the_order_of_a_round_is_random(timed, tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(timing, "_timed_process", lambda arm: order.append(arm.recipe.epochs) or Timing(1.0, 1.0))
    time_arms(ARMS, tmp_path / "timing.json", rounds=20)
    first = order[::2]
    assert 5 < first.count(1) < 15


def test_arms_that_differ_in_labels_or_rate_alone_are_timed_once():
    data = {"data.train_split": "train[:90]", "data.validation_split": "train[:9]", "data.test_split": "test[:90]"}
    setting = lab.Setting("digits.py", folds=2, train_examples=60, overrides=data)
    arms = (
        lab.Arm("a", "a"),
        lab.Arm("rate", "rate", {"optimizer.learning_rate": 0.5}),
        lab.Arm("again", "again", salt=1),
        lab.Arm("shuffled", "shuffled", sources=lab.shuffled_labels()),
        lab.Arm("longer", "longer", {"epochs": 2}),
        lab.Arm("small", "small", sources=lab.one_size((14, 14))),
    )
    timed = timed_arms(arms, RECIPE, setting)
    assert list(timed) == ["a", "longer", "small"]
    assert {(arm.folds, arm.train_examples) for arm in timed.values()} == {(2, 60)}
    assert (timed["small"].trainer().sources["train"].sizes == 14).all()
    steps = 60 // RECIPE.batch_size + 1
    assert work_of(timed) == {"a": Work(steps, 60), "longer": Work(2 * steps, 120), "small": Work(steps, 60)}
    with pytest.raises(ValueError, match="must compare trainings, and all arms have the same one"):
        timed_arms(arms[:4], RECIPE, setting)


@pytest.mark.parametrize("batching", ["bucket", "mixed"])
def test_timed_steps_stand_for_an_epoch(batching):
    data = DataSettings("any_size_digits", train_split="train[:400]")
    trainer = Trainer(Recipe(data, ModelSettings(channels=(4,)), batch_size=8, max_buckets=4, batching=batching))
    plan = trainer.plan(0)

    def positions(step) -> int:
        parts = step.micro_batches if batching == "mixed" else [step]
        return sum(len(part.rows) * part.shape[0] * part.shape[1] for part in parts)

    found = spread_batches(trainer, 20)
    assert len(found) == 20
    every = [positions(plan.step(index)) for index in range(plan.steps_per_epoch)]
    assert np.mean([positions(step) for step, _ in found]) == pytest.approx(np.mean(every), rel=0.02)
    assert abs(np.mean(every[:20]) / np.mean(every) - 1) > 0.02 or batching == "mixed"  # the first steps do not
    assert len({id(batch) for _, batch in found}) == (20 if batching == "mixed" else 4)
    for step, batch in found:
        parts = zip(step.micro_batches, batch, strict=True) if batching == "mixed" else [(step, batch)]
        assert all(rows.values.shape[:3] == (len(part.rows), *part.shape) for part, rows in parts)


def test_the_first_step_compiles_all_programs(monkeypatch):
    monkeypatch.setattr(timing, "keep_large_blocks", lambda: None)
    data = DataSettings("any_size_digits", train_split="train[:32]")
    recipe = Recipe(data, ModelSettings(channels=(4,)), batch_size=4, max_buckets=3)
    try:
        run = timing.training_steps(TimedArm(recipe))
        counts = []
        for steps in (0, 1, 20):
            with counted_compilations() as seen:
                run(steps)
            counts.append(sum("step" in name for name in seen))
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
    assert counts == [0, 3, 0]


@pytest.mark.slow
def test_a_process_times_compilation_and_real_steps(tmp_path):
    recipe = Recipe(
        DataSettings("any_size_digits", train_split="train[:32]", validation_split="train[:4]", test_split="test[:4]"),
        ModelSettings(channels=(4,)),
        batch_size=8,
        max_buckets=2,
    )
    arm = TimedArm(recipe, sources=lab.any_size(8, 12))
    (found,) = time_arms({"a": arm}, tmp_path / "timing.json", rounds=1)["a"]
    assert 0 < found.milliseconds < 10_000
    assert 1e-3 * found.milliseconds < found.compiling < 600
