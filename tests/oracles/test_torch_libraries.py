"""Weights from and to torchvision and timm themselves: the same logits, or refused.

These two are not dependencies; the tests are skipped without them.
"""

import functools
import json

import numpy as np
import pytest
from flax import nnx
from torch_libraries import imported, network, outputs, randomize

torch = pytest.importorskip("torch")

from fcnjax import models  # noqa: E402
from fcnjax.models.weights.hub_config import SAME_NAMES, obstacle  # noqa: E402
from fcnjax.models.weights.torch_names import CONVOLVED, RULES, pytorch_names  # noqa: E402
from fcnjax.models.weights.torch_weights import our_arrays, shaped_for, variables_of  # noqa: E402
from fcnjax.training import export_weights, import_weights  # noqa: E402
from fcnjax.training.standalone.reference_check import TOLERANCE  # noqa: E402

CLASSES = 7
OTHERS = (
    "vit",
    "swin",
    "eva",
    "beit",
    "deit",
    "mixer",
    "mlp",
    "xcit",
    "coat",
    "davit",
    "hiera",
    "pvt",
    "twins",
    "former",
)


def long(*values):
    return pytest.param(*values, marks=pytest.mark.long)


def images(size=(64, 64)) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)


def save(folder, reference, size=(64, 64)) -> None:
    """Writes the weights of a network, and images with its logits."""
    torch.save({"state_dict": reference.state_dict(), "epoch": 1}, folder / "w.pth")
    x = images(size)
    np.savez(folder / "r.npz", images=np.moveaxis(x, -1, 1), logits=outputs(reference, x))


@functools.cache
def our_names(arch: str) -> tuple[str, ...]:
    make = functools.partial(models.create, arch, classes=2, in_channels=3)
    return tuple(variables_of(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))))


def accepting(state) -> list[str]:
    """Returns our networks whose names and shapes a state dict has."""
    found = []
    for arch in RULES:
        try:
            pytorch_names(arch, our_names(arch), state, headless=True)  # without shapes: fast
            model, names = shaped_for(arch, state, headless=True)
            our_arrays(arch, variables_of(model), names, state)
        except ValueError:
            continue
        found.append(arch)
    return found


@pytest.mark.parametrize(
    ("library", "arch"),
    [
        ("torchvision", "resnet18"),
        ("timm", "convnext_atto"),
        long("timm", "resnet18"),
        long("timm", "resnet34"),
        long("torchvision", "resnet50"),
        long("torchvision", "efficientnet_b0"),
        long("timm", "efficientnet_b0"),
        long("torchvision", "convnext_tiny"),
        long("timm", "convnext_tiny"),
    ],
)
def test_logits_are_the_same_after_import_and_after_export(library, arch, tmp_path):
    reference = randomize(network(library, arch, num_classes=CLASSES))
    save(tmp_path, reference, (75, 90))
    made = import_weights(tmp_path / "w.pth", arch, tmp_path / "model", check=tmp_path / "r.npz")
    assert made.notes[-1].startswith("checked: logits of 2 images agree")
    expected = outputs(reference, images())
    for other in ("torchvision", "timm"):
        if other == "torchvision" and arch in CONVOLVED:
            continue
        file, _ = export_weights(tmp_path / "model", tmp_path / f"{other}.safetensors", library=other)
        loaded = network(other, arch, num_classes=CLASSES)
        loaded.load_state_dict(_load(file), strict=True)
        np.testing.assert_allclose(outputs(loaded, images()), expected, atol=1e-5 * np.abs(expected).max())


def _load(file):
    return pytest.importorskip("safetensors.torch").load_file(file)


def test_timm_makes_a_network_of_an_exported_folder(tmp_path):
    _, timm = imported()
    reference = randomize(network("timm", "resnet18", num_classes=CLASSES, in_chans=1))
    torch.save(reference.state_dict(), tmp_path / "w.pt")
    names = tmp_path / "names.txt"
    names.write_text("".join(f"name {index}\n" for index in range(CLASSES)))
    import_weights(tmp_path / "w.pt", "resnet18", tmp_path / "model", classes=names)
    export_weights(tmp_path / "model", tmp_path / "hub/model.safetensors", library="timm")
    loaded = timm.create_model(f"local-dir:{tmp_path}/hub", pretrained=True).eval()
    np.testing.assert_array_equal(outputs(loaded, images()[..., :1]), outputs(reference, images()[..., :1]))
    assert loaded.pretrained_cfg["mean"] == [0.0]


