"""Trained weights as a state dict of torchvision's or timm's network, for networks that these libraries have too."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from safetensors import numpy as safetensors

from fcnjax import models
from fcnjax.atomic import check_writable, write_bytes, write_json
from fcnjax.heads import Head
from fcnjax.installation import installed_version
from fcnjax.models.weights.torch_names import CONVOLVED, HEAD, LIBRARIES, RULES, naming
from fcnjax.models.weights.torch_weights import to_state_dict, variables_of
from fcnjax.naming import check_name, printable, unknown_name
from fcnjax.training.build import make_model_for
from fcnjax.training.standalone.model_files import LIBRARY, TENSORS, Standalone, read_model

ABSENT = {"torchvision": CONVOLVED}  # networks that only the other library has
FREE = ("dtype", "width")  # weights are float32 whatever computes; widths are compared by their shapes


def export_weights(
    model: Path | str, to: Path | str, *, library: str | None = None, overwrite: bool = False
) -> tuple[Path, Path]:
    """Writes a model's weights as a state dict that PyTorch's network of the same name loads strictly.

    The network computes the same logits there. A config in timm's layout is written beside the weights, with the
    classes and what happens to an image before the network; the file of weights holds them too, as metadata.

    Args:
        model: a finished run, or a model folder.
        to: the new file, .safetensors. The config is `config.json` beside a file `model.safetensors`, as on model hubs,
            and named as the file otherwise.
        library: "torchvision" or "timm"; None means torchvision if it has the network, else timm.
        overwrite: whether files of these names may be replaced.

    Returns:
        The file of weights, and its config.

    Raises:
        FileExistsError: if a file exists and may not be replaced.
        FileNotFoundError: if there is no model.
        ValueError: if the library has no such network, or the model is not what that network computes.
    """
    to = Path(to)
    config = to.with_name("config.json") if to.name == TENSORS else to.with_suffix(".json")
    if to.suffix != ".safetensors":
        raise ValueError(f"to={to}: must end in .safetensors; change the name.")
    for path in (to, config):
        if path.is_dir() or (path.exists() and not overwrite):
            raise FileExistsError(f"to={path}: exists; choose another name, or give --overwrite to replace a file.")
    check_writable(to.parent)
    found = read_model(model)
    library = _library(found, library)
    names = _exportable(found)
    arrays = {names[name]: np.asarray(array) for name, array in {**found.weights, **found.statistics}.items()}
    arch = found.recipe.model.name
    about = _hub_description(found, library)
    metadata = {"format": "pt", "library": library, LIBRARY: installed_version(), "config": json.dumps(about)}
    write_bytes(to, safetensors.save(to_state_dict(arch, library, arrays), metadata))
    write_json(config, about)
    return to, config


def _library(found: Standalone, library: str | None) -> str:
    """Returns the library to export for; raises ValueError if it does not have the network."""
    arch, model = found.recipe.model.name, f"model={found.path}"
    if library is not None:
        check_name("library", library, LIBRARIES)
    if arch not in RULES:
        known = unknown_name("architecture with PyTorch names", arch, RULES)
        raise ValueError(f"{model}: has a network that torchvision and timm do not have, {known}")
    having = [name for name in RULES[arch] if arch not in ABSENT.get(name, ())]
    if library is not None and library not in having:
        raise ValueError(f"{model}: {library} has no {arch}; export it with --library={having[0]}.")
    return library or having[0]


def _exportable(found: Standalone) -> dict[str, str]:
    """Returns the name of each of a model's arrays in the default network of its architecture.

    Raises:
        ValueError: if the model computes anything other than that network does.
    """
    recipe, arch, model = found.recipe, found.recipe.model.name, f"model={found.path}"
    if found.axes != 2 or recipe.frontend.name is not None:
        raise ValueError(f"{model}: takes signals or volumes; only networks for images can be exported.")
    for name, value in recipe.model.options.items():
        if name not in FREE and (name, value) != ("border", "zero"):
            raise ValueError(
                f"{model}: was trained with config.model.{name}={value!r}, and PyTorch's {arch} has no such option; it "
                "cannot be exported."
            )
    classes = max(1, len(found.classes))
    ours = nnx.eval_shape(lambda: make_model_for(recipe, classes, found.channels, 2, 0))
    default = nnx.eval_shape(lambda: models.create(arch, classes=classes, in_channels=found.channels, rngs=nnx.Rngs(0)))
    _check_head(model, arch, ours.head, default.head)
    shapes, wanted = variables_of(ours), variables_of(default)
    # Dropout has no arrays, so a head without it numbers its layers otherwise; the order of arrays is the same.
    names = dict(zip(_in_order(shapes), _in_order(wanted), strict=True))
    for name, there in names.items():
        if shapes[name].shape != wanted[there].shape:
            raise ValueError(
                f"{model}: has {name} of shape {shapes[name].shape}, and PyTorch's {arch} {wanted[there].shape}; only "
                "its default width can be exported: train with the width of PyTorch's, such as config.model.width=64."
            )
    return names


def _check_head(model: str, arch: str, head: Any, default: Any) -> None:
    """Raises ValueError unless a head computes what the default one does, but for dropout."""
    wanted = [name for name in default.layer_names if name != "dropout"]
    alike = isinstance(head, Head) and [name for name in head.layer_names if name != "dropout"] == wanted
    if alike and head.pool_name == default.pool_name and head.convert(default.pool_at).same_function:
        return
    raise ValueError(
        f"{model}: has the head '{printable(head.describe())}', and PyTorch's {arch} has '{default.describe()}', which "
        "is another function; it cannot be exported."
    )


def _in_order(names: Iterable[str]) -> list[str]:
    """Returns names sorted by the numbers of their layers."""

    def key(name: str) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]

    return sorted(names, key=key)


def _hub_description(found: Standalone, library: str) -> dict[str, Any]:
    """Returns the config of a model hub, in timm's layout."""
    arch, channels, before = found.recipe.model.name, found.channels, found.about["preprocessing"]
    per_channel = {
        name: list(value) if isinstance(value, list | tuple) else [value] * channels
        for name, value in ((name, before[name]) for name in ("mean", "std"))
    }
    first, last = (naming(arch, library, names) for names in _ends(arch))
    about: dict[str, Any] = {
        "architecture": arch,
        "num_classes": len(found.classes),
        "global_pool": "avg",
        "label_names": list(found.classes),
        "pretrained_cfg": {
            "num_classes": len(found.classes),
            **per_channel,
            "first_conv": next(iter(first.values())).removesuffix(".weight"),
            "classifier": next(iter(last.values())).removesuffix(".weight"),
        },
        "source": {LIBRARY: installed_version(), "size": found.about["size"]},
    }
    if channels != 3:
        about["model_args"] = {"in_chans": channels}
    return about


def _ends(arch: str) -> tuple[list[str], list[str]]:
    """Returns the kernels of the first convolution and of the classifier of a default network."""
    model = nnx.eval_shape(lambda: models.create(arch, classes=1, in_channels=1, rngs=nnx.Rngs(0)))
    kernels = [name for name in _in_order(variables_of(model)) if name.endswith("kernel")]
    return [next(name for name in kernels if not name.startswith(HEAD))], [kernels[-1]]
