"""The front door of training: a recipe, or data alone, for which a recipe is chosen."""

import dataclasses
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fcnjax.data.by_name import ARRAYS
from fcnjax.progress import write_line
from fcnjax.training.compile.mesh import is_first_host, together
from fcnjax.training.from_data import Choice, Settled, choose_config, find_data, settle
from fcnjax.training.run import loop
from fcnjax.training.run.preparation import SCANS, Prepared, prepared_run, told_if_refused
from fcnjax.training.run.run_data import seen_from_here
from fcnjax.training.run.run_folder import RunFolder, is_finished, is_run, read_config
from fcnjax.training.settings.config_fields import flat_fields
from fcnjax.training.settings.data_settings import DataSettings
from fcnjax.training.settings.recipe import Recipe
from fcnjax.training.trainer import Trainer

CHANGE = (
    "Change a field with --config.FIELD=VALUE ('fcnjax train --help' lists all), or fcnjax.train(data, workdir, "
    "epochs=5, model={'name': 'fcn'})."
)


def train(
    data: Any,
    workdir: Path | str,
    /,
    *,
    trainer: Trainer | None = None,
    progress: bool = True,
    title: str = "",
    **changes: Any,
) -> loop.TrainedRun:
    """Trains in a run folder, or resumes the interrupted run that the folder holds.

    For data alone, a recipe is chosen: network, splits, sizes, epochs, and batches that fit the memory. It is printed
    with the reasons. A resumed run ends with the same weights and metrics, bit for bit, as one that was never
    interrupted.

    Args:
        data: a `Recipe`; or the path of a folder of images or recordings, with a folder for each class, or of an
            `.npz` file; or one source, or a dictionary of sources (train, test and, if you like, validation), each a
            `Source` or an object that `fcnjax.data.as_source` accepts; or a finished run, whose training goes on from
            its weights in the new folder, with its recipe.
        workdir: the run folder, which is new or holds an interrupted run of the same recipe.
        trainer: provides data and compiled steps of a recipe; its recipe may differ in the seed and in how often it
            validates, logs and saves. Default: a new one.
        progress: whether to show what the data are, the chosen recipe, and a bar with rate and time left.
        title: title of the bar; default: the name of the folder.
        **changes: values of fields of the config in place of chosen ones, and dictionaries of them for groups.

    Returns:
        The trained state and the evaluation of the test split.

    Raises:
        ValueError, FileNotFoundError, TypeError: if the data or a change cannot be used.
        As `fcnjax.training.run.loop.train` for a recipe.

    `fcnjax.train("photos", "runs/photos", epochs=5)` leaves a model that `fcnjax.load("runs/photos")` reads.
    """
    if isinstance(data, str | os.PathLike) and is_finished(Path(data)):
        recipe = continued_recipe(Path(data))
        data, changes = Recipe.from_config(_changed(recipe.to_dict(), changes)), {}
    if isinstance(data, Recipe):
        if changes:
            raise ValueError(
                f"{next(iter(changes))}: must be a field of the recipe; use dataclasses.replace(recipe, ..)."
            )
        return loop.train(data, workdir, trainer=trainer, progress=progress, title=title)
    if trainer is not None:
        raise ValueError("trainer: must be None for data without a recipe; give its recipe.")
    if isinstance(changes.get("init_from"), os.PathLike):
        changes["init_from"] = os.fspath(changes["init_from"])
    recipe = interrupted_recipe(data, workdir)
    if recipe is None:
        with told_if_refused(progress):
            choice = choose(data, workdir, changes.get("init_from"), changes.get("data"))
        choice.change(changes)
        chosen = settled(choice, Recipe.from_config(choice.config.to_dict()), workdir, list(flat_fields(changes)))
        recipe, trainer = chosen.recipe, chosen.trainer
        if progress and is_first_host():
            write_line(f"{chosen.text}\n{CHANGE}\n", sys.stdout)
    else:
        recipe = Recipe.from_config(_changed(recipe.to_dict(), changes))
        with told_if_refused(progress):
            trainer, overview = resumed_run(data, recipe, workdir)
        if progress and is_first_host():
            write_line(f"{overview}\n", sys.stdout)
    return loop.train(recipe, workdir, trainer=trainer, progress=progress, title=title)


def interrupted_recipe(data: Any, workdir: Path | str) -> Recipe | None:
    """Returns the recipe of the interrupted run in a folder, for data that may have moved; None for a new folder.

    Raises:
        FileExistsError: if the folder holds a finished run, or anything else.
    """
    with together("opening the run folder"):
        if not is_run(Path(workdir)) or is_finished(Path(workdir)):
            RunFolder(workdir, Recipe(DataSettings(ARRAYS)))  # refuses a folder that is not free
            return None
        config = read_config(Path(workdir))
        same = isinstance(data, str | os.PathLike) and str(Path(data).expanduser())
        if same and same in (config["data"]["name"], config["data"].get("data_dir")):
            return Recipe.from_config(config)  # `prepared_run` finds a relative path from another folder too
        found = find_data(data, config["data"]).fields
        moved = {name: found[name] for name in ("name", "data_dir") if name in found}
        return Recipe.from_config(_changed(config, {"data": moved}))


def resumed_run(data: Any, recipe: Recipe, workdir: Path | str) -> Prepared:
    """Returns the trainer of an interrupted run, and what its data are."""
    sources = None if isinstance(data, str | os.PathLike) else find_data(data).sources
    return prepared_run(recipe, workdir, sources)


def _changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested mappings with the values of others in place of their own."""
    changed = dict(config)
    for name, value in changes.items():
        changed[name] = _changed(changed.get(name, {}), value) if isinstance(value, Mapping) else value
    return changed


def choose(
    data: Any, workdir: Path | str, init_from: str | None = None, fields: Mapping[str, Any] | None = None
) -> Choice:
    """Returns a config for data (see `choose_config`), which caches sizes beside the run folder."""
    with together("reading the data"):
        cache_dir = Path(workdir).parent / SCANS
        return choose_config(data, cache_dir=cache_dir, init_from=init_from, fields=fields)


def continued_recipe(run: Path | str) -> Recipe:
    """Returns the recipe of a finished run, to go on from its weights; its data are found from another folder, too.

    Raises:
        FileNotFoundError: if the folder does not hold a finished run.
    """
    if not is_finished(Path(run)):
        raise FileNotFoundError(
            f"continue={run}: must be a finished run; an interrupted one is resumed by the command that began it."
        )
    recipe = seen_from_here(Recipe.from_config(read_config(Path(run))), run)
    return dataclasses.replace(recipe, init_from=str(run))


def settled(choice: Choice, recipe: Recipe, workdir: Path | str, asked: list[str]) -> Settled:
    """Returns the recipe made from a choice, with batches that fit (see `settle`)."""
    with together("choosing the recipe"):
        return settle(choice, recipe, asked, cache_dir=Path(workdir).parent / SCANS)
