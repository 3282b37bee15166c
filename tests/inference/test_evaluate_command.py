"""`fcnjax evaluate` of runs, of models that stand alone, on data of one's own, and at other sizes."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from fcnjax.commands.command_line import UNUSABLE
from fcnjax.commands.main import main


@pytest.fixture
def evaluate(capsys):
    """Returns a function that runs the command and returns its exit code, stdout and stderr."""

    def run(*arguments) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["fcnjax", "evaluate", *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


def tables(out: str) -> tuple[str, list[float]]:
    """Returns the tables below the first line without their losses and calibration errors, and these."""
    below, number = out.partition("\n\n")[2], r"\b\d\.\d{4}\b"
    return re.sub(number, "", below), [float(found) for found in re.findall(number, below)]


def check_same(first: str, second: str) -> None:
    """Asserts that two commands print the same tables."""
    (words, numbers), (others, wanted) = tables(first), tables(second)
    assert words == others
    assert len(numbers) > 1
    assert numbers == pytest.approx(wanted, abs=2e-4)  # a last digit


@pytest.fixture
def data(photos):
    return photos.path.parent / "elsewhere"


@pytest.fixture
def restored(photos, data):
    """The run, whose data is where it was in training."""
    link = photos.path.parent / "data"
    link.symlink_to(data)
    yield photos.path
    link.unlink()


def test_a_model_alone_and_its_run_say_the_same_of_a_folder(evaluate, photos, data, restored, monkeypatch):
    monkeypatch.setattr("fcnjax.progress.FIRST", 0)  # seconds to the first line of progress
    test = photos.run.test
    (data / "about.txt").touch()
    code, out, error = evaluate(f"--model={photos.path / 'model'}", f"--data={data}")
    (data / "about.txt").unlink()
    assert code == 0
    assert {line.split(":")[0] for line in error.splitlines()} == {"reading headers", "predicting"}
    assert out.splitlines()[1].startswith("ignored: 1 file: ")
    assert out.splitlines()[0].startswith(f"{data} accuracy {test.accuracy:.2%} ({test.correct} of 12), loss ")
    for flag in ("--model", "--workdir"):
        code, own, _ = evaluate(f"{flag}={restored}")
        assert code == 0
        check_same(own, out)
        assert own.startswith(f"test accuracy {test.accuracy:.2%} (")


def test_other_sizes_of_a_split_and_of_the_same_folder_are_one_table(evaluate, photos, data, restored):
    flag = "--sizes=24x16,1"
    _, own, _ = evaluate(f"--model={restored}", flag)
    code, out, _ = evaluate(f"--model={restored}", flag, f"--data={data}")
    assert code == 0
    check_same(own, out)
    at = out.index("at other sizes")
    assert [line.split()[:2] for line in out[at:].splitlines()[3:6]] == [["own", "12"], ["24x16", "12"], ["1", "12"]]
    assert max(map(len, out.splitlines()[1:])) <= 80
    assert "own size, by aspect" in out


def test_the_report_holds_the_sizes_and_what_was_left_out(evaluate, photos, data, tmp_path):
    mine, report = shutil.copytree(data / "test", tmp_path / "mine"), tmp_path / "report"
    (mine / "bright" / "x.png").write_text("none")
    shutil.copytree(mine / "bright", mine / "other")
    code, out, error = evaluate(
        f"--model={photos.path}", f"--data={mine}", "--unknown_classes=skip", "--sizes=0.5,16px", f"--report={report}"
    )
    assert code == 0
    assert out.splitlines()[1:3] == [
        "6 examples skipped, of classes that the model lacks: other (6)",
        "2 examples left out",
    ]
    assert [line.partition(":")[0] for line in error.splitlines()] == ["bright/x.png, other/x.png"]
    about = json.loads((report / "metrics.json").read_text())
    assert (about["count"], about["skipped"], about["data"]) == (12, {"other": 6}, str(mine))
    assert about["reasons"].keys() == {"bright/x.png", "other/x.png"}
    with (report / "size_sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["size"] for row in rows if row["by"] == "all"] == ["own", "0.5", "16px"]
    assert int(rows[0]["correct"]) == photos.run.test.correct
    with Image.open(report / "size_sweep.png") as image:
        assert len(np.unique(np.asarray(image.convert("L")))) > 20
    with (report / "predictions.csv").open(newline="") as file:
        assert {row["label"] for row in csv.DictReader(file)} == {"bright", "dark one"}


def test_signals_are_evaluated_at_other_lengths(evaluate, recordings):
    elsewhere = recordings.path.parent / "elsewhere"
    code, out, _ = evaluate(f"--model={recordings.path}", f"--data={elsewhere}", "--split=test", "--sizes=1500,0.9")
    assert code == 0
    assert out.startswith(f"{elsewhere} (test) accuracy {recordings.run.test.accuracy:.2%}")
    shorter = int((recordings.run.test.sizes < 1500).sum())
    assert out.endswith(f"\n{shorter} signals are shorter than 1500 samples, and stay whole\n")


def test_mistakes_are_one_sentence(evaluate, photos, data, tmp_path):
    alone, given = f"--model={photos.path / 'model'}", f"--data={data}"
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "mine").touch()
    for arguments, sentence in (
        ((), "--model is missing: give it, such as --model=runs/digits"),
        ((alone,), "split=test: needs a run, and "),
        ((alone, "--checkpoint=best"), "split=test: needs a run, and "),
        ((alone, given, "--checkpoint=best"), "--checkpoint: needs a split of the run, --split=test, and data"),
        ((alone, given, "--reestimate_statistics"), "--reestimate_statistics: needs a split of the run"),
        ((alone, "--workdir=x"), "--workdir=x: is another name of --model"),
        ((alone, "--split=tset"), "unknown split 'tset': did you mean 'test'"),
        ((alone, given, "--split=tset"), "'tset': did you mean 'test'"),
        ((alone, f"--data={tmp_path / 'no'}"), "no such folder or .npz file"),
        ((alone, given, "--sizes=3x3"), "sizes=3x3: brings 12 of 12 examples below the minimum of this network, 4x4"),
        ((alone, given, "--sizes=0.5,64"), "sizes=0.5,64: term '64' must be one of HxW"),
        ((alone, given, f"--report={kept}"), "must be a new or empty folder"),
        ((alone, given, "--on_error=ignore"), "--on_error=ignore"),
        ((f"--model={kept}", given), "must be a run or a model folder"),
    ):
        code, out, error = evaluate(*arguments)
        assert (code, out) == (UNUSABLE, ""), arguments
        assert sentence in error
        assert error.count("\n") == 1
