"""Runs on folders with mostly damaged files: none stops, and no file is lost silently."""

import json
from pathlib import Path

import pytest
from damaged_files import pillow_decodes, write_damaged
from PIL import Image

from fcnjax.commands.command_line import UNUSABLE
from fcnjax.commands.main import main

COUNT = 500


@pytest.fixture(scope="module")
def damaged(tmp_path_factory) -> tuple[Path, set[str], set[str]]:
    """The folder, and the names of files that decode and that do not; without files on which readers disagree."""
    root = tmp_path_factory.mktemp("damaged")
    verdicts = {name: pillow_decodes(content) for name, content in write_damaged(root, COUNT).items()}
    for name, decodes in verdicts.items():
        if decodes is None:
            (root / name).unlink()
    return (
        root,
        {name for name, good in verdicts.items() if good},
        {name for name, good in verdicts.items() if good is False},
    )


def train(root: Path, workdir: Path, config: Path, *changes: str) -> int:
    splits = {"train": "all[:70%]", "validation": "all[70%:85%]", "test": "all[85%:]"}
    return main(
        [
            *("fcnjax", "train", f"--config={config}", f"--config.data.data_dir={root}", f"--workdir={workdir}"),
            *(f"--config.data.{name}_split={split}" for name, split in splits.items()),
            *("--config.size.below=pad", "--config.epochs=1", "--config.max_buckets=1"),
            *("--config.model.channels=(4,)", "--config.model.norm=none", *changes),
            *(f"--config.augment.{name}=0.0" for name in ("rotation", "scale", "shift")),
        ]
    )


@pytest.mark.parametrize("batching", ["bucket", "mixed"])
def test_training_on_the_rest_completes_and_names_what_was_left_out(damaged, batching, tmp_path, request, capfd):
    root, good, bad = damaged
    assert min(len(good), len(bad)) > 50
    config = request.config.rootpath / "configs/image_folder.py"
    changes = ("--config.data.on_error=mask", f"--config.batching={batching}")
    assert train(root, tmp_path / "run", config, *changes) == 0
    told = capfd.readouterr().out
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert set(result["unreadable"]) == bad
    assert f"{len(bad)} examples could not be decoded and were left out" in told
    assert told[told.index("were left out; result.json") :].count("\n") <= 2 + 13  # a line for each of 12 reasons
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    counted = {
        event: sum(row.get("examples", row.get("count", 0)) for row in rows if row["event"] == event)
        for event in ("train", "validation", "test")
    }
    assert sum(counted.values()) == len(good)  # each file that decodes was seen once, in one split
    behind_sound_headers = sum(row.get("unreadable", 0) for row in rows)
    assert 0 < behind_sound_headers < len(bad)


def test_refusing_lists_them_before_anything_is_trained(damaged, tmp_path, request, capfd):
    root, _, bad = damaged
    assert train(root, tmp_path / "run", request.config.rootpath / "configs/image_folder.py") == UNUSABLE
    error = capfd.readouterr().err
    assert error.startswith("fcnjax train: root=")
    assert not (tmp_path / "run").exists()
    lists = [path.read_text().splitlines() for path in (tmp_path / ".scans").glob("unreadable-*.txt")]
    assert len(lists) == error.count("The complete list is in") == 3
    assert {line.partition(": ")[0] for lines in lists for line in lines} == bad


def test_no_name_of_a_file_or_class_acts_on_the_terminal(tmp_path, request, capfd):
    root, hostile = tmp_path / "root", "\x1b[2J\x1b]0;owned\x07\nfcnjax: all is well"
    for label in ("cat", f"dog{hostile}"):
        (root / label).mkdir(parents=True)
        for index in range(20):
            Image.new("L", (20, 20), 9 * index).save(root / label / f"{index:02}.png")
    bad = f"cat/bad{hostile}.png"
    (root / bad).write_bytes(b"no image")
    config = request.config.rootpath / "configs/image_folder.py"
    assert train(root, tmp_path / "run", config) == UNUSABLE
    assert train(root, tmp_path / "run", config, "--config.data.on_error=mask") == 0
    assert main(["fcnjax", "evaluate", f"--workdir={tmp_path / 'run'}"]) == 0
    told = "".join(capfd.readouterr())
    assert r"bad\x1b[2J\x1b]0;owned\x07\nfcnjax: all is well.png: not an image" in told
    assert not any(piece in told for piece in ("\x1b[2J", "\x1b]0;", "\x07", "\nfcnjax: all is well"))
    assert list(json.loads((tmp_path / "run/result.json").read_text())["unreadable"]) == [bad]  # the raw name
    (complete,) = [path.read_text() for path in (tmp_path / ".scans").glob("unreadable-*.txt")]
    assert len(complete.splitlines()) == 1
