"""`fcnjax bench`: measurements on this machine."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console
from rich.table import Table

from fcnjax.atomic import write_json
from fcnjax.bench import input as input_bench
from fcnjax.bench import layers, native_sizes, overheads
from fcnjax.bench import train as train_bench
from fcnjax.commands.command_line import UsageError, parse, parse_size, read_recipe
from fcnjax.naming import unknown_name

COUNTS = {  # flags of `fcnjax bench train`, with their defaults
    "shapes": (16, "Maximum number of buckets."),
    "pixel_budget": (2**17, "Maximum number of positions in a batch."),
    "steps": (32, "Batches in a turn of each timed program; the slower ones get fewer."),
    "epochs": (30, "Epochs that share the time of compilation."),
    "rounds": (train_bench.ROUNDS, "Turns of each timed program."),
}


def run(argv: Sequence[str]) -> None:
    """Measure on this machine: a train step (layers), waiting for data (input), training at native sizes (train)."""
    if argv[1:2] in (["--help"], ["-h"]):
        print(f"{argv[0]} BENCHMARK [--flags]: one of {', '.join(BENCHES)}; '{argv[0]} layers --help' lists its flags.")
        return
    if len(argv) < 2 or argv[1].startswith("-"):
        raise UsageError(f"say what to measure, as in 'fcnjax bench layers'. Known: {', '.join(BENCHES)}.")
    # An internal process that `fcnjax bench train` starts and times; not in BENCHES, so that no message offers it.
    if argv[1] == overheads.FIRST_STEP:
        overheads.train_one_step(sys.stdin.read())
    if argv[1] not in BENCHES:
        raise UsageError(unknown_name("benchmark", argv[1], BENCHES))
    BENCHES[argv[1]]([f"{argv[0]} {argv[1]}", *argv[2:]])


def _layers(argv: Sequence[str]) -> None:
    def define(values: flags.FlagValues) -> None:
        _define_json(values)
        flags.DEFINE_integer("rounds", layers.ROUNDS, "Turns of each timed program.", lower_bound=1, flag_values=values)
        flags.DEFINE_integer("batch_size", 64, "Examples in the batch.", lower_bound=2, flag_values=values)
        flags.DEFINE_string("size", "48x48", "Padded shape of the batch.", flag_values=values)

    given = parse(argv, define)
    result = layers.measure(layers.Workload(given.batch_size, parse_size(given.size)), given.rounds)
    _report(layers.table(result), result, given.json)


def _input(argv: Sequence[str]) -> None:
    def define(values: flags.FlagValues) -> None:
        _define_json(values)
        flags.DEFINE_integer("steps", 0, "Steps to measure; 0 measures an epoch.", lower_bound=0, flag_values=values)

    given = parse(argv, define, config="")
    result = input_bench.measure(read_recipe(given.config), given.steps)
    _report(input_bench.table(result), result, given.json)


def _train(argv: Sequence[str]) -> None:
    def define(values: flags.FlagValues) -> None:
        _define_json(values)
        sizes = "CSV file of heights and widths (default: random sizes of small photographs)."
        flags.DEFINE_string("sizes", None, sizes, flag_values=values)
        flags.DEFINE_float("scale", 0.4, "Factor on every extent.", lower_bound=0, flag_values=values)
        flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Dtype of the computation.", flag_values=values)
        flags.DEFINE_bool("warm_start", True, "Also time the start of a training process.", flag_values=values)
        for name, (default, text) in COUNTS.items():
            flags.DEFINE_integer(name, default, text, lower_bound=1, flag_values=values)

    given = parse(argv, define)
    sizes = native_sizes.scaled_sizes(given.sizes, given.scale)
    fields = {name: given[name].value for name in ("dtype", *COUNTS) if name != "rounds"}
    result = train_bench.measure(train_bench.Workload(sizes, **fields), given.rounds, warm_start=given.warm_start)
    result |= {"command": " ".join(argv), "sizes_file": Path(given.sizes or "drawn").name, "scale": given.scale}
    _report(train_bench.table(result), result, given.json)


BENCHES: dict[str, Callable[[Sequence[str]], None]] = {"layers": _layers, "input": _input, "train": _train}


def _define_json(values: flags.FlagValues) -> None:
    flags.DEFINE_string("json", None, "Also write the result to this file.", flag_values=values)


def _report(table: Table, result: dict[str, Any], path: str | None) -> None:
    """Prints the table, and writes the result as JSON if a path is given."""
    Console().print(table)
    if path:
        write_json(path, result)
