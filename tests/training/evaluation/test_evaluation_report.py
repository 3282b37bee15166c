"""The report of an evaluation: its files, its tables on a terminal of 80 columns, and its figures."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from synthetic_data import draw_logits

from fcnjax.atomic import atomic_folder
from fcnjax.data import ArraySource
from fcnjax.training.evaluation import evaluation_figures
from fcnjax.training.evaluation.evaluation_report import check_new, figures, summary_tables, write_report
from fcnjax.training.evaluation.metrics import Metrics, measure, worst_classes, worst_confusions

FILES = {"metrics.json", "per_class.csv", "predictions.csv", "confusion.png", "reliability.png", "sizes.png"}
MISSING = 3  # the example that has no logits


def make(count: int, classes: int, names: list[str] | None = None) -> tuple[Metrics, ArraySource]:
    """Returns the metrics of synthetic logits, and a source of the same examples with empty values."""
    logits, labels, sizes = draw_logits(count, classes)
    logits[MISSING] = np.nan
    values = [np.zeros((*size, 1), np.uint8) for size in sizes]
    names = [f"class {index}" for index in range(classes)] if names is None else names
    return measure(logits, labels, sizes), ArraySource(values, labels, names, first_id=1000)


def rows_of(path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def told(tables) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        for table in tables:
            console.print(table)
    return capture.get()


def test_the_folder_holds_what_was_measured(tmp_path):
    metrics, source = make(90, 7, names=["a, b", 'c "d"', "$e_1$ [bold]", "Käfer", "f\ng", "h", "i"])
    source.names = [f"{index}.png" for index in range(90)]  # type: ignore[attr-defined]
    folder = write_report(tmp_path / "deep" / "report", metrics, source, {"split": "test"})
    assert {path.name for path in folder.iterdir()} == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["report"]
    written = json.loads((folder / "metrics.json").read_text())
    assert (written["split"], written["count"], written["left_out"]) == ("test", 89, 1)
    assert written["top1"]["correct"] == metrics.correct()
    assert written["top5"]["accuracy"] == metrics.accuracy(5)
    assert sum(row["count"] for row in written["calibration"]) == 89
    assert sum(row["examples"] for row in written["sizes"]) == 89
    classes = rows_of(folder / "per_class.csv")
    assert [row["name"] for row in classes] == list(source.class_names)
    assert [int(row["correct"]) for row in classes] == metrics.class_correct.tolist()
    for row in classes:
        assert float(row["accuracy"]) == int(row["correct"]) / int(row["count"])
    predictions = rows_of(folder / "predictions.csv")
    assert [row["id"] for row in predictions] == [str(1000 + index) for index in range(90)]
    assert predictions[5]["name"] == "5.png"
    assert predictions[MISSING] == {"id": "1003", "name": "3.png", "label": "", "prediction": "", "probability": ""}
    del predictions[MISSING]
    assert sum(row["label"] == row["prediction"] for row in predictions) == metrics.correct()
    assert [float(row["probability"]) for row in predictions] == metrics.probabilities.tolist()


def test_a_spreadsheet_runs_no_name_and_a_terminal_obeys_none(tmp_path):
    formula, hostile = '=HYPERLINK("http://x","y")', "b\x1b[2J\nc"
    metrics, source = make(30, 3, names=[formula, hostile, "-1"])
    source.names = ["@SUM(A1)", "+1+cmd|x", "\udc80.png", *(f"{index}.png" for index in range(27))]
    folder = write_report(tmp_path / "report", metrics, source)
    assert [row["name"] for row in rows_of(folder / "per_class.csv")] == [f"'{formula}", hostile, "-1"]
    predictions = rows_of(folder / "predictions.csv")
    assert [row["name"] for row in predictions[:4]] == ["'@SUM(A1)", "'+1+cmd|x", "\\udc80.png", "0.png"]
    assert {row["label"] for row in predictions} == {f"'{formula}", hostile, "-1", ""}
    assert [float(row["probability"]) for row in predictions if row["probability"]] == metrics.probabilities.tolist()
    text = told(summary_tables(metrics, source.class_names))
    assert "\x1b" not in text
    assert r"b\x1b[2J\nc" in text


@pytest.mark.parametrize("classes", [2, 13, 41, 251])
def test_pictures_are_drawn_for_few_and_many_classes(tmp_path, classes):
    metrics, source = make(400, classes, [f"a class with the long name {index} of $_{{" for index in range(classes)])
    folder = write_report(tmp_path / "report", metrics, source)
    for name in ("confusion", "reliability", "sizes"):
        with Image.open(folder / f"{name}.png") as image:
            assert 600 < max(image.size) < 3000
            assert len(np.unique(np.asarray(image.convert("L")))) > 20
    assert "name" not in (folder / "predictions.csv").read_text().splitlines()[0]


def test_a_large_confusion_matrix_keeps_its_largest_mistake():
    shares = np.full((1001, 1001), 0.001)
    shares[700, 3] = 0.9
    drawn = evaluation_figures._largest_of_blocks(shares, 5)
    assert drawn.shape == (201, 201)
    assert np.unravel_index(drawn.argmax(), drawn.shape) == (140, 0)
    assert drawn.max() == 0.9
    np.testing.assert_array_equal(evaluation_figures._largest_of_blocks(shares, 1), shares)


def test_tables_are_whole_on_a_terminal_of_80_columns_whatever_the_names():
    metrics, source = make(20_000, 1000, [f"[red]a class with a very long name[/red] {index}" for index in range(1000)])
    text = told(summary_tables(metrics, source.class_names))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) < 50
    assert "19,999 examples, 1 left out" in text
    assert f"({metrics.correct(5):,})" in text
    assert "[red]a class with a ver…" in text
    assert f"{metrics.calibration.error:.4f}" in text


def test_of_classes_with_one_accuracy_the_larger_comes_first():
    labels = np.array([0, 0, 1, 1, 1, 1, 2, 2, 3])
    predictions = np.array([0, 1, 1, 1, 0, 0, 2, 0, 3])
    metrics = measure(np.eye(4)[predictions], labels, np.ones((9, 2), int))
    assert worst_classes(metrics) == [1, 0, 2]  # a half each: of 4, of 2, of 2


def test_the_worst_come_first_and_what_is_perfect_is_not_among_them():
    logits = np.eye(4)[[0, 0, 1, 2, 2, 2, 0, 3]]  # predictions
    metrics = measure(logits, np.array([0, 0, 0, 1, 1, 2, 2, 3]), np.ones((8, 2)))
    assert worst_classes(metrics) == [1, 2, 0]
    assert worst_classes(metrics, 1) == [1]
    assert worst_confusions(metrics) == [(1, 2, 2), (0, 1, 1), (2, 0, 1)]
    assert [column.justify for column in summary_tables(metrics, "abcd")[-1].columns] == ["left", "left", "right"]
    perfect = measure(np.eye(3), np.arange(3), np.ones((3, 2)))
    assert worst_classes(perfect) == worst_confusions(perfect) == []
    assert "least accurate" not in told(summary_tables(perfect, "abc"))


def test_without_any_logits_there_is_a_report_all_the_same(tmp_path):
    metrics = measure(np.full((2, 6), np.nan), np.full(2, -1), np.ones((2, 2)))
    source = ArraySource([np.zeros((1, 1, 1), np.uint8)] * 2, [0, 1], list("abcdef"))
    write_report(tmp_path / "report", metrics, source)
    assert json.loads((tmp_path / "report/metrics.json").read_text())["loss"] is None
    assert "0 examples, 2 left out" in told(summary_tables(metrics, source.class_names))


def test_a_loss_that_is_not_finite_is_null_in_the_file():
    metrics = measure(np.array([[0.0, -np.inf]]), np.array([1]), np.ones((1, 2)))
    assert metrics.loss == np.inf
    assert figures(metrics)["loss"] is None


def test_a_folder_that_holds_anything_is_refused_and_stays(tmp_path):
    metrics, source = make(20, 3)
    full, empty, file = tmp_path / "full", tmp_path / "empty", tmp_path / "file"
    full.mkdir()
    empty.mkdir()
    file.write_text("mine")
    (full / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="report=.*full: must be a new or empty folder; choose another path"):
        write_report(full, metrics, source)
    with pytest.raises(FileExistsError, match="report=.*file: must be a new or empty folder"):
        check_new(file)
    assert [path.name for path in full.iterdir()] == ["mine.txt"]
    write_report(empty, metrics, source)
    assert {path.name for path in empty.iterdir()} == FILES


def test_what_fails_on_the_way_leaves_no_folder(tmp_path):
    def interrupted():
        with atomic_folder(tmp_path / "report") as folder:
            (folder / "half.txt").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "report").mkdir()
    (tmp_path / "report/mine").touch()
    with pytest.raises(OSError, match="not empty"), atomic_folder(tmp_path / "report") as folder:
        (folder / "theirs").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["report", "mine"]
