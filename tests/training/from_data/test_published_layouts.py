"""The commands of the README for published data sets, on small synthetic ones of the same shapes."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fcnjax.commands.train import chosen_fields
from fcnjax.commands.train import run as train
from fcnjax.training.from_data import choose_config
from tests.data.files.published_layouts import LAYOUTS

README = Path(__file__).parents[3] / "README.md"


def command_of(name: str) -> list[str]:
    """Returns the arguments of the first command of the README for a data set."""
    block = re.search(r"### Data in other shapes.*?```sh\n(.*?)```", README.read_text(), re.DOTALL)[1]
    (part,) = [part for part in block.split("\n\n") if f"--data={name} " in part]
    script = f'fcnjax() {{ printf "%s\\0" "$@"; exit; }}\n{part}'
    return subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True).stdout.split("\0")[1:-1]


@pytest.fixture(params=LAYOUTS)
def layout(request, tmp_path, monkeypatch):
    root = tmp_path / request.param
    root.mkdir()
    LAYOUTS[request.param](root)
    monkeypatch.chdir(tmp_path)
    return request.param


EXPECTED = {  # classes, each with the number that was drawn; examples of train, validation and test
    "GTSRB": ({"00000": 0, "00001": 1, "00002": 2}, (39, 6, 6)),
    "UrbanSound8K": ({"dog_bark": 0, "siren": 1}, (32, 4, 4)),
    "speech_commands": ({"no": 1, "stop": 2, "yes": 0}, (15, 3, 3)),
    "tiny-imagenet-200": ({"n01443537": 0, "n01629819": 1}, (22, 2, 6)),
    "pets": ({"Abyssinian": 0, "american_bulldog": 1, "american_pit_bull_terrier": 2}, (27, 3, 6)),
    "CXR8": ({"Effusion": 1, "Effusion|Mass": 1, "No Finding": 0}, (27, 3, 6)),
}


def drawn(values: np.ndarray) -> int:
    """Returns the number that was drawn: 60 gray levels a class on noise of 45, or 200 Hz on 300."""
    if values.ndim == 3:
        return round((values.mean() - 45) / 60)
    crossings = np.count_nonzero(np.diff(np.sign(values[:, 0] + 1e-6)))
    return round((crossings / 2 / (len(values) / 8000) - 300) / 200)


def test_the_command_of_the_readme_reads_the_published_shape(layout):
    argv = ["fcnjax train", *command_of(layout)]
    choice = choose_config(layout, fields=chosen_fields(argv))
    sources = choice.sources
    names, counts = EXPECTED[layout]
    assert sources["train"].class_names == tuple(names)
    assert tuple(len(sources[split]) for split in ("train", "validation", "test")) == counts
    chosen = [set(source.names) for source in sources.values()]
    assert not chosen[0] & chosen[1] | chosen[0] & chosen[2] | chosen[1] & chosen[2]
    for source in sources.values():
        for index in range(len(source)):
            assert drawn(source[index].values) == names[source.class_names[source.labels[index]]], source.names[index]
    if sources["train"].groups is not None:
        groups = [set(source.groups) for source in sources.values()]
        assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]


@pytest.mark.long
def test_the_command_of_the_readme_trains(layout, capsys):
    argv = ["fcnjax train", *command_of(layout), "--config.epochs=1", "--config.model.name=fcn"]
    train(argv)
    assert "test accuracy" in capsys.readouterr().out
