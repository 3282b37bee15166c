"""The data of a run that was trained: where they are now, in the classes of the run, and whether they have changed.

A relative path in a config is one in the folder in which the run began, which `environment.json` names. Classes are
those of `data.json`, or of the model; data of now are matched by name, so that no label silently names another class.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fcnjax.atomic import read_json
from fcnjax.data import RelabeledSource, Source
from fcnjax.data.by_name import FOLDERS
from fcnjax.data.files.folder_layout import read_layout
from fcnjax.data.files.label_settings import FOLDERS_ALONE
from fcnjax.data.files.labeling import table_files
from fcnjax.data.files.split_files import select, split_names
from fcnjax.data.sources.npz import npz_splits
from fcnjax.data.sources.splits import ALL, parse_split
from fcnjax.data.tfds.records import prepared_folder
from fcnjax.naming import printable
from fcnjax.progress import write_line
from fcnjax.sealed import read_sealed
from fcnjax.training.build import SPLITS
from fcnjax.training.compile.mesh import is_first_host
from fcnjax.training.data_digest import changed_data, data_digest
from fcnjax.training.run.run_folder import CLASSES, DATA, STARTED_IN, is_run, read_config, read_environments
from fcnjax.training.settings.data_settings import DataSettings
from fcnjax.training.settings.recipe import Recipe
from fcnjax.training.standalone import MODEL, is_model
from fcnjax.training.standalone.model_files import CONFIG
from fcnjax.training.trainer import Trainer


def located(recipe: Recipe, workdir: Path | str) -> Recipe:
    """Returns the recipe of a run with the place where its data are now.

    A relative path is looked for in the folder in which the run began, then in the present one. Of a new run, and of
    data sets in TFDS's own folder, the recipe is returned unchanged.

    Args:
        recipe: the recipe of the run.
        workdir: the run folder; it need not exist.

    Raises:
        FileNotFoundError: if a folder or file of a run is in none of these places; the message names them.
    """
    data, workdir = recipe.data, Path(workdir)
    given = _path_of(data)
    if given is None or not is_run(workdir):
        return recipe
    places = _places(workdir, given)
    for place in places:
        if place.exists():
            return recipe if given.is_absolute() else moved(recipe, place)
    if _is_prepared(data):
        return recipe
    what = ", nor ".join(printable(place) for place in places)
    raise FileNotFoundError(
        f"workdir={printable(workdir)}: its data were {printable(given)}, and there is no {what}; move them back, or "
        "evaluate those at another place with --data=PATH --split=test."
    )


def seen_from_here(recipe: Recipe, workdir: Path | str) -> Recipe:
    """Returns the recipe of a run for another one that begins in the present folder: a relative path still holds.

    Args:
        recipe: the recipe of the run; unchanged if its data are nowhere, as another place may be given.
        workdir: the run folder.
    """
    try:
        found = located(recipe, workdir)
    except FileNotFoundError:
        return recipe
    given, place = _path_of(recipe.data), _path_of(found.data)
    here = given is None or place is None or (given.exists() and given.samefile(place))
    return recipe if here else found


def located_weights(recipe: Recipe, workdir: Path | str) -> Path | None:
    """Returns where the weights are that a run started from, looked for as its data are; None: where its config says.

    Args:
        recipe: the recipe of the run.
        workdir: the run folder; it need not exist.
    """
    if recipe.init_from is None or not is_run(Path(workdir)):
        return None
    return next((place for place in _places(Path(workdir), Path(recipe.init_from)) if place.exists()), None)


def _places(workdir: Path, given: Path) -> list[Path]:
    """Returns where a path of a run may lead: from the folder in which it began, then from the present one."""
    begun = [Path(each[STARTED_IN]) for each in read_environments(workdir) if STARTED_IN in each]
    return list(dict.fromkeys(folder / given for folder in [*begun[:1], Path.cwd()]))  # of an absolute path: itself


def moved(recipe: Recipe, place: str | os.PathLike[str]) -> Recipe:
    """Returns a recipe whose data are at another place: a folder, or an `.npz` file, by the config's kind of data."""
    path = str(Path(place).expanduser().absolute())
    field = {"name": path, "data_dir": None} if recipe.data.name.endswith(".npz") else {"data_dir": path}
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, **field))


