"""`fcnjax bench`: measurements on this machine, their flags, and where the results go."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags
from rich.console import Console

from fcnjax.atomic import write_json
from fcnjax.bench import input as input_bench
from fcnjax.bench import layers, native_sizes, overheads
from fcnjax.bench import train as train_bench
from fcnjax.commands.command_line import UsageError, parse, parse_size, read_recipe
from fcnjax.naming import unknown_name

TRAINED = {  # flags of `fcnjax bench train`, with their defaults
    "shapes": (16, "Most rectangles."),
    "pixel_budget": (2**17, "Positions of a batch."),
    "steps": (32, "Batches in a turn of an arm."),
    "epochs": (30, "Over which the time of compiling is spread."),
    "rounds": (train_bench.ROUNDS, "Turns of each arm."),
}


def _bench_layers(argv: Sequence[str]) -> None:
    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("json", None, "Also write the result to this file.", flag_values=values)
        flags.DEFINE_integer("rounds", layers.ROUNDS, "Turns of each arm.", lower_bound=1, flag_values=values)
        flags.DEFINE_integer("batch_size", 64, "Examples in the batch.", lower_bound=2, flag_values=values)
        flags.DEFINE_string("size", "48x48", "The rectangle.", flag_values=values)

    given = parse(argv, define)
    result = layers.measure(layers.Workload(given.batch_size, parse_size(given.size)), given.rounds)
    Console().print(layers.table(result))
    if given.json:
        write_json(given.json, result)


def _bench_input(argv: Sequence[str]) -> None:
    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("json", None, "Also write the result to this file.", flag_values=values)
        flags.DEFINE_integer("steps", 0, "Steps to measure; 0: an epoch.", lower_bound=0, flag_values=values)

    given = parse(argv, define, config="")
    result = input_bench.measure(read_recipe(given.config), given.steps)
    Console().print(input_bench.table(result))
    if given.json:
        write_json(given.json, result)


def _bench_train(argv: Sequence[str]) -> None:
    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("json", None, "Also write the result to this file.", flag_values=values)
        flags.DEFINE_string("sizes", None, "A CSV file of heights and widths; default: drawn.", values)
        flags.DEFINE_float("scale", 0.4, "Factor on every extent.", lower_bound=0, flag_values=values)
        flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Computed in.", flag_values=values)
        flags.DEFINE_bool("warm_start", True, "Time the start of a process too.", flag_values=values)
        for name, (default, text) in TRAINED.items():
            flags.DEFINE_integer(name, default, text, lower_bound=1, flag_values=values)

    given = parse(argv, define)
    sizes = native_sizes.scaled_sizes(given.sizes, given.scale)
    fields = {name: given[name].value for name in ("dtype", *TRAINED) if name != "rounds"}
    result = train_bench.measure(train_bench.Workload(sizes, **fields), given.rounds, warm_start=given.warm_start)
    result |= {"command": " ".join(argv), "sizes_file": Path(given.sizes or "drawn").name, "scale": given.scale}
    Console().print(train_bench.table(result))
    if given.json:
        write_json(given.json, result)


def _first_step(argv: Sequence[str]) -> None:
    """The process that `fcnjax bench train` times until its first step is done; see `fcnjax.bench.overheads`."""
    del argv
    overheads.train_one_step(sys.stdin.read())


BENCHES: dict[str, Callable[[Sequence[str]], None]] = {
    "layers": _bench_layers,
    "input": _bench_input,
    "train": _bench_train,
    "first-step": _first_step,
}


def run(argv: Sequence[str]) -> None:
    """Measure on this machine: `fcnjax bench layers` what masks cost, and a train step against others."""
    if len(argv) < 2 or argv[1].startswith("-"):
        raise UsageError(f"say what to measure, as in 'fcnjax bench layers'. Known: {', '.join(BENCHES)}.")
    if argv[1] not in BENCHES:
        raise UsageError(unknown_name("benchmark", argv[1], BENCHES))
    BENCHES[argv[1]]([f"{argv[0]} {argv[1]}", *argv[2:]])
