"""The command line of an experiment: plan, run, publish and reproduce, with runs that take no time."""

import json
import subprocess
from pathlib import Path

import pytest
from digits_experiment import tiny_experiment
from fake_runner import ACCURACY, FakeRunner

from fcnjax import lab
from fcnjax.commands.command_line import UsageError
from fcnjax.lab import command, timing
from fcnjax.lab.published.result import read_result

RESULTS = Path("experiments/results/tiny")
EXPERIMENT = tiny_experiment()


def commit():
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "add", "experiments"], check=True)
    subprocess.run(["git", *who, "commit", "-qm", "Plan"], check=True)


def run(*argv: str, experiment: lab.Experiment = EXPERIMENT):
    command.run(experiment, ["tiny", *argv])


def publish(experiment: lab.Experiment = EXPERIMENT):
    run("--tune", experiment=experiment)
    commit()
    run("--publish", experiment=experiment)


def without_times(path: Path) -> dict:
    return {name: value for name, value in json.loads(path.read_text()).items() if name != "times"}


def test_a_run_writes_its_result_and_report(project, capsys):
    run()
    assert {path.name for path in Path("runs/tiny").iterdir()} >= {
        "result.json",
        "results.csv",
        "report.html",
        "report.md",
    }
    captured = capsys.readouterr()
    assert "runs/tiny/report.html" in captured.out
    assert "so no arm is tuned; see --tune" in captured.err
    assert len(FakeRunner.done) == 8
    assert read_result("runs/tiny/result.json").plan is None


def test_a_setting_has_folders_and_seeds_of_its_own(project):
    run("--data=few")
    assert read_result("runs/tiny_few/result.json").seeds == 2
    assert len(FakeRunner.done) == 16
    run("--data", "few", "--seeds=1", "--workdir=elsewhere")
    assert read_result("elsewhere/result.json").seeds == 1


def test_a_plan_says_what_was_tuned_and_what_can_be_decided(project):
    run("--tune")
    plan = lab.read_plan(RESULTS / "plan.json")
    assert plan.learning_rates["hidden"] == pytest.approx(0.00125)  # the one of 0.005, 0.0025, 0.00125 nearest 0.001
    assert plan.learning_rates["linear-again"] == plan.learning_rates["linear"]
    assert set(plan.tuning) == {"linear", "hidden"}
    assert set(plan.power) == {claim.statement for claim in EXPERIMENT.claims}
    assert plan.examples["A hidden layer is better"] == 600
    assert plan.facts["versions"] == "jax 1"
    assert {seed for _, _, seed, _ in FakeRunner.done} == {1000, 1001}
    assert {fold for *_, fold in FakeRunner.done} == {0}


def test_a_run_takes_the_rates_and_the_power_of_the_plan(project, capsys):
    run("--tune")
    run()
    result = read_result("runs/tiny/result.json")
    plan = lab.read_plan(RESULTS / "plan.json")
    assert result.plan == plan.digest
    assert {arm["name"]: arm["learning_rate"] for arm in result.arms} == dict(plan.learning_rates)
    assert [claim["planned_power"] for claim in result.claims] == [plan.power[c.statement] for c in EXPERIMENT.claims]
    assert "no arm is tuned" not in capsys.readouterr().err


def test_fewer_seeds_than_planned_decide_less(project, capsys):
    experiment = tiny_experiment(settings={"digits": lab.Setting("tiny.py", seeds=8, folds=2)})
    run("--tune", experiment=experiment)
    run(experiment=experiment)
    assert read_result("runs/tiny/result.json").claims[0]["verdict"] is not None
    capsys.readouterr()
    run("--seeds=1", experiment=experiment)
    claim = read_result("runs/tiny/result.json").claims[0]
    assert claim["verdict"] is None
    assert claim["planned_power"] < 0.8
    words = " ".join(capsys.readouterr().out.split())
    assert "1 of 8 planned seeds" in words
    assert "experiments/results/tiny" in words


