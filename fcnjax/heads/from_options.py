"""Makes the head of a network from a user's options."""

from collections.abc import Mapping
from typing import Any

from flax import nnx

from fcnjax.arguments import check_arguments
from fcnjax.heads.flatten_dense import FlattenDenseHead
from fcnjax.heads.head import Head
from fcnjax.naming import check_options


def make_head(
    in_channels: int, classes: int, options: Mapping[str, Any] | None, *, rank: int, rngs: nnx.Rngs, **defaults: Any
) -> Head | FlattenDenseHead:
    """Returns a `Head`, or a `FlattenDenseHead` if `options` contain `flatten`.

    Args:
        in_channels: channels of the features C.
        classes: number of classes K.
        options: the user's arguments of the head; None for none. `flatten` is the `extent` of a `FlattenDenseHead`.
        rank: number of spatial axes, 1 to 3.
        rngs: source of the initial weights.
        **defaults: the network's own arguments of `Head`, which `options` override.

    Raises:
        ValueError: if an option is unknown (the message names the nearest one), or the head rejects its value, or
            `options` is not a dictionary.
    """
    check_arguments("the head", make_head, {"options": options})
    given = dict(options or {})
    flatten = given.pop("flatten", None)
    if flatten is not None:
        check_options("option of the flatten-dense head", given, FlattenDenseHead.__init__)
        return FlattenDenseHead(in_channels, classes, flatten, rngs=rngs, **given)
    check_options("option of the head", given, Head.__init__)
    return Head(in_channels, classes, rank=rank, rngs=rngs, **{**defaults, **given})
