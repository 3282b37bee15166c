"""`fcnjax train`: trains a config in a run folder."""

from collections.abc import Sequence

from absl import flags

from fcnjax.commands.command_line import define_workdir, parse, read_recipe, required
from fcnjax.naming import printable
from fcnjax.training.compile.mesh import is_first_host, join_hosts
from fcnjax.training.run import TrainedRun, describe_run, train, trainer_for

SHOWN = 20  # maximum number of undecodable examples to print; result.json lists all


def run(argv: Sequence[str]) -> None:
    """Train a config in a run folder, or resume the interrupted run in that folder."""

    def define(values: flags.FlagValues) -> None:
        define_workdir(values)
        _define_hosts(values)

    given = parse(argv, define, config="")
    recipe = read_recipe(given.config)
    workdir = required(given.workdir, "workdir", "runs/digits")
    if given.coordinator is not None:
        join_hosts(given.coordinator, given.hosts, given.host)
    trainer = trainer_for(recipe, workdir)
    if is_first_host():
        print(describe_run(trainer))
    run = train(recipe, workdir, trainer=trainer)
    if is_first_host():
        _tell_run(run)


def _tell_run(run: TrainedRun) -> None:
    print(f"test accuracy {run.test.accuracy:.2%} ({run.test.correct} of {run.test.count}) in {run.seconds:.1f} s")
    for name, reason in sorted(run.unreadable.items())[:SHOWN]:
        print(printable(f"not decoded: {name}: {reason}"))
    if run.unreadable:
        print(f"{len(run.unreadable)} examples could not be decoded and were left out; result.json lists them all")
    print(f"run folder {run.folder.path}")


def _define_hosts(values: flags.FlagValues) -> None:
    where = "To train on several hosts: address of host 0, such as 10.0.0.1:8476, or auto (SLURM, GKE, Open MPI, TPU)."
    flags.DEFINE_string("coordinator", None, where, flag_values=values)
    flags.DEFINE_integer("hosts", None, "Number of hosts; not needed with auto.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer(
        "host", None, "Index of this host, from 0; not needed with auto.", lower_bound=0, flag_values=values
    )