def test_a_plan_of_other_claims_is_refused(project):
    run("--tune")
    with pytest.raises(ValueError, match=r"its claims have changed since; run it with --tune again"):
        run(experiment=tiny_experiment(claims=EXPERIMENT.claims[1:]))


def test_publishing_needs_a_committed_plan_of_this_config(project):
    with pytest.raises(UsageError, match=r"must have a plan, and .*plan\.json does not exist"):
        run("--publish")
    run("--tune")
    with pytest.raises(UsageError, match="must follow a plan that was committed before"):
        run("--publish")
    commit()
    with pytest.raises(UsageError, match=r"must run what .* planned; leave out changes of epochs"):
        run("--publish", "--config.epochs=9")
    run("--publish")
    assert {path.name for path in RESULTS.iterdir()} == {
        "plan.json",
        "result.json",
        "results.csv",
        "report.md",
        "figures",
    }


def write_run(key: str, started: str | None, *, finished: bool = True):
    """Writes what a real run leaves; `started` is when it began."""
    folder = Path("runs/tiny/runs") / key
    folder.mkdir(parents=True, exist_ok=True)
    if started is not None:
        (folder / "environment.json").write_text(json.dumps([{"started": started}, {"started": "2026-03-01T00:00:00"}]))
    if finished:
        (folder / "result.json").write_text("{}")


def test_runs_that_began_before_the_plan_was_committed_are_not_published(project, monkeypatch):
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2026-02-03T12:00:00Z")
    run("--tune")
    commit()
    write_run("linear-0-0", "2026-02-03T12:00:00+00:00")
    write_run("linear-0-1", "2026-02-03T13:30:00+01:00")
    write_run("hidden-0-0", "2026-02-03T11:00:00+00:00", finished=False)
    write_run("another-0-0", "2026-02-03T11:00:00+00:00")
    FakeRunner.done.clear()
    run("--publish")
    (RESULTS / "result.json").unlink()
    write_run("linear-0-1", "2026-02-03T12:30:00+01:00")
    write_run("hidden-0-1", None)
    FakeRunner.done.clear()
    message = (
        "must have runs that began after .*plan.json was committed, and 2 of 8 in runs/tiny began before or do not"
    )
    with pytest.raises(UsageError, match=message):
        run("--publish")
    assert not FakeRunner.done
    assert not (RESULTS / "result.json").exists()
    run()  # without publishing, it is shown
    run("--publish", "--workdir=another")


def test_what_was_measured_of_a_run_that_was_removed_is_not_published(project):
    run("--tune")
    commit()
    path = Path("runs/tiny/measured/linear-0-0-0123456789ab.npz")
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(UsageError, match="1 of 8 in runs/tiny began before or do not say when, such as linear-0-0; "):
        run("--publish")


def test_a_run_that_another_process_ends_meanwhile_must_follow_the_plan_too(project, monkeypatch):
    run("--tune")
    commit()
    fake_run = FakeRunner.run

    def meanwhile(runner):
        write_run("linear-0-0", "2026-01-01T00:00:00+00:00")
        return fake_run(runner)

    monkeypatch.setattr(FakeRunner, "run", meanwhile)
    with pytest.raises(UsageError, match="such as linear-0-0; publish with a new --workdir"):
        run("--publish")
    assert not (RESULTS / "result.json").exists()


def test_a_finding_is_published_and_shown_for_the_planned_run_alone(project, capsys):
    publish()
    said = capsys.readouterr().out
    verdicts = tuple(claim["verdict"] or "no verdict" for claim in read_result(RESULTS / "result.json").claims)
    assert f"findings: write what was found as 'digits': lab.Finding(\"...\", {verdicts}), and publish" in said
    found = tiny_experiment(findings={"digits": lab.Finding("A hidden layer helps.", verdicts)})
    run("--publish", experiment=found)
    assert read_result(RESULTS / "result.json").answer == "A hidden layer helps."
    assert "findings:" not in capsys.readouterr().out
    for flags in (["--config.epochs=2"], ["--seeds=2"]):
        run(*flags, experiment=found)
        assert "A hidden layer helps." not in Path("runs/tiny/report.md").read_text()
        assert read_result("runs/tiny/result.json").answer != "A hidden layer helps."
    run("--config.epochs=2", experiment=found)
    assert "another recipe than was planned (epochs differs)" in Path("runs/tiny/report.md").read_text()


