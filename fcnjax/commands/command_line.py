"""How a command or a script reads its flags and its config, and how it ends: with an exit code, and one sentence on
stderr for each mistake of the user.
"""

import itertools
import logging
import os
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from fcnjax.commands.interrupt import INTERRUPTED, interruptible
from fcnjax.commands.overrides import NETWORK, OVERRIDE, UsageError, is_switch, last_value, override_network, without
from fcnjax.installation import UNUSABLE, NotInstalledError, installed_version
from fcnjax.naming import printable, unknown_name
from fcnjax.training import Recipe
from fcnjax.training.compile.freed_memory import keep_large_blocks
from fcnjax.training.compile.mesh import HostFailure, describe_host_failure
from fcnjax.training.compile.program_cache import use_program_cache
from fcnjax.training.run.interruption import Terminated
from fcnjax.training.settings.config_fields import flat_fields
from fcnjax.training.settings.default_config import config_help, default_config
from fcnjax.xla import CPU_COMPILER, add_flags

# Exit codes; 0 is success, `UNUSABLE` (2) a request, data or a disk that cannot be used, for a reason in one sentence,
# `INTERRUPTED` (130) a Ctrl-C. After 4, 130, 134 and 143, the same command resumes from the last checkpoint, if any.
NOT_FINITE = 3  # the training loss is not finite
HOST_FAILED = 4  # another host of the run failed; 134 if JAX's own service notices first, within a minute
TERMINATED = 143  # by SIGTERM, after the current step was saved

NAMED = "fcnjax:"  # begins the name of a config that the package holds


def parse(
    argv: Sequence[str], define: Callable[[flags.FlagValues], None], config: str | ConfigDict | None = None
) -> Any:
    """Returns the flags of a command line.

    Args:
        argv: program name and arguments.
        define: defines the flags of the command on the `FlagValues` that it is given.
        config: default path of the config file. With "", the flag --config has no default; with None, there is no such
            flag. Of a `ConfigDict`, --config.FIELD=VALUE overrides a field.

    Raises:
        UsageError: if a flag, a named config or a config field is unknown (the message names the nearest one), a value
            has the wrong type, the config file cannot be read, or an argument is not a flag.
    """
    values, rest = parse_with_arguments(argv, define, config)
    if rest:
        raise UsageError(f"argument {rest[0]!r}: every argument must be a flag, such as --workdir=runs/digits.")
    return values


def parse_with_arguments(
    argv: Sequence[str], define: Callable[[flags.FlagValues], None], config: str | ConfigDict | None = None
) -> tuple[Any, list[str]]:
    """Returns the flags of a command line, and its arguments that are no flags, such as files.

    Args and errors: as for `parse`, which refuses such arguments.
    """
    argv = [_with_path(argument, before) for before, argument in itertools.pairwise(["", *argv])]
    network, argv = (last_value(NETWORK, argv), without(NETWORK, argv)) if config is not None else (None, argv)
    values = flags.FlagValues()
    values.set_gnu_getopt()  # flags may follow arguments
    flags.DEFINE_bool("help", False, "Show the flags.", short_name="h", flag_values=values)
    define(values)
    _check_values(argv[1:], values)
    try:
        if isinstance(config, ConfigDict):
            config_flags.DEFINE_config_dict("config", config, "Overrides of fields.", values, sys_argv=argv)
        elif config is not None:
            text = "Path of a config file, or fcnjax:NAME; --config.FIELD=VALUE overrides a field."
            config_flags.DEFINE_config_file("config", config or None, text, values, sys_argv=argv)
        rest = values(argv)
        if config is not None:
            getattr(values.config, "to_dict", None)  # ml_collections reports a missing file only at the first use
    except flags.Error as error:
        # The message of a config file that raised holds a stack trace, whose last line is the error.
        sentence, _, trace = str(error).partition("Traceback (most recent call last):")
        field = re.match(r"Unknown command line flag '([\w.]+)'", sentence)
        known = config is not None and field is not None and field[1] in flat_fields(default_config().to_dict())
        advice = [f"Give --config.{field[1]}=VALUE."] if known and field is not None else []
        raise UsageError(" ".join([*sentence.split(), *trace.strip().splitlines()[-1:], *advice])) from None
    except Exception as error:  # a config file is code: it may raise anything
        raise UsageError(_config_error(error, argv)) from None
    if values.help:
        print(_flag_help(values))
        if config is not None:
            print("\nFields of a config, with their defaults before the config file is read, and their meanings:")
            print(config_help())
        sys.stdout.flush()  # now, so that a closed pipe ends it here
        raise SystemExit(0)
    if config == "" and values.config is None:
        raise UsageError(
            "--config is missing: give the path of a config file, such as --config=configs/digits.py, or the name of "
            f"one that the package holds, such as --config={NAMED}digits."
        )
    if config is not None and not isinstance(values.config, ConfigDict):
        raise UsageError(
            f"--config: its get_config() returns a {type(values.config).__name__}; it must return an "
            "ml_collections.ConfigDict, as in configs/digits.py."
        )
    if network is not None:
        override_network(values.config, network, argv)
    return values, rest[1:]


