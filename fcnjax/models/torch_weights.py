"""Weights from PyTorch: a state dict of torchvision or timm, renamed and transposed into a network of the same name.

Each architecture names its layers by rule; a key that is missing or left over is an error, never a silent difference.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from flax import nnx

from fcnjax.models.classifier import Classifier
from fcnjax.naming import unknown_name

IGNORED = "num_batches_tracked"  # a counter that nothing reads
NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "variance": "running_var"}


def load_state_dict(model: Classifier, arch: str, state: Mapping[str, np.ndarray]) -> Classifier:
    """Puts the weights and running statistics of a PyTorch state dict into a network, and returns it.

    Args:
      model: a network made by `fcnjax.models.create(arch, ...)`, with its default head.
      arch: "resnet18", "resnet34" or "resnet50".
      state: arrays by PyTorch's names, such as "layer1.0.conv1.weight"; convolutions [K, C, *taps], dense [K, C].

    Raises:
      ValueError: for an architecture without a rule, missing or surplus keys (all are listed), or another shape.

    Source: names as in torchvision's and timm's `resnet.py`.
    """
    if arch not in RULES:
        raise ValueError(unknown_name("architecture with PyTorch names", arch, RULES))
    variables = {".".join(map(str, path)): v for path, v in nnx.to_flat_state(nnx.state(model))}
    names = dict(RULES[arch](variables))
    given = {name for name in state if not name.endswith(IGNORED)}
    missing, surplus = sorted(set(names.values()) - given), sorted(given - set(names.values()))
    if missing or surplus:
        listed = [f"{what} {', '.join(keys)}" for what, keys in (("missing", missing), ("surplus", surplus)) if keys]
        raise ValueError(f"state dict for {arch}: {'; '.join(listed)}. Nothing was loaded.")
    arrays = {ours: _as_ours(np.asarray(state[theirs])) for ours, theirs in names.items()}
    for ours, array in arrays.items():
        if array.shape != variables[ours].shape:
            raise ValueError(
                f"{names[ours]} of shape {tuple(state[names[ours]].shape)}: this {arch} needs {ours} of shape "
                f"{variables[ours].shape}. Make it with the classes and channels that the weights were trained with."
            )
    for ours, array in arrays.items():
        variables[ours][...] = array.astype(variables[ours].dtype)
    return model


def _as_ours(array: np.ndarray) -> np.ndarray:
    """[K, C, *taps] to [*taps, C, K], and [K, C] to [C, K]; vectors stay."""
    return np.moveaxis(array, (0, 1), (-1, -2)) if array.ndim > 1 else array


def _resnet_names(variables: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for ours in variables:
        *path, name = ours.split(".")
        numbers = [int(part) for part in path if part.isdigit()]
        if path[0] == "head":
            layer = "fc"
        elif numbers[0] == 0:
            layer = ("conv1", "bn1")[numbers[1]]
        else:  # stage, twice the block (a ReLU stands between two), branch 0 or shortcut 1, layer
            stage, block, branch, index = numbers
            inner = f"downsample.{index}" if branch else f"{('conv', 'bn')[index % 3]}{index // 3 + 1}"
            layer = f"layer{stage}.{block // 2}.{inner}"
        yield ours, f"{layer}.{NORM.get(name, 'weight')}"


# names of our variables -> pairs of our name and PyTorch's
RULES: dict[str, Callable[[Mapping[str, object]], Iterator[tuple[str, str]]]] = {
    "resnet18": _resnet_names,
    "resnet34": _resnet_names,
    "resnet50": _resnet_names,
}
