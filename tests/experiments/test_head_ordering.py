"""The whole experiment at a small size: interrupted, continued, repeated, and refused for another config."""

import csv
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fcnjax import lab
from fcnjax.commands.command_line import run_command
from fcnjax.data import ArraySource
from fcnjax.lab.runner import MANY_CORES, Runner, arm_recipe
from fcnjax.training import DataSettings, ModelSettings, Recipe, load_sources

SEEDS = 2
FEW = {"train": 200, "validation": 50, "test": 100}


@pytest.fixture
def head_ordering(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """The module, which is not part of the installed package."""
    monkeypatch.syspath_prepend(request.config.rootpath)
    import experiments.head_ordering as module

    return module


def test_arms_differ_from_their_baseline_in_the_head_alone(head_ordering):
    base = Recipe(DataSettings("any_size_digits"))
    heads = {}
    for arm in head_ordering.EXPERIMENT.arms:
        tree, shared = arm_recipe(base, arm).to_dict(), base.to_dict()
        heads[arm.name] = tree.pop("head")
        shared.pop("head")
        assert tree == shared
    for pair in head_ordering.EXPERIMENT.equal_functions:
        first, second = (heads[name] for name in pair)
        assert {key for key in first if first[key] != second[key]} == {"pool_at"}
    assert [heads[name]["pool_at"] for name in head_ordering.EXPERIMENT.names] == [0, 1, 0, 2, 3, 2]
    assert [heads[name]["hidden"] for name in head_ordering.EXPERIMENT.names] == [(), (), *[(128,)] * 3, ()]
    assert heads["softmax-before-pool"]["log_softmax"]


def test_an_override_of_an_unknown_field_names_the_nearest_one():
    arm = lab.Arm("a", "A", {"head.pol_at": 1})
    with pytest.raises(ValueError, match=r"'head\.pol_at': did you mean 'head\.pool_at'"):
        arm_recipe(Recipe(DataSettings("any_size_digits")), arm)


def few_digits(recipe: Recipe) -> dict[str, ArraySource]:
    """Returns the first digits of each split."""
    few = {}
    for name, source in load_sources(recipe).items():
        examples = [source[index] for index in range(FEW[name])]
        few[name] = ArraySource([e.values for e in examples], [e.label for e in examples], source.class_names)
    return few


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Returns the time of change and the content of every file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.mark.parametrize(("cores", "compiled"), [(MANY_CORES, ["a", "b"]), (MANY_CORES - 1, ["a"])])
def test_with_many_cores_all_arms_compile_from_the_start(tmp_path, monkeypatch, cores, compiled):
    draw = np.random.default_rng(0)
    source = ArraySource([draw.random((9, 8, 1), np.float32) for _ in range(6)], [0, 1, 2] * 2, ("x", "y", "z"))
    monkeypatch.setattr("fcnjax.lab.runner.load_sources", lambda recipe: dict.fromkeys(FEW, source))
    monkeypatch.setattr("fcnjax.lab.runner.core_count", lambda: cores)
    begun = []

    def started(self, arm, seed):
        steps = {name: trainer.programs.train_step for name, trainer in self._trainers.items()}
        for name in compiled:  # their compilation has begun, without a call
            wait_until(lambda name=name: steps[name].programs)
        begun.append((arm, sorted(steps)))
        raise KeyboardInterrupt

    monkeypatch.setattr(Runner, "_run_one", started)
    arms = tuple(lab.Arm(name, name, {"head.hidden": hidden}) for name, hidden in (("a", ()), ("b", (4,))))
    model = ModelSettings("fcn", channels=(4,), norm="none")
    recipe = Recipe(DataSettings("drawn"), model, epochs=1, batch_size=6, max_buckets=1)
    with pytest.raises(KeyboardInterrupt):
        Runner(lab.Experiment("two", "?", arms), recipe, [0], tmp_path / "two").run()
    assert begun == [("a", compiled)]


def wait_until(holds: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.slow
def test_the_experiment_continues_after_an_interruption_and_writes_its_report(
    head_ordering, request, tmp_path, monkeypatch, capsys
):
    root, folder = request.config.rootpath, tmp_path / "experiment"
    monkeypatch.setattr("fcnjax.lab.runner.load_sources", few_digits)
    monkeypatch.setattr("fcnjax.lab.runner.TIMING_ROUNDS", 2)
    monkeypatch.setattr("fcnjax.lab.runner.TIMING_STEPS", 1)

    def run(*flags: str, seeds: int = SEEDS) -> tuple[int, str, str]:
        monkeypatch.delitem(sys.modules, "config_config", raising=False)
        argv = [
            "head_ordering",
            f"--config={root / 'configs/digits.py'}",
            f"--config.data.data_dir={tmp_path / 'data'}",
            "--config.model.channels=(4,)",
            "--config.model.norm=none",
            "--config.epochs=1",
            "--config.batch_size=64",
            "--config.max_buckets=1",
            *(f"--config.augment.{name}=0.0" for name in ("rotation", "scale", "shear", "shift")),
            f"--seeds={seeds}",
            f"--workdir={folder}",
            *flags,
        ]
        capsys.readouterr()
        return run_command("head_ordering", head_ordering.main, argv), *capsys.readouterr()

    names = head_ordering.EXPERIMENT.names
    finished = []
    with monkeypatch.context() as patch:
        run_one = Runner._run_one

        def interrupted(self, arm, seed):
            if finished:
                raise KeyboardInterrupt
            finished.append((arm, seed))
            return run_one(self, arm, seed)

        patch.setattr(Runner, "_run_one", interrupted)
        assert run()[0] == 130
    assert finished == [(names[0], 0)]
    assert not (folder / "report.html").exists()
    before = snapshot(folder)
    assert {f"results/{names[0]}/seed_0.npz", f"runs/{names[0]}/seed_0/result.json"} <= before.keys()

    code, out, _ = run()
    assert code == 0
    after = snapshot(folder)
    kept = {name: at for name, at in before.items() if name != ".lock"}  # older filelock truncates it when it locks
    assert {name: after[name] for name in kept} == kept, "a finished run was done again"
    runs = {(arm, seed): folder / "runs" / arm / f"seed_{seed}" for arm in names for seed in range(SEEDS)}
    loaded = {job: lab.RunResult.load(folder / "results" / job[0] / f"seed_{job[1]}.npz") for job in runs}
    for (arm, seed), path in runs.items():
        told, config = (json.loads((path / name).read_text()) for name in ("result.json", "config.json"))
        assert loaded[arm, seed].accuracy == told["test_accuracy"]
        assert told["count"] == FEW["test"]
        assert (config["seed"], config["checkpoint_every"]) == (seed, 0)

    # A seed fixes weights and data for all arms: equal functions begin alike, and seeds differ.
    for first, second in head_ordering.EXPERIMENT.equal_functions:
        for seed in range(SEEDS):
            a, b = loaded[first, seed], loaded[second, seed]
            scale = np.abs(a.initial_logits).max()
            np.testing.assert_allclose(a.initial_logits, b.initial_logits, atol=1e-5 * scale)
            np.testing.assert_allclose(a.losses, b.losses, rtol=1e-4)
        assert np.abs(loaded[first, 0].initial_logits - loaded[first, 1].initial_logits).max() > 0.1 * scale

    with (folder / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["arm"], int(row["seed"])) for row in rows} == set(runs)
    report, page = (folder / "report.md").read_text(), (folder / "report.html").read_text()
    for arm in head_ordering.EXPERIMENT.arms:
        for text in (report, page, out):
            assert arm.title in text
    assert head_ordering.EXPERIMENT.title in report
    assert "data:image/" in page
    assert f"python -m experiments.head_ordering --config={root / 'configs/digits.py'}" in report
    assert f"report: {folder / 'report.html'}" in "".join(out.split("\n"))

    # Interrupted after the end of a run and before its result was saved: the result comes from the run's weights.
    result = folder / "results" / names[1] / "seed_1.npz"
    before, lost = snapshot(folder / "runs"), result.read_bytes()
    result.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(lab, "build_report", lambda *args, **options: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr(head_ordering, "class_maps", lambda runner: None)
        assert run()[0] == 130
    assert result.read_bytes() == lost
    assert snapshot(folder / "runs") == before
    # A folder of another config is refused, and so is a folder that holds anything else.
    before = snapshot(folder)
    code, _, error = run("--config.optimizer.learning_rate=0.25")
    assert code == 2
    assert error == (
        f"head_ordering: workdir={folder}: must hold results of this config (different: optimizer); "
        "choose a new folder.\n"
    )
    code, _, error = run(f"--workdir={tmp_path}")
    assert code == 2
    assert error == f"head_ordering: workdir={tmp_path}: must be empty or hold an experiment; choose a new folder.\n"
    assert snapshot(folder) == before
