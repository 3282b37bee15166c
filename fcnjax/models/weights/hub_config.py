"""What the `config.json` of a model hub says about weights, and whether their network computes what ours does.

Networks may share every name and shape and differ in what they compute: in padding, an epsilon, or a blur. The weights
cannot tell; the name of the architecture can.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fcnjax.atomic import read_json
from fcnjax.naming import printable

# Networks of timm 1.0 with the names and shapes of ours that compute something else; a test finds them.
SAME_NAMES: dict[str, dict[str, str]] = {
    "resnet18": {"resnetblur18": "it blurs before it strides"},
    "resnet50": {
        "resnetaa50": "it averages before it strides",
        "resnetblur50": "it blurs before it strides",
    },
    "efficientnet_b0": {
        "efficientnet_blur_b0": "it blurs before it strides",
        "tf_efficientnet_b0": "its padding depends on the size, and the epsilon of its norms is 1e-3",
    },
}
EARLIER = r"(?:tv_|ssl_|swsl_|gluon_)?{arch}(?:_v1b|_in22k|_in22ft1k|_384_in22ft1k)?"  # names of earlier versions
HARMLESS = ("num_classes", "in_chans", "drop_rate", "drop_path_rate", "global_pool")  # arguments of timm's networks
MEAN_POOLS = (None, "", "avg")


@dataclasses.dataclass(frozen=True)
class HubConfig:
    """What a config says, as far as it matters here.

    Attributes:
        path: the file.
        architecture: name of the network, with a tag of its weights after a point if the hub gives one.
        arguments: arguments that the network was made with.
        pool: name of its global pool, or None.
        mean, std: of the pixels in [0, 1], per channel; None if not given.
        labels: names of classes by index.
        license: license of the weights, or None.
    """

    path: Path
    architecture: str
    arguments: Mapping[str, Any]
    pool: str | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    labels: Mapping[int, str]
    license: str | None


def read_hub_config(path: Path) -> HubConfig | None:
    """Returns what a config says; None if it names no architecture.

    Reads timm's layout (`architecture`, `pretrained_cfg`), and names and labels in that of transformers
    (`architectures` or `model_type`, `id2label`).

    Raises:
        OSError: if the file cannot be read.
        ValueError: if the file is not JSON, describes a model of fcnjax, or a value has another type.
    """
    about = read_json(path)
    if about.get("library_name") == "fcnjax":
        raise ValueError(f"{path}: describes a model of fcnjax; use its folder as it is.")
    pretrained = about.get("pretrained_cfg") or {}
    try:
        named = about.get("architecture") or pretrained.get("architecture")
        named = named or next(iter(about.get("architectures") or ()), None) or about.get("model_type")
        if named is None:
            return None
        labels = about.get("label_names") or pretrained.get("label_names") or about.get("id2label") or {}
        pairs = labels.items() if isinstance(labels, dict) else enumerate(labels)
        license_ = pretrained.get("license") or about.get("license")
        return HubConfig(
            path,
            str(named),
            dict(about.get("model_args") or {}),
            about.get("global_pool"),
            _numbers(pretrained.get("mean")),
            _numbers(pretrained.get("std")),
            {int(index): str(name) for index, name in pairs},
            None if license_ is None else str(license_),
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: is not the config of a model hub ({error}); give another file.") from None


def obstacle(arch: str, declared: str, arguments: Mapping[str, Any] | None = None, pool: str | None = None) -> str:
    """Returns why a declared network may not compute what ours does, or an empty string if it is known to.

    Args:
        arch: name of our network.
        declared: name of the architecture that the weights are of.
        arguments: arguments that it was made with.
        pool: name of its global pool.

    >>> obstacle("resnet18", "resnet18.a1_in1k")
    ''
    >>> obstacle("resnet18", "resnetblur18")
    "architecture 'resnetblur18': has the names of resnet18, but it blurs before it strides"
    """
    name = declared.partition(".")[0]
    if difference := SAME_NAMES.get(arch, {}).get(name):
        return f"architecture {name!r}: has the names of {arch}, but {difference}"
    if not re.fullmatch(EARLIER.format(arch=re.escape(arch)), name):
        return f"architecture {printable(name)!r}: is not known to compute what {arch} does"
    others = {key: value for key, value in (arguments or {}).items() if key not in HARMLESS and value is not None}
    if others:
        return f"model_args={printable(others)}: may change what {arch} computes"
    pool = (arguments or {}).get("global_pool", pool)
    return "" if pool in MEAN_POOLS else f"global_pool={pool!r}: is not the mean, which the head of {arch} takes"


def doubt(arch: str) -> str:
    """Returns the sentence on what the names of weights alone cannot tell about an architecture."""
    known = "; ".join(f"{name}: {difference}" for name, difference in SAME_NAMES.get(arch, {}).items())
    others = f"other networks have the same names ({known})" if known else "a network with dilation has the same names"
    return (
        f"not checked that the weights are of {arch}: {others}; give --check=reference.npz or --hub_config=config.json"
    )


def _numbers(values: Any) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(value) for value in values)
