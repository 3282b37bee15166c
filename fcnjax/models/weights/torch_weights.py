"""Weights from PyTorch: state dicts of torchvision and timm, renamed and transposed for a network of the same name.

A rule per architecture translates names; missing and surplus keys are errors.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fcnjax.models import MODELS, create
from fcnjax.models.classifier import Classifier
from fcnjax.naming import unknown_name

IGNORED = "num_batches_tracked"  # a counter that networks here do not use
NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "variance": "running_var"}
BARE = ("layer_scale", "gamma")  # names of parameters, not of layers with a weight


def create_from_state_dict(arch: str, state: Mapping[str, np.ndarray], **options: Any) -> Classifier:
    """Returns a network with the weights of a PyTorch state dict, which sets the numbers of classes and channels.

    Args:
        arch: a key of `RULES`.
        state: as for `load_state_dict`.
        **options: further arguments of the network, such as `head`, that keep its default layers.

    Raises:
        ValueError: as `load_state_dict`, or if the network rejects an option.
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
        raise ValueError(
            f"state dict for {arch}: must begin and end with matrices, not {first} and {last}; check the file."
        )
    return load_state_dict(shapes(last[0], first[1]), arch, state)  # no weights are drawn: `state` has them all


def load_state_dict(model: Classifier, arch: str, state: Mapping[str, np.ndarray]) -> Classifier:
    """Returns a network after putting the weights and running statistics of a PyTorch state dict into it.

    Args:
        model: a network made by `fcnjax.models.create(arch, ...)`, with the layers of its default head and any
            `pool_at`.
        arch: a key of `RULES`.
        state: arrays by PyTorch's names, such as "layer1.0.conv1.weight", in the naming of torchvision or timm,
            whichever fits better. Kernels of convolutions are [K, C, *taps], of dense layers [K, C] or [K, C, 1, ..].

    Raises:
        ValueError: if the architecture has no rule, keys are missing or surplus (the message lists all of them), or a
            shape does not match.

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
                f"{variables[ours].shape}; make it with the classes and channels that the weights were trained with."
            )
    for ours, array in arrays.items():
        variables[ours].set_value(jnp.asarray(array, variables[ours].dtype))
    return model


def pytorch_names(arch: str, ours: Iterable[str], given: Iterable[str]) -> dict[str, str]:
    """Returns PyTorch's name of each of our variables, in the naming that fits the `given` keys best.

    Args:
        arch: a key of `RULES`.
        ours: names of our variables, such as "blocks.0.layers.0.kernel".
        given: keys of the state dict.

    Raises:
        ValueError: if keys are missing or surplus; the message lists all of them.
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
    """Returns [K, C, *taps] as [*taps, C, K] and [K, C] as [C, K], without leading axes of extent 1 beyond `rank`."""
    array = np.asarray(array)
    array = np.moveaxis(array, (0, 1), (-1, -2)) if array.ndim > 1 else array
    surplus = max(0, array.ndim - rank)
    return array.reshape(array.shape[surplus:]) if array.shape[:surplus] == (1,) * surplus else array


class _Place(NamedTuple):
    """The place of one of our variables: whether it is in the head, the indices in its path, and its layer's name."""

    in_head: bool
    indices: tuple[int, ...]
    layer: str


def named(rule: Callable[[_Place], str], ours: str) -> str:
    """Returns PyTorch's name of our variable `ours`, such as "blocks.0.layers.0.kernel", by a rule of `RULES`."""
    *path, variable = ours.split(".")
    layer = rule(_Place(path[0] == "head", tuple(int(part) for part in path if part.isdigit()), path[-1]))
    return layer if layer.endswith(BARE) else f"{layer}.{NORM.get(variable, 'weight')}"


def _resnet(place: _Place) -> str:
    if place.in_head:
        return "fc"
    stage, *rest = place.indices
    if not stage:
        return ("conv1", "bn1")[rest[0]]
    block, branch, index = rest  # 2 * block (a ReLU follows each), branch 0 or shortcut 1, layer
    inner = f"downsample.{index}" if branch else f"{('conv', 'bn')[index % 3]}{index // 3 + 1}"
    return f"layer{stage}.{block // 2}.{inner}"


class _EfficientNetNames(NamedTuple):
    """The naming rule of a library for EfficientNet.

    Attributes:
        head: the classifier.
        ends: the convolution and the norm before the stages (block 0) and after them (block 8).
        block: format of the name of a block.
        first: the layers in a block of the first stage, which does not expand its channels.
        other: the layers in a block of the other stages.
        gates: suffixes for the two layers of squeeze-and-excite.
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
    """The naming rule of a library for ConvNeXt.

    Attributes:
        head: norm and classifier of the head.
        stem: the stem.
        down: the down-sampling of each stage.
        blocks: the blocks of each stage.
        layers: the layers in a block.
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
        block = index - 2 if stage > 1 else index  # in all stages but the first, two layers of down-sampling come first
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
# architecture -> library -> rule from the place of our layer to PyTorch's name (both libraries name ResNets alike)
RULES: dict[str, dict[str, Callable[[_Place], str]]] = {
    **{arch: {"torchvision": _resnet} for arch in ("resnet18", "resnet34", "resnet50")},
    "efficientnet_b0": {**EFFICIENTNET},
    **{arch: {**CONVNEXT} for arch in MODELS if arch.startswith("convnext_")},
}
