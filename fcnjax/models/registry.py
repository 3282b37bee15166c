"""The registry of networks: names, and construction by name."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flax import nnx

from fcnjax.arguments import check_arguments
from fcnjax.layers.layer import require_positive
from fcnjax.models.all_cnn import all_cnn_c
from fcnjax.models.classifier import Block, Classifier
from fcnjax.models.convnext import convnext
from fcnjax.models.dense_fcn import dense_fcn
from fcnjax.models.efficientnet import efficientnet_b0
from fcnjax.models.fcn import fcn
from fcnjax.models.frontend import log_mel
from fcnjax.models.nin import nin
from fcnjax.models.resnet import resnet, resnet_cifar
from fcnjax.naming import check_name, check_options

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
    "fcn8s": partial(dense_fcn, 8),
    "fcn32s": partial(dense_fcn, 32),
    "nin": nin,
    "all_cnn_c": all_cnn_c,
    "resnet18": partial(resnet, depths=(2, 2, 2, 2), bottleneck=False),
    "resnet34": partial(resnet, depths=(3, 4, 6, 3), bottleneck=False),
    "resnet50": partial(resnet, depths=(3, 4, 6, 3), bottleneck=True),
    "resnet_cifar": resnet_cifar,
}
DTYPES = ("float32", "bfloat16")


def create(
    name: str,
    *,
    classes: int,
    in_channels: int,
    rngs: nnx.Rngs,
    dtype: str | None = None,
    frontend: Mapping[str, Any] | None = None,
    **options: Any,
) -> Classifier:
    """Returns the network that `MODELS` lists under `name`.

    Args:
        name: a key of `MODELS`.
        classes: number of classes K.
        in_channels: number of channels C of the inputs.
        rngs: source of the initial weights.
        dtype: dtype of the computation, "float32" or "bfloat16"; None for the dtype of the inputs. Weights, statistics,
            pooled features and logits are always float32.
        frontend: options of `fcnjax.models.frontend.log_mel`, the first block of a network for signals ({} for its
            defaults); None for a network without a front end.
        **options: further arguments of the network's function, such as `rank`, `head` or `border`.

    Raises:
        ValueError: if the name, the dtype or an option is unknown (the message names the nearest one), or a front end
            is given to a network that does not take signals or has class maps of the size of its input.

    >>> create("fcn", classes=10, in_channels=1, rngs=nnx.Rngs(0)).min_size
    (8, 8)
    """
    check_name("model", name, MODELS)
    if dtype is not None:
        check_name("dtype", dtype, DTYPES)
    check_options(f"option of model {name!r}:", options, MODELS[name])
    arguments = {"classes": classes, "in_channels": in_channels, "rngs": rngs, **options}
    check_arguments(f"model {name!r}", MODELS[name], arguments)
    check_arguments(f"model {name!r}", create, {"frontend": frontend})
    require_positive(f"model {name!r}", classes=classes, in_channels=in_channels)
    front = None if frontend is None else _front_block(frontend, in_channels, options.get("rank", 2))
    width = in_channels if front is None else front.out_channels(in_channels)
    model = MODELS[name](classes=classes, in_channels=width, rngs=rngs, **options)
    model.dtype = dtype
    if front is not None:
        model.put_before(front, in_channels)
    return model


def _front_block(options: Mapping[str, Any], in_channels: int, rank: int) -> Block:
    if rank != 1:
        raise ValueError(
            f"frontend={dict(options)} with rank={rank}: must be None unless rank=1 (signals); give the network rank=1."
        )
    return log_mel(in_channels, options)
