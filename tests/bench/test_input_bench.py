"""The result of `fcnjax bench input` on a folder of a few images."""

import json

import numpy as np
import pytest
from PIL import Image

from fcnjax.bench import input as input_bench
from fcnjax.bench.drawn_photographs import write_photographs
from fcnjax.commands.main import main

TRAINED = 12


def test_the_command_measures_and_writes_waiting_and_decoding(tmp_path, request, capsys):
    draw = np.random.default_rng(0)
    for split, count in (("train", TRAINED), ("test", 3)):
        for index in range(2 * count):
            file = tmp_path / "photos" / split / "ab"[index % 2] / f"{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (16 + index % 3, 20, 3), np.uint8)).save(file)
    config = request.config.rootpath / "configs/image_folder.py"
    written = tmp_path / "input.json"
    arguments = (
        *(f"--config={config}", f"--config.data.data_dir={tmp_path / 'photos'}", "--config.max_buckets=1"),
        *("--config.data.train_split=train", "--config.data.validation_split=test[:50%]"),
        *("--config.data.test_split=test[50%:]", "--config.model.channels=(4,4)", "--config.batch_size=8"),
    )
    assert main(["fcnjax", "bench", "input", *arguments, f"--json={written}"]) == 0
    result = json.loads(written.read_text())
    assert result["steps"] == 3
    assert 0 <= result["input_wait_share"] < 1
    assert result["step_ms"] > result["wait_ms"] >= 0
    examples = result["examples_per_s"] * result["steps"] * result["step_ms"] / 1e3
    assert round(examples) == 2 * TRAINED  # an epoch, each example once
    assert result["bare"] == "bare Pillow loop"
    assert result["loader_vs_bare"] == result["loader_examples_per_s"] / result["bare_examples_per_s"]
    assert f"at most {input_bench.TARGET:.0%}" in capsys.readouterr().out


def test_a_consumer_of_a_given_rate_takes_the_place_of_training(tmp_path, request, capsys):
    config, written = request.config.rootpath / "configs/image_folder.py", tmp_path / "input.json"
    tiny = ("--drawn=30", "--steps=3", "--config.batch_size=8", "--config.max_buckets=1", "--config.precision=tf32")
    rate = 200.0
    command = [f"--config={config}", f"--images_per_s={rate}", f"--json={written}", *tiny]
    assert main(["fcnjax", "bench", "input", *command]) == 0
    result = json.loads(written.read_text())
    assert result["steps"] == 3
    assert 0 < result["examples_per_s"] <= rate
    assert 0 <= result["input_wait_share"] < 1
    assert result["loader_vs_consumer"] == result["loader_examples_per_s"] / rate
    assert result["bare"] == "bare Pillow loop"
    assert (result["dtype"], result["precision"]) == ("float32", "tf32")
    assert "loader_vs_consumer" in capsys.readouterr().out


def test_drawn_photographs_take_as_many_bytes_as_photographs(tmp_path):
    write_photographs(tmp_path, 20)
    files = sorted(tmp_path.rglob("*.jpg"))
    assert len(files) == 20
    assert len({file.parent for file in files}) == 10
    positions = 0
    for file in files:
        with Image.open(file) as image:
            assert image.mode == "RGB"
            positions += image.width * image.height
    assert 0.4 < sum(file.stat().st_size for file in files) / positions < 0.8
    assert 400**2 < positions / len(files) < 600**2


@pytest.mark.parametrize(
    ("flag", "part"),
    [("--images_per_s=0", "images_per_s=0.0: must be greater than 0"), ("--drawn=9", "drawn=9: must be at least 10")],
)
def test_what_cannot_be_consumed_gets_a_sentence(flag, part, request, capsys):
    config = request.config.rootpath / "configs/image_folder.py"
    assert main(["fcnjax", "bench", "input", f"--config={config}", "--drawn=30", flag]) == 2
    assert part in capsys.readouterr().err