def known_flags(argv: Sequence[str], define: Callable[[flags.FlagValues], None]) -> Any:
    """Returns the flags of a command that decide what --config may override, before the whole line is read."""
    values = flags.FlagValues()
    values.set_gnu_getopt()
    define(values)
    _check_values(argv[1:], values)
    try:
        values(argv, known_only=True)
    except flags.Error as error:
        raise UsageError(str(error)) from None
    return values


def _check_values(arguments: Sequence[str], values: flags.FlagValues) -> None:
    """Raises UsageError if a flag that takes a value is followed by another flag, which would become its value."""
    for argument, after in itertools.pairwise(arguments):
        name = argument.removeprefix("--")
        takes = name == "config" or (name in values and not values[name].boolean)
        takes = takes or (argument.startswith(OVERRIDE) and "=" not in argument and not is_switch(argument))
        if argument.startswith("--") and takes and after.startswith("--"):
            raise UsageError(f"{argument}: must have a value, and {after} follows; give {argument}=VALUE.")


def _flag_help(values: flags.FlagValues) -> str:
    """Returns the flags of a command, with their defaults and meanings, for a terminal of 80 columns."""
    lines = ["Flags:"]
    for name in sorted(set(values) - {"h"}):
        flag = values[name]
        if name == "config" or flag.name != name:
            continue
        value = "" if flag.boolean else "=" + ("VALUE" if flag.default is None else str(flag.default_unparsed))
        lines.append(f"  --{'[no]' if flag.boolean and name != 'help' else ''}{name}{value}{', -h' * (name == 'help')}")
        lines += textwrap.wrap(flag.help, 80, initial_indent="    ", subsequent_indent="    ")
    if "config" in values:
        lines += [
            "  --config=FILE.py",
            *textwrap.wrap(values["config"].help, 80, initial_indent="    ", subsequent_indent="    "),
        ]
    return "\n".join(lines)


def parse_size(text: str) -> tuple[int, ...]:
    """Returns the extents of a size such as "28x28".

    Raises:
        UsageError: if `text` is anything but positive integers joined by "x".
    """
    if not all(part.isdigit() and int(part) for part in text.split("x")):
        raise UsageError(f"--size={text}: must be positive extents joined by 'x', such as 28x28, or 8000 for a signal.")
    return tuple(map(int, text.split("x")))


def define_workdir(values: flags.FlagValues) -> None:
    """Defines the flag --workdir."""
    flags.DEFINE_string("workdir", None, "Run folder.", flag_values=values)


def required(value: Any, name: str, example: str) -> Any:
    """Returns `value`, the value of the flag `name`.

    Raises:
        UsageError: if the flag was not given; the message holds the `example`.
    """
    if value is None:
        raise UsageError(f"--{name} is missing: give it, such as --{name}={example}.")
    return value


def read_recipe(config: ConfigDict) -> Recipe:
    """Returns the recipe of a config.

    Raises:
        UsageError: if a field or its value cannot be used.
    """
    try:
        return Recipe.from_config(config.to_dict())
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from None