@pytest.mark.parametrize(
    ("arch", "other"),
    [("efficientnet_b0", "tf_efficientnet_b0"), long("resnet18", "resnetblur18"), long("resnet50", "resnetblur50")],
)
def test_a_network_of_the_same_names_is_refused_by_its_numbers_and_by_its_name(arch, other, tmp_path):
    reference = randomize(network("timm", other, num_classes=CLASSES))
    # At 65 all pads of TensorFlow are symmetric: only the epsilon differs.
    save(tmp_path, reference, (65, 65))
    with pytest.raises(ValueError, match="the logits differ by .* these weights are not of"):
        import_weights(tmp_path / "w.pth", arch, tmp_path / "model", check=tmp_path / "r.npz")
    made = import_weights(tmp_path / "w.pth", arch, tmp_path / "model")
    assert other in made.notes[-1]
    (tmp_path / "config.json").write_text(json.dumps({"architecture": other}))
    with pytest.raises(ValueError, match=f"architecture '{other}': has the names of {arch}, but"):
        import_weights(tmp_path / "w.pth", arch, tmp_path / "second")


def test_weights_without_a_classifier_are_headless(tmp_path):
    reference = randomize(network("timm", "convnext_atto", num_classes=0))
    torch.save(reference.state_dict(), tmp_path / "w.pt")
    x = images()
    np.savez(tmp_path / "r.npz", images=x, features=outputs(reference, x))
    made = import_weights(tmp_path / "w.pt", "convnext_atto", tmp_path / "model", check=tmp_path / "r.npz")
    assert made.classes == ()
    assert made.notes[-1].startswith("checked: features")


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # of networks that announce changes
def test_every_network_that_has_the_names_of_ours_is_ours_or_known_to_differ():
    torchvision, timm = imported()
    names = [("timm", name) for name in timm.list_models() if not any(part in name for part in OTHERS)]
    names += [("torchvision", name) for name in torchvision.models.list_models(module=torchvision.models)]
    same, different = set(), set()
    for library, name in names:
        for arch in _accepting_networks(library, name):
            if name == arch:
                same.add((library, arch))
            else:
                different.add((arch, name))
                assert obstacle(arch, name), f"{name} has the names of {arch}, and nothing refuses it"
    assert different == {(arch, name) for arch, others in SAME_NAMES.items() for name in others}
    assert {arch for library, arch in same if library == "timm"} == set(RULES)
    assert {arch for library, arch in same if library == "torchvision"} == set(RULES) - set(CONVOLVED)


def _accepting_networks(library: str, name: str) -> list[str]:
    """Returns our networks that the weights of a network fit, with or without its classifier."""
    state = _shapes(library, name, CLASSES)
    if not {"conv1.weight", "conv_stem.weight", "stem.0.weight", "features.0.0.weight"} & state.keys():
        return []
    headless = _shapes(library, name, 0) if library == "timm" else {}
    return sorted({*accepting(state), *accepting(headless)})


def _shapes(library: str, name: str, classes: int) -> dict[str, np.ndarray]:
    """Returns zeros of the shapes of a network's state dict; none if it cannot be made without memory for weights."""
    try:
        with torch.device("meta"):
            state = network(library, name, num_classes=classes).state_dict()
    except (NotImplementedError, RuntimeError, AssertionError, TypeError, ValueError, ImportError):
        return {}  # such networks, of wavelets or with their own random draws, are no plain convolutional ones
    zero = np.zeros((), np.float32)
    return {key: np.broadcast_to(zero, tuple(tensor.shape)) for key, tensor in state.items()}


@pytest.mark.long
@pytest.mark.parametrize(("arch", "other"), [(arch, name) for arch, others in SAME_NAMES.items() for name in others])
def test_networks_that_are_said_to_differ_do(arch, other):
    theirs, ours = (randomize(network("timm", name, num_classes=CLASSES)) for name in (other, arch))
    expected = outputs(ours, images())
    difference = np.abs(outputs(theirs, images()) - expected).max() / np.abs(expected).max()
    assert difference > 10 * TOLERANCE
