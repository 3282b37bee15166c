"""Weights from PyTorch: a state dict of torchvision or timm, renamed and transposed into a network of the same name.

Each architecture names its layers by rule; a key that is missing or left over is an error, never a silent difference.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
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

    def shapes(classes: int, in_channels: int) -> Classifier:
        return nnx.eval_shape(
            lambda: create(arch, classes=classes, in_channels=in_channels, rngs=nnx.Rngs(0), **options)
        )

    names = pytorch_names(arch, _variables(shapes(2, 1)), state)
    kernels = [ours for ours in names if ours.endswith("kernel")]
    first, last = (np.shape(state[names[ours]]) for ours in (_first(kernels, "blocks"), _first(kernels, "head")))
    if len(first) < 2 or len(last) < 2:
        raise ValueError(f"state dict for {arch}: its first or last layer is no matrix of weights ({first}, {last}).")
    return load_state_dict(shapes(last[0], first[1]), arch, state)  # no weight is drawn: all are given


def load_state_dict(model: Classifier, arch: str, state: Mapping[str, np.ndarray]) -> Classifier:
    """Puts the weights and running statistics of a PyTorch state dict into a network, and returns it.

    Args:
        model: a network made by `fcnjax.models.create(arch, ...)`, with the layers of its default head in any order.
        arch: a key of `RULES`.
        state: arrays by PyTorch's names, such as "layer1.0.conv1.weight": torchvision's or timm's, whichever fit
            better. Convolutions [K, C, *taps], dense [K, C] or [K, C, 1, ..].

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
        variables[ours].set_value(jnp.asarray(array, variables[ours].dtype))
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


class _EfficientNetNames(NamedTuple):
    """A library's names: the head; the two layers before and after the stages; a block; the layers inside a block.

    The first stage's blocks lack the expansion. In squeeze-and-excite stand two layers, `gates`.
    """

    head: str
    ends: dict[int, tuple[str, str]]
    block: str
    first: tuple[str, ...]
    other: tuple[str, ...]
    gates: dict[str, str]

    def __call__(self, place: _Place) -> str:
        stage, layer = place.indices[0], place.indices[-1]
        if place.in_head:
            return self.head
        if stage in self.ends:
            return self.ends[stage][layer]
        inner = (self.first if stage == 1 else self.other)[layer]
        block = self.block.format(stage=stage, before=stage - 1, index=place.indices[1])
        return f"{block}.{inner}{self.gates.get(place.layer, '')}"


class _ConvNeXtNames(NamedTuple):
    """A library's names: the head's norm and classifier, the stem, and of each stage its down-sampling and its blocks.

    `layers` are those inside a block.
    """

    head: tuple[str, str]
    stem: str
    down: tuple[str, ...]
    blocks: tuple[str, ...]
    layers: tuple[str, ...]

    def __call__(self, place: _Place) -> str:
        if place.in_head:
            return self.head[place.indices[0]]
        stage, index, *inner = place.indices
        if not stage:
            return f"{self.stem}.{index}"
        if not inner:
            return f"{self.down[stage - 1]}.{index}"
        block = index - 2 if stage > 1 else index  # the down-sampling of all stages but the first is two layers
        return f"{self.blocks[stage - 1]}.{block}.{self.layers[inner[-1]]}"


EFFICIENTNET = {
    "torchvision": _EfficientNetNames(
        head="classifier.1",
        ends={stage: (f"features.{stage}.0", f"features.{stage}.1") for stage in (0, 8)},
        block="features.{stage}.{index}.block",
        first=("0.0", "0.1", "", "1", "2.0", "2.1"),
        other=("0.0", "0.1", "", "1.0", "1.1", "", "2", "3.0", "3.1"),
        gates={"reduce": ".fc1", "expand": ".fc2"},
    ),
    "timm": _EfficientNetNames(
        head="classifier",
        ends={0: ("conv_stem", "bn1"), 8: ("conv_head", "bn2")},
        block="blocks.{before}.{index}",
        first=("conv_dw", "bn1", "", "se", "conv_pw", "bn2"),
        other=("conv_pw", "bn1", "", "conv_dw", "bn2", "", "se", "conv_pwl", "bn3"),
        gates={"reduce": ".conv_reduce", "expand": ".conv_expand"},
    ),
}
CONVNEXT = {
    "torchvision": _ConvNeXtNames(
        head=("classifier.0", "classifier.2"),
        stem="features.0",
        down=tuple(f"features.{2 * stage}" for stage in range(4)),
        blocks=tuple(f"features.{2 * stage + 1}" for stage in range(4)),
        layers=("block.0", "block.2", "block.3", "", "block.5", "layer_scale"),
    ),
    "timm": _ConvNeXtNames(
        head=("head.norm", "head.fc"),
        stem="stem",
        down=tuple(f"stages.{stage}.downsample" for stage in range(4)),
        blocks=tuple(f"stages.{stage}.blocks" for stage in range(4)),
        layers=("conv_dw", "norm", "mlp.fc1", "", "mlp.fc2", "gamma"),
    ),
}
# architecture -> library -> from where a layer of ours stands to PyTorch's name of it; a ResNet's are the same in both
RULES: dict[str, dict[str, Callable[[_Place], str]]] = {
    **{arch: {"torchvision": _resnet} for arch in ("resnet18", "resnet34", "resnet50")},
    "efficientnet_b0": {**EFFICIENTNET},
    **{arch: {**CONVNEXT} for arch in MODELS if arch.startswith("convnext_")},
}
