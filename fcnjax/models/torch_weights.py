"""Weights from PyTorch: a state dict of torchvision or timm, renamed and transposed into a network of the same name.

Each architecture names its layers by rule; a key that is missing or left over is an error, never a silent difference.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from fcnjax.models import MODELS, create
from fcnjax.models.classifier import Classifier
from fcnjax.naming import unknown_name

IGNORED = "num_batches_tracked"  # a counter that nothing reads
NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "variance": "running_var"}
BARE = ("layer_scale", "gamma")  # parameters themselves, not layers that have a weight


def create_from_state_dict(arch: str, state: Mapping[str, np.ndarray], **options: Any) -> Classifier:
    """Returns the network that a PyTorch state dict is of, with its weights; it says how many classes and channels.

    Args:
      arch: a key of `RULES`.
      state: as in `load_state_dict`.
      **options: further arguments of the network, such as `head`; only its layers must be the default ones.

    Raises:
      ValueError: as `load_state_dict`, and for an option that the network refuses.
    """
    _check_known(arch)
    model = nnx.eval_shape(lambda: create(arch, classes=2, in_channels=1, rngs=nnx.Rngs(0), **options))
    names = pytorch_names(arch, _variables(model), state)
    kernels = [ours for ours in names if ours.endswith("kernel")]
    first, last = (np.shape(state[names[ours]]) for ours in (_first(kernels, "blocks"), _first(kernels, "head")))
    if len(first) < 2 or len(last) < 2:
        raise ValueError(f"state dict for {arch}: its first or last layer is no matrix of weights ({first}, {last}).")
    model = create(arch, classes=last[0], in_channels=first[1], rngs=nnx.Rngs(0), **options)
    return load_state_dict(model, arch, state)


def load_state_dict(model: Classifier, arch: str, state: Mapping[str, np.ndarray]) -> Classifier:
    """Puts the weights and running statistics of a PyTorch state dict into a network, and returns it.

    Args:
      model: a network made by `fcnjax.models.create(arch, ...)`, with the layers of its default head in any order.
      arch: a key of `RULES`.
      state: arrays by PyTorch's names, such as "layer1.0.conv1.weight": torchvision's or timm's, whichever fit better.
        Convolutions [K, C, *taps], dense [K, C] or [K, C, 1, ..].

    Raises:
      ValueError: for an architecture without a rule, missing or surplus keys (all are listed), or another shape.

    Source: names as in torchvision's and timm's `resnet.py`, `efficientnet.py` and `convnext.py`.
    """
    _check_known(arch)
    variables = _variables(model)
    names = pytorch_names(arch, variables, state)
    arrays = {ours: _as_ours(state[theirs], len(variables[ours].shape)) for ours, theirs in names.items()}
    for ours, array in arrays.items():
        if array.shape != variables[ours].shape:
            raise ValueError(
                f"{names[ours]} of shape {np.shape(state[names[ours]])}: this {arch} needs {ours} of shape "
                f"{variables[ours].shape}. Make it with the classes and channels that the weights were trained with."
            )
    for ours, array in arrays.items():
        variables[ours][...] = array.astype(variables[ours].dtype)
    return model


def pytorch_names(arch: str, ours: Iterable[str], given: Iterable[str]) -> dict[str, str]:
    """Returns PyTorch's name of each of our variables, in the naming that fits the `given` keys best.

    Raises:
      ValueError: if a name is missing among the given keys, or a key left over; all are listed.
    """
    keys = {name for name in given if not name.endswith(IGNORED)}
    ours = list(ours)
    namings = {library: {name: named(rule, name) for name in ours} for library, rule in RULES[arch].items()}
    library = max(namings, key=lambda library: len(keys & set(namings[library].values())))
    names = namings[library]
    missing, surplus = sorted(set(names.values()) - keys), sorted(keys - set(names.values()))
    if missing or surplus:
        listed = [f"{what} {', '.join(keys)}" for what, keys in (("missing", missing), ("surplus", surplus)) if keys]
        raise ValueError(f"state dict for {arch} ({library}'s names): {'; '.join(listed)}. Nothing was loaded.")
    return names


def _variables(model: Classifier) -> dict[str, Any]:
    return {".".join(map(str, path)): variable for path, variable in nnx.to_flat_state(nnx.state(model))}


def _check_known(arch: str):
    if arch not in RULES:
        raise ValueError(unknown_name("architecture with PyTorch names", arch, RULES))


def _first(names: Iterable[str], part: str) -> str:
    return next(name for name in names if name.startswith(part))


def _as_ours(array: np.ndarray, rank: int) -> np.ndarray:
    """[K, C, *taps] to [*taps, C, K] and [K, C] to [C, K]; axes of extent 1 that ours has not are dropped."""
    array = np.asarray(array)
    array = np.moveaxis(array, (0, 1), (-1, -2)) if array.ndim > 1 else array
    surplus = max(0, array.ndim - rank)
    return array.reshape(array.shape[surplus:]) if array.shape[:surplus] == (1,) * surplus else array


class _Place(NamedTuple):
    """Where a variable of ours stands: in the head or not, the indices on the way to its layer, the layer's name."""

    in_head: bool
    indices: tuple[int, ...]
    layer: str