def test_two_equal_runs_publish_equal_results(project):
    publish()
    first = without_times(RESULTS / "result.json")
    FakeRunner.done.clear()
    run("--publish", "--workdir=another")
    assert without_times(RESULTS / "result.json") == first
    assert first["facts"]["command"] == "python -m experiments.tiny"


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["--workdir", "elsewhere", "--shard", "1/2", "--timing"], []),
        (["--data", "digits", "--seeds", "1", "--config", "tiny.py"], []),
        (["--data", "few", "-seeds=3", "--workdir=x"], ["--data=few", "--seeds=3"]),
        (["--config.epochs", "2", "--config.batch_size=8"], ["--config.batch_size=8", "--config.epochs=2"]),
        (["--config.batch_size=8", "--nopublish", "--config.epochs=2"], ["--config.batch_size=8", "--config.epochs=2"]),
        (["--config=fcnjax:digits"], ["--config=fcnjax:digits"]),
    ],
)
def test_the_command_holds_what_changes_results_however_it_is_written(project, argv, shown):
    request = command.read_request(EXPERIMENT, ["tiny", *argv])
    assert request.command == " ".join(["python -m experiments.tiny", *shown])


def test_a_reproduction_repeats_all_runs_in_a_folder_of_its_own(project, capsys):
    publish()
    FakeRunner.done.clear()
    run("--reproduce")
    assert {folder for folder, *_ in FakeRunner.done} == {"runs/reproduce/tiny/1"}
    assert len(FakeRunner.done) == 8
    assert "reproduced: all 14 agree (same hardware and versions: bit by bit)" in capsys.readouterr().out
    run("--reproduce")  # the first one has ended
    assert len(FakeRunner.done) == 16


def test_an_interrupted_reproduction_goes_on(project):
    publish()
    FakeRunner.interrupt_after = len(FakeRunner.done) + 3
    with pytest.raises(KeyboardInterrupt):
        run("--reproduce")
    FakeRunner.interrupt_after = None
    run("--reproduce")
    assert not Path("runs/reproduce/tiny/2").exists()


def test_a_part_of_the_runs_is_the_same_at_every_try(project, capsys):
    publish()
    FakeRunner.done.clear()
    run("--reproduce", "--fraction=0.25")
    first = [job for _, *job in FakeRunner.done]
    assert len(first) == 2
    assert "reproduced: all 2 agree" in capsys.readouterr().out
    FakeRunner.done.clear()
    run("--reproduce", "--fraction=0.25")
    assert [job for _, *job in FakeRunner.done] == first


@pytest.mark.parametrize("flags", [(), ("--fraction=1", "--data=digits"), ("--fraction=0.9",)])
def test_other_bits_on_the_same_machine_are_not_a_reproduction(project, capsys, flags):
    publish()
    FakeRunner.rounding = 1
    with pytest.raises(SystemExit) as ended:
        run("--reproduce", *flags)
    assert ended.value.code == 1
    assert "not reproduced" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [(), ("--fraction=0.9",)])
def test_other_bits_on_another_machine_may_differ_within_intervals(project, capsys, flags):
    publish()
    FakeRunner.rounding, FakeRunner.facts = 1, {"hardware": "8 x gpu", "versions": "jax 1"}
    run("--reproduce", *flags)
    out = capsys.readouterr().out
    assert "(other hardware or versions: within intervals)" in out
    assert "bits" not in out.replace("bit by bit", "")


