"""The `fcnjax` command. Also how any script reads a config and its overrides.

Exit codes: 0 done, 2 the request or the data cannot be used (one sentence says why), 130 interrupted by the user.
"""

import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags
from rich import box
from rich.console import Console
from rich.table import Table

from fcnjax.atomic import write_json
from fcnjax.bench import layers
from fcnjax.layers.layer import parameter_count
from fcnjax.memory import keep_large_blocks
from fcnjax.models import TraceRow
from fcnjax.naming import unknown_name
from fcnjax.training import Recipe, Trainer, abstract_model, evaluate, import_weights, load_sources, train

UNUSABLE, INTERRUPTED = 2, 130


class UsageError(ValueError):
    """A command line that cannot be used; its message is all the user needs."""


def parse(argv: Sequence[str], define: Callable[[flags.FlagValues], None], config: str | None = None) -> Any:
    """Returns the flags of a command line.

    Args:
      argv: program name and arguments.
      define: defines the flags of the command, on the `FlagValues` that it is given.
      config: default path of the config file; given "" the command has a --config without a default, and given None
        it has none.

    Raises:
      UsageError: for an unknown flag or config field, with the nearest one, a value of the wrong type, a config file
        that cannot be read, or arguments that are no flags.
    """
    values = flags.FlagValues()
    flags.DEFINE_bool("help", False, "Show the flags.", flag_values=values)
    define(values)
    try:
        if config is not None:
            config_flags.DEFINE_config_file(
                "config",
                config or None,
                "Path of a config file; --config.FIELD=VALUE overrides.",
                values,
                sys_argv=list(argv),
            )
        rest = values(list(argv))
        if config is not None:
            getattr(values.config, "to_dict", None)  # only on use does ml_collections say that there is no such file
    except flags.Error as error:
        raise UsageError(" ".join(str(error).split())) from None
    except Exception as error:  # a config file is code: it may raise anything
        raise UsageError(_config_error(error, argv)) from None
    if len(rest) > 1:
        raise UsageError(f"argument {rest[1]!r}: every argument must be a flag, such as --workdir=runs/digits.")
    if values.help:
        print(values.get_help())
        raise SystemExit(0)
    if config == "" and values.config is None:
        raise UsageError("--config is missing: give the path of a config file, such as --config=configs/digits.py.")
    if config is not None and not isinstance(values.config, ConfigDict):
        raise UsageError(
            f"--config: its get_config() returns a {type(values.config).__name__}; it must return an "
            "ml_collections.ConfigDict, as in configs/digits.py."
        )
    return values


def read_recipe(config: ConfigDict) -> Recipe:
    """Returns the recipe of a config; raises UsageError for a file, a field or a value that cannot be used."""
    try:
        return Recipe.from_config(config.to_dict())
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from None


def run_command(program: str, command: Callable[[Sequence[str]], None], argv: Sequence[str]) -> int:
    """Runs a command and returns its exit code; what a user can get wrong becomes one sentence on stderr."""
    keep_large_blocks()
    try:
        command(argv)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted; the same command goes on from the last checkpoint.", file=sys.stderr)
        return INTERRUPTED
    return 0


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


def _train(argv: Sequence[str]) -> None:
    """Train a config in a run folder, or go on with the interrupted run that the folder holds."""
    given = parse(argv, _define_workdir, config="")
    recipe = read_recipe(given.config)
    workdir = _required(given.workdir, "workdir", "runs/digits")
    trainer = Trainer(recipe)
    print(trainer.describe())
    run = train(recipe, workdir, trainer=trainer)
    print(f"test accuracy {run.test.accuracy:.2%} ({run.test.correct} of {run.test.count}) in {run.seconds:.1f} s")
    print(f"run folder {run.folder.path}")


def _evaluate(argv: Sequence[str]) -> None:
    """Evaluate the final weights of a finished run on one split."""

    def define(values: flags.FlagValues) -> None:
        _define_workdir(values)
        flags.DEFINE_enum("split", "test", ["train", "validation", "test"], "Which split.", flag_values=values)

    given = parse(argv, define)
    result = evaluate(_required(given.workdir, "workdir", "runs/digits"), given.split)
    print(f"{given.split} accuracy {result.accuracy:.2%} ({result.correct} of {result.count}), loss {result.loss:.6f}")


def _inspect(argv: Sequence[str]) -> None:
    """Print the shape table of a config's network for inputs of given sizes."""

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_multi_string("size", None, "Input size, such as 28x28; may be repeated.", flag_values=values)

    given = parse(argv, define, config="")
    recipe = read_recipe(given.config)
    sizes = [_parse_size(text) for text in _required(given.size, "size", "28x28")]
    model = abstract_model(recipe, load_sources(recipe)["train"])
    traces = [model.trace(size) for size in sizes]
    console = Console()
    for trace in traces:
        console.print(_trace_table(trace))
    shown = {"minimum size": model.min_size, "stride": model.stride, "receptive field": model.receptive_field}
    console.print(", ".join(f"{name} {_extent(value)}" for name, value in shown.items()))
    console.print(f"head: {model.head.describe()}")


