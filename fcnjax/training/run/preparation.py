"""Before a run starts: its trainer, a description of the run, and checks that trainer and hosts share one recipe."""

import dataclasses
import hashlib
import json
from pathlib import Path

from fcnjax.installation import installed_version
from fcnjax.naming import joined, printable
from fcnjax.training.build import SPLITS, load_sources, read_sources
from fcnjax.training.compile.mesh import gather_texts, together
from fcnjax.training.data_digest import Digest
from fcnjax.training.run.run_data import in_classes_of, located
from fcnjax.training.settings.recipe import PACE, Recipe
from fcnjax.training.standalone.initial_weights import describe_frozen
from fcnjax.training.trainer import Trainer

SCANS = ".scans"  # folder beside the run folders, with the sizes of files and the buckets planned for them


def trainer_for(recipe: Recipe, workdir: Path | str) -> Trainer:
    """Returns the trainer of a run, which caches sizes and buckets beside the run folder; all hosts must call it.

    The data of a run that has begun are looked for where it began (see `located`).

    Args:
        recipe: what to train.
        workdir: the run folder; it need not exist.

    Raises:
        NotInstalledError: if this package is not installed: a run records its version.
        ValueError: if the data do not fit the recipe or its network (see `Trainer`).
        HostFailure: if the trainer could not be made on another host.
    """
    installed_version()
    with together("reading the data"):
        cache_dir, place = Path(workdir).parent / SCANS, located(recipe, workdir)
        sources = None if place is recipe else load_sources(place, cache_dir=cache_dir)
        return Trainer(recipe, sources, cache_dir=cache_dir)


def trained_on(
    recipe: Recipe, workdir: Path | str, split: str | None = None, unknown_classes: str = "refuse"
) -> Trainer:
    """Returns the trainer of a run that was trained, on its data of now, in its classes; all hosts must call it.

    Args:
        recipe: the recipe of the run, perhaps with another place of its data.
        workdir: the run folder.
        split: as for `in_classes_of`.
        unknown_classes: as for `in_classes_of`.

    Raises:
        As `trainer_for`; FileNotFoundError as `located`; and ValueError as `in_classes_of`.
    """
    installed_version()
    with together("reading the data"):
        cache_dir = Path(workdir).parent / SCANS
        sources = read_sources(located(recipe, workdir), cache_dir=cache_dir)
        return Trainer(recipe, in_classes_of(workdir, sources, split, unknown_classes), cache_dir=cache_dir)


def describe_run(trainer: Trainer) -> str:
    """Returns a description of a run before it starts: examples, buckets, waste, steps, programs, host memory."""
    recipe, plan = trainer.recipe, trainer.plan(trainer.recipe.seed)
    counts = ", ".join(f"{len(trainer.sources[name]):,} {name}" for name in SPLITS)
    classes = len(trainer.sources["train"].class_names)
    left_out = f", {len(trainer.feed.unreadable)} more left out as unreadable" if trainer.feed.unreadable else ""
    shapes = ", ".join(joined(shape) for shape in trainer.buckets.shapes.tolist())
    trained = int((plan.batches_per_bucket > 0).sum())
    evaluated = len({step.bucket for order in trainer.evaluation_plans.values() for step in order})
    weights = trainer.programs.state.weights
    more = [] if trainer.initial is None else [trainer.initial.text]
    more += [describe_frozen(trainer.frozen, weights)] if trainer.frozen else []
    text = (
        f"{printable(recipe.data.name)}: {counts} examples in {classes} classes{left_out}\n"
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
