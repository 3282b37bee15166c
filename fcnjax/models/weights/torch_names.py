"""PyTorch's names: how torchvision and timm name the arrays of the networks that we have too.

A rule per architecture and library translates the place of our layer into a name.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from fcnjax.models import MODELS
from fcnjax.naming import check_name, some

LIBRARIES = ("torchvision", "timm")
COUNTER = "num_batches_tracked"  # of PyTorch's batch norms; networks here do not use it
NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "variance": "running_var"}
HEAD = "head."
LISTED = 8  # names that a message lists
BARE = ("layer_scale", "gamma")  # names of parameters, not of layers with a weight
CONVOLVED = ("convnext_atto", "convnext_femto", "convnext_pico", "convnext_nano")  # of timm: 1x1 convolutions in blocks


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
# architecture -> library -> rule from the place of our layer to PyTorch's name
RULES: dict[str, dict[str, Callable[[_Place], str]]] = {
    **{arch: dict.fromkeys(LIBRARIES, _resnet) for arch in ("resnet18", "resnet34", "resnet50")},
    "efficientnet_b0": {**EFFICIENTNET},
    **{arch: {**CONVNEXT} for arch in MODELS if arch.startswith("convnext_")},
}


def naming(arch: str, library: str, ours: Iterable[str]) -> dict[str, str]:
    """Returns a library's name of each of our variables.

    Args:
        arch: a key of `RULES`.
        library: one of `LIBRARIES`.
        ours: names of our variables, such as "blocks.0.layers.0.kernel".
    """
    return {name: named(RULES[arch][library], name) for name in ours}


def pytorch_names(arch: str, ours: Iterable[str], given: Iterable[str], *, headless: bool = False) -> dict[str, str]:
    """Returns PyTorch's name of each of our variables, in the naming that fits the `given` keys best.

    Args:
        arch: a key of `RULES`.
        ours: names of our variables, such as "blocks.0.layers.0.kernel".
        given: keys of the state dict.
        headless: whether the classifier may be missing, alone or with the rest of the head; what is missing is left
            out of the result.

    Raises:
        ValueError: if keys are missing or surplus; the message lists them.
    """
    keys = {name for name in given if not name.endswith(COUNTER)}
    ours = list(ours)
    namings = {library: naming(arch, library, ours) for library in RULES[arch]}
    library = max(namings, key=lambda library: len(keys & set(namings[library].values())))
    names = namings[library]
    if headless and not keys & {names[name] for name in classifier_names(ours)}:
        names = {name: theirs for name, theirs in names.items() if theirs in keys or not name.startswith(HEAD)}
    missing, surplus = sorted(set(names.values()) - keys), sorted(keys - set(names.values()))
    if missing or surplus:
        listed = [f"{what} {some(keys, LISTED)}" for what, keys in (("missing", missing), ("surplus", surplus)) if keys]
        raise ValueError(f"state dict for {arch} ({library}'s names): {'; '.join(listed)}. Nothing was loaded.")
    return names


def classifier_names(ours: Iterable[str]) -> list[str]:
    """Returns those of our variables that are in the last layer of the head, the classifier."""
    head = [name for name in ours if name.startswith("head.layers.")]
    last = max((_layer_index(name) for name in head), default=-1)
    return [name for name in head if _layer_index(name) == last]


def unit_axes(arch: str, library: str, ours: str, axes: int) -> int:
    """Returns how many axes of extent 1 PyTorch's array of one of our variables has at its end, beyond ours.

    Pointwise layers are matrices here, and matrices or 1x1 convolutions there.

    Args:
        arch: a key of `RULES`.
        library: one of `LIBRARIES`.
        ours: name of our variable.
        axes: number of axes of our variable.
    """
    theirs = named(RULES[arch][library], ours)
    pointwise = axes == 2 and not ours.startswith(HEAD)
    convolved = arch == "efficientnet_b0" or (library == "timm" and arch in CONVOLVED)
    return 2 if (pointwise and convolved) or theirs.endswith("layer_scale") else 0


def check_known(arch: str) -> None:
    """Raises ValueError unless an architecture has a rule."""
    check_name("architecture with PyTorch names", arch, RULES)


def _layer_index(name: str) -> int:
    return int(name.split(".")[2])
