"""The result of `fcnjax bench input` on a folder of a few images."""

import json

import numpy as np
from PIL import Image

from fcnjax.bench import input as input_bench
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