def holds_split(workdir: Path | str, place: str | os.PathLike[str], split: str) -> bool:
    """Returns whether data at another place have the layout of a run's own, so that its config names their splits.

    Every split that the config names must be there. A folder that has a split called `split` beside "all" examples, of
    which the run took a slice, has another layout.

    Args:
        workdir: the folder of a run, or any other.
        place: a folder, or an `.npz` file.
        split: "train", "validation" or "test".
    """
    if split not in SPLITS or not is_run(Path(workdir)):
        return False
    data, path = Recipe.from_config(read_config(Path(workdir))).data, Path(place).expanduser()
    wanted = {key: {term.name for term in parse_split(getattr(data, f"{key}_split"))} for key in SPLITS}
    names = set().union(*wanted.values())
    if data.name.endswith(".npz"):
        if not (path.suffix == ".npz" and path.is_file()):
            return False
        known = npz_splits(path)
        return known == [ALL] or names <= set(known)
    if not path.is_dir() or _is_prepared(data):
        return path.is_dir() and prepared_folder(data.name, path) is not None
    if data.labels != FOLDERS_ALONE:
        return data.labels.table is None or bool(table_files(path, data.labels.table))
    if ALL in wanted[split] and (path / split).is_dir() and split not in (classes_of(workdir) or ()):
        return False
    splits = [getattr(data, f"{key}_split") for key in SPLITS]
    try:
        layout = read_layout(path, [name for each in splits for name in split_names(path, each)])
        return all(select(path, layout, each) for each in splits)
    except (ValueError, OSError):
        return False


def classes_of(workdir: Path | str) -> tuple[str, ...] | None:
    """Returns the classes of a run in the order of its logits; None if an earlier version began it, and it never ended.

    Raises:
        ValueError: if a file of the run is damaged.
    """
    workdir = Path(workdir)
    known = read_sealed(workdir / DATA).get(CLASSES) if (workdir / DATA).exists() else None
    if known is None and is_model(workdir / MODEL):
        known = _described(workdir).get("classes")
    return None if known is None else tuple(known)


def in_classes_of(
    workdir: Path | str, sources: Mapping[str, Source], split: str | None, unknown_classes: str
) -> dict[str, Source]:
    """Returns splits with labels that count in the classes of a run, matched by name.

    Args:
        workdir: the run folder.
        sources: the splits as they are now; unchanged if they have the classes of the run in its order.
        split: the split that is needed: examples of others are left out if they have unknown classes; None: all are.
        unknown_classes: "refuse" raises for examples of classes that the run lacks, "skip" leaves them out.

    Raises:
        ValueError: if examples have an unknown class, which is named with the nearest one of the run.
    """
    classes, matched = classes_of(workdir), dict(sources)
    for name, source in sources.items():
        if classes is None or source.class_names == classes:
            continue
        try:
            needed = split in (None, name)
            matched[name] = RelabeledSource(source, classes, unknown_classes if needed else "skip")
        except ValueError as error:
            raise ValueError(f"the {name} split of {printable(workdir)} is not what it was: {error}") from None
    return matched


def as_model_reads(recipe: Recipe, workdir: Path | str) -> Recipe:
    """Returns the recipe of a run, whose files are read with the channels of its model, whatever files are there now.

    Args:
        recipe: the recipe of the run.
        workdir: the run folder; a run without a model is read as its config says.
    """
    workdir, data = Path(workdir), recipe.data
    if data.channels is not None or data.name not in FOLDERS or not is_model(workdir / MODEL):
        return recipe
    channels = _described(workdir).get("preprocessing", {}).get("channels")
    return dataclasses.replace(recipe, data=dataclasses.replace(data, channels=channels))


def tell_changes(trainer: Trainer, workdir: Path | str, split: str) -> None:
    """Says on stderr if the examples of a split are not those of training: of folders and `.npz` files.

    Args:
        trainer: of the run, on the data of now.
        workdir: the run folder.
        split: the split that is evaluated.
    """
    workdir = Path(workdir)
    if not is_first_host() or _is_prepared(trainer.recipe.data) or not (workdir / DATA).exists():
        return
    changed = changed_data(read_sealed(workdir / DATA), data_digest({split: trainer.sources[split]}))
    if changed is None:
        return
    then = (
        _described(workdir).get("provenance", {}).get("examples", {}).get(split) if is_model(workdir / MODEL) else None
    )
    counts = "" if then is None else f" ({then:,} then, {len(trainer.sources[split]):,} now)"
    write_line(f"{workdir}: the {changed} are not those of training{counts}; those of now count.")


def _described(workdir: Path) -> dict[str, Any]:
    return read_json(workdir / MODEL / CONFIG)


def _path_of(data: DataSettings) -> Path | None:
    """Returns the path that a config gives its data, with `~` expanded; None for data that need none."""
    if data.name.endswith(".npz"):
        return Path(data.data_dir or "").expanduser() / Path(data.name).expanduser()
    return None if data.data_dir is None else Path(data.data_dir).expanduser()


def _is_prepared(data: DataSettings) -> bool:
    """Returns whether data are of TFDS, or have a name that no file has, and not a folder or a file of one's own."""
    return data.name not in FOLDERS and not data.name.endswith(".npz")
