"""Rematerialization: saves memory by recomputing the activations of a block in the backward pass."""

from collections.abc import Sequence

import jax
from flax import nnx

from fcnjax.layers.composition import Concatenate, Residual, Sequential, SkipConnection
from fcnjax.layers.layer import Layer
from fcnjax.padded import Padded

COMPOSED = (Concatenate, Residual, Sequential, SkipConnection)


def recomputed(layers: Sequence[Layer], batch: Padded, *, train: bool, keys: jax.Array | None) -> Padded:
    """Returns the output of layers applied one after another; the backward pass keeps only the inputs of units.

    A unit is a layer made of layers, such as a residual block, and the plain layers that follow it; the first unit may
    consist of plain layers only. Each unit is one `jax.checkpoint`. Its barrier makes the backward pass of a unit wait
    for the backward pass of the next unit, so that the activations of only one unit exist at a time. (A single
    checkpoint around the whole network that saves named activations saves no memory in XLA, which then recomputes all
    activations at once.) Running statistics come from the forward pass only and are updated once.

    Args:
        layers: in order.
        batch: the input.
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
    """Returns the output of a unit; the checkpoint takes its arrays and returns its statistics as plain values."""
    module = Sequential(unit)
    graphdef, state = nnx.split(module)

    @jax.checkpoint
    def pure(state: nnx.State, batch: Padded, keys: jax.Array | None) -> tuple[Padded, nnx.State]:
        merged = nnx.merge(graphdef, state)
        return merged(batch, train=train, keys=keys), nnx.state(merged, nnx.BatchStat)

    batch, statistics = pure(state, batch, keys)
    nnx.update(module, statistics)
    return batch
