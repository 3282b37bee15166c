"""A recipe for data that nobody wrote a config for: the settings, and why each was chosen.

Axes: N examples, D spatial axes. The numbers are starting points that were measured on small sets of photographs,
digits and recordings on 2 CPU cores.
"""

import dataclasses
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fcnjax.data import SizePolicy, Source
from fcnjax.data.overview import DataOverview, measure_moments, overview_text
from fcnjax.data.size_table import areas
from fcnjax.data.sources.size_policy import size_words
from fcnjax.naming import joined, printable
from fcnjax.training.build import abstract_model, check_data, data_title, overview_of, read_sources
from fcnjax.training.compile.memory_fit import compiled_bytes, device_memory_bytes
from fcnjax.training.from_data.found_data import FoundData, find_data
from fcnjax.training.settings.config_fields import flat_fields
from fcnjax.training.settings.default_config import default_config, digits_config, photos_config, sounds_config
from fcnjax.training.settings.network_change import change_network
from fcnjax.training.settings.recipe import Recipe
from fcnjax.training.standalone import Standalone, read_model
from fcnjax.training.trainer import Trainer

SMALL = 64 * 64  # positions: the median image below it trains the thread's network
CAP = 512 * 512  # positions: larger images shrink to it
SEEN = 30_000  # examples that a run trains on, epochs times N
EPOCHS = (5, 60)
MEASURED = 200  # examples of which mean and deviation are measured
MEMORY = 0.5  # share of a device's memory that the largest program may take


@dataclasses.dataclass
class Choice:
    """A config that was chosen for data, to be changed and then settled (see `settle`).

    Attributes:
        config: a `ConfigDict` of all fields.
        reasons: why, by the dotted name of each chosen field.
        found: what the data are.
        sources: the splits by name, before the size policy.
        overview: what they hold, at native sizes.
    """

    config: Any
    reasons: dict[str, str]
    found: FoundData
    sources: Mapping[str, Source]
    overview: DataOverview

    def change(self, changes: Mapping[str, Any]) -> None:
        """Sets fields of the config; another network loses the options that were chosen for the first.

        Args:
            changes: values by name, and mappings of them for groups.

        Raises:
            ValueError: if there is no such network.
        """
        changes = {name: dict(value) if isinstance(value, Mapping) else value for name, value in changes.items()}
        network = changes.get("model", {})
        if "name" in network:
            change_network(self.config, network["name"], network)
        _apply(self.config, changes)


class Settled(NamedTuple):
    """A recipe whose programs fit the device.

    Attributes:
        recipe: the recipe.
        trainer: its trainer.
        text: what the data are, what was chosen and why, one line a field.
    """

    recipe: Recipe
    trainer: Trainer
    text: str


def choose_config(
    data: Any,
    *,
    cache_dir: Path | str | None = None,
    init_from: str | None = None,
    fields: Mapping[str, Any] | None = None,
    verify: bool | None = None,
) -> Choice:
    """Returns a config that suits data: network, sizes, splits, epochs.

    Args:
        data: as for `fcnjax.training.from_data.find_data`.
        cache_dir: folder that caches the sizes of files; None caches nothing.
        init_from: finished run, or model folder, to start from: its network, and what happens to the examples before
            it, are chosen.
        fields: fields of `config.data` in place of chosen ones, such as splits, `channels` or `on_error`.
        verify: as for `fcnjax.training.build.read_sources`.

    Raises:
        FileNotFoundError: if a path names nothing.
        ValueError: if the data cannot be used (see `find_data` and `fcnjax.load_source`).
        RefusedData: if they must not be trained on, as `config.data.absent_classes` and `leakage` say.
    """
    trained = None if init_from is None else read_model(init_from)
    found = find_data(data, fields)
    if trained is not None:
        found = _as_trained(found, trained)
    asked = {name: value for name, value in (fields or {}).items() if name != "labels" or name not in found.fields}
    found = dataclasses.replace(found, fields={**found.fields, **asked})
    sources = found.sources
    if sources is None:
        sources = read_sources(Recipe.from_config({"data": found.fields}), cache_dir=cache_dir, verify=verify)
        sources["train"].notes = (*sources["train"].notes, *found.notes)
    settings = Recipe.from_config({"data": found.fields}).data
    overview = overview_of(settings, sources)
    check_data(settings, overview)
    axes = sources["train"].sizes.shape[1]
    if trained is not None and trained.axes != axes:
        raise ValueError(
            f"init_from={init_from}: takes examples of {trained.axes} spatial axes, and these have {axes}; give a "
            "network of such data."
        )
    config, reasons = _config_for(found, sources["train"])
    _cap_area(config, reasons, sources["train"].sizes)
    if trained is not None:
        _adopt(config, reasons, trained, str(init_from))
    elif found.kind != "recordings":  # the front end normalizes the bands of spectrograms
        measured = measure_moments(sources["train"], MEASURED)
        _apply(config.data, {"mean": measured.mean, "std": measured.std})
        reasons["data.mean"] = f"of {measured.examples} training examples; std too"
    return Choice(config, reasons, found, sources, overview)


