"""Networks, one file each, in one registry."""

from collections.abc import Callable
from functools import partial
from typing import Any

from flax import nnx

from fcnjax.models.classifier import Block, Classifier, TraceRow, check_sizes
from fcnjax.models.convnext import convnext
from fcnjax.models.efficientnet import efficientnet_b0
from fcnjax.models.fcn import fcn
from fcnjax.models.resnet import resnet, resnet_cifar
from fcnjax.naming import check_options, unknown_name

MODELS: dict[str, Callable[..., Classifier]] = {
    "convnext_atto": partial(convnext, depths=(2, 2, 6, 2), width=40),
    "convnext_femto": partial(convnext, depths=(2, 2, 6, 2), width=48),
    "convnext_pico": partial(convnext, depths=(2, 2, 6, 2), width=64),
    "convnext_nano": partial(convnext, depths=(2, 2, 8, 2), width=80),
    "convnext_tiny": partial(convnext, depths=(3, 3, 9, 3), width=96),
    "convnext_small": partial(convnext, depths=(3, 3, 27, 3), width=96, stochastic_depth=0.4),
    "convnext_base": partial(convnext, depths=(3, 3, 27, 3), width=128, stochastic_depth=0.5),
    "efficientnet_b0": efficientnet_b0,
    "fcn": fcn,
    "resnet18": partial(resnet, (2, 2, 2, 2), bottleneck=False),
    "resnet34": partial(resnet, (3, 4, 6, 3), bottleneck=False),
    "resnet50": partial(resnet, (3, 4, 6, 3), bottleneck=True),
    "resnet_cifar": resnet_cifar,
}


def create(name: str, *, classes: int, in_channels: int, rngs: nnx.Rngs, **options: Any) -> Classifier:
    """Returns a network by its registered name.

    Args:
      name: a key of `MODELS`, such as "fcn" or "resnet50".
      classes: number of classes K.
      in_channels: channels of the inputs.
      rngs: source of the initial weights.
      **options: further arguments of the network's own function, such as `rank` or `head`.

    Raises:
      ValueError: for an unknown name or option, with the nearest one.

    >>> create("fcn", classes=10, in_channels=1, rngs=nnx.Rngs(0)).min_size
    (8, 8)
    """
    if name not in MODELS:
        raise ValueError(unknown_name("model", name, MODELS))
    check_options(f"option of model {name!r}:", options, MODELS[name])
    return MODELS[name](classes=classes, in_channels=in_channels, rngs=rngs, **options)


__all__ = ["MODELS", "Block", "Classifier", "TraceRow", "check_sizes", "create"]
