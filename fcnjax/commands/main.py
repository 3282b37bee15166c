"""The `fcnjax` command and its list of commands; `fcnjax.commands.command_line` defines the exit codes."""

import os
import sys
import traceback
from collections.abc import Callable, Sequence

import jax

from fcnjax.commands import bench, cache, evaluate, import_weights, inspect, plan, prepare, train
from fcnjax.commands.command_line import UNUSABLE, run_command
from fcnjax.naming import unknown_name

COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "train": train.run,
    "evaluate": evaluate.run,
    "inspect": inspect.run,
    "plan": plan.run,
    "import-weights": import_weights.run,
    "bench": bench.run,
    "prepare": prepare.run,
    "cache": cache.run,
}


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
    """Runs `main` for the console script, and ends the process at once if there was an error.

    Otherwise Python would wait for programs that are still being compiled, and JAX for the other hosts.
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
