"""How a command, or any script, reads a config and its overrides, and what a user's mistakes become: one sentence each.

Exit codes: 0 done; 2 the request, the data or the disk cannot be used (one sentence says why); 3 the training loss is
not finite; 4 another host of the run failed (134 where JAX's own service notices it, within a minute); 130 interrupted
by the user (Ctrl-C); 143 asked to end (SIGTERM), once the step at hand was saved. After 4, 130, 134 and 143 the same
command goes on from the last checkpoint.
"""

import logging
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from fcnjax.memory import keep_large_blocks
from fcnjax.naming import unknown_name
from fcnjax.training import Recipe
from fcnjax.training.compile.mesh import HostFailure, describe_host_failure
from fcnjax.training.compile.program_cache import use_program_cache
from fcnjax.training.run.interruption import Terminated
from fcnjax.xla import OLD_EMITTERS, add_cpu_flags

UNUSABLE, NOT_FINITE, HOST_FAILED, INTERRUPTED, TERMINATED = 2, 3, 4, 130, 143


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
        first, _, trace = str(error).partition("Traceback (most recent call last):")  # of a config file that raised
        raise UsageError(" ".join([*first.split(), *trace.strip().splitlines()[-1:]])) from None
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


def parse_size(text: str) -> tuple[int, ...]:
    """Returns the extents of a size such as "28x28"; raises UsageError for anything else."""
    if not all(part.isdigit() and int(part) for part in text.split("x")):
        raise UsageError(f"--size={text}: must be positive extents joined by 'x', such as 28x28, or 8000 for a signal.")
    return tuple(map(int, text.split("x")))


def define_workdir(values: flags.FlagValues) -> None:
    """Defines the flag --workdir."""
    flags.DEFINE_string("workdir", None, "The run folder.", flag_values=values)


def required(value: Any, name: str, example: str) -> Any:
    """Returns the value of a flag; raises UsageError with an example if it was not given."""
    if value is None:
        raise UsageError(f"--{name} is missing: give it, such as --{name}={example}.")
    return value


def read_recipe(config: ConfigDict) -> Recipe:
    """Returns the recipe of a config; raises UsageError for a file, a field or a value that cannot be used."""
    try:
        return Recipe.from_config(config.to_dict())
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from None


def run_command(program: str, command: Callable[[Sequence[str]], None], argv: Sequence[str]) -> int:
    """Runs a command and returns its exit code; what a user can get wrong becomes one sentence on stderr."""
    keep_large_blocks()
    add_cpu_flags(OLD_EMITTERS)
    use_program_cache()
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax logs whole stack traces of what it raises anyway
    try:
        command(argv)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return NOT_FINITE if isinstance(error, FloatingPointError) else UNUSABLE
    except Terminated as error:
        print(f"{program}: {error}", file=sys.stderr)
        return TERMINATED
    except (HostFailure, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, HostFailure) and not jax.distributed.is_initialized():
            raise
        print(f"{program}: {describe_host_failure(error)}", file=sys.stderr)
        return HOST_FAILED
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted; the same command goes on from the last checkpoint.", file=sys.stderr)
        return INTERRUPTED
    return 0


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
