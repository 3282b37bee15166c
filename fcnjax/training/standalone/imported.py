"""Weights of PyTorch as a model folder: names, layouts, classes, preprocessing, and whether it is the same network."""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fcnjax.atomic import atomic_folder
from fcnjax.models.weights.hub_config import HubConfig, doubt, obstacle, read_hub_config
from fcnjax.models.weights.state_dict_files import read_state_dict
from fcnjax.models.weights.torch_names import RULES, check_known
from fcnjax.models.weights.torch_weights import our_arrays, shaped_for, variables_of
from fcnjax.models.weights.unwrapping import Unwrapping
from fcnjax.naming import printable
from fcnjax.sealed import hash_file
from fcnjax.training.settings.recipe import Recipe
from fcnjax.training.standalone.model_card import imported_card
from fcnjax.training.standalone.model_files import CONFIG, described, write_files
from fcnjax.training.standalone.reference_check import check_against_reference

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of torchvision's and timm's networks


@dataclasses.dataclass(frozen=True)
class ImportedWeights:
    """What `import_weights` wrote.

    Attributes:
        path: the model folder.
        arch: name of the network.
        classes: names of its classes; none without a head.
        channels: channels of its inputs.
        parameters: number of weights, without running statistics.
        notes: sentences on what was taken, assumed and checked.
    """

    path: Path
    arch: str
    classes: tuple[str, ...]
    channels: int
    parameters: int
    notes: tuple[str, ...]


def import_weights(
    source: Path | str,
    arch: str,
    to: Path | str,
    *,
    ema: bool = False,
    classes: Path | str | Sequence[str] | None = None,
    hub_config: Path | str | None = None,
    check: Path | str | None = None,
) -> ImportedWeights:
    """Turns weights of PyTorch into a model folder, which `fcnjax.load` reads.

    Args:
        source: file of a state dict or a checkpoint of torchvision's or timm's network (see `read_state_dict`).
        arch: a key of `fcnjax.models.weights.torch_names.RULES`, such as "resnet50".
        to: the new folder.
        ema: whether to take the averaged weights of a checkpoint.
        classes: names of the classes, or a file with one name a line; None takes those of the hub's config, or numbers.
        hub_config: the `config.json` of a model hub; None looks for `config.json`, or one named as `source`, beside it.
        check: an .npz file of images and what PyTorch's network returns for them (see `check_against_reference`).

    Raises:
        FileExistsError: if `to` exists; nothing is read.
        OSError: if a file cannot be read.
        ValueError: if a file cannot be used, the arrays do not fit the network, a config names a network that is not
            known to compute the same and there is no `check`, or the check fails; no folder is made.
    """
    source, to = Path(source), Path(to)
    if to.exists():
        raise FileExistsError(f"to={to}: must not exist; choose a new folder for the imported weights.")
    check_known(arch)
    unwrapping = Unwrapping(ema=ema)
    state = read_state_dict(source, unwrapping)
    hub, notes = _hub_config(source, hub_config)
    notes = [*unwrapping.notes, *notes]
    proven = _declared_same(arch, source, unwrapping.architecture, hub, checked=check is not None)
    arrays, channels, count = _translated(arch, source, state)
    named = _distinct(_class_names(classes, hub, count, notes), notes)
    preprocessing = _preprocessing(hub, channels, notes)
    if not count:
        notes.append("no head: classes are chosen by fine-tuning with config.init_from")
    if check is not None:
        notes.append(check_against_reference(Path(check), arch, channels, arrays, count))
    else:
        notes.append(f"{proven}: the arithmetic is that of {arch} here" if proven else doubt(arch))
    recipe = Recipe.from_config({"data": {"name": "imported weights"}, "model": {"name": arch}})
    about = described(recipe, named, preprocessing, _provenance(source, hub, notes))
    with atomic_folder(to) as folder:
        write_files(folder, arrays, about, imported_card(about))
    statistics = ("mean", "variance")
    parameters = sum(array.size for name, array in arrays.items() if not name.endswith(statistics))
    return ImportedWeights(to, arch, named, channels, parameters, tuple(notes))


def _translated(arch: str, source: Path, state: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int, int]:
    """Returns a state dict's arrays by our names, and the numbers of channels and, 0 without a head, of classes."""
    try:
        model, names = shaped_for(arch, state, headless=True)
        variables = variables_of(model)
        arrays = our_arrays(arch, variables, names, state)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    arrays = {name: _finite(source, names[name], array) for name, array in arrays.items()}
    classes = model.trace(model.min_size)[-1].channels if len(arrays) == len(variables) else 0
    return arrays, model.in_channels, classes


