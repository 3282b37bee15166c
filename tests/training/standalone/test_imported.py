"""Weights of PyTorch become model folders: loaded, described truthfully, and refused where they are something else."""

import functools
import json

import numpy as np
import pytest
from drawn_networks import drawn_state_dict, write_state_dict
from flax import nnx
from safetensors.numpy import save_file

import fcnjax
from fcnjax import Padded
from fcnjax.commands.command_line import UNUSABLE
from fcnjax.commands.main import main
from fcnjax.layers.layer import parameter_count
from fcnjax.models.weights import create_from_state_dict
from fcnjax.models.weights.torch_weights import variables_of
from fcnjax.training import import_weights
from fcnjax.training.standalone import read_model

ATTO = "convnext_atto"
SLOW = (ATTO, "efficientnet_b0")
MEAN = [0.485, 0.456, 0.406]


@pytest.fixture
def atto(tmp_path):
    """The path of weights of a small network of 5 classes."""
    save_file(atto_state(), tmp_path / "atto.safetensors")
    return tmp_path / "atto.safetensors"


@functools.cache
def atto_state():
    return drawn_state_dict(ATTO)


@functools.cache
def atto_outputs():
    """Images, and their features and logits by this library; `tests/oracles` has those of PyTorch."""
    images = np.random.default_rng(1).normal(size=(2, 40, 33, 3)).astype(np.float32)
    batch = Padded.stack(list(images))
    run = nnx.jit(lambda model, batch: (model.features(batch).values, model(batch)))
    return images, *map(np.asarray, run(create_from_state_dict(ATTO, atto_state()), batch))


def described(folder):
    return json.loads((folder / "config.json").read_text())


def reference(path, *, first=False, shift=0.0, **other):
    images, _, logits = atto_outputs()
    images = np.moveaxis(images, -1, 1) if first else images
    np.savez(path, **{"images": images, "logits": logits + shift * np.abs(logits).max(), **other})
    return path


@pytest.mark.parametrize("arch", ["resnet18", *(pytest.param(arch, marks=pytest.mark.long) for arch in SLOW)])
def test_imported_weights_are_a_model_that_predicts(arch, tmp_path):
    state = write_state_dict(tmp_path / "w.safetensors", arch)
    made = import_weights(tmp_path / "w.safetensors", arch, tmp_path / "net")
    assert (made.classes, made.channels) == (tuple("01234"), 3)
    direct = create_from_state_dict(arch, state)
    predictor = fcnjax.load(tmp_path / "net")
    for name, variable in variables_of(direct).items():
        np.testing.assert_array_equal(variables_of(predictor.network)[name][...], variable[...])
    image = np.random.default_rng(2).integers(0, 256, (48, 40, 3)).astype(np.uint8)
    normalized = (image / 255 - MEAN) / [0.229, 0.224, 0.225]
    batch = Padded.stack([normalized.astype(np.float32)])
    expected = np.asarray(nnx.jit(lambda model, batch: model(batch))(direct, batch))[0]
    np.testing.assert_allclose(predictor(image).logits, expected, atol=1e-4 * np.abs(expected).max())


def test_the_folder_says_where_the_weights_come_from(atto, tmp_path):
    import_weights(atto, ATTO, tmp_path / "net")
    about, card = described(tmp_path / "net"), (tmp_path / "net/README.md").read_text()
    imported = about["provenance"]["imported"]
    assert (imported["file"], len(imported["sha256"])) == ("atto.safetensors", 64)
    assert about["provenance"]["test"] is None
    assert about["preprocessing"]["mean"] == MEAN
    for words in ("trained elsewhere", imported["sha256"], "assumed to be those of ImageNet", "5: `0`, `1`"):
        assert words in card
    assert "trained with" not in card


def test_a_hub_config_gives_classes_and_preprocessing(atto, tmp_path):
    names = ["cat", "dog", "owl", "bat", "cat"]
    pretrained = {"mean": [0.5] * 3, "std": [0.25] * 3, "license": "mit"}
    hub = {"architecture": f"{ATTO}.d2_in1k", "pretrained_cfg": pretrained, "label_names": names}
    (tmp_path / "config.json").write_text(json.dumps(hub))
    made = import_weights(atto, ATTO, tmp_path / "net")
    assert list(made.classes) == ["cat", "dog", "owl", "bat", "cat (2)"]  # names that all differ
    assert "1 names stand for several classes and got numbers, such as 'cat'" in made.notes
    assert made.notes[-1] == "config.json names the network: the arithmetic is that of convnext_atto here"
    about = described(tmp_path / "net")
    assert (about["preprocessing"]["mean"], about["preprocessing"]["std"]) == ([0.5] * 3, [0.25] * 3)
    assert "License: mit." in (tmp_path / "net/README.md").read_text()
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\ne\n")
    made = import_weights(atto, ATTO, tmp_path / "other", classes=tmp_path / "names.txt")
    assert made.classes == tuple("abcde")


