"""Heads: from features of any size to logits, and the fixed-size baseline."""

from collections.abc import Mapping
from typing import Any

from flax import nnx

from fcnjax.heads.flatten_dense import FlattenDenseHead, convolutionalize
from fcnjax.heads.head import Conversion, Head
from fcnjax.naming import check_options


def make_head(
    in_channels: int, classes: int, options: Mapping[str, Any] | None, *, rank: int, rngs: nnx.Rngs, **defaults: Any
) -> Head | FlattenDenseHead:
    """Returns the head of a network: `Head` with the network's own defaults, over which the user's options go.

    With an option `flatten`, the extent of the features at the training size, it is a `FlattenDenseHead`.

    Raises:
        ValueError: for an unknown option, with the nearest one, or a value that `Head` refuses.
    """
    given = dict(options or {})
    flatten = given.pop("flatten", None)
    if flatten is not None:
        check_options("option of the flatten-dense head", given, FlattenDenseHead.__init__)
        return FlattenDenseHead(in_channels, classes, flatten, rngs=rngs, **given)
    check_options("option of the head", given, Head.__init__)
    return Head(in_channels, classes, rank=rank, rngs=rngs, **{**defaults, **given})


__all__ = ["Conversion", "FlattenDenseHead", "Head", "convolutionalize", "make_head"]
