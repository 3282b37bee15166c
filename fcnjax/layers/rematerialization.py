"""Less memory for more computation: what a layer computes within itself is computed anew in the backward pass."""

from collections.abc import Sequence

import jax
from flax import nnx

from fcnjax.layers.composition import Concatenate, Residual, Sequential, SkipConnection
from fcnjax.layers.layer import Layer
from fcnjax.padded import Padded

COMPOSED = (Concatenate, Residual, Sequential, SkipConnection)


def recomputed(layers: Sequence[Layer], batch: Padded, *, train: bool, keys: jax.Array | None) -> Padded:
    """Returns what layers give one after another, keeping for the backward pass only what goes in and out of units.

    A unit is a layer made of layers, such as a residual block, with the plain ones that follow it; or the plain layers
    before the first of them. Each is one `jax.checkpoint`: its barrier makes the backward pass of a unit wait for that
    of the next, so that the activations of one unit exist at a time. (One checkpoint around the whole network that
    saves named activations saves nothing in XLA: all is then computed anew at once.) Running statistics are a result
    of the forward pass alone, and move once.

    Args:
        layers: in order.
        batch: what goes in.
        train: as for a layer.
        keys: as for a layer.

    Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
    """
    for unit in _units(layers):
        batch = _checkpointed(unit, batch, train, keys)
    return batch


def _units(layers: Sequence[Layer]) -> list[list[Layer]]:
    units: list[list[Layer]] = []
    for layer in layers:
        if not units or isinstance(layer, COMPOSED):
            units.append([])
        units[-1].append(layer)
    return units


def _checkpointed(unit: Sequence[Layer], batch: Padded, train: bool, keys: jax.Array | None) -> Padded:
    """Returns what a unit gives; its arrays go in and its statistics come out of the checkpoint as plain values."""
    module = Sequential(unit)
    graphdef, state = nnx.split(module)

    @jax.checkpoint
    def pure(state: nnx.State, batch: Padded, keys: jax.Array | None) -> tuple[Padded, nnx.State]:
        merged = nnx.merge(graphdef, state)
        return merged(batch, train=train, keys=keys), nnx.state(merged, nnx.BatchStat)

    batch, statistics = pure(state, batch, keys)
    nnx.update(module, statistics)
    return batch
