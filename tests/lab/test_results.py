import dataclasses
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from synthetic_results import SEEDS, make_costs, make_experiment, make_results, make_run

from fcnjax import atomic, lab

ARRAYS = ("losses", "initial_logits", "final_logits", "labels", "sizes", "ids")


@pytest.fixture
def run():
    return make_run("linear-gap", 3)


@pytest.mark.parametrize("ids", [None, [f"digit-{i}" for i in range(400)]])
def test_save_and_load_are_exact(run, tmp_path, ids):
    if ids:
        run = dataclasses.replace(run, ids=np.array(ids))
    path = run.save(tmp_path / "linear-gap" / "seed_3.result")  # no suffix is added
    loaded = lab.RunResult.load(path)
    assert (loaded.arm, loaded.seed) == ("linear-gap", 3)
    for name in ARRAYS:
        before, after = getattr(run, name), getattr(loaded, name)
        assert before.dtype == after.dtype
        assert before.tobytes() == after.tobytes()
    assert [p.name for p in path.parent.iterdir()] == ["seed_3.result"]


def test_accuracy_equals_a_plain_count(run):
    count = 0
    for scores, label in zip(run.final_logits.tolist(), run.labels.tolist(), strict=True):
        count += scores.index(max(scores)) == label
    assert run.accuracy == count / 400
    assert run.correct.dtype == bool


def test_scores_that_are_not_finite_count_as_wrong(run):
    broken = dataclasses.replace(run, final_logits=np.full((400, 10), np.nan))
    assert broken.accuracy == 0


def test_interrupted_save_leaves_the_former_file(run, tmp_path, monkeypatch):
    path = run.save(tmp_path / "run.npz")
    before = path.read_bytes()

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_run("linear-gap", 4).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


def test_kill_between_write_and_rename_leaves_nothing_under_the_final_name(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from fcnjax import atomic\n"
        "atomic.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "atomic.write_text(sys.argv[1], 'half')\n"
    )
    path = tmp_path / "run.npz"
    done = subprocess.run([sys.executable, "-c", code, str(path)], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not path.exists()
    assert len(list(tmp_path.iterdir())) == 1  # the hidden temporary file, which does not block the next write
    atomic.write_text(path, "whole")
    assert path.read_text() == "whole"


@pytest.mark.parametrize("keep", [0, 10, 1000, -30])
def test_a_truncated_file_is_refused_in_one_sentence(run, tmp_path, keep):
    path = run.save(tmp_path / "run.npz")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"run\.npz: must be a run result .*run this arm again"):
        lab.RunResult.load(path)


def test_a_flipped_byte_is_noticed(run, tmp_path):
    path = run.save(tmp_path / "run.npz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="must be a run result"):
        lab.RunResult.load(path)


def test_a_file_of_something_else_and_no_file(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name in ("other.npz", "array.npy"):
        with pytest.raises(ValueError, match="must be a run result"):
            lab.RunResult.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        lab.RunResult.load(tmp_path / "absent.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"losses": np.zeros(0)}, r"losses of shape \(0,\): must be of rank 1"),
        ({"labels": np.zeros((400, 1), int)}, "labels of shape .*: must be of rank 1"),
        ({"labels": np.full(400, 10)}, r"integers in \[0, 10\)"),
        ({"labels": np.zeros(400)}, "integers"),
        ({"labels": np.zeros(399, int)}, "labels of 399 rows: must be 400"),
        ({"initial_logits": np.zeros((400, 9))}, "score the same examples"),
        ({"sizes": np.zeros((400, 2), int)}, "must be at least 1; leave filler rows out"),
        ({"ids": np.zeros(400, int)}, "a different one per example"),
    ],
)
def test_run_results_validate_themselves(run, changes, message):
    with pytest.raises(ValueError, match=f"arm 'linear-gap', seed 3.*{message}"):
        dataclasses.replace(run, **changes)


@pytest.mark.parametrize("changes", [{"step_ms": ()}, {"step_ms": (0.0,)}, {"head_multiply_adds": -1.0}])
def test_costs_validate_themselves(changes):
    with pytest.raises(ValueError, match="arm 'a'"):
        lab.ArmCost(**({"arm": "a", "head_multiply_adds": 1.0, "step_ms": (1.0,)} | changes))


def test_lookups_are_ordered_by_seed_whatever_the_order_of_runs(results):
    shuffled = make_results(runs=results.runs[::-1])
    assert shuffled.seeds == SEEDS
    assert [run.seed for run in shuffled.runs_of("hidden-gap")] == list(SEEDS)
    np.testing.assert_array_equal(shuffled.accuracies("hidden-gap"), results.accuracies("hidden-gap"))
    assert shuffled.correct("hidden-gap").shape == (5, 400)
    with pytest.raises(ValueError, match="arm='nothing': must be one of linear-gap, "):
        results.accuracies("nothing")


def other(run, name):
    values = {"ids": run.ids + 1, "labels": (run.labels + 1) % 10, "sizes": run.sizes + 1}
    return dataclasses.replace(run, **{name: values[name]})


def test_results_that_cannot_be_paired_are_refused(results):
    runs = results.runs
    for wrong, message in [
        (runs[:-1], r"'softmax-pool': must be one for each seed \(missing: \[4\]\)"),
        (runs[:-5], r"'softmax-pool': must be .* \(missing: \[0, 1, 2, 3, 4\]\)"),
        ((*runs, runs[0]), "arm 'linear-gap', seed 0: must be one"),
        ((), "missing: all"),
        ((*runs, dataclasses.replace(runs[0], arm="x")), "arm='x': must be one of"),
        *[((*runs[:-1], other(runs[-1], name)), f"must have the test {name}") for name in ("ids", "labels", "sizes")],
    ]:
        with pytest.raises(ValueError, match=message):
            make_results(runs=wrong)


def test_costs_must_be_of_every_arm_and_every_round():
    costs = make_costs()
    with pytest.raises(ValueError, match="must be one for each"):
        make_results(costs=costs[:-1])
    with pytest.raises(ValueError, match="must all have the same number"):
        make_results(costs=(*costs[:-1], dataclasses.replace(costs[-1], step_ms=(1.0,))))


def test_facts_are_a_copy():
    facts = {"a": "b"}
    kept = make_results(facts=facts).facts
    facts["a"] = "c"
    assert kept == {"a": "b"}
    assert make_experiment().names == tuple(cost.arm for cost in make_costs())
