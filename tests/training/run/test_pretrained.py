"""Networks with imported weights: saved and loaded again."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from fcnjax import models
from fcnjax.commands.command_line import UNUSABLE
from fcnjax.commands.main import main
from fcnjax.models.weights.torch_weights import RULES, named
from fcnjax.training import import_weights, load_imported

SMALL = {"width": 0.1, "depths": [1] * 7}


def flat(model: models.Classifier) -> dict[str, np.ndarray]:
    return {".".join(map(str, path)): np.asarray(v[...]) for path, v in nnx.to_flat_state(nnx.state(model))}


def write_weights(path: Path, arch: str, **options) -> models.Classifier:
    """Writes the weights of a network of 5 classes as torchvision names them, and returns the network."""
    model = models.create(arch, classes=5, in_channels=2, rngs=nnx.Rngs(3), **options)
    rule = RULES[arch]["torchvision"]
    arrays = {named(rule, ours): array for ours, array in flat(model).items()}
    turned = {n: np.moveaxis(a, (-1, -2), (0, 1)) if a.ndim > 1 else a for n, a in arrays.items()}
    save_file({name: np.ascontiguousarray(array) for name, array in turned.items()}, path)
    return model


def test_a_network_comes_back_as_it_was_imported(tmp_path):
    model = write_weights(tmp_path / "weights.safetensors", "efficientnet_b0", **SMALL)
    import_weights(tmp_path / "weights.safetensors", "efficientnet_b0", tmp_path / "net", **SMALL)
    loaded = load_imported(tmp_path / "net")
    jax.tree.map(np.testing.assert_array_equal, flat(loaded), flat(model))
    described = json.loads((tmp_path / "net/model.json").read_text())
    assert described.items() >= {"arch": "efficientnet_b0", "classes": 5, "in_channels": 2, "options": SMALL}.items()


def test_the_command_prints_what_it_made(tmp_path, capsys):
    model = write_weights(tmp_path / "atto.safetensors", "convnext_atto")
    arguments = ["--from", f"{tmp_path}/atto.safetensors", "--arch", "convnext_atto"]  # makes {tmp_path}/atto
    assert main(["fcnjax", "import-weights", *arguments]) == 0
    assert capsys.readouterr().out == f"convnext_atto: 3,375,485 parameters\nfolder {tmp_path}/atto\n"
    jax.tree.map(np.testing.assert_array_equal, flat(load_imported(tmp_path / "atto")), flat(model))
    assert main(["fcnjax", "import-weights", *arguments]) == UNUSABLE
    assert "must not exist; choose a new folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arch=resnet18", "--to=new"], "--from is missing: give it, such as --from=resnet50.safetensors"),
        (["--from=none.pt", "--arch=resnet18", "--to=new"], "none.pt: is not a file; give the path of a state dict"),
        (["--from=weights.npz", "--arch=resnet81", "--to=new"], "PyTorch names 'resnet81': did you mean 'resnet18'?"),
        (["--from=weights.npz", "--arch=resnet18", "--to=new"], "weights.npz: state dict for resnet18 (torchvision's"),
    ],
)
def test_what_cannot_be_imported_is_one_sentence(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("weights.npz", extra=np.zeros(3))
    assert main(["fcnjax", "import-weights", *arguments]) == UNUSABLE
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_folders_that_hold_no_network_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold an imported network"):
        load_imported(tmp_path)
    (tmp_path / "model.json").write_text('{"arch": "resnet81", "classes": 5, "in_channels": 2, "options": {}}')
    with pytest.raises(ValueError, match=r"model\.json: does not describe a network .*resnet18"):
        load_imported(tmp_path)
