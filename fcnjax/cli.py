"""The `fcnjax` command; see `fcnjax.command_line` for its exit codes."""

import dataclasses
import math
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags
from rich import box
from rich.console import Console
from rich.table import Table

from fcnjax.bench.commands import BENCHES
from fcnjax.command_line import UNUSABLE, UsageError, parse, parse_size, read_recipe, run_command
from fcnjax.data import comparison_table, plan_buckets, plan_report, prepare_by_name, read_sizes, rectangle_table
from fcnjax.layers.layer import parameter_count
from fcnjax.models import TraceRow
from fcnjax.naming import joined, unknown_name
from fcnjax.training import (
    SCANS,
    TrainedRun,
    Trainer,
    abstract_model,
    check_new,
    import_weights,
    load_run,
    load_sources,
    make_buckets,
    reestimated_statistics,
    summary_tables,
    train,
    write_report,
)
from fcnjax.training.mesh import is_first_host, join_hosts, together
from fcnjax.training.program_cache import cache_contents, clear_cache

SHOWN = 20  # lines of a list that may be long
PLANNED = {"max_buckets", "multiple_of", "pixel_budget", "batch_size", "epochs", "compile_cost"}  # fields of a recipe


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `fcnjax COMMAND --flags` and returns its exit code."""
    argv = sys.argv if argv is None else argv
    if len(argv) < 2 or argv[1] in ("-h", "--help", "help"):
        print("usage: fcnjax COMMAND [--flags]\n")
        for name, command in COMMANDS.items():
            print(f"  {name:14} {(command.__doc__ or '').splitlines()[0]}")
        print("\n'fcnjax COMMAND --help' lists the flags of a command.")
        return 0 if len(argv) > 1 else UNUSABLE
    if argv[1] not in COMMANDS:
        print(f"fcnjax: {unknown_name('command', argv[1], COMMANDS)}", file=sys.stderr)
        return UNUSABLE
    program = f"fcnjax {argv[1]}"
    return run_command(program, COMMANDS[argv[1]], [program, *argv[2:]])


def entry() -> None:
    """What the console script calls: `main`, and an end that waits for nobody.

    After an error, Python would wait for programs that are still being compiled, and JAX for the other hosts.
    """
    try:
        code = main()
    except SystemExit:
        raise
    except BaseException:
        if not jax.distributed.is_initialized():
            raise
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    if code:
        os._exit(code)


def _train(argv: Sequence[str]) -> None:
    """Train a config in a run folder, or go on with the interrupted run that the folder holds."""

    def define(values: flags.FlagValues) -> None:
        _define_workdir(values)
        _define_hosts(values)

    given = parse(argv, define, config="")
    recipe = read_recipe(given.config)
    workdir = _required(given.workdir, "workdir", "runs/digits")
    if given.coordinator is not None:
        join_hosts(given.coordinator, given.hosts, given.host)
    with together("reading the data"):
        trainer = Trainer(recipe, cache_dir=Path(workdir).parent / SCANS)
    if is_first_host():
        print(trainer.describe())
    run = train(recipe, workdir, trainer=trainer)
    if is_first_host():
        _tell_run(run)


def _tell_run(run: TrainedRun) -> None:
    print(f"test accuracy {run.test.accuracy:.2%} ({run.test.correct} of {run.test.count}) in {run.seconds:.1f} s")
    for name, reason in sorted(run.unreadable.items())[:SHOWN]:
        print(f"not decoded: {name}: {reason}")
    if run.unreadable:
        print(f"{len(run.unreadable)} examples could not be decoded and were left out; result.json lists them all")
    print(f"run folder {run.folder.path}")


def _evaluate(argv: Sequence[str]) -> None:
    """Evaluate the final weights of a finished run, or a checkpoint of any, on one split."""

    def define(values: flags.FlagValues) -> None:
        _define_workdir(values)
        flags.DEFINE_enum("split", "test", ["train", "validation", "test"], "Which split.", flag_values=values)
        which = "In place of the final weights: best (in validation), last, or the step of a checkpoint."
        flags.DEFINE_string("checkpoint", None, which, flag_values=values)
        flags.DEFINE_string("report", None, "Also write figures, tables and predictions here.", flag_values=values)
        measured = "Use batch statistics of one pass over the train split, not training's moving averages."
        flags.DEFINE_bool("reestimate_statistics", False, measured, flag_values=values)

    given = parse(argv, define)
    workdir = _required(given.workdir, "workdir", "runs/digits")
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


def _inspect(argv: Sequence[str]) -> None:
    """Print the shape table of a config's network for inputs of given sizes."""

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_multi_string("size", None, "Input size, such as 28x28; may be repeated.", flag_values=values)

    given = parse(argv, define, config="")
    recipe = read_recipe(given.config)
    sizes = [parse_size(text) for text in _required(given.size, "size", "28x28")]
    model = abstract_model(recipe, load_sources(recipe, verify=False)["train"])
    traces = [model.trace(size) for size in sizes]
    console = Console()
    for trace in traces:
        console.print(_trace_table(trace))
    shown = {"minimum size": model.min_size, "stride": model.stride, "receptive field": model.receptive_field}
    console.print(", ".join(f"{name} {joined(value)}" for name, value in shown.items()))
    console.print(f"head: {model.head.describe()}")


