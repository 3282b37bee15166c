"""Before a run starts: its trainer, a description of the run, and checks that trainer and hosts share one recipe."""

import contextlib
import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fcnjax.data.overview import overview_text
from fcnjax.installation import installed_version
from fcnjax.naming import joined
from fcnjax.progress import write_line
from fcnjax.training.build import (
    SPLITS,
    RefusedData,
    check_data,
    data_title,
    fit_sources,
    load_sources,
    overview_of,
    read_sources,
)
from fcnjax.training.compile.mesh import gather_texts, is_first_host, together
from fcnjax.training.data_digest import Digest
from fcnjax.training.run.run_data import as_model_reads, in_classes_of, located, located_weights
from fcnjax.training.settings.recipe import PACE, Recipe
from fcnjax.training.standalone.initial_weights import describe_frozen
from fcnjax.training.trainer import Trainer

SCANS = ".scans"  # folder beside the run folders, with the sizes of files and the buckets planned for them


class Prepared(NamedTuple):
    """A run that can start.

    Attributes:
        trainer: its trainer.
        overview: what its data are, as text.
    """

    trainer: Trainer
    overview: str


def prepared_run(recipe: Recipe, workdir: Path | str, sources: Mapping[str, Any] | None = None) -> Prepared:
    """Returns the trainer of a run that is about to start or go on, and what its data are; all hosts must call it.

    Data are refused as `recipe.data.absent_classes` and `leakage` say. Those of a run that has begun, and the
    weights that it started from, are looked for where it began (see `located`). Sizes and buckets are cached
    beside the run folder.

    Args:
        recipe: what to train.
        workdir: the run folder; it need not exist.
        sources: the splits, if the recipe does not name them.

    Raises:
        NotInstalledError: if this package is not installed: a run records its version.
        RefusedData: if the data must not be trained on.
        ValueError: if they do not fit the recipe or its network (see `Trainer`).
        HostFailure: if the trainer could not be made on another host.
    """
    installed_version()
    with together("reading the data"):
        cache_dir = Path(workdir).parent / SCANS
        if sources is None:
            sources = load_sources(located(recipe, workdir), cache_dir=cache_dir)
        sources = fit_sources(recipe, sources)
        overview = overview_of(recipe.data, sources)
        check_data(recipe.data, overview)
        trainer = Trainer(recipe, sources, cache_dir=cache_dir, init_from=located_weights(recipe, workdir))
        return Prepared(trainer, overview_text(overview, data_title(recipe.data)))


@contextlib.contextmanager
def told_if_refused(show: bool = True) -> Iterator[None]:
    """Prints what data are, once for all hosts, if the block refuses to train on them; the refusal is raised again.

    Args:
        show: whether to print anything.
    """
    try:
        yield
    except RefusedData as error:
        if show and is_first_host():
            write_line(f"{error.overview}\n", sys.stdout)
        raise


def trained_on(
    recipe: Recipe,
    workdir: Path | str,
    split: str | None = None,
    unknown_classes: str = "refuse",
    *,
    with_train: bool = False,
) -> Trainer:
    """Returns the trainer of a run that was trained, on its data of now, in its classes; all hosts must call it.

    Args:
        recipe: the recipe of the run, perhaps with another place of its data.
        workdir: the run folder.
        split: as for `in_classes_of`; of the other splits, what can be read only helps to plan the buckets of training.
        unknown_classes: as for `in_classes_of`.
        with_train: whether training examples are needed as well as those of `split`.

    Raises:
        As `prepared_run`; FileNotFoundError as `located`; and ValueError as `in_classes_of`.
    """
    installed_version()
    with together("reading the data"):
        cache_dir, place = Path(workdir).parent / SCANS, located(recipe, workdir)
        if split is None:
            sources = in_classes_of(workdir, read_sources(place, cache_dir=cache_dir), split, unknown_classes)
            return Trainer(recipe, sources, cache_dir=cache_dir)
        place = as_model_reads(place, workdir)
        needed = [name for name in SPLITS if name == split or (with_train and name == "train")]
        sources = read_sources(place, needed, cache_dir=cache_dir)
        sources = in_classes_of(workdir, sources, split, unknown_classes)
        alone = dict.fromkeys(SPLITS, sources[split]) | sources
        lenient = dataclasses.replace(place, data=dataclasses.replace(place.data, on_error="mask"))
        for name in (each for each in SPLITS if each not in needed):
            with contextlib.suppress(ValueError, OSError):  # absent, or of other classes
                sources |= in_classes_of(workdir, read_sources(lenient, [name], cache_dir=cache_dir), split, "skip")
        try:
            return Trainer(recipe, alone | sources, cache_dir=cache_dir)
        except ValueError:  # perhaps examples of other splits are too small now
            return Trainer(recipe, alone, cache_dir=cache_dir)


def describe_run(trainer: Trainer) -> str:
    """Returns a description of a run before it starts: buckets, waste, steps, programs, host memory."""
    recipe, plan = trainer.recipe, trainer.plan(trainer.recipe.seed)
    shapes = ", ".join(joined(shape) for shape in trainer.buckets.shapes.tolist())
    trained = int((plan.batches_per_bucket > 0).sum())
    evaluated = len({step.bucket for order in trainer.evaluation_plans.values() for step in order})
    weights = trainer.programs.state.weights
    more = [] if trainer.initial is None else [trainer.initial.text]
    more += [describe_frozen(trainer.frozen, weights)] if trainer.frozen else []
    text = (
        f"buckets {shapes}: padded / real area - 1 = {plan.waste:.2f}, {plan.filler_rows} filler rows an epoch\n"
        f"{recipe.epochs} epochs of {plan.steps_per_epoch} steps, up to {recipe.batch_size} examples each\n"
        f"programs to compile: {trained} for training, {evaluated} for evaluation\n"
        f"input: at most {trainer.feed.host_bytes(plan) / 2**20:,.0f} MiB of host memory at once"
    )
    return "\n".join([text, *more])


def check_trainer(trainer: Trainer, recipe: Recipe):
    """Raises ValueError if the recipes differ in a field that changes a step (any field outside `PACE`)."""
    free = {name: getattr(trainer.recipe, name) for name in PACE}
    if dataclasses.replace(recipe, **free) != trainer.recipe:
        raise ValueError("trainer: must have the recipe to train; pass Trainer(recipe), or leave it out.")


def check_hosts_agree(recipe: Recipe, digest: Digest):
    """Raises ValueError, on all hosts, if they have different recipes or different data; all hosts must call it.

    Args:
        recipe: recipe of this host.
        digest: hashes of this host's data (see `fcnjax.training.data_digest`).
    """
    config = {name: value for name, value in recipe.to_dict().items() if name != "loader"}
    for what, mine in (("config", config), ("examples", digest)):
        hashes = gather_texts(hashlib.sha256(json.dumps(mine, sort_keys=True).encode()).hexdigest())
        others = [host for host, text in enumerate(hashes) if text != hashes[0]]
        if others:
            raise ValueError(
                f"{what}: must be the same on all hosts; host {others[0]} differs from host 0: run the same "
                "command on all hosts."
            )
