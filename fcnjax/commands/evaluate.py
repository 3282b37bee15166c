"""`fcnjax evaluate`: metrics of a run on one of its splits, and a report of them."""

import dataclasses
from collections.abc import Sequence

from absl import flags
from rich.console import Console

from fcnjax.commands.command_line import define_workdir, parse, required
from fcnjax.training import check_new, load_run, reestimated_statistics, summary_tables, write_report


def run(argv: Sequence[str]) -> None:
    """Evaluate the final weights of a finished run, or a checkpoint of any run, on one split."""

    def define(values: flags.FlagValues) -> None:
        define_workdir(values)
        flags.DEFINE_enum("split", "test", ["train", "validation", "test"], "Split to evaluate.", flag_values=values)
        which = "Checkpoint instead of the final weights: best (in validation), last, or a step."
        flags.DEFINE_string("checkpoint", None, which, flag_values=values)
        flags.DEFINE_string("report", None, "Folder for a report: figures, tables, predictions.", flag_values=values)
        measured = "Use batch statistics of one pass over the train split instead of training's moving averages."
        flags.DEFINE_bool("reestimate_statistics", False, measured, flag_values=values)

    given = parse(argv, define)
    workdir = required(given.workdir, "workdir", "runs/digits")
    if given.report is not None:
        check_new(given.report)
    trainer, state = load_run(workdir, given.checkpoint)
    if given.reestimate_statistics:
        weights, statistics = state.evaluated
        state = dataclasses.replace(state, weights=weights, statistics=statistics, average=None)
        state = dataclasses.replace(state, statistics=reestimated_statistics(trainer, state))
        if not state.statistics:
            print("this network has no batch statistics: there is nothing to re-estimate")
    result, source = trainer.evaluate(state, given.split), trainer.sources[given.split]
    print(f"{given.split} accuracy {result.accuracy:.2%} ({result.correct} of {result.count}), loss {result.loss:.6f}")
    console = Console()
    for table in summary_tables(result.metrics, source.class_names):
        console.print()
        console.print(table)
    if given.report is not None:
        chosen = {"split": given.split, "checkpoint": given.checkpoint}
        about = chosen | {"reestimated_statistics": given.reestimate_statistics}
        print(f"\nreport {write_report(given.report, result.metrics, source, about)}")