def _plan(argv: Sequence[str]) -> None:
    """Plan the rectangles of a config, or of --sizes=FILE.csv, and print what they cost."""
    named = {argument.lstrip("-").partition("=")[0].partition(".")[0] for argument in argv[1:]}
    if "help" not in named and len(named & {"config", "sizes"}) != 1:
        raise UsageError("give one of --config=configs/digits.py and --sizes=FILE.csv: whose sizes to plan for.")
    given = parse(argv, _define_plan, config=None if "sizes" in named else "")
    budget: dict[str, Any] = {"pixel_budget": given.pixel_budget, "rows_multiple_of": given.rows_multiple_of}
    batch_size, recipe, sources = given.batch_size, None, {}
    if "sizes" in named:
        sizes, most = read_sizes(given.sizes), 8 if given.max_buckets is None else given.max_buckets
        choice = {"compile_cost": given.compile_cost, "epochs": given.epochs, "multiple_of": given.multiple_of}
        plan = plan_buckets(sizes, most, **choice, **budget)
    else:
        recipe = read_recipe(given.config)
        recipe = dataclasses.replace(recipe, **{name: given[name].value for name in named & PLANNED})
        sources = load_sources(recipe, verify=False)
        sizes, plan = sources["train"].sizes, make_buckets(recipe, sources)
        budget["pixel_budget"] = recipe.pixel_budget
        batch_size = None if recipe.pixel_budget else recipe.batch_size
    report = plan_report(sizes, plan, batch_size=batch_size, **budget)
    if given.plot is not None:
        from fcnjax.data.plan_figure import plan_figure, save  # imports matplotlib, which no other command needs

        save(plan_figure(sizes, plan), given.plot)
    console = Console()
    console.print(f"{report.examples:,} examples; waste: padded over real positions, minus 1")
    for table in (rectangle_table(report), comparison_table(report)):
        console.print()
        console.print(table)
    if given.plot is not None:
        console.print(f"\nplot {given.plot}", soft_wrap=True)
    if given.fit_memory is not None:
        if recipe is None:
            raise UsageError("--fit_memory: needs --config, which says of what network.")
        shape, rows = Trainer(recipe, sources).rows_that_fit(given.fit_memory)
        console.print(
            f"\n{rows:,} rows of {joined(shape)} fit {given.fit_memory:.0%} of the device's memory: "
            f"--config.pixel_budget={rows * math.prod(shape)}",
            soft_wrap=True,
        )


def _define_plan(values: flags.FlagValues) -> None:
    texts = {
        "sizes": "A CSV file with columns height and width, or length, or depth, height and width.",
        "plot": "Also draw the sizes and the rectangles to this file, such as plan.png.",
    }
    for name, text in texts.items():
        flags.DEFINE_string(name, None, text, flag_values=values)
    numbers = {
        "max_buckets": (None, "Most rectangles; default of this and of the next ones: the config's; of this else 8."),
        "multiple_of": (1, "Round extents up to a multiple of this."),
        "pixel_budget": (None, "Positions of a batch: chooses a batch size per rectangle."),
        "rows_multiple_of": (1, "With --pixel_budget: batch sizes are multiples of this."),
        "batch_size": (None, "Rows of every batch; default: the config's."),
        "epochs": (1, "With --compile_cost: passes over the data that one compilation serves."),
    }
    for name, (default, text) in numbers.items():
        flags.DEFINE_integer(name, default, text, lower_bound=1, flag_values=values)
    cost = "Positions whose training takes as long as one compilation: chooses the number of rectangles."
    flags.DEFINE_float("compile_cost", None, cost, lower_bound=0, flag_values=values)
    share = "Also find the pixel budget whose train step takes this share of the device's memory, such as 0.9."
    flags.DEFINE_float("fit_memory", None, share, lower_bound=0, upper_bound=1, flag_values=values)


