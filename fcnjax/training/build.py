"""Builds the parts of a run from its recipe: splits, network, buckets and data order.

Axes: N examples, D spatial axes.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from fcnjax import models, pooling
from fcnjax.data import (
    BucketPlan,
    EpochPlan,
    FileOptions,
    MixedPlan,
    RandomCrop,
    ResizedSource,
    SizePolicy,
    Source,
    UnreadableFiles,
    as_source,
    load_source,
    plan_buckets,
    without_small,
)
from fcnjax.data.by_name import ARRAYS, FOLDERS
from fcnjax.data.files.folder_layout import layouts_kept
from fcnjax.data.overview import DataOverview, data_overview, overview_text
from fcnjax.data.overview.class_checks import other_classes
from fcnjax.installation import installed_version
from fcnjax.sealed import read_sealed, write_sealed
from fcnjax.training.settings.data_settings import DataSettings
from fcnjax.training.settings.recipe import Recipe
from fcnjax.training.step.freezing import freeze_norms, frozen_names

SPLITS = ("train", "validation", "test")
PLANNER = 1  # version of the planner in the cache; raise it when plans change


def load_sources(
    recipe: Recipe, *, cache_dir: Path | str | None = None, verify: bool | None = None
) -> dict[str, Source]:
    """Returns the three splits that a recipe names, at the sizes that its size policy gives them.

    Args: as for `read_sources`.

    Raises:
        ValueError: as `read_sources` and `fit_sources`.
    """
    return fit_sources(recipe, read_sources(recipe, cache_dir=cache_dir, verify=verify))


def read_sources(
    recipe: Recipe,
    splits: Sequence[str] = SPLITS,
    *,
    cache_dir: Path | str | None = None,
    verify: bool | None = None,
) -> dict[str, Source]:
    """Returns the three splits that a recipe names, or some of them, at the sizes that they have.

    Args:
        recipe: what to train.
        splits: those that are read, of "train", "validation" and "test".
        cache_dir: folder that caches the sizes of files; None caches nothing.
        verify: whether to decode every file once; None does so only if the recipe refuses files that cannot be decoded.

    Raises:
        ValueError: if a data set or split does not exist, or files cannot be decoded.
    """
    data = recipe.data
    names = {split: getattr(data, f"{split}_split") for split in SPLITS}
    every = tuple(names.values())
    options = FileOptions(data.channels, data.sample_rate, data.on_error, verify, cache_dir, data.labels, every)
    sources, refused = {}, []
    with layouts_kept():
        for key in splits:
            try:
                sources[key] = load_source(data.name, names[key], data.data_dir, options)
            except UnreadableFiles as error:  # collected: one error lists the files of all splits
                refused.append(str(error))
    if refused:
        raise ValueError("\n".join(refused))
    return sources


def fit_sources(recipe: Recipe, sources: Mapping[str, Any]) -> dict[str, Source]:
    """Returns the three splits at the sizes that the recipe's size policy gives them.

    With `on_error="mask"`, examples that the policy would refuse as too small are left out.

    Args:
        recipe: what to train.
        sources: "train", "validation" and "test", each a `Source` or an object that `fcnjax.data.as_source` accepts.

    Raises:
        ValueError: if a split is missing, the splits do not match, or examples are too small.
    """
    missing = [name for name in SPLITS if name not in sources]
    if missing:
        raise ValueError(f"sources: must hold {missing[0]!r}; give a dictionary of train, validation and test.")
    splits = {name: as_source(source) for name, source in sources.items()}
    _check_match(recipe.data.name, splits)
    if all(isinstance(source, ResizedSource) and source.policy == recipe.size for source in splits.values()):
        return splits  # `load_sources` has resized them already
    masks = recipe.data.on_error == "mask" and recipe.size.below == "refuse"
    if recipe.size == SizePolicy() and not masks:
        return splits
    minimum = abstract_model(recipe, splits["train"]).min_size
    if masks:
        splits = {name: without_small(source, recipe.size, minimum) for name, source in splits.items()}
    return {name: ResizedSource(source, recipe.size, minimum) for name, source in splits.items()}


def _check_match(owner: str, splits: Mapping[str, Source]) -> None:
    """Raises ValueError unless all splits have the channels and classes of training."""
    first = splits["train"]
    for name, source in splits.items():
        if source.channels != first.channels:
            raise ValueError(
                f"{owner}: the {name} split has channels {source.channels}, the train split {first.channels}; all "
                "splits need the same (config.data.channels fixes the channels)."
            )
        if tuple(source.class_names) != tuple(first.class_names):
            differ = other_classes(name, source.class_names, first.class_names)
            raise ValueError(
                f"{owner}: class_names of the {name} split must be those of the train split, in one order, and "
                f"{differ}; give all splits one list of classes."
            )


def overview_of(data: DataSettings, sources: Mapping[str, Source], *, thorough: bool = False) -> DataOverview:
    """Returns what the data of a recipe are; `check_data` refuses those that must not be trained on.

    Args:
        data: the settings of the data.
        sources: the splits.
        thorough: whether to read labels and compare files whatever it takes (see `fcnjax.data.overview`).

    Raises:
        ValueError: if the splits do not match.
    """
    _check_match(data.name, sources)
    return data_overview(
        {name: sources[name] for name in SPLITS},
        one_data_set=data.name != ARRAYS,
        leakage=data.leakage,
        sample_rate=data.sample_rate,
        thorough=thorough,
    )


class RefusedData(ValueError):
    """Data that must not be trained on.

    Attributes:
        overview: what they are, as text.
    """

    def __init__(self, message: str, overview: str):
        super().__init__(message)
        self.overview = overview


def check_data(data: DataSettings, overview: DataOverview) -> None:
    """Raises RefusedData if data must not be trained on, as their settings say."""
    try:
        overview.refuse(data.absent_classes, data.leakage)
    except ValueError as error:
        raise RefusedData(str(error), overview_text(overview, data_title(data))) from None


def data_title(data: DataSettings) -> str:
    """Returns the name of a data set for people: of a folder, its path too."""
    return f"{data.name} {data.data_dir}" if data.name in FOLDERS else data.name


def make_buckets(recipe: Recipe, sources: Mapping[str, Source], *, cache_dir: Path | str | None = None) -> BucketPlan:
    """Returns the buckets for all splits, with the batch size of each, within the bounds of the recipe.

    Args:
        recipe: what to train.
        sources: the splits.
        cache_dir: folder that caches the buckets for the next run on the same sizes; None caches nothing.
    """
    sizes = [source.sizes for source in sources.values()]
    if recipe.crop.area[0] < 1 and recipe.batching == "mixed":  # sizes of two fixed seeds, not the run's
        train = sources["train"]
        sizes += [recipe.crop.sizes(seed, 0, train.ids, train.sizes) for seed in range(2)]
    sizes = np.concatenate(sizes)
    options = {
        "max_buckets": recipe.max_buckets,
        "multiple_of": recipe.multiple_of,
        "pixel_budget": recipe.pixel_budget,
    }
    buckets = _planned(sizes, options, None if cache_dir is None else Path(cache_dir))
    rows = np.full(len(buckets.shapes), recipe.batch_size, np.int32)
    return BucketPlan(buckets.shapes, rows if buckets.batch_sizes is None else np.minimum(rows, buckets.batch_sizes))


def _planned(sizes: np.ndarray, options: dict[str, Any], cache_dir: Path | None) -> BucketPlan:
    """Returns `plan_buckets` of sizes [N, D], cached because planning may take seconds."""
    if cache_dir is None:
        return plan_buckets(sizes, **options)
    about = json.dumps([PLANNER, installed_version(), sizes.shape, str(sizes.dtype), options]).encode()
    file = cache_dir / f"plan-{hashlib.sha256(about + sizes.tobytes()).hexdigest()[:32]}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # absent or damaged: plan again
        kept = read_sealed(file)
        rows = kept["batch_sizes"]
        return BucketPlan(np.array(kept["shapes"], np.int32), None if rows is None else np.array(rows, np.int32))
    plan = plan_buckets(sizes, **options)
    rows = None if plan.batch_sizes is None else plan.batch_sizes.tolist()
    with contextlib.suppress(OSError):  # only a cache
        write_sealed(file, {"shapes": plan.shapes.tolist(), "batch_sizes": rows})
    return plan


def rows_of(buckets: BucketPlan) -> list[int]:
    """Returns the number of rows of a batch of each bucket."""
    assert buckets.batch_sizes is not None
    return buckets.batch_sizes.tolist()


def make_crop(recipe: Recipe, minimum: Sequence[int]) -> RandomCrop | None:
    """Returns the crop of training examples for a network of minimum size [D]; None if the recipe does not crop.

    Raises:
        ValueError: if `config.crop.at_least` has another number of axes.
    """
    if recipe.crop.area[0] == 1:
        return None
    at_least = np.maximum(minimum, 1 if recipe.crop.at_least is None else recipe.crop.at_least)
    return dataclasses.replace(recipe.crop, at_least=tuple(at_least.tolist()))


def make_plan(
    recipe: Recipe, source: Source, buckets: BucketPlan, crop: RandomCrop | None, seed: int
) -> EpochPlan | MixedPlan:
    """Returns the order of the training examples for a seed; `crop` comes from `make_crop`."""
    if recipe.batching == "bucket":
        return EpochPlan(source.sizes, buckets, rows_of(buckets), seed)
    rows = rows_of(buckets)
    if recipe.pixel_budget is None:  # about two micro-batches of each bucket in a step: few filler rows
        shares = np.bincount(buckets.assign(source.sizes), minlength=len(buckets.shapes)) / len(source)
        rows = np.maximum(1, np.ceil(shares * recipe.batch_size / 2)).astype(int).tolist()

    drawn = None if crop is None else lambda epoch: crop.sizes(seed, epoch, source.ids, source.sizes)
    return MixedPlan(source.sizes, buckets, recipe.batch_size, seed, rows, sizes_at=drawn)


def make_model(recipe: Recipe, source: Source, seed: int | jax.Array) -> models.Classifier:
    """Returns the recipe's network for the examples of a source, with initial weights drawn from a seed."""
    return make_model_for(recipe, len(source.class_names), source.channels, source.sizes.shape[1], seed)