def test_a_network_that_only_shares_its_names_is_refused_by_name(tmp_path):
    write_state_dict(tmp_path / "w.safetensors", "resnet18")
    (tmp_path / "hub.json").write_text('{"architecture": "resnetblur18.bt_in1k"}')
    with pytest.raises(ValueError, match=r"hub\.json: architecture 'resnetblur18': has the names of resnet18, but it "):
        import_weights(tmp_path / "w.safetensors", "resnet18", tmp_path / "net", hub_config=tmp_path / "hub.json")
    (tmp_path / "w.json").write_text('{"architectures": ["MyResNet"]}')
    with pytest.raises(ValueError, match=r"w\.json: architecture 'MyResNet': is not known .* prove with --check"):
        import_weights(tmp_path / "w.safetensors", "resnet18", tmp_path / "net")
    (tmp_path / "w.json").write_text('{"architecture": "resnet34.a1_in1k"}')
    with pytest.raises(ValueError, match=r"'resnet34': is not known .*; give --arch=resnet34, or prove"):
        import_weights(tmp_path / "w.safetensors", "resnet18", tmp_path / "net")
    assert not (tmp_path / "net").exists()


def test_without_evidence_the_note_says_what_could_not_be_checked(tmp_path):
    write_state_dict(tmp_path / "w.safetensors", "resnet18", channels=2)
    made = import_weights(tmp_path / "w.safetensors", "resnet18", tmp_path / "net")
    assert "resnetblur18: it blurs before it strides" in made.notes[-1]
    assert "--check=reference.npz or --hub_config" in made.notes[-1]
    assert "mean 0 and std 1 are assumed for 2 channels" in made.notes
    assert fcnjax.load(tmp_path / "net").network.in_channels == 2


@pytest.mark.parametrize("first", [False, True])
def test_a_reference_decides(first, atto, tmp_path):
    (tmp_path / "config.json").write_text('{"architecture": "my_net"}')  # a check proves more than a name
    check = reference(tmp_path / "r.npz", first=first)
    made = import_weights(atto, ATTO, tmp_path / "net", check=check)
    assert made.notes[-1].startswith("checked: logits of 2 images agree within")


def test_a_reference_that_differs_is_refused(atto, tmp_path):
    check = reference(tmp_path / "r.npz", shift=2e-4)
    with pytest.raises(ValueError, match=r"r\.npz: the logits differ by 2\.\de-04 of the largest one, and only 1e-04"):
        import_weights(atto, ATTO, tmp_path / "net", check=check)
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"images": np.zeros((1, 3, 40, 3), np.float32)}, r"images of shape .* must be \[B, 3, H, W\] or .* not both"),
        ({"images": np.zeros((1, 40, 40), np.float32)}, r"images of shape \(1, 40, 40\) must be"),
        ({"images": np.zeros((1, 40, 40, 3), np.uint8)}, "images must be finite floating numbers, images normalized"),
        ({"logits": np.full((2, 5), np.nan)}, "logits must be finite"),
        ({"logits": np.zeros((2, 6), np.float32)}, r"logits of shape \(2, 6\), and these weights give \(2, 5\)"),
        ({"images": np.zeros((1, 16, 16, 3), np.float32)}, "below this network's minimum size 32x32"),
        ({"images": np.zeros((1, 3000, 3000, 3), np.float16)}, "images of 9,000,000 positions"),
    ],
)
def test_a_reference_that_cannot_be_used_is_refused(other, message, atto, tmp_path):
    check = reference(tmp_path / "r.npz", **other)
    with pytest.raises(ValueError, match=message):
        import_weights(atto, ATTO, tmp_path / "net", check=check)


@pytest.mark.parametrize("removed", [("head.fc",), ("head.fc", "head.norm")])
def test_weights_without_a_head_are_kept_for_fine_tuning(removed, tmp_path):
    state = atto_state()
    kept = {name: array for name, array in state.items() if not name.startswith(removed)}
    save_file(kept, tmp_path / "w.safetensors")
    images, features, _ = atto_outputs()
    features = features.mean((1, 2))
    if len(removed) == 1:
        centered = features - features.mean(1, keepdims=True)
        features = centered / np.sqrt(features.var(1, keepdims=True) + 1e-6)
        features = features * state["head.norm.weight"] + state["head.norm.bias"]
    np.savez(tmp_path / "r.npz", images=images, features=features)
    made = import_weights(tmp_path / "w.safetensors", ATTO, tmp_path / "net", check=tmp_path / "r.npz")
    assert made.classes == ()
    assert "no head: classes are chosen by fine-tuning with config.init_from" in made.notes
    read = read_model(tmp_path / "net")
    assert read.classes == ()
    assert len(read.weights) == len(kept)
    np.testing.assert_array_equal(
        np.moveaxis(read.weights["blocks.0.layers.0.kernel"], (-1, -2), (0, 1)), state["stem.0.weight"]
    )
    with pytest.raises(ValueError, match=r"net: has no head; fine-tune it with config\.init_from"):
        fcnjax.load(tmp_path / "net")
    with pytest.raises(ValueError, match="has no head"):
        _ = read.network
    assert "init_from" in (tmp_path / "net/README.md").read_text()