def _import_weights(argv: Sequence[str]) -> None:
    """Turn a PyTorch state dict (.safetensors, .npz, .pt) into a folder that fcnjax.training.load_imported reads."""

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("from", None, "The file of the state dict.", flag_values=values)
        flags.DEFINE_string("arch", None, "The network that it is of, such as resnet50.", flag_values=values)
        flags.DEFINE_string("to", None, "The new folder.", flag_values=values)

    given = parse(argv, define)
    source = _required(given["from"].value, "from", "resnet50.safetensors")
    arch, to = _required(given.arch, "arch", "resnet50"), _required(given.to, "to", "weights/resnet50")
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


def _bench_layers(argv: Sequence[str]) -> None:
    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("json", None, "Also write the result to this file.", flag_values=values)
        flags.DEFINE_integer("rounds", layers.ROUNDS, "Turns of each arm.", lower_bound=1, flag_values=values)
        flags.DEFINE_integer("batch_size", 64, "Examples in the batch.", lower_bound=2, flag_values=values)
        flags.DEFINE_string("size", "48x48", "The rectangle.", flag_values=values)

    given = parse(argv, define)
    result = layers.measure(layers.Workload(given.batch_size, _parse_size(given.size)), given.rounds)
    Console().print(layers.table(result))
    if given.json:
        write_json(given.json, result)


BENCHES: dict[str, Callable[[Sequence[str]], None]] = {"layers": _bench_layers}
COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "train": _train,
    "evaluate": _evaluate,
    "inspect": _inspect,
    "import-weights": _import_weights,
    "bench": _bench,
}


def _define_workdir(values: flags.FlagValues) -> None:
    flags.DEFINE_string("workdir", None, "The run folder.", flag_values=values)


def _required(value: Any, name: str, example: str) -> Any:
    if value is None:
        raise UsageError(f"--{name} is missing: give it, such as --{name}={example}.")
    return value


def _parse_size(text: str) -> tuple[int, ...]:
    if not all(part.isdigit() and int(part) for part in text.split("x")):
        raise UsageError(f"--size={text}: must be positive extents joined by 'x', such as 28x28, or 8000 for a signal.")
    return tuple(map(int, text.split("x")))


def _trace_table(trace: list[TraceRow]) -> Table:
    # Drawn tightly the table fits 80 columns, the width of a pipe; in less, rich cuts numbers short.
    tight: dict[str, Any] = {"box": box.HORIZONTALS, "show_edge": False, "padding": (0, 1, 0, 0)}
    table = Table(title=f"input {_extent(trace[0].size)}", title_justify="left", **tight)
    table.add_column("layer")
    for heading in ("output size", "channels", "receptive field", "parameters", "multiply-adds"):
        table.add_column(heading, justify="right")
    for row in trace:
        numbers = (f"{n:,}" for n in (row.parameters, row.multiply_adds))
        table.add_row(row.layer, _extent(row.size) or "-", str(row.channels), _extent(row.receptive_field), *numbers)
    table.add_section()
    totals = (f"{sum(getattr(row, name) for row in trace):,}" for name in ("parameters", "multiply_adds"))
    table.add_row("total", "", "", "", *totals)
    return table


def _extent(size: Sequence[int]) -> str:
    return "x".join(map(str, size))


def _config_error(error: Exception, argv: Sequence[str]) -> str:
    """Returns what is wrong with the config of a command line, or with an override of it, on one line."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]  # ml_collections wraps what it met
    if isinstance(error, SyntaxError):
        return f"--config cannot be read: {error}"  # with file and line
    path = next((argument.removeprefix("--config=") for argument in argv if argument.startswith("--config=")), "")
    path = path.partition(":")[0]  # what follows is given to get_config
    raised = [frame for frame in traceback.extract_tb(error.__traceback__) if path and frame.filename.endswith(path)]
    if raised:
        return f"--config: {raised[-1].filename}, line {raised[-1].lineno}: {type(error).__name__}: {error}"
    text = " ".join(str(error.args[0] if error.args else error).split())
    if isinstance(error, OSError):
        return f"--config cannot be read: {' '.join(str(error).split())}"
    if not isinstance(error, KeyError):
        return f"--config, or an override of its fields, cannot be used: {text}"
    field = text.split("'")[1] if "'" in text else text
    dotted = [argument.partition("=")[0].removeprefix("--config.") for argument in argv]
    group = next((name.rpartition(field)[0] for name in dotted if field in name.split(".")), "")
    known = [group + name for name in Recipe.field_names(group)]
    if group + field in known:
        return f"config field {group + field!r}: is not in the config file, and cannot be overridden; add it there."
    return unknown_name("config field", group + field, known)


if __name__ == "__main__":
    sys.exit(main())
