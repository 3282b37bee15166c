"""The networks' benchmark: its arms compute the same, and the command writes its result and refuses unknown names."""

import json

import pytest

from fcnjax import models
from fcnjax.bench import layer_profile, networks
from fcnjax.commands.main import main

pytestmark = pytest.mark.usefixtures("on_a_cpu")


def test_every_network_has_a_batch_that_it_takes():
    for name in models.MODELS:
        work = networks.NetworkWork.of(name)
        images, sizes, labels = work.draw()
        assert images.shape == (work.batch_size, work.extent, work.extent, 3)
        assert sizes.max() == work.extent
        assert sizes.min() >= 32
        assert len(labels) == work.batch_size
    with pytest.raises(ValueError, match="resnet18"):
        networks.NetworkWork.of("resnet81")


def test_the_command_writes_times_and_ratios(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(networks, "SHAPES", {"fcn": (2, 34)})
    path = tmp_path / "networks.json"
    assert not main(["fcnjax", "bench", "networks", "--networks=fcn", "--rounds=2", f"--json={path}"])
    result = json.loads(path.read_text())
    assert list(result["networks"]) == ["fcn"]
    for phase in ("train", "evaluate"):
        measured = result["networks"]["fcn"][phase]
        assert len(measured["milliseconds"]["ours"]["rounds"]) == 2
        assert measured["library_over_ours"]["median"] > 0
        assert ("torch_over_ours" in measured) == result["torch_note"].startswith("PyTorch 2")
    assert "fcn" in capsys.readouterr().out


def test_unknown_names_rounds_and_devices_are_refused(monkeypatch, capsys):
    assert main(["fcnjax", "bench", "networks", "--networks=resnet81"]) != 0
    assert "resnet18" in capsys.readouterr().err
    with pytest.raises(ValueError, match="at least 1"):
        networks.measure(["fcn"], rounds=0)
    monkeypatch.setattr(networks.jax, "default_backend", lambda: "gpu")
    with pytest.raises(ValueError, match="must be a CPU"):
        networks.measure(["fcn"])


def test_the_profile_names_kinds_of_layers(monkeypatch, capsys):
    monkeypatch.setattr(networks, "SHAPES", {"resnet_cifar": (2, 34)})
    assert not main(["fcnjax", "bench", "networks", "--networks=resnet_cifar", "--profile"])
    shown = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.strip()}
    for kind in ("Convolution", "BatchNorm", "sum"):
        assert float(rows[kind][0]) > 0, shown


@pytest.mark.parametrize(
    ("op_name", "kind"),
    [
        ("jit(step)/jvp(stage1)/Block/Residual/Sequential/Convolution/dot_general", "Convolution"),
        ("jit(step)/transpose(jvp(stem))/Block/BatchNorm/reduce_sum", "BatchNorm"),
        ("jit(step)/jvp(stage1)/Block/Residual/add", "Residual"),
        ("jit(step)/add", layer_profile.OPTIMIZER),
        ("jit(step)/transpose(jvp())/while/body/mul", "other"),
        ("", layer_profile.UNNAMED),
    ],
)
def test_an_operation_belongs_to_the_innermost_layer_of_its_name(op_name, kind):
    assert layer_profile._kind(op_name) == kind