def named(rule: Callable[[_Place], str], ours: str) -> str:
    """Returns PyTorch's name of our variable, such as "blocks.0.layers.0.kernel", by a rule of `RULES`."""
    *path, variable = ours.split(".")
    layer = rule(_Place(path[0] == "head", tuple(int(part) for part in path if part.isdigit()), path[-1]))
    return layer if layer.endswith(BARE) else f"{layer}.{NORM.get(variable, 'weight')}"


def _resnet(place: _Place) -> str:
    if place.in_head:
        return "fc"
    stage, *rest = place.indices
    if not stage:
        return ("conv1", "bn1")[rest[0]]
    block, branch, index = rest  # twice the block (a ReLU stands between two), branch 0 or shortcut 1, layer
    inner = f"downsample.{index}" if branch else f"{('conv', 'bn')[index % 3]}{index // 3 + 1}"
    return f"layer{stage}.{block // 2}.{inner}"


def _torchvision_efficientnet(place: _Place) -> str:
    stage, layer = place.indices[0], place.indices[-1]
    if place.in_head:
        return "classifier.1"
    if stage in (0, 8):
        return f"features.{stage}.{layer}"
    inner = ("0.0 0.1 - 1 2.0 2.1" if stage == 1 else "0.0 0.1 - 1.0 1.1 - 2 3.0 3.1").split()[layer]
    gate = {"reduce": ".fc1", "expand": ".fc2"}.get(place.layer, "")
    return f"features.{stage}.{place.indices[1]}.block.{inner}{gate}"


def _timm_efficientnet(place: _Place) -> str:
    stage, layer = place.indices[0], place.indices[-1]
    if place.in_head:
        return "classifier"
    if stage in (0, 8):
        return ("conv_stem", "bn1")[layer] if stage == 0 else ("conv_head", "bn2")[layer]
    first, other = "conv_dw bn1 - se conv_pw bn2", "conv_pw bn1 - conv_dw bn2 - se conv_pwl bn3"
    gate = {"reduce": ".conv_reduce", "expand": ".conv_expand"}.get(place.layer, "")
    return f"blocks.{stage - 1}.{place.indices[1]}.{(first if stage == 1 else other).split()[layer]}{gate}"


def _torchvision_convnext(place: _Place) -> str:
    stage, index, *inner = place.indices if not place.in_head else (0, *place.indices)
    if place.in_head:
        return f"classifier.{2 * index}"
    if not stage:
        return f"features.0.{index}"
    if not inner:
        return f"features.{2 * stage - 2}.{index}"
    name = ("block.0", "block.2", "block.3", "", "block.5", "layer_scale")[inner[-1]]
    return f"features.{2 * stage - 1}.{_block(stage, index)}.{name}"


def _timm_convnext(place: _Place) -> str:
    stage, index, *inner = place.indices if not place.in_head else (0, *place.indices)
    if place.in_head:
        return ("head.norm", "head.fc")[index]
    if not stage:
        return f"stem.{index}"
    if not inner:
        return f"stages.{stage - 1}.downsample.{index}"
    name = ("conv_dw", "norm", "mlp.fc1", "", "mlp.fc2", "gamma")[inner[-1]]
    return f"stages.{stage - 1}.blocks.{_block(stage, index)}.{name}"


def _block(stage: int, index: int) -> int:
    """Returns which of a ConvNeXt stage's blocks its layer `index` is: all stages but the first start with two more."""
    return index - 2 if stage > 1 else index


# architecture -> library -> from where a layer of ours stands to PyTorch's name of it; a ResNet's are the same in both
RULES: dict[str, dict[str, Callable[[_Place], str]]] = {
    **{arch: {"torchvision": _resnet} for arch in ("resnet18", "resnet34", "resnet50")},
    "efficientnet_b0": {"torchvision": _torchvision_efficientnet, "timm": _timm_efficientnet},
    **{
        arch: {"torchvision": _torchvision_convnext, "timm": _timm_convnext}
        for arch in MODELS
        if arch.startswith("convnext_")
    },
}