def test_another_accuracy_on_another_machine_is_not_a_reproduction(project, monkeypatch, capsys):
    publish()
    FakeRunner.facts = {"hardware": "8 x gpu", "versions": "jax 1"}
    monkeypatch.setitem(ACCURACY, "linear", 0.1)
    for flags in ((), ("--fraction=0.9",)):
        with pytest.raises(SystemExit) as ended:
            run("--reproduce", *flags)
        assert ended.value.code == 1


def test_a_changed_verdict_is_not_a_reproduction(project):
    publish()
    path = RESULTS / "result.json"
    kept = json.loads(path.read_text())
    kept["claims"][2]["verdict"] = "holds"
    path.write_text(json.dumps(kept))
    FakeRunner.facts = {"hardware": "8 x gpu", "versions": "jax 1"}
    with pytest.raises(SystemExit):
        run("--reproduce")


def test_there_must_be_a_result_to_reproduce(project):
    with pytest.raises(FileNotFoundError, match="must hold a published result, and does not exist; run with --publish"):
        run("--reproduce")


def test_a_shard_does_its_part(project):
    run("--shard=1/2")
    assert len(FakeRunner.done) == 4
    assert not Path("runs/tiny/result.json").exists()
    run("--shard=2/2")
    assert len(FakeRunner.done) == 8
    assert Path("runs/tiny/result.json").exists()


def test_times_are_a_table_of_their_own(project, monkeypatch):
    monkeypatch.setattr(timing, "_timed_process", lambda arm: timing.Timing(2.0, 3.0))
    run("--timing")
    text = Path("runs/tiny/report.md").read_text()
    assert "Time of training" in text
    assert "| hidden | 2.00 | 7,500 | 3.0 | 0.01 |" in text  # 90 digits in 6 steps of 2 ms
    assert "1.000 [1.000, 1.000]" in text


def test_arms_with_one_recipe_are_not_timed(project):
    experiment = tiny_experiment(arms=EXPERIMENT.arms[::2], claims=EXPERIMENT.claims[1:2])
    with pytest.raises(ValueError, match=r"^--timing: must compare trainings, and all arms have the same one; "):
        run("--timing", experiment=experiment)
    assert not FakeRunner.done


def test_the_index_links_the_last_report_of_each_setting(project):
    run()
    run("--data=few")
    Path("runs/tiny_stray").mkdir()
    page = lab.write_index(["tiny", "never_run"])
    assert page == Path("runs/experiments/index.html")
    text = page.read_text()
    assert 'href="../tiny/report.html"' in text
    assert 'href="../tiny_few/report.html"' in text
    assert "never_run" not in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--shard=0/2"], "--shard=0/2: must be I/N with I from 1 to N"),
        (["--shard=3/2"], "--shard=3/2: must be I/N"),
        (["--shard=2"], "--shard=2: must be I/N"),
        (["--fraction=0.5"], "--fraction=0.5: must come with --reproduce"),
        (["--reproduce", "--fraction=0"], "--fraction=0.0: must be above 0"),
        (["--tune", "--publish"], "--tune --publish: must be one of them at a time"),
        (["--publish", "--shard=1/2"], "--shard=1/2: must be left out with --publish"),
        (["--tune", "--seeds=2"], "--seeds=2: must be left out with --tune"),
        (["--reproduce", "--timing"], "--timing: must be left out with --reproduce"),
        (["--data=mnist"], "unknown data 'mnist'. Known: digits, few."),
        (["--config.epoch=2"], "unknown config field 'epoch': did you mean 'epochs'?"),
        (["--config.epochs=0"], "epochs=0: must be at least 1"),
        (["--seeds=0"], "--seeds=0"),
    ],
)
def test_bad_values_get_one_sentence(project, argv, message):
    with pytest.raises(ValueError, match="(?s).") as refused:
        run(*argv)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not FakeRunner.done


def test_a_mistake_ends_with_exit_code_2(project, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["tiny", "--shard=0/2"])
    with pytest.raises(SystemExit) as ended:
        lab.main(EXPERIMENT)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("tiny: --shard=0/2: must be")
