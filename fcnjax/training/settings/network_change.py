"""Another network in a config that was made for one: the options of the first do not belong to the second."""

from collections.abc import Collection
from functools import partial
from typing import Any

from fcnjax.models import MODELS
from fcnjax.naming import check_name

SHARED = ("dtype", "border")  # options that mean the same for every network


def change_network(config: Any, name: str, given: Collection[str] = ()) -> dict[str, Any]:
    """Sets the network of a config, and drops the options that were set for the former one.

    Networks of one family, such as ResNet-18 and ResNet-34, keep them.

    Args:
        config: a `ConfigDict` of all fields; it is changed.
        name: a key of `fcnjax.models.MODELS`.
        given: options of `config.model` that were given together with the name, and are kept.

    Returns:
        The values of the dropped options, by name.

    Raises:
        ValueError: if there is no such network; the message names the nearest one.
    """
    check_name("model", name, MODELS)
    former, config.model.name = config.model.name, name
    if former not in MODELS or _family(former) is _family(name):
        return {}
    dropped = {
        option: value
        for option, value in config.model.items()
        if value is not None and option not in {"name", *SHARED, *given}
    }
    with config.ignore_type():
        config.model.update(dict.fromkeys(dropped))
    return dropped


def _family(name: str) -> Any:
    network = MODELS[name]
    return network.func if isinstance(network, partial) else network