def make_model_for(recipe: Recipe, classes: int, channels: int, axes: int, seed: int | jax.Array) -> models.Classifier:
    """Returns the recipe's network for examples of some number of classes, channels and spatial axes (see above)."""
    settings = recipe.head

    def pool(channels: int, rngs: nnx.Rngs) -> pooling.Pool:
        return pooling.create(settings.pool, channels=channels, rngs=rngs, **settings.pool_options)

    head = settings.options
    if settings.flatten is None:
        head["pool"] = pool
    model = models.create(
        recipe.model.name,
        **recipe.model.options,
        head=head,
        classes=classes,
        in_channels=channels,
        rank=axes,
        frontend=_frontend_options(recipe),
        rngs=nnx.Rngs(jax.random.key(seed)),
    )
    model.remat = recipe.remat
    if recipe.freeze:
        freeze_norms(model, frozen_names(model, recipe.freeze, recipe.optimizer.head_only))
    return model


def _frontend_options(recipe: Recipe) -> dict[str, Any] | None:
    options, rate = recipe.frontend.options, recipe.data.sample_rate
    return options if options is None or rate is None else {"sample_rate": rate} | options


def abstract_model(recipe: Recipe, source: Source) -> models.Classifier:
    """Returns the network of `make_model` with shapes and dtypes in place of weights; nothing is drawn or compiled."""
    return nnx.eval_shape(lambda: make_model(recipe, source, 0))
