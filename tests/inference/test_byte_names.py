"""Names of files and classes that are no UTF-8, as on old disks, survive training, evaluation and prediction."""

import csv
import json
import os
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from fcnjax.commands.main import main
from fcnjax.data import Batch, Source
from fcnjax.inference.prediction_table import write_table
from fcnjax.inference.predictor import load
from fcnjax.training import Recipe, train
from fcnjax.training.run.not_finite import report_not_finite

NAME = os.fsdecode(b"caf\xe9")  # Latin-1, and no UTF-8
ESCAPED = r"caf\udce9"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("bytes")
    try:
        (root / "data" / NAME).mkdir(parents=True)
    except OSError:
        pytest.skip("this file system takes names of UTF-8 only")
    (root / "data" / "tea").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 12), np.uint8)
    for index, values in enumerate(pixels):
        Image.fromarray(values).save(root / "data" / (NAME, "tea")[index % 2] / f"{NAME}{index}.png")
    (root / "data" / NAME / f"{NAME}.bad.png").write_bytes(b"no image")
    data = {"name": "image_folder", "data_dir": str(root / "data"), "on_error": "mask"}
    data |= {f"{split}_split": "all" for split in ("train", "validation", "test")}
    model = {"name": "fcn", "channels": (4,)}
    recipe = Recipe.from_config({"data": data, "model": model, "epochs": 1, "batch_size": 8, "max_buckets": 1})
    return train(recipe, root / "run", progress=False)


def test_a_run_keeps_them(run, capsys):
    assert (run.test.count, list(run.unreadable)) == (8, [f"{NAME}/{NAME}.bad.png"])
    folder = run.folder.path
    assert list(json.loads((folder / "result.json").read_text())["unreadable"]) == [f"{NAME}/{NAME}.bad.png"]
    assert load(folder).classes == (NAME, "tea")
    report = folder.parent / "report"
    assert main(["fcnjax", "evaluate", f"--model={folder}", f"--report={report}"]) == 0
    out, error = capsys.readouterr()
    assert f"{NAME}/" not in out + error
    out.encode()
    rows = list(csv.DictReader((report / "predictions.csv").read_text().splitlines()))
    assert rows[0]["name"] == f"{ESCAPED}/{ESCAPED}0.png"
    assert {row["label"] for row in rows} == {ESCAPED, "tea"}


def test_tables_of_predictions_hold_them_escaped(run, capsys):
    folder = run.folder.path
    table = folder.parent / "table.csv"
    assert main(["fcnjax", "predict", f"--model={folder}", f"--to={table}", str(folder.parent / "data")]) == 0
    out, error = capsys.readouterr()
    (out + error).encode()
    assert f"{ESCAPED}.bad.png: " in error
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["file"].rpartition("/")[2] for row in rows[:2]] == [f"{ESCAPED}.bad.png", f"{ESCAPED}0.png"]
    assert {rows[1]["class"], rows[1]["class_2"]} == {ESCAPED, "tea"}
    prediction = load(folder)(Path(folder.parent / "data" / NAME / f"{NAME}0.png"))
    assert str(prediction).encode()
    for suffix in ("jsonl", "parquet"):
        write_table(folder.parent / f"table.{suffix}", [f"{NAME}.png"], [prediction], {})
    assert json.loads((folder.parent / "table.jsonl").read_text())["file"] == f"{ESCAPED}.png"
    assert parquet.read_table(folder.parent / "table.parquet").to_pylist()[0]["file"] == f"{ESCAPED}.png"


def test_lists_of_examples_hold_them(tmp_path):
    class Named:
        names, ids = [f"{NAME}.png"], np.array([0])

    one = np.zeros(1, np.int32)
    batch = Batch(np.zeros(0), np.array([[2, 3]]), one, one)
    report_not_finite(tmp_path, 1, 0, float("nan"), [batch], cast(Source, Named()))
    (example,) = json.loads((tmp_path / "not_finite.json").read_text())["examples"]
    assert example["name"] == f"{NAME}.png"
