"""The `fcnjax` command and its list of commands; `fcnjax.commands.command_line` defines the exit codes.

Only the standard library is imported here: the command that was asked for imports JAX, which takes over a second.
"""

import importlib
import os
import sys
import traceback
from collections.abc import Sequence

from fcnjax.commands.interrupt import end_on_interrupt
from fcnjax.installation import UNUSABLE, installed_version
from fcnjax.naming import unknown_name

# Name and help of each command: the first line of the docstring of `run` in its module, which has "_" for "-".
COMMANDS = {
    "train": "Train a config, or a folder of your own data, in a run folder; the same command resumes it.",
    "evaluate": "Evaluate a run on one of its splits, or a model on data that it never saw, at other sizes, too.",
    "predict": "Predict the classes of files and folders with a trained network, and write a table.",
    "inspect": "Print the shape table of a config's network for inputs of given sizes.",
    "data": "Say what a data set holds and what is wrong with it; draw examples, measure mean and std.",
    "plan": "Plan the buckets of a config, or of --sizes=FILE.csv, and print their cost.",
    "import-weights": "Turn weights of torchvision or timm (.safetensors, .npz, .pt, ...) into a model folder.",
    "export-weights": "Write the weights of a trained network as a state dict of torchvision or timm.",
    "bench": "Measure on this machine: speed, exactness, determinism.",
    "prepare": "Prepare a data set, such as mnist; those of the TFDS catalog need the extra catalog.",
    "cache": "Show the cache of compiled programs; --clear empties it.",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `fcnjax COMMAND --flags` and returns its exit code."""
    try:
        return _run(sys.argv if argv is None else argv)
    except BrokenPipeError:  # the reader of a pipe, such as head, has all that it wants
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(argv: Sequence[str]) -> int:
    if len(argv) < 2 or argv[1] in ("-h", "--help", "help"):
        print("usage: fcnjax COMMAND [--flags]\n")
        for name, sentence in COMMANDS.items():
            print(f"  {name:14} {sentence}")
        print(
            "\n'fcnjax --version' prints the version, and 'fcnjax COMMAND --help' lists the flags of a command.",
            flush=True,
        )
        return 0 if len(argv) > 1 else UNUSABLE
    if argv[1] == "--version":
        print(f"fcnjax {installed_version()}")
        return 0
    if argv[1] not in COMMANDS:
        print(f"fcnjax: {unknown_name('command', argv[1], COMMANDS)}", file=sys.stderr)
        return UNUSABLE
    program, module = f"fcnjax {argv[1]}", argv[1].replace("-", "_")
    run = importlib.import_module(f"fcnjax.commands.{module}").run
    from fcnjax.commands.command_line import run_command

    return run_command(program, run, [program, *argv[2:]])


def entry() -> None:
    """Runs `main` for the console script, and ends the process at once if there was an error.

    Otherwise Python would wait for programs that are still being compiled, and JAX for the other hosts.
    """
    end_on_interrupt()
    try:
        code = main()
    except SystemExit:
        raise
    except BaseException:
        jax = sys.modules.get("jax")  # an error before JAX is imported is one of this host alone
        if jax is None or not jax.distributed.is_initialized():
            raise
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    if code:
        os._exit(code)
