"""Weights from and to PyTorch: state dicts of torchvision and timm, renamed and transposed for our networks, and back.

Missing and surplus names are errors (see `torch_names`).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fcnjax.models import create
from fcnjax.models.classifier import Classifier
from fcnjax.models.weights.torch_names import (
    COUNTER,
    HEAD,
    check_known,
    classifier_names,
    naming,
    pytorch_names,
    unit_axes,
)


def create_from_state_dict(arch: str, state: Mapping[str, np.ndarray], **options: Any) -> Classifier:
    """Returns a network with the weights of a PyTorch state dict, which sets the numbers of classes and channels.

    Args:
        arch: a key of `RULES` in `torch_names`.
        state: as for `load_state_dict`.
        **options: further arguments of the network, such as `head`, that keep its default layers.

    Raises:
        ValueError: as `load_state_dict`, or if the network rejects an option.
    """
    model, _ = shaped_for(arch, state, **options)
    return load_state_dict(model, arch, state)  # no weights are drawn: `state` has them all


def shaped_for(
    arch: str, state: Mapping[str, np.ndarray], *, headless: bool = False, **options: Any
) -> tuple[Classifier, dict[str, str]]:
    """Returns a network with the shapes of a PyTorch state dict, without weights, and PyTorch's name of each variable.

    Args:
        arch: a key of `RULES` in `torch_names`.
        state: as for `load_state_dict`.
        headless: as for `pytorch_names`; a network without a classifier is shaped for one class.
        **options: further arguments of the network.

    Raises:
        ValueError: if the architecture has no rule, keys are missing or surplus, or the state dict does not begin and
            end with matrices.
    """
    check_known(arch)

    def shapes(classes: int, in_channels: int) -> Classifier:
        return nnx.eval_shape(
            lambda: create(arch, classes=classes, in_channels=in_channels, rngs=nnx.Rngs(0), **options)
        )

    ours = variables_of(shapes(2, 1))
    names = pytorch_names(arch, ours, state, headless=headless)
    first, last = _kernel(ours, "blocks"), _kernel(classifier_names(ours), HEAD)
    shape, last_shape = np.shape(state[names[first]]), np.shape(state[names[last]]) if last in names else (1, 1)
    if len(shape) < 2 or len(last_shape) < 2:
        raise ValueError(
            f"state dict for {arch}: must begin and end with matrices, not {shape} and {last_shape}; check the file."
        )
    return shapes(last_shape[0], shape[1]), names


def load_state_dict(model: Classifier, arch: str, state: Mapping[str, np.ndarray]) -> Classifier:
    """Returns a network after putting the weights and running statistics of a PyTorch state dict into it.

    Args:
        model: a network made by `fcnjax.models.create(arch, ...)`, with the layers of its default head and any
            `pool_at`.
        arch: a key of `RULES` in `torch_names`.
        state: arrays by PyTorch's names, such as "layer1.0.conv1.weight", in the naming of torchvision or timm,
            whichever fits better. Kernels of convolutions are [K, C, *taps], of dense layers [K, C] or [K, C, 1, ..].

    Raises:
        ValueError: if the architecture has no rule, keys are missing or surplus (the message lists them), or a shape
            does not match.
    """
    check_known(arch)
    variables = variables_of(model)
    names = pytorch_names(arch, variables, state)
    for ours, array in our_arrays(arch, variables, names, state).items():
        variables[ours].set_value(jnp.asarray(array, variables[ours].dtype))
    return model


def our_arrays(
    arch: str, variables: Mapping[str, Any], names: Mapping[str, str], state: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns the arrays of a PyTorch state dict by our names, in our layouts.

    Args:
        arch: a key of `RULES` in `torch_names`.
        variables: our variables by name, of which shapes are compared.
        names: PyTorch's name of each variable.
        state: as for `load_state_dict`.

    Raises:
        ValueError: if a shape does not match.
    """
    arrays = {ours: _as_ours(state[theirs], len(variables[ours].shape)) for ours, theirs in names.items()}
    for ours, array in arrays.items():
        if array.shape != variables[ours].shape:
            raise ValueError(
                f"{names[ours]} of shape {np.shape(state[names[ours]])}: this {arch} needs {ours} of shape "
                f"{variables[ours].shape}; make it with the classes and channels that the weights were trained with."
            )
    return arrays


def to_state_dict(arch: str, library: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns arrays of our network as the state dict of a library's network, the inverse of `our_arrays`.

    Args:
        arch: a key of `RULES` in `torch_names`.
        library: "torchvision" or "timm".
        arrays: weights and running statistics by our names.

    Returns:
        Arrays by the library's names, in its layouts, with the counters of its batch norms, which are 0.
    """
    state: dict[str, np.ndarray] = {}
    for ours, theirs in naming(arch, library, arrays).items():
        array = np.asarray(arrays[ours])
        added = (1,) * unit_axes(arch, library, ours, array.ndim)
        array = np.moveaxis(array, (-1, -2), (0, 1)) if array.ndim > 1 else array
        state[theirs] = np.ascontiguousarray(array).reshape(*array.shape, *added)
        if theirs.endswith("running_var"):
            state[theirs.replace("running_var", COUNTER)] = np.zeros((), np.int64)
    return state


def variables_of(model: Classifier) -> dict[str, Any]:
    """Returns the weights and running statistics of a network by name."""
    return {".".join(map(str, path)): variable for path, variable in nnx.to_flat_state(nnx.state(model))}


def _kernel(names: Iterable[str], part: str) -> str:
    return next(name for name in names if name.startswith(part) and name.endswith("kernel"))


def _as_ours(array: np.ndarray, rank: int) -> np.ndarray:
    """Returns [K, C, *taps] as [*taps, C, K] and [K, C] as [C, K], without leading axes of extent 1 beyond `rank`."""
    array = np.asarray(array)
    array = np.moveaxis(array, (0, 1), (-1, -2)) if array.ndim > 1 else array
    surplus = max(0, array.ndim - rank)
    return array.reshape(array.shape[surplus:]) if array.shape[:surplus] == (1,) * surplus else array
