"""Runs of a tiny experiment: interrupted, shared between processes, divided into shards, damaged, and repeated."""

import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from compilations import counted_compilations
from tiny_experiment import COUNTS, GAP, make_experiment, make_recipe, make_runner, start_process, write_data

from fcnjax import lab
from fcnjax.atomic import locked_folder
from fcnjax.data import ResizedSource, SizePolicy
from fcnjax.lab import mappings
from fcnjax.lab import runner as runner_module
from fcnjax.lab.draws import labels_of
from fcnjax.lab.keys import training_seed
from fcnjax.lab.runner import MANY_CORES, Job, arm_recipe
from fcnjax.training import load_sources
from fcnjax.training.run.finished import load_state
from fcnjax.training.run.run_folder import read_config


@pytest.fixture
def folder(tmp_path) -> Path:
    write_data(tmp_path)
    return tmp_path


@pytest.fixture
def trainings(monkeypatch) -> list[str]:
    """The keys of the runs that are trained from now on."""
    trained, train = [], runner_module.train

    def noted(recipe, path, **options):
        trained.append(path.name)
        return train(recipe, path, **options)

    monkeypatch.setattr(runner_module, "train", noted)
    return trained


def bits(observations: lab.Observations) -> list:
    """Returns all that must not differ between two runs of an experiment."""
    return [
        (
            each.arm,
            each.seed,
            each.fold,
            each.key,
            each.numbers,
            *((name, values.tobytes()) for name, values in each.values.items()),
            each.losses.tobytes(),
            each.ids.tobytes(),
            each.labels.tobytes(),
            each.sizes.tobytes(),
        )
        for each in observations.runs
    ]


def all_runs(runner: lab.Runner) -> lab.Observations:
    observations = runner.run()
    assert observations is not None
    return observations


def test_every_example_is_tested_once_per_seed_and_two_whole_experiments_have_equal_bits(folder):
    runner = make_runner(folder, seeds=2)
    observations = all_runs(runner)
    assert [(run.arm, run.seed, run.fold) for run in observations.runs] == [tuple(job) for job in runner.jobs]
    pool = {split: source for split, source in load_sources(make_recipe(folder)).items() if split != "validation"}
    for seed in range(2):
        for arm in ("gap", "hidden"):
            ids = np.concatenate([run.ids for run in observations.of(arm) if run.seed == seed])
            assert sorted(ids) == sorted(np.concatenate([source.ids for source in pool.values()]))
    labels = {int(i): int(label) for each in pool.values() for i, label in zip(each.ids, labels_of(each), strict=True)}
    for run in observations.runs:
        assert run.labels.tolist() == [labels[i] for i in run.ids.tolist()]
        assert set(run.values) == {"accuracy", "log loss"}
        assert len(run.losses) == runner.trainer(run.arm, run.seed, run.fold).steps
        assert {"hardware", "versions", "source"} <= run.facts.keys()
        config = read_config(runner.workdir / "runs" / run.key)
        assert (config["seed"], config["checkpoint_every"]) == (training_seed(run.seed, run.fold), 0)
        told = json.loads((runner.workdir / "runs" / run.key / "result.json").read_text())
        assert told["test_accuracy"] == run.values["accuracy"].mean()
    assert len({run.key for run in observations.runs}) == 8
    assert bits(all_runs(make_runner(folder, seeds=2, workdir=folder / "again"))) == bits(observations)


def test_draws_of_an_arm_compile_nothing_new(folder):
    recipe = make_recipe(folder, max_buckets=2)
    runner = make_runner(folder, experiment=make_experiment(arms=(GAP,)), recipe=recipe)
    all_runs(runner)
    assert len(runner.trainer("gap", 0, 0).buckets.shapes) == 2
    with counted_compilations() as seen:
        runner.trained("gap", 1, 0)
        runner.trained("gap", 1, 1)
    assert not seen


def test_programs_are_freed_where_the_system_allows_no_more_of_them(folder, monkeypatch):
    usual = all_runs(make_runner(folder, workdir=folder / "usual"))
    monkeypatch.setattr(runner_module, "near_the_limit", lambda: True)
    runner = make_runner(folder, workdir=folder / "freed")
    with counted_compilations() as seen:
        freed = all_runs(runner)
    assert bits(freed) == bits(usual)
    assert max(Counter(seen).values()) >= len(runner.jobs), "every run compiles its own"