def run_command(program: str, command: Callable[[Sequence[str]], None], argv: Sequence[str]) -> int:
    """Runs a command and returns its exit code.

    A `ValueError`, `OSError` or `FloatingPointError` becomes one sentence on stderr, as do a failure of another host,
    an interruption, and, before anything else, a package that is not installed. Any other exception is a bug and
    propagates.

    Args:
        program: name at the beginning of the sentence.
        command: takes `argv`.
        argv: program name and arguments.
    """
    try:
        installed_version()
    except NotInstalledError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return UNUSABLE
    keep_large_blocks()
    add_flags("cpu", CPU_COMPILER)
    use_program_cache()
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax logs the stack trace of each error, then raises it
    try:
        with interruptible():
            if argv[1:2] in (["--help"], ["-h"]) and command.__doc__:
                print(f"usage: {program} [--flags]\n\n{command.__doc__.strip().splitlines()[0]}\n")
            command(argv)
    except BrokenPipeError:  # the reader of a pipe, such as head, has all that it wants
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, FloatingPointError) as error:
        _tell(program, error)
        return NOT_FINITE if isinstance(error, FloatingPointError) else UNUSABLE
    except Terminated as error:
        _tell(program, error)
        return TERMINATED
    except (HostFailure, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, HostFailure) and not jax.distributed.is_initialized():
            raise
        _tell(program, describe_host_failure(error))
        return HOST_FAILED
    except KeyboardInterrupt as error:
        print(f"\n{program}: {error if error.args else 'interrupted.'}", file=sys.stderr)
        return INTERRUPTED
    return 0


def _with_path(argument: str, before: str) -> str:
    """Returns an argument of a command line with a path in place of `fcnjax:NAME`, if it is the value of --config.

    Args:
        argument: such as "--config=fcnjax:digits" or "--config=fcnjax:digits:resnet_cifar".
        before: the argument before it; after "--config", the whole argument is the value.

    Raises:
        UsageError: if the package holds no config of that name.
    """
    flag, equals, value = ("", "", argument) if before in ("-config", "--config") else argument.partition("=")
    if flag not in ("", "-config", "--config") or not value.startswith(NAMED):
        return argument
    name, colon, network = value.removeprefix(NAMED).partition(":")
    files = named_configs()
    if name not in files:
        raise UsageError(f"--config={value}: {unknown_name('config', name, files)}")
    return f"{flag}{equals}{files[name]}{colon}{network}"


def named_configs() -> dict[str, Path]:
    """Returns the config files that come with the package, by name: those of `configs/` in a checkout."""
    package = Path(__file__).parents[1]
    folder = package / "configs"  # of a wheel
    folder = folder if folder.is_dir() else package.parent / "configs"  # of a checkout
    return {path.stem: path for path in folder.glob("[!_]*.py")}


def _tell(program: str, error: object) -> None:
    """Prints one sentence on stderr; a message may name several files, one a line."""
    print(f"{program}: {printable(error, keep=chr(10))}", file=sys.stderr)


def _config_error(error: Exception, argv: Sequence[str]) -> str:
    """Returns one sentence on what is wrong with the config file of a command line, or with an override."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]  # ml_collections wraps the original error
    if isinstance(error, SyntaxError):
        return f"--config cannot be read: {error}"  # with file and line
    if line := _raising_line(error, argv):
        return f"--config: {line}: {type(error).__name__}: {error}"
    if isinstance(error, OSError):
        return f"--config cannot be read: {' '.join(str(error).split())}"
    text = " ".join(str(error.args[0] if error.args else error).split())
    if isinstance(error, KeyError):
        return _field_error(text.split("'")[1] if "'" in text else text, argv)
    return f"--config, or an override of its fields, cannot be used: {text}"


def _raising_line(error: Exception, argv: Sequence[str]) -> str | None:
    """Returns file and line of the config file that raised the error; None if it was raised elsewhere."""
    path = next((argument.removeprefix("--config=") for argument in argv if argument.startswith("--config=")), "")
    path = path.partition(":")[0]  # the rest is the argument of get_config
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if path and frame.filename.endswith(path)]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else None


def _field_error(field: str, argv: Sequence[str]) -> str:
    """Returns one sentence on an override of `field`, which the config does not have."""
    dotted = [argument.partition("=")[0].removeprefix("--config.") for argument in argv]
    group = next((name.rpartition(field)[0] for name in dotted if field in name.split(".")), "")
    known = [group + name for name in Recipe.field_names(group)]
    if group + field in known:
        return f"config field {group + field!r}: is not in the config file, and cannot be overridden; add it there."
    return unknown_name("config field", group + field, known)