def _import_weights(argv: Sequence[str]) -> None:
    """Turn a PyTorch state dict (.safetensors, .npz, .pt) into a folder that fcnjax.training.load_imported reads."""

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("from", None, "The file of the state dict.", flag_values=values)
        flags.DEFINE_string("arch", None, "The network that it is of, such as resnet50.", flag_values=values)
        flags.DEFINE_string(
            "to", None, "The new folder; default: the file's path without its ending.", flag_values=values
        )

    given = parse(argv, define)
    source = _required(given["from"].value, "from", "resnet50.safetensors")
    arch, to = _required(given.arch, "arch", "resnet50"), given.to or os.path.splitext(source)[0]
    model = import_weights(source, arch, to)
    print(f"{arch}: {parameter_count(model):,} parameters")
    print(f"folder {to}")


def _bench(argv: Sequence[str]) -> None:
    """Measure on this machine: `fcnjax bench layers` what masks cost, and a train step against others."""
    if len(argv) < 2 or argv[1].startswith("-"):
        raise UsageError(f"say what to measure, as in 'fcnjax bench layers'. Known: {', '.join(BENCHES)}.")
    if argv[1] not in BENCHES:
        raise UsageError(unknown_name("benchmark", argv[1], BENCHES))
    BENCHES[argv[1]]([f"{argv[0]} {argv[1]}", *argv[2:]])


def _prepare(argv: Sequence[str]) -> None:
    """Prepare a data set, such as `fcnjax prepare mnist`; what is of the TFDS catalogue needs the extra catalog."""

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("data_dir", None, "Folder of prepared data sets; default: TFDS's own.", flag_values=values)
        flags.DEFINE_string("manual_dir", None, "Folder of files downloaded by hand.", flag_values=values)

    named = len(argv) > 1 and not argv[1].startswith("-")
    given = parse([argv[0], *argv[2:]] if named else argv, define)
    if not named:
        raise UsageError("say which data set, as in 'fcnjax prepare mnist'.")
    folder, prepared_now = prepare_by_name(argv[1], given.data_dir, given.manual_dir)
    print(f"{argv[1]}: {'prepared' if prepared_now else 'is already prepared'} in {folder}")


def _cache(argv: Sequence[str]) -> None:
    """Show the cache of compiled programs, or empty it with --clear."""

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_bool("clear", False, "Remove all programs.", flag_values=values)

    given = parse(argv, define)
    contents = clear_cache() if given.clear else cache_contents()
    if contents.folder is None:
        print("no cache: FCNJAX_CACHE_DIR is empty, or JAX_ENABLE_COMPILATION_CACHE is false")
        return
    counted = f"{contents.programs:,} programs, {contents.size / 2**20:,.1f} MiB"
    print(
        f"{contents.folder}: {'removed ' if given.clear else ''}{counted} (at most {contents.largest / 2**30:,.0f} GiB)"
    )


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "train": _train,
    "evaluate": _evaluate,
    "inspect": _inspect,
    "plan": _plan,
    "import-weights": _import_weights,
    "bench": _bench,
    "prepare": _prepare,
    "cache": _cache,
}


def _define_hosts(values: flags.FlagValues) -> None:
    where = (
        "Several hosts train together: address of host 0, such as 10.0.0.1:8476, or auto (SLURM, GKE, Open MPI, TPU)."
    )
    flags.DEFINE_string("coordinator", None, where, flag_values=values)
    flags.DEFINE_integer("hosts", None, "How many hosts; auto knows.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("host", None, "Which one this is, from 0; auto knows.", lower_bound=0, flag_values=values)


def _define_workdir(values: flags.FlagValues) -> None:
    flags.DEFINE_string("workdir", None, "The run folder.", flag_values=values)


def _required(value: Any, name: str, example: str) -> Any:
    if value is None:
        raise UsageError(f"--{name} is missing: give it, such as --{name}={example}.")
    return value


def _trace_table(trace: list[TraceRow]) -> Table:
    # Drawn tightly the table fits 80 columns, the width of a pipe; in less, rich cuts numbers short.
    tight: dict[str, Any] = {"box": box.HORIZONTALS, "show_edge": False, "padding": (0, 1, 0, 0)}
    table = Table(title=f"input {joined(trace[0].size)}", title_justify="left", **tight)
    table.add_column("layer")
    for heading in ("output size", "channels", "receptive field", "parameters", "multiply-adds"):
        table.add_column(heading, justify="right")
    for row in trace:
        numbers = (f"{n:,}" for n in (row.parameters, row.multiply_adds))
        table.add_row(row.layer, joined(row.size) or "-", str(row.channels), joined(row.receptive_field), *numbers)
    table.add_section()
    totals = (f"{sum(getattr(row, name) for row in trace):,}" for name in ("parameters", "multiply_adds"))
    table.add_row("total", "", "", "", *totals)
    return table


if __name__ == "__main__":
    entry()
