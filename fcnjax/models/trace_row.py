"""One row of the shape table of a network."""

from typing import NamedTuple


class TraceRow(NamedTuple):
    """One row of a shape table.

    Attributes:
        layer: name of the layer or block.
        size: output extent per spatial axis; empty for the scores.
        channels: number of output channels.
        receptive_field: number of input positions that one output position sees, per spatial axis.
        parameters: number of trainable scalars.
        multiply_adds: multiply-adds of the products per example; elementwise work is not counted.
    """

    layer: str
    size: tuple[int, ...]
    channels: int
    receptive_field: tuple[int, ...]
    parameters: int
    multiply_adds: int
