"""Programs exported for any batch and any size, serialized and loaded again, against the module that they came from."""

from collections.abc import Sequence

import contract
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fcnjax.padded import Padded


def exported(module: nnx.Module, rank: int, channels: int, minimum: int = 1, multiple: int = 1) -> jax.export.Exported:
    """Returns the program of a module for any number of examples of any size, after serialization.

    Args:
        module: maps a `Padded` to a `Padded` or to an array.
        rank: number of spatial axes.
        channels: number of input channels.
        minimum: smallest extent.
        multiple: what every extent is a multiple of.
    """
    names = ["h", "w", "d"][:rank]
    constraints = [f"{name} >= {-(-minimum // multiple)}" for name in names]
    dimensions = jax.export.symbolic_shape(", ".join(["b", *names]), constraints=constraints)
    shape = (dimensions[0], *(multiple * extent for extent in dimensions[1:]), channels)
    values, sizes = jax.ShapeDtypeStruct(shape, jnp.float32), jax.ShapeDtypeStruct((shape[0], rank), jnp.int32)
    program = jax.export.export(jax.jit(lambda values, sizes: _arrays(module(Padded(values, sizes)))))(values, sizes)
    return jax.export.deserialize(program.serialize())


def _arrays(output):
    return (output.values, output.sizes) if isinstance(output, Padded) else (output,)


def check_export(module: nnx.Module, program: jax.export.Exported, batches: Sequence[Padded]):
    """Checks that a program gives the outputs of the module, for batches of several numbers of rows and sizes."""
    for batch in batches:
        expected = _arrays(contract.call(module, batch))
        actual = program.call(batch.values, batch.sizes)
        for array, wanted in zip(actual, expected, strict=True):
            contract.assert_close(array, np.asarray(wanted), f"output for {batch.values.shape}")