def settle(
    choice: Choice, recipe: Recipe, asked: Collection[str] = (), *, cache_dir: Path | str | None = None
) -> Settled:
    """Returns a recipe made from a choice, with batches that fit the device and a way for examples that are too small.

    Args:
        choice: the choice.
        recipe: the recipe of its config, possibly changed.
        asked: dotted names of the fields that somebody asked for.
        cache_dir: folder that caches the buckets; None caches nothing.

    Raises:
        ValueError: if the data do not fit the recipe, or not even one example fits the device.
    """
    reasons = {**choice.reasons, **dict.fromkeys(asked, "as you asked")}
    _check_loaded(recipe, choice)
    recipe = fit_minimum(recipe, reasons, choice)
    trainer = Trainer(recipe, choice.sources, cache_dir=cache_dir)
    budget = _pixel_budget(trainer, reasons)
    if budget is not None:
        recipe = dataclasses.replace(recipe, pixel_budget=budget)
        trainer = Trainer(recipe, choice.sources, cache_dir=cache_dir)
    overview = choice.overview.at_sizes_of(trainer.sources)
    return Settled(recipe, trainer, _described(choice, overview, recipe, reasons))


def _check_loaded(recipe: Recipe, choice: Choice) -> None:
    """Raises ValueError if the recipe names other data than those that were loaded for the choice."""
    loaded = flat_fields(choice.config.data.to_dict()) | flat_fields(choice.found.fields)
    for name, given in flat_fields(dataclasses.asdict(recipe.data)).items():
        if name not in ("mean", "std") and loaded.get(name) != given:
            raise ValueError(f"config.data.{name}={given!r}: must be given before the data are read.")


def _config_for(found: FoundData, train: Source) -> tuple[Any, dict[str, str]]:
    """Returns a config for data of this kind, size and number, and the reasons for what was chosen."""
    axes, small = train.sizes.shape[1], float(np.median(areas(train.sizes))) < SMALL
    reasons = {f"data.{name}": reason for name, reason in found.reasons.items()}
    if found.kind == "recordings":
        config = sounds_config()
        reasons["frontend.name"] = "log-mel spectrograms suit recordings"
    elif axes != 2 or small:
        gray = axes == 2 and train.channels == 1
        config = digits_config() if gray else default_config()
        reasons["model.name"] = "the median image is below 64x64" if axes == 2 else "the network for any number of axes"
    else:
        config = photos_config("resnet18")
        cpu = jax.default_backend() == "cpu"
        config.model.width = 16 if cpu else 64
        reasons["model.name"] = "the median image is at least 64x64"
        reasons["model.width"] = "trains on a CPU; 64 is usual" if cpu else "as usual"
    if axes == 2 and train.channels == 3:
        config.augment.flip = 0.5
        reasons["augment.flip"] = "color images: a mirrored one shows the same; 0 if it does not, as for text"
    reasons["optimizer.learning_rate"] = "the usual peak for this network"
    config.epochs = int(np.clip(math.ceil(SEEN / len(train)), *EPOCHS))
    reasons["epochs"] = f"about {SEEN:,} examples in all, {EPOCHS[0]} to {EPOCHS[1]} epochs"
    channels = train.channels if found.fields["name"] == "image_folder" else None
    _apply(config.data, {"channels": channels, **found.fields})
    return config, reasons


def _as_trained(found: FoundData, trained: Standalone) -> FoundData:
    """Returns data that are read as those of a trained network."""
    fields = dict(found.fields)
    if found.kind == "images":
        fields["channels"] = trained.channels
    elif found.kind == "recordings":
        fields["sample_rate"] = trained.recipe.data.sample_rate
    return dataclasses.replace(found, fields=fields)


def _adopt(config: Any, reasons: dict[str, str], trained: Standalone, init_from: str) -> None:
    """Sets the network of a trained one, and what happens to examples before it."""
    same = f"as in {init_from}"
    before = trained.recipe.to_dict()
    changes: dict[str, Any] = {name: before[name] for name in ("model", "head", "frontend")}
    _apply(config, {**changes, "data": {name: before["data"][name] for name in ("mean", "std")}})
    config.init_from = init_from
    for name in ("model.width", "frontend.name", "data.sample_rate"):
        if name in reasons:
            reasons[name] = same
    reasons |= {"init_from": "the weights to start from", "model.name": same, "data.mean": f"{same}; std too"}