def test_half_precision_becomes_float32_and_other_values_are_refused(tmp_path):
    state = atto_state()
    halves = {name: array.astype(np.float16) for name, array in state.items()}
    save_file(halves, tmp_path / "w.safetensors")
    import_weights(tmp_path / "w.safetensors", ATTO, tmp_path / "net")
    assert {array.dtype for array in read_model(tmp_path / "net").weights.values()} == {np.dtype(np.float32)}
    for wrong, message in ((np.nan, "holds NaN or infinity"), (None, "holds int64, not floating numbers")):
        array = np.zeros(40, np.int64) if wrong is None else np.full(40, wrong, np.float32)
        save_file({**state, "stem.0.bias": array}, tmp_path / "w.safetensors")
        with pytest.raises(ValueError, match=rf"w\.safetensors: stem\.0\.bias {message}"):
            import_weights(tmp_path / "w.safetensors", ATTO, tmp_path / "other")


def test_the_command_prints_what_it_made(atto, tmp_path, capsys):
    arguments = ["--from", str(atto), "--arch", ATTO]  # makes {tmp_path}/atto
    assert main(["fcnjax", "import-weights", *arguments]) == 0
    first, *notes, last = capsys.readouterr().out.splitlines()
    count = parameter_count(fcnjax.load(tmp_path / "atto").network)
    assert (first, last) == (f"convnext_atto: {count:,} parameters, 5 classes", f"folder {tmp_path}/atto")
    assert notes[0] == "  classes are named 0 to 4: name them with --classes=FILE, one a line"
    assert main(["fcnjax", "import-weights", *arguments]) == UNUSABLE
    assert "must not exist; choose a new folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arch=resnet18", "--to=new"], "--from is missing: give it, such as --from=resnet50.safetensors"),
        (["--from=none.pt", "--arch=resnet18", "--to=new"], "none.pt: is not a file; give the path of a state dict"),
        (["--from=extra.npz", "--arch=resnet81", "--to=new"], "PyTorch names 'resnet81': did you mean 'resnet18'?"),
        (["--from=extra.npz", "--arch=resnet18", "--to=new"], "extra.npz: state dict for resnet18 (torchvision's"),
        (["--from=extra.npz", "--arch=resnet18", "--to=new", "--ema"], "extra.npz: --ema: holds no averaged weights"),
        (
            ["--from=w.npz", f"--arch={ATTO}", "--to=new", "--hub_config=no.json"],
            "No such file or directory: 'no.json'",
        ),
        (["--from=w.npz", f"--arch={ATTO}", "--to=new", "--hub_config=a.json"], "hub_config=a.json: names no arch"),
        (["--from=w.npz", f"--arch={ATTO}", "--to=new", "--classes=a.json"], "classes=a.json: must be 5 names, one a"),
        (["--from=w.npz", f"--arch={ATTO}", "--to=new", "--classes=w.npz"], "classes=w.npz: must be text in UTF-8"),
        (["--from=w.npz", f"--arch={ATTO}", "--to=new", "--check=a.json"], "check=a.json: must be an .npz file"),
        (["--from=w.npz", f"--arch={ATTO}", "--to=new", "--check=extra.npz"], "and lacks images and logits; add them"),
        (["--from=w.npz", f"--arch={ATTO}", "--to=new", "--check=no.npz"], "No such file or directory: 'no.npz'"),
    ],
)
def test_what_cannot_be_imported_is_one_sentence(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("extra.npz", extra=np.zeros(3))
    if any("w.npz" in argument for argument in arguments):
        np.savez("w.npz", **atto_state())
    (tmp_path / "a.json").write_text('{"version": 3}')
    assert main(["fcnjax", "import-weights", *arguments]) == UNUSABLE
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_folders_of_the_earlier_layout_say_what_to_do(tmp_path):
    (tmp_path / "model.json").write_text('{"arch": "resnet18", "classes": 5, "in_channels": 2, "options": {}}')
    with pytest.raises(FileNotFoundError, match=r"earlier version \(model\.json\); repeat 'fcnjax import-weights'"):
        fcnjax.load(tmp_path)
