"""Overrides of config fields on a command line, --config.FIELD=VALUE, where more is to be done than to set a value."""

import itertools
import sys
from collections.abc import Sequence
from typing import Any

from fcnjax.training.settings.config_fields import flat_fields
from fcnjax.training.settings.default_config import default_config
from fcnjax.training.settings.network_change import change_network

OVERRIDE, NETWORK = "--config.", "--config.model.name"


class UsageError(ValueError):
    """A command line that cannot be used; the message is all that the user sees."""


def overridden(argv: Sequence[str]) -> list[str]:
    """Returns the dotted names of the fields that a command line overrides, such as "optimizer.warmup"."""
    return [a.partition("=")[0].removeprefix(OVERRIDE) for a in argv if a.startswith(OVERRIDE)]


def last_value(flag: str, argv: Sequence[str]) -> str | None:
    """Returns the last value of a flag such as "--config.model.name", before the whole line is read; None without it.

    Raises:
        UsageError: if it has no value.
    """
    found = None
    for argument, after in itertools.pairwise([*argv, ""]):
        name, equals, value = argument.partition("=")
        if name == flag:
            found = value if equals else after
            if not found:
                raise UsageError(f"{flag}: must have a value; give {flag}=VALUE.")
    return found


def without(flag: str, argv: Sequence[str]) -> list[str]:
    """Returns a command line without a flag, in the form --flag=VALUE or --flag VALUE."""
    before = ["", *argv]
    return [a for a, previous in zip(argv, before, strict=False) if a.partition("=")[0] != flag and previous != flag]


def is_switch(override: str) -> bool:
    """Returns whether an override is of a field that is true or false, which needs no value."""
    fields = flat_fields(default_config().to_dict())
    return isinstance(fields.get(override.removeprefix(OVERRIDE)), bool)


def override_network(config: Any, network: str, argv: Sequence[str]) -> None:
    """Sets the network of a config, and says which options of the former one were dropped."""
    former = config.model.name
    given = [name.removeprefix("model.") for name in overridden(argv)]
    try:
        dropped = change_network(config, network, given)
    except ValueError as error:
        raise UsageError(f"{NETWORK}={network}: {error}") from None
    if dropped:
        listed = ", ".join(f"{name}={value}" for name, value in dropped.items())
        print(f"model.name={network}: the options of {former} were dropped ({listed})", file=sys.stderr)