def _cap_area(config: Any, reasons: dict[str, str], sizes: np.ndarray) -> None:
    """Caps the area of images if more than one in twenty is larger."""
    if sizes.shape[1] == 2 and float(np.percentile(areas(sizes), 95)) > CAP:
        config.size.max_area = CAP
        reasons["size.max_area"] = "larger images shrink to it, aspects kept; None trains at native sizes"


def fit_minimum(recipe: Recipe, reasons: dict[str, str], choice: Choice) -> Recipe:
    """Returns the recipe with a way for examples that are below the network's minimum, if there are any.

    Args:
        recipe: the recipe.
        reasons: gets the reason, if a way is chosen.
        choice: the data.
    """
    minimum = abstract_model(recipe, choice.sources["train"]).min_size
    smallest = recipe.size.smallest(minimum)
    images, below, first = choice.found.kind == "images", 0, ""
    for source in choice.sources.values():
        content = recipe.size.content_sizes(source.sizes, minimum)
        rows = np.flatnonzero((content < smallest).any(axis=1))
        if len(rows) and not below:
            first = f"{printable(source.name_of(rows[0]))} {size_words(source.sizes[rows[0]], content[rows[0]])}"
        below += len(rows)
    if not below or recipe.size.below != "refuse":
        return recipe
    larger = dataclasses.replace(recipe.size, below="upsample")
    enlarged = [larger.content_sizes(source.sizes, minimum) for source in choice.sources.values()] if images else []
    fits = images and all(_within_caps(larger, sizes, smallest) for sizes in enlarged)
    what = "1 example is" if below == 1 else f"{below:,} examples are"
    reasons["size.below"] = f"{what} below the network's minimum, {joined(smallest.tolist())}: {first}"
    reasons["size.below"] += ", ..." * (below > 1)
    return dataclasses.replace(recipe, size=larger if fits else dataclasses.replace(recipe.size, below="pad"))


def _within_caps(policy: SizePolicy, sizes: np.ndarray, smallest: np.ndarray) -> bool:
    """Returns whether sizes keep a policy's caps, which a thin image that is enlarged to the minimum may exceed."""
    side, area = policy.max_side or math.inf, policy.max_area or math.inf
    return bool(sizes.max() <= max(side, smallest.max()) and areas(sizes).max() <= max(area, smallest.prod()))


def _pixel_budget(trainer: Trainer, reasons: dict[str, str]) -> int | None:
    """Returns the positions of a batch that fit the device's memory; None if all batches do."""
    largest = trainer.programs.largest(trainer.programs.for_training(trainer.plan(trainer.recipe.seed), 0))
    share = compiled_bytes(largest.programs.compile(largest.shape, *largest.args)) / device_memory_bytes()
    if share <= MEMORY or trainer.recipe.pixel_budget is not None:
        reasons["batch_size"] = f"the largest program takes {max(share, 0.01):.0%} of the device's memory"
        return None
    shape, rows = trainer.rows_that_fit(MEMORY)
    reasons["pixel_budget"] = f"{rows} rows of {joined(shape)}: {MEMORY:.0%} of the device's memory"
    reasons["batch_size"] = "at most, as pixel_budget allows"
    return rows * math.prod(shape)


def _apply(config: Any, changes: Mapping[str, Any]) -> None:
    """Sets fields of a config, whatever the type of their present value; `Recipe` checks them."""
    for name, value in changes.items():
        if isinstance(value, Mapping) and name in config:
            _apply(config[name], value)
        else:
            with config.ignore_type(), config.unlocked():
                config[name] = value


def _described(choice: Choice, overview: DataOverview, recipe: Recipe, reasons: Mapping[str, str]) -> str:
    """Returns what the data are, and the chosen fields in the order of a config, each with its reason."""
    fields = flat_fields(recipe.to_dict())
    texts = {f"--config.{name}={_shown(value)}": reasons[name] for name, value in fields.items() if name in reasons}
    width = min(44, max(map(len, texts)))
    lines = [f"  {text:{width}}  {reason}" for text, reason in texts.items()]
    about = overview_text(overview, data_title(recipe.data))
    return "\n".join([about, "", f"the recipe, chosen for these {choice.found.kind}:", *lines])


def _shown(value: Any) -> str:
    text = str(tuple(value)) if isinstance(value, tuple | list) else str(value)
    quote = '"' if "'" in text else "'"
    return f"{quote}{text}{quote}" if any(sign in text for sign in " []*") else text