def _hub_config(source: Path, given: Path | str | None) -> tuple[HubConfig | None, list[str]]:
    """Returns the hub's config that was given or lies beside the weights, and a note on it."""
    beside = [source.with_suffix(".json"), source.parent / CONFIG]
    path = Path(given) if given is not None else next((path for path in beside if path.is_file()), None)
    if path is None:
        return None, []
    hub = read_hub_config(path)
    if hub is None and given is not None:
        raise ValueError(f"hub_config={path}: names no architecture; give the config.json of the weights' hub page.")
    return hub, [f"read {path.name}" if hub is not None else f"ignored {path.name}, which names no architecture"]


def _declared_same(arch: str, source: Path, declared: str | None, hub: HubConfig | None, *, checked: bool) -> str:
    """Returns who declares that the network is ours, or an empty string; a check decides better than a name.

    Raises:
        ValueError: if the file or the hub declares a network that is not known to compute the same.
    """
    said = []
    if hub is not None:
        said.append((hub.path, hub.architecture, obstacle(arch, hub.architecture, hub.arguments, hub.pool)))
    if declared is not None:
        said.append((source, declared, obstacle(arch, declared)))
    for where, name, why in said:
        if why and not checked:
            name = name.partition(".")[0]
            advice = f"give --arch={name}" if name in RULES and name != arch else f"use weights of {arch}"
            raise ValueError(f"{where}: {why}; {advice}, or prove with --check that it is the same.")
    trusted = [where.name for where, _, why in said if not why]
    return f"{trusted[0]} names the network" if trusted else ""


def _finite(source: Path, name: str, array: np.ndarray) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.floating) and array.dtype.name != "bfloat16":
        raise ValueError(f"{source}: {name} holds {array.dtype.name}, not floating numbers; save float32 weights.")
    array = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{source}: {name} holds NaN or infinity; take an earlier checkpoint.")
    return array


def _class_names(given: Path | str | Sequence[str] | None, hub: HubConfig | None, count: int, notes: list[str]) -> Any:
    """Returns the names of the classes: those given, those of the hub, or numbers."""
    if given is not None:
        where = f"classes={printable(given)}" if isinstance(given, Path | str) else "classes"
        names = _lines(Path(given)) if isinstance(given, Path | str) else tuple(given)
        if len(names) != count or not all(name.strip() for name in names):
            raise ValueError(f"{where}: must be {count} names, one a line, not {len(names)}; correct the list.")
        return names
    if not count:
        return ()
    if hub is not None and hub.labels:
        if min(hub.labels) < 0 or max(hub.labels) >= count:
            raise ValueError(f"{hub.path}: names class {max(hub.labels)} of {count}; give --classes.")
        return tuple(hub.labels.get(index, str(index)) for index in range(count))
    notes.append(f"classes are named 0 to {count - 1}: name them with --classes=FILE, one a line")
    return tuple(map(str, range(count)))


def _distinct(names: Sequence[str], notes: list[str]) -> tuple[str, ...]:
    """Returns names that all differ: ImageNet has two classes called "crane", and the second becomes "crane (2)"."""
    seen: Counter[str] = Counter()
    distinct = []
    for name in names:
        seen[name] += 1
        distinct.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    repeated = [name for name, count in seen.items() if count > 1]
    if repeated:
        notes.append(f"{len(repeated)} names stand for several classes and got numbers, such as {repeated[0]!r}")
    return tuple(distinct)


def _lines(path: Path) -> tuple[str, ...]:
    try:
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError:
        raise ValueError(f"classes={path}: must be text in UTF-8, one name a line; convert it.") from None


def _preprocessing(hub: HubConfig | None, channels: int, notes: list[str]) -> Mapping[str, Any]:
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else (0.0, 1.0)
    if hub is not None and hub.mean is not None and hub.std is not None:
        mean, std = hub.mean, hub.std
        if not len(mean) == len(std) == channels or min(std) <= 0 or not all(map(math.isfinite, (*mean, *std))):
            raise ValueError(
                f"{hub.path}: mean {mean} and std {std} must be {channels} numbers, std above 0; correct them."
            )
        notes.append(f"mean {mean} and std {std} of {hub.path.name}")
    elif channels == 3:
        notes.append(f"mean and std are assumed to be those of ImageNet, {mean} and {std}")
    else:
        notes.append(f"mean 0 and std 1 are assumed for {channels} channel{'s' * (channels > 1)}")
    return {"channels": channels, "axes": 2, "mean": mean, "std": std, "sample_rate": None, "values": [0.0, 1.0]}


def _provenance(source: Path, hub: HubConfig | None, notes: Sequence[str]) -> dict[str, Any]:
    described_by = None if hub is None else {"architecture": hub.architecture, "license": hub.license}
    imported = {"file": source.name, "sha256": hash_file(source), "hub": described_by, "notes": list(notes)}
    return {"data": "imported weights", "imported": imported, "test": None}
