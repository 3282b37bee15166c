"""Padded: a batch of examples of different sizes, padded to one shape.

Axes: B batch, S the spatial axes (one, two or three), D their number, C channels. The one idea: masks are never stored.
They are rebuilt from `sizes` wherever they are needed, so that they always agree with the values.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from fcnjax.arguments import check_arguments, is_sequence, shown
from fcnjax.geometry import MAX_RANK


@jax.tree_util.register_pytree_with_keys_class
class Padded:
    """Examples of different sizes, padded to one shape S, zero outside each example.

    A `Padded` is a pytree: it passes through `jax.jit`, `jax.grad`, `jax.vmap` and sharding like an array. An example
    of size 0 is a filler row, which every mask, statistic, loss and metric ignores. The attributes cannot be set.

    The values that a layer returns (`replace`) are cleared outside the examples when `values` is read. Layers that act
    on each position separately, or that mask their sums, read `raw_values` instead, so that a chain of them is cleared
    once.

    Args:
        values: [B, *S, C], zero outside each example (`with_zero_padding` ensures it).
        sizes: int32 [B, D], the extent of each example along each spatial axis; 0 in a filler row.

    Raises:
        ValueError: if `values` or `sizes` is not an array; if their shapes do not agree; if `sizes` is not int32 (or
            int64); or if `sizes` is a numpy array and an example is larger than S (sizes on a device are not read).

    >>> batch = Padded.stack([np.ones((3, 2, 1)), np.ones((2, 4, 1))])
    >>> batch.values.shape, batch.sizes.tolist()
    ((2, 3, 4, 1), [[3, 2], [2, 4]])
    """

    def __init__(self, values: jax.Array, sizes: jax.Array):
        for name, array in (("values", values), ("sizes", sizes)):
            if not hasattr(array, "dtype"):
                raise ValueError(
                    f"{name} of type {type(array).__name__}: must be an array; Padded.stack makes both from examples."
                )
        shape, rank = np.shape(values), np.ndim(values) - 2
        if not 1 <= rank <= MAX_RANK:
            raise ValueError(
                f"values of shape {shape}: must be [batch, *spatial, channels] with 1 to {MAX_RANK} spatial axes."
            )
        if np.shape(sizes) != (shape[0], rank):
            raise ValueError(
                f"sizes of shape {np.shape(sizes)}: must be {(shape[0], rank)} for values of shape {shape}."
            )
        if sizes.dtype not in (jnp.int32, jnp.int64):  # window arithmetic would overflow in narrower integers
            raise ValueError(f"sizes of dtype {sizes.dtype}: must be int32.")
        if isinstance(sizes, np.ndarray):
            check_within(sizes, shape[1:-1])
        self._values, self._sizes, self._cleared = values, sizes, True

    def __repr__(self) -> str:
        return f"Padded(values={self.values!r}, sizes={self.sizes!r})"

    def tree_flatten_with_keys(self):
        """Returns the two arrays with their names (pytree protocol)."""
        key = jax.tree_util.GetAttrKey
        return ((key("values"), self.values), (key("sizes"), self.sizes)), None

    @classmethod
    def tree_unflatten(cls, _, children):
        """Rebuilds a batch without checks, because transformations replace arrays by placeholders (pytree protocol)."""
        batch = object.__new__(cls)
        batch._values, batch._sizes, batch._cleared = *children, True
        return batch

    @property
    def values(self) -> jax.Array:
        """[B, *S, C], zero outside each example."""
        if self._cleared:
            return self._values
        values = zero_outside(self._values, self.sizes)
        if not isinstance(values, Tracer):  # a tracer must not outlive its trace
            self._values, self._cleared = values, True
        return values

    @property
    def raw_values(self) -> jax.Array:
        """[B, *S, C], with arbitrary finite numbers outside each example."""
        return self._values

    @property
    def has_zero_padding(self) -> bool:
        """Whether `raw_values` are known to be zero outside each example."""
        return self._cleared

    @property
    def sizes(self) -> jax.Array:
        """int32 [B, D], the extent of each example along each spatial axis; 0 in a filler row."""
        return self._sizes

    @property
    def dtype(self) -> jnp.dtype:
        """The dtype of the values."""
        return self._values.dtype

    @property
    def batch_size(self) -> int:
        """Number of rows B, including filler rows."""
        return self._values.shape[0]

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """The padded shape S that all examples share."""
        return tuple(self._values.shape[1:-1])

    @property
    def rank(self) -> int:
        """Number of spatial axes D."""
        return self._values.ndim - 2

    @property
    def channels(self) -> int:
        """Number of channels C."""
        return self._values.shape[-1]

    @property
    def spatial_axes(self) -> tuple[int, ...]:
        """Positions of the spatial axes in `values`."""
        return tuple(range(1, self._values.ndim - 1))

    @property
    def mask(self) -> jax.Array:
        """Bool [B, *S, 1], True where a position lies inside its example."""
        return mask(self.sizes, self.spatial_shape)

    @property
    def counts(self) -> jax.Array:
        """Floating [B], the number of valid positions of each example; 0 in a filler row.

        float32 (float64 with JAX's 64-bit types): from 2**24 on it rounds, where an int32 would overflow from 2**31 on.
        """
        return jnp.prod(self.sizes.astype(float), axis=-1)

    @property
    def real(self) -> jax.Array:
        """Bool [B], False for filler rows."""
        return jnp.all(self.sizes > 0, axis=-1)

    def with_zero_padding(self) -> "Padded":
        """Returns the batch with zeros outside each example, even if `raw_values` hold NaN there."""
        return Padded(self.replace(self._values).values, self.sizes)

    def replace(self, values: jax.Array, sizes: Any = None) -> "Padded":
        """Returns a batch with new values, which are cleared outside `sizes` when they are read.

        Args:
            values: [B, *S', C'], finite everywhere, because `raw_values` are not cleared; if they may not be finite,
                call `with_zero_padding` on the result.
            sizes: int32 [B, D]; default: unchanged.
        """
        batch = Padded(values, self.sizes if sizes is None else sizes)
        batch._cleared = False
        return batch

    @staticmethod
    def stack(examples: Sequence[Any], shape: Sequence[int] | None = None, batch_size: int | None = None) -> "Padded":
        """Returns a batch of examples of different sizes, each at the origin of the padded shape.

        Args:
            examples: at least one array [*S_i, C], numpy or JAX, all with the same rank and channels, none empty.
            shape: the padded shape S; default: the smallest that holds every example.
            batch_size: number of rows B, at least `len(examples)` (the default); further rows are filler rows.

        Returns:
            `Padded` with values [B, *S, C] and sizes [B, D].

        Raises:
            ValueError: if an example is empty, not an array of numbers, does not fit into `shape`, or differs from the
                first example in rank or number of channels; or if `batch_size` is too small.
        """
        check_arguments("Padded.stack", Padded.stack, {"shape": shape, "batch_size": batch_size})
        if not is_sequence(examples):
            raise ValueError(f"examples={shown(examples)} of Padded.stack: must be a sequence of arrays.")
        if not len(examples):
            raise ValueError("examples=[]: must hold at least one example, which sets the rank and the channels.")
        sizes = _checked_sizes(examples)
        shape = tuple(int(n) for n in (sizes.max(0) if shape is None else shape))
        rows = len(examples) if batch_size is None else batch_size
        _check_fit(sizes, shape, rows)
        tail = ((0, 0),)
        if any(isinstance(example, jax.Array) for example in examples):
            pads = [tuple((0, s - n) for n, s in zip(size, shape, strict=True)) + tail for size in sizes.tolist()]
            padded = [jnp.pad(jnp.asarray(x), pad) for x, pad in zip(examples, pads, strict=True)]
            values = jnp.stack(padded + [jnp.zeros_like(padded[0])] * (rows - len(padded)))
        else:
            arrays = [np.asarray(example) for example in examples]
            values = np.zeros((rows, *shape, arrays[0].shape[-1]), np.result_type(*arrays))
            for row, array in zip(values, arrays, strict=False):
                row[tuple(slice(n) for n in array.shape[:-1])] = array
        filled = np.zeros((rows, len(shape)), np.int32)
        filled[: len(sizes)] = sizes
        return Padded(jnp.asarray(values), jnp.asarray(filled))

    def unstack(self) -> list[np.ndarray]:
        """Returns the examples at their own sizes, [*S_i, C] each, without filler rows."""
        values, sizes = np.asarray(self.values), np.asarray(self.sizes)
        return [
            row[tuple(slice(n) for n in size)] for row, size in zip(values, sizes.tolist(), strict=True) if all(size)
        ]


def mask(sizes: jax.Array, spatial_shape: Sequence[Any]) -> jax.Array:
    """Returns bool [B, *S, 1], True where `position < size` along every axis; a row with a size of 0 is all False.

    Args:
        sizes: integer [B, D].
        spatial_shape: the padded shape S, D entries.
    """
    rank, inside = len(spatial_shape), []
    for axis, extent in enumerate(spatial_shape):
        along = (1,) * (axis + 1) + (extent,) + (1,) * (rank - axis)  # [1, .., extent, .., 1]
        positions = jax.lax.broadcasted_iota(sizes.dtype, along, axis + 1)
        ends = jax.lax.slice_in_dim(sizes, axis, axis + 1, axis=1)
        inside.append(positions < ends.reshape((-1,) + (1,) * (rank + 1)))
    return functools.reduce(jnp.logical_and, inside)


def zero_outside(values: jax.Array, sizes: jax.Array) -> jax.Array:
    """Returns values [B, *S, C] with zeros outside the sizes [B, D]."""
    return jnp.where(mask(sizes, values.shape[1:-1]), values, jnp.zeros((), values.dtype))


def check_padded(batch: Any, who_takes: str):
    """Raises TypeError unless `batch` is a `Padded`; `who_takes` begins the message, as in "layers take"."""
    if not isinstance(batch, Padded):
        raise TypeError(
            f"{type(batch).__name__} as input: {who_takes} a Padded; make one from examples [*spatial, channels] "
            "with fcnjax.Padded.stack([example, ...])."
        )


def check_within(sizes: np.ndarray, spatial_shape: Sequence[int]):
    """Raises ValueError if an example of sizes [B, D] is larger than the padded shape S or has a negative extent."""
    outside = np.flatnonzero(((sizes > np.array(spatial_shape)) | (sizes < 0)).any(1))
    if outside.size:
        index, shape = int(outside[0]), tuple(spatial_shape)
        raise ValueError(
            f"example {index} of size {tuple(sizes[index].tolist())}: must fit into the padded shape {shape}, with "
            "extents of at least 0 (0 in a filler row)."
        )


def _shape(index: int, example: Any) -> tuple[int, ...]:
    """Returns the shape of an example.

    Raises:
        ValueError: if it is not an array of numbers, nor nested sequences of them of one shape.
    """
    try:
        shape, dtype = np.shape(example), getattr(example, "dtype", None) or np.asarray(example).dtype
    except ValueError:
        shape, dtype = (), np.dtype(object)  # sequences of different lengths
    if not jnp.issubdtype(dtype, jnp.number) and not jnp.issubdtype(dtype, jnp.bool_):
        raise ValueError(f"example {index}={shown(example)}: must be an array of numbers [*spatial, channels].")
    return shape


def _checked_sizes(examples: Sequence[Any]) -> np.ndarray:
    shapes = [_shape(index, example) for index, example in enumerate(examples)]
    first = shapes[0]
    for index, shape in enumerate(shapes):
        if not 2 <= len(shape) <= MAX_RANK + 1 or 0 in shape:
            raise ValueError(
                f"example {index} of shape {shape}: must be [*spatial, channels] with 1 to {MAX_RANK} spatial axes, "
                "none of them empty; add a missing channel axis with array[..., None]."
            )
        if len(shape) != len(first) or shape[-1] != first[-1]:
            raise ValueError(
                f"example {index} of shape {shape}: must have the same number of axes and of channels as example 0 of "
                f"shape {first}."
            )
    return np.array([shape[:-1] for shape in shapes], np.int32)


def _check_fit(sizes: np.ndarray, shape: tuple[int, ...], rows: int):
    if len(shape) != sizes.shape[1]:
        raise ValueError(f"shape={shape}: must have {sizes.shape[1]} entries, one per spatial axis of the examples.")
    if rows < len(sizes):
        raise ValueError(f"batch_size={rows}: must be at least {len(sizes)}, the number of examples.")
    check_within(sizes, shape)