def test_regions_are_counted_where_the_system_tells_its_limit(tmp_path, monkeypatch):
    maps, limit = tmp_path / "maps", tmp_path / "limit"
    monkeypatch.setattr(mappings, "MAPS", maps)
    monkeypatch.setattr(mappings, "LIMIT", limit)
    assert not mappings.near_the_limit()  # no such files: another system
    limit.write_text("10\n")
    maps.write_text("region\n" * 5)
    assert not mappings.near_the_limit()
    maps.write_text("region\n" * 6)
    assert mappings.near_the_limit()


def test_an_interrupted_experiment_goes_on_and_trains_nothing_twice(folder, trainings, monkeypatch):
    train = runner_module.train

    def interrupted(recipe, path, **options):
        if len(trainings) == 2:
            path.mkdir(parents=True)
            (path / "config.json").write_text("{")  # what a kill may leave
            raise KeyboardInterrupt
        return train(recipe, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(runner_module, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make_runner(folder).run()
    kept = {path: path.stat().st_mtime_ns for path in (folder / "work/measured").iterdir()}
    assert len(kept) == 2
    observations = all_runs(make_runner(folder))
    assert Counter(trainings) == Counter(run.key for run in observations.runs)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    del trainings[:]
    assert bits(all_runs(make_runner(folder))) == bits(observations)
    assert not trainings


def test_a_new_arm_and_a_new_seed_cost_only_themselves(folder, trainings):
    first = all_runs(make_runner(folder, folds=(0,)))
    del trainings[:]
    third = lab.Arm("third", "third", {"head.pool_at": 1})
    grown = make_experiment(arms=(third, *make_experiment().arms), question="another")
    assert len(all_runs(make_runner(folder, experiment=grown, folds=(0,))).runs) == 3
    assert len(trainings) == 1
    assert bits(all_runs(make_runner(folder, seeds=2, folds=(0,))))[:2] == bits(first)
    assert len(trainings) == 1 + 2


def test_a_damaged_measurement_is_named_and_measured_again_without_training(folder, trainings, capsys):
    before = all_runs(make_runner(folder, folds=(0,)))
    path = sorted((folder / "work/measured").iterdir())[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    del trainings[:]
    capsys.readouterr()
    assert bits(all_runs(make_runner(folder, folds=(0,)))) == bits(before)
    assert not trainings
    assert f"{path}: is damaged (its content does not match its checksum); it must be measured again." in (
        capsys.readouterr().err
    )
    capsys.readouterr()
    all_runs(make_runner(folder, folds=(0,)))
    assert "damaged" not in capsys.readouterr().err


def test_two_processes_share_a_folder_and_run_nothing_twice(folder):
    processes = [start_process(folder, folder / f"log{i}") for i in range(2)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    done = [key for i in range(2) if (log := folder / f"log{i}").exists() for key in log.read_text().split()]
    assert sorted(done) == sorted(make_runner(folder).key(*job) for job in make_runner(folder).jobs)


def test_a_run_that_another_process_holds_is_left_for_later(folder, trainings, monkeypatch):
    runner = make_runner(folder)
    held, jobs = locked_folder(folder / "work/locks" / runner.key(*runner.jobs[0])), runner.jobs
    held.__enter__()
    looks = []

    def wait(seconds):
        looks.append(list(trainings))
        held.__exit__(None, None, None)

    monkeypatch.setattr(runner_module.time, "sleep", wait)
    assert len(all_runs(runner).runs) == 4
    assert looks == [[runner.key(*job) for job in jobs[1:]]]  # the others were done before it waited
    assert trainings[-1] == runner.key(*jobs[0])


def test_shards_do_their_part_and_the_last_one_returns_all(folder, trainings, capsys):
    assert make_runner(folder, shard=(0, 2)).run() is None
    assert "shard 1/2: its 2 runs are done; 2 runs of other shards are missing." in capsys.readouterr().err
    assert len(trainings) == 2
    assert len(all_runs(make_runner(folder, shard=(1, 2))).runs) == 4
    assert len(set(trainings)) == len(trainings) == 4
    with pytest.raises(ValueError, match=r"shard=\(2, 2\): must be a number from 0 and a larger count"):
        make_runner(folder, shard=(2, 2))


def test_some_runs_and_some_folds(folder, trainings):
    observations = make_runner(folder).run([("hidden", 0, 1)])
    assert observations is not None
    assert [(run.arm, run.seed, run.fold) for run in observations.runs] == [("hidden", 0, 1)]
    assert make_runner(folder, seeds=(1000, 1001), folds=(0,)).jobs == [
        Job(arm, seed, 0) for seed in (1000, 1001) for arm in ("gap", "hidden")
    ]
    assert len(trainings) == 1


def test_arms_are_paired_and_an_arm_with_salt_repeats_another_on_the_same_examples(folder):
    again = lab.Arm("again", "again", GAP.overrides, salt=1)
    conv = lab.Arm("conv", "conv", {"head.pool_at": 1})
    observations = all_runs(make_runner(folder, experiment=make_experiment(arms=(GAP, conv, again)), folds=(0,)))
    gap, same, other = observations.runs
    np.testing.assert_allclose(gap.losses, same.losses, rtol=1e-4)  # one function, one order of the data
    assert np.abs(gap.losses - other.losses).max() > 1e-3
    np.testing.assert_array_equal(gap.ids, other.ids)
    assert training_seed(0, 0) != training_seed(0, 0, 1)
    seeds = {training_seed(seed, fold, salt) for seed in range(30) for fold in range(5) for salt in range(2)}
    assert len(seeds) == 300


def test_arms_of_one_recipe_share_a_trained_run(folder, trainings):
    twin = lab.Arm("twin", "another title", GAP.overrides)
    first, second = all_runs(make_runner(folder, experiment=make_experiment(arms=(GAP, twin)), folds=(0,))).runs
    assert len(trainings) == 1
    assert (first.arm, second.arm) == ("gap", "twin")
    assert first.key == second.key


def test_trained_returns_the_run_and_trains_it_only_once(folder, trainings):
    runner = make_runner(folder)
    run = runner.trained("hidden", 0, 1)
    again = runner.trained("hidden", 0, 1)
    assert len(trainings) == 1
    np.testing.assert_array_equal(run.scores(), again.scores())
    np.testing.assert_array_equal(run.scores(run.sources["test"]), run.scores())
    assert run.scores("validation").shape == (COUNTS["validation"], 3)
    assert run.labels.tolist() == labels_of(run.sources["test"]).tolist()
    kept = load_state(run.trainer, folder / "work/runs" / trainings[0])
    assert kept.weights.keys() == run.state.weights.keys()


@pytest.mark.parametrize(("cores", "compiled"), [(MANY_CORES, True), (MANY_CORES - 1, False)])
def test_with_many_cores_all_arms_compile_from_the_start(folder, monkeypatch, cores, compiled):
    monkeypatch.setattr(runner_module, "core_count", lambda: cores)
    begun = []

    def started(jobs, **options):
        begun.extend(job.programs for job in jobs)
        raise KeyboardInterrupt

    def stopped(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner_module, "compiling_ahead", started)
    monkeypatch.setattr(runner_module, "train", stopped)
    runner = make_runner(folder)
    with pytest.raises(KeyboardInterrupt):
        runner.run()
    steps = [runner.trainer(arm, 0, 0).programs.train_step for arm in ("gap", "hidden")]
    assert [step in begun for step in steps] == [compiled, compiled]


def test_an_arms_recipe_has_the_overrides_of_the_setting_of_the_arm_and_the_tuned_rate(folder):
    setting = lab.Setting("noise.py", overrides={"epochs": 5, "batch_size": 4})
    arm = lab.Arm("a", "A", {"epochs": 6, "head.hidden": (3,)})
    base = make_recipe(folder)
    recipe = arm_recipe(base, setting, arm, 0.5)
    assert (recipe.epochs, recipe.batch_size, recipe.head.hidden) == (6, 4, (3,))
    assert recipe.optimizer == dataclasses.replace(base.optimizer, learning_rate=0.5)
    with pytest.raises(ValueError, match=r"'head\.pol_at': did you mean 'head\.pool_at'"):
        arm_recipe(base, setting, lab.Arm("a", "A", {"head.pol_at": 1}))


def test_tuned_rates_change_the_runs_of_their_arm_alone(folder):
    plain, tuned = make_runner(folder), make_runner(folder, learning_rates={"gap": 0.5})
    assert tuned.recipes["gap"].optimizer.learning_rate == 0.5
    assert plain.key("gap", 0, 0) != tuned.key("gap", 0, 0)
    assert plain.key("hidden", 0, 0) == tuned.key("hidden", 0, 0)


def twice(run: lab.TrainedRun) -> lab.Measured:
    return lab.Measured({"accuracy": np.zeros(len(run.labels))})


def short(run: lab.TrainedRun) -> lab.Measured:
    return lab.Measured({"short": np.zeros(2)})


def nothing(run: lab.TrainedRun) -> None:
    return None


def test_measures_of_ones_own_are_checked(folder):
    ours = make_experiment(arms=(GAP,), measures=(lab.Scores(), nothing))
    assert all(
        run.values.keys() == {"accuracy", "log loss"} for run in all_runs(make_runner(folder, experiment=ours)).runs
    )
    for measure, message in (
        (twice, "'accuracy'.* must have names that no other"),
        (short, r"'short' must have the sh"),
    ):
        with pytest.raises(ValueError, match=message):
            make_runner(folder, experiment=make_experiment(arms=(GAP,), measures=(lab.Scores(), measure))).run()


def test_what_is_measured_keeps_the_key_of_the_code_that_the_runner_began_with(folder, monkeypatch):
    runner = make_runner(folder, experiment=make_experiment(arms=(GAP,)), folds=(0,))
    monkeypatch.setattr(runner_module, "measure_key", lambda arm, measures: "edited")  # while it trains
    all_runs(runner)
    kept = [path.name for path in (folder / "work/measured").iterdir()]
    assert len(kept) == 1
    assert "edited" not in kept[0]


def test_seeds_of_pilots_and_arms_of_other_data_are_refused(folder):
    with pytest.raises(ValueError, match="seeds=1001: must be 1 to 1000; later ones are those of pilots"):
        make_runner(folder, seeds=1001)
    other = lab.Arm("other", "other", {"data.test_split": "validation"})
    with pytest.raises(ValueError, match="arm 'other': must have the examples of 'gap'; give both the same data set"):
        make_runner(folder, experiment=make_experiment(arms=(GAP, other)))


@dataclasses.dataclass(frozen=True)
class Canvas:
    """Puts every example on a canvas of one size, or of a size drawn with the seed."""

    side: int
    drawn: bool = False

    def __call__(self, sources, seed):
        side = self.side + (seed if self.drawn else 0)
        policy = SizePolicy(min_side=side, below="pad")
        return {name: ResizedSource(source, policy) for name, source in sources.items()}


def test_arms_of_fewer_examples_have_the_buckets_of_all_and_arms_of_other_sizes_their_own(folder):
    few, broken = (
        lab.Arm("few", "few", GAP.overrides, sources=lab.few_examples(14)),
        lab.Arm("broken", "broken", GAP.overrides, sources=lab.shuffled_labels(), control=True),
    )
    large, drawn = (
        lab.Arm(name, name, GAP.overrides, sources=Canvas(20, name == "drawn")) for name in ("large", "drawn")
    )
    runner = make_runner(folder, experiment=make_experiment(arms=(GAP, few, broken, large, drawn)), seeds=4)
    buckets = {
        (arm, seed): runner.trainer(arm, seed, 0).buckets.shapes.tolist()
        for arm in ("gap", "few", "broken", "large", "drawn")
        for seed in (0, 3)
    }
    whole = runner.draws.pool.sizes
    assert buckets["gap", 0] == buckets["few", 3] == buckets["broken", 0]
    assert buckets["gap", 0][0] >= whole.max(axis=0).tolist()
    assert buckets["large", 0] == buckets["large", 3] == [[20, 20]]
    assert (buckets["drawn", 0], buckets["drawn", 3]) == ([[20, 20]], [[23, 23]])
    assert runner.trainer("gap", 0, 0).programs is runner.trainer("broken", 0, 1).programs
    assert len(runner.trainer("few", 0, 0).sources["train"]) == 14
    run = runner.run([("large", 0, 0)])
    assert run is not None
    assert np.all(run.runs[0].sizes == 20)
