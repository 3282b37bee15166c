"""Folders of files without a config: what was chosen, or asked for, is what trains, resumes and is evaluated."""

import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import fcnjax
from fcnjax.commands.main import main
from fcnjax.training import evaluate, load_run
from fcnjax.training.run import loop
from fcnjax.training.run.run_folder import read_config

SMALL = {"epochs": 1, "max_buckets": 1, "batch_size": 8, "model": {"name": "fcn", "channels": (4, 4)}}


def write(root, channels, count=20, size=(70, 66)):
    rng = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (root / name).mkdir(parents=True)
        for number in range(count):
            values = rng.integers(100 * label, 100 * label + 100, (*size, 3)).astype(np.uint8)
            image = Image.fromarray(values if channels == 3 else values[..., 0])
            image.save(root / name / f"{number}.png")
    return root


class _StopError(Exception):
    pass


def test_gray_photographs_resume_and_are_evaluated_as_they_were_trained(tmp_path, monkeypatch):
    root = write(tmp_path / "gray", channels=1)

    def stopping(*args):
        raise _StopError

    with monkeypatch.context() as patched:
        patched.setattr(loop, "write_model", stopping)
        with pytest.raises(_StopError):
            fcnjax.train(root, tmp_path / "run", progress=False, **SMALL)
    root.rename(tmp_path / "moved")
    with pytest.raises(FileExistsError, match="data_dir was"):  # the run names its folder
        fcnjax.train(tmp_path / "moved", tmp_path / "run", progress=False)
    (tmp_path / "moved").rename(root)
    run = fcnjax.train(root, tmp_path / "run", progress=False)
    assert read_config(run.folder.path)["data"]["channels"] == 1
    np.testing.assert_array_equal(evaluate(run.folder.path).logits, run.test.logits)


@pytest.mark.parametrize("road", ["python", "command", "command with spaces"])
def test_fields_of_the_data_decide_how_they_are_read(tmp_path, road):
    root = write(tmp_path / "photos", channels=3)
    (root / "dark" / "0.png").write_bytes(b"not an image")
    fields = {"train_split": "all[:50%]", "channels": 1, "on_error": "mask"}
    if road == "python":
        fcnjax.train(root, tmp_path / "run", progress=False, data=fields, **SMALL)
    else:
        pairs = [(f"--config.data.{name}", str(value)) for name, value in fields.items()]
        spaces = "spaces" in road
        asked = [text for pair in pairs for text in (pair if spaces else ["=".join(pair)])]
        network = ["--config.model.name=fcn", "--config.model.channels=(4, 4)", "--config.epochs=1"]
        assert main(["fcnjax", "train", f"--data={root}", f"--workdir={tmp_path / 'run'}", *asked, *network]) == 0
    trainer, _ = load_run(tmp_path / "run")
    config = read_config(tmp_path / "run")["data"]
    assert {name: config[name] for name in fields} == fields
    train = trainer.sources["train"]
    assert (train.channels, len(train) in (19, 20)) == (1, True)
    assert fcnjax.load(tmp_path / "run").model.about["provenance"]["examples"]["train"] == len(train)


@pytest.mark.long
def test_two_hosts_choose_one_recipe(tmp_path):
    """Two processes on loopback: the memory of a host's own device decides on its batches."""
    root = write(tmp_path / "photos", channels=3)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    options = ["--config.model.name=fcn", "--config.model.channels=(4, 4)", "--config.epochs=1", "--hosts=2"]
    command = [sys.executable, "-m", "fcnjax", "train", f"--data={root}", f"--workdir={tmp_path / 'run'}", *options]
    hosts = [
        subprocess.Popen([*command, f"--coordinator=127.0.0.1:{port}", f"--host={host}"], stderr=subprocess.PIPE)
        for host in range(2)
    ]
    for host in hosts:
        _, error = host.communicate(timeout=240)
        assert host.returncode == 0, error.decode()
    assert evaluate(tmp_path / "run").count == 4
