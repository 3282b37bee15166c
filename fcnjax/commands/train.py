"""`fcnjax train`: trains a config, or data without a config, in a run folder."""

import sys
from collections.abc import Collection, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from fcnjax.commands.command_line import (
    UsageError,
    define_workdir,
    known_flags,
    parse,
    read_recipe,
    required,
)
from fcnjax.commands.overrides import OVERRIDE, last_value, overridden
from fcnjax.data.decoding.unreadable import lines_by_reason
from fcnjax.training import Recipe, TrainedRun, Trainer, describe_run, prepared_run, train
from fcnjax.training.compile.mesh import is_first_host, join_hosts
from fcnjax.training.run.preparation import told_if_refused
from fcnjax.training.run.start import CHANGE, choose, continued_recipe, interrupted_recipe, resumed_run, settled
from fcnjax.training.settings.config_fields import as_config, flat_fields
from fcnjax.training.settings.default_config import default_config


def run(argv: Sequence[str]) -> None:
    """Train a config, or a folder of your own data, in a run folder; the same command resumes it."""
    named = {argument.lstrip("-").partition("=")[0] for argument in argv if argument.startswith("-")}
    early = known_flags(argv, _define)
    from_data = early.data is not None and not named & {"config", "continue", "help", "h"}
    given = early if from_data else parse(argv, _define, config=_base(early, named))
    workdir = required(given.workdir, "workdir", "runs/photos" if from_data else "runs/digits")
    recipe = None if from_data else configured(given)
    if given.coordinator is not None:
        join_hosts(given.coordinator, given.hosts, given.host)
    with told_if_refused():
        if recipe is None:
            recipe, trainer = _for_data(given.data, workdir, argv)
        else:
            trainer, overview = prepared_run(recipe, workdir)
            _tell(f"{overview}\n")
    _tell(describe_run(trainer))
    run = train(recipe, workdir, trainer=trainer)
    if is_first_host():
        _tell_run(run)


def _base(early: Any, named: Collection[str]) -> str | ConfigDict:
    """Returns the config that the command line overrides: that of the run that goes on, or none yet."""
    run = early["continue"].value
    if run is None:
        return ""
    if "config" in named:
        raise UsageError("--config: must be left out with --continue, which has the config of its run.")
    return as_config(continued_recipe(run))


def configured(given: Any) -> Recipe:
    """Returns the recipe of a config, whose data --data may have moved."""
    if given.data is not None:
        file = str(given.config.data.name or "").endswith(".npz")
        if file != str(given.data).endswith(".npz"):
            kind = "an .npz file" if file else "a folder"
            raise UsageError(
                f"--data={given.data}: must be {kind}, as in the config; leave --config out to choose one."
            )
        given.config.data["name" if file else "data_dir"] = given.data
    return read_recipe(given.config)


def _for_data(data: str, workdir: str, argv: Sequence[str]) -> tuple[Recipe, Trainer]:
    """Returns a recipe chosen for data, with the fields that the command line overrides, and its trainer."""
    interrupted = interrupted_recipe(data, workdir)
    if interrupted is not None:
        recipe = read_recipe(parse(argv, _define, as_config(interrupted)).config)
        trainer, overview = resumed_run(data, recipe, workdir)
        _tell(f"{overview}\n")
        return recipe, trainer
    choice = choose(data, workdir, last_value("--config.init_from", argv), chosen_fields(argv))
    recipe = read_recipe(parse(argv, _define, choice.config).config)
    chosen = settled(choice, recipe, workdir, overridden(argv))
    _tell(f"{chosen.text}\n{CHANGE}\n")
    return chosen.recipe, chosen.trainer


def chosen_fields(argv: Sequence[str]) -> dict[str, Any]:
    """Returns the fields of `config.data` that a command line overrides: they decide how the data are read."""
    asked = [name for name in overridden(argv) if name.startswith("data.") and name not in ("data.mean", "data.std")]
    if not asked:
        return {}
    texts = [f"{OVERRIDE}{name}={last_value(OVERRIDE + name, argv)}" for name in asked]
    values = flat_fields(parse([argv[0], *texts], lambda values: None, default_config()).config.to_dict())
    fields: dict[str, Any] = {}
    for name in asked:
        *groups, last = name.split(".")[1:]
        group = fields
        for each in groups:
            group = group.setdefault(each, {})
        group[last] = values[name]
    return fields


def _tell(text: str) -> None:
    """Prints a text, once for all hosts, and at once, also to a pipe."""
    if is_first_host():
        print(text)
        sys.stdout.flush()


def _tell_run(run: TrainedRun) -> None:
    print(f"test accuracy {run.test.accuracy:.2%} ({run.test.correct} of {run.test.count}) in {run.seconds:.1f} s")
    if run.unreadable:
        print(f"{len(run.unreadable):,} examples could not be decoded and were left out; result.json lists them all")
    for line in lines_by_reason(run.unreadable):
        print(f"  {line}")
    print(f"run folder {run.folder.path}")


def _define(values: flags.FlagValues) -> None:
    define_workdir(values)
    data = "Folder with a folder for each class, or .npz file: a recipe is chosen for it. With --config, its data."
    flags.DEFINE_string("data", None, data, flag_values=values)
    finished = "Finished run: goes on from its weights, with its config, in the new --workdir."
    flags.DEFINE_string("continue", None, finished, flag_values=values)
    where = "To train on several hosts: address of host 0, such as 10.0.0.1:8476, or auto (SLURM, GKE, Open MPI, TPU)."
    flags.DEFINE_string("coordinator", None, where, flag_values=values)
    flags.DEFINE_integer("hosts", None, "Number of hosts; not needed with auto.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer(
        "host", None, "Index of this host, from 0; not needed with auto.", lower_bound=0, flag_values=values
    )
