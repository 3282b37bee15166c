"""`fcnjax predict`: tables of files, folders, patterns and lists, in which nothing is lost."""

import csv
import io
import json
import os
from functools import partial

import pytest
from pyarrow import parquet

from fcnjax.commands.command_line import UNUSABLE
from fcnjax.inference.file_lists import expanded


@pytest.fixture
def predict(photos, predict_with):
    """Returns the function that runs the command with the network of the photographs."""
    return partial(predict_with, photos)


def test_a_folder_becomes_a_table_with_a_row_for_each_file(predict, photos, tmp_path, monkeypatch):
    monkeypatch.setattr("fcnjax.progress.FIRST", 0)  # seconds to the first line of progress
    table, absent = tmp_path / "out.csv", tmp_path / "absent.jpg"
    code, out, error = predict(f"--to={table}", photos.files[0].parent.parent, absent)
    assert code == 0
    assert "12 of 13 files predicted" in out
    assert error.splitlines()[-1] == f"{absent}: No such file or directory"
    assert [line.split(":")[0] for line in error.splitlines()[:-1]] == ["reading headers", *2 * ["predicting"]]
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert list(rows[0]) == ["file", "class", "probability", "class_2", "probability_2", "error"]
    assert [row["file"] for row in rows] == [*map(str, photos.files), str(absent)]
    logits = photos.run.test.logits
    assert [row["class"] for row in rows] == [("bright", "dark one")[i] for i in logits.argmax(axis=1)] + [""]
    assert rows[-1]["error"] == "No such file or directory"
    assert not rows[0]["error"]


def test_patterns_and_lists_on_standard_input_and_all_formats(predict, photos, tmp_path, monkeypatch):
    pattern = photos.files[0].parent / "*.jpg"
    assert predict(f"--to={tmp_path}/a.jsonl", "--top=1", pattern)[0] == 0
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [list(row) for row in rows] == [["file", "class", "probability"]] * 3
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{photos.files[0]}\n\n{photos.files[1]}\n"))
    assert predict("-", "--to", tmp_path / "a.parquet")[0] == 0
    read = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert [row["file"] for row in read] == [str(file) for file in photos.files[:2]]
    assert all(0.5 <= row["probability"] <= 1 for row in read)


def test_names_on_standard_input_need_not_be_text():
    listed = io.TextIOWrapper(io.BytesIO(b"\xff.png\n\xc3\xa9.png\n"), "utf-8")
    assert expanded(["-"], listed) == [os.fsdecode(b"\xff.png"), "\u00e9.png"]


def test_paths_that_cannot_be_looked_up_are_listed_as_files():
    long = "x/" * 3000
    assert expanded([long, "null\0.png"], io.StringIO()) == [long, "null\0.png"]


def test_mistakes_are_one_sentence_and_write_nothing(predict, photos, tmp_path):
    kept = tmp_path / "kept.csv"
    kept.write_text("mine")
    file = photos.files[0]
    for arguments, sentence in (
        ((f"--to={kept}", file), "exists; choose another path, or replace the file with --overwrite"),
        ((f"--to={tmp_path}/a.xlsx", file), "must end in .csv, .jsonl, .parquet"),
        ((file,), "--to is missing"),
        ((f"--to={tmp_path}/a.csv",), "files are missing"),
        ((f"--to={tmp_path}/a.csv", tmp_path / "*.tiff"), "matches no file"),
        ((f"--to={tmp_path}/a.csv", "--top=0", file), "top"),
    ):
        code, out, error = predict(*arguments)
        assert (code, out) == (UNUSABLE, "")
        assert sentence in error
        assert error.count("\n") == 1
    assert kept.read_text() == "mine"
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept.csv"]
    assert predict(f"--to={kept}", "--overwrite", file)[0] == 0
    assert kept.read_text().startswith("file,class")


def test_files_of_which_none_can_be_read_end_with_an_error_and_a_table_of_reasons(predict, tmp_path):
    code, _, error = predict(f"--to={tmp_path}/a.csv", "absent.jpg")
    assert code == UNUSABLE
    assert "none of the 1 files could be read" in error
    assert "absent.jpg,,,No such file" in (tmp_path / "a.csv").read_text()
