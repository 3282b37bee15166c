"""The base classes of all layers, and their contract: `Padded -> Padded`, zero outside each example.

Axes: B batch, S spatial, D number of spatial axes, C channels.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from fcnjax.arguments import check_call, is_whole, shown
from fcnjax.geometry import AnyWindow, Unbounded, Window
from fcnjax.padded import Padded, check_padded

IDENTITY = Window(1)


class Module(nnx.Module):
    """Base of all NNX modules here: its constructor checks the types of its arguments, and `nnx.tabulate` shows it.

    `nnx.tabulate` replaces every public function of a module's class by one that runs under `jax.jit`. That suits
    `__call__`, but not functions of shapes or names, which neither take nor return arrays. Of a `Module`, it finds
    `__call__` only. The rest is upstream's (flax 0.12): arguments such as `train=True` are traced, so it shows
    evaluation only, and if the call fails, the classes keep the replaced functions until the process ends.
    """

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        for name, function in list(vars(cls).items()):
            if name == "__init__":
                setattr(cls, name, _with_checked_arguments(function))
            elif inspect.isfunction(function) and not name.startswith("_"):
                setattr(cls, name, _Method(function))


class _Method:
    """A method that `inspect.isfunction` does not take for a function when it is looked up in its class."""

    def __init__(self, function: Callable[..., Any]):
        functools.update_wrapper(self, function)
        self._function = function

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else self._function.__get__(instance, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)


def _with_checked_arguments(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any):
        check_call(type(self).__name__, init, self, *args, **kwargs)
        init(self, *args, **kwargs)

    return checked


class Layer(Module):
    """Base of all layers: maps a `Padded` to a `Padded` and keeps it zero outside each example.

    The contract, checked for every layer by `tests/contract.py`: an example alone at its own size has the same output,
    gradients and statistics as in any larger padded shape with any batch mates. If the output at a position depends on
    other positions, a layer reads the batch's `values`, which are zero outside each example; otherwise it may read
    `raw_values`.

    A layer defines `transform`. If it, or a layer inside it, behaves differently in training, it defines `apply`
    instead. A layer with a window also overrides `window`, and a layer made of layers overrides `windows`: the sizes,
    receptive fields and minimum sizes of whole networks follow from them.
    """

    def __call__(self, batch: Padded, *, train: bool = False, keys: jax.Array | None = None) -> Padded:
        """Applies the layer, inside a scope named after its class, which profiles show.

        Args:
            batch: values [B, *S, C], zero outside each example.
            train: whether batch norm uses the statistics of the batch (and updates its running ones) and dropout is
                active.
            keys: one PRNG key per example [B]; only random layers in training need them.

        Returns:
            `Padded` with values [B, *S', C'].
        """
        with jax.named_scope(type(self).__name__):
            return self.apply(batch, train=train, keys=keys)

    def apply(self, batch: Padded, *, train: bool, keys: jax.Array | None) -> Padded:
        """Returns the output of `__call__`; by default `transform(batch)`, in training and evaluation."""
        del train, keys
        return self.transform(batch)

    def transform(self, batch: Padded) -> Padded:
        """Returns the output of a layer that is the same in training and evaluation."""
        raise TypeError(f"{type(self).__name__} does not define transform or apply.")

    def window(self, rank: int) -> tuple[AnyWindow, ...]:
        """Returns the window of this layer along each of `rank` spatial axes."""
        return (IDENTITY,) * rank

    def windows(self, rank: int) -> list[tuple[AnyWindow, ...]]:
        """Returns the windows between input and output, in order; of parallel branches, only those of the widest."""
        return [self.window(rank)]

    def out_extent(self, size: Sequence[int]) -> tuple[int, ...]:
        """Returns the extents of the output, one per spatial axis, for an input of extents `size`."""
        for windows in self.windows(len(size)):
            size = [window.out_size(extent) for window, extent in zip(windows, size, strict=True)]
        return tuple(size)

    def out_channels(self, channels: int) -> int:
        """Returns the number of output channels for `channels` input channels."""
        return channels

    def multiply_adds(self, size: Sequence[int], channels: int) -> int:
        """Returns the multiply-adds of the layer's products for one example, without elementwise operations.

        Args:
            size: extents of the input, one per spatial axis.
            channels: number of input channels.
        """
        del size, channels
        return 0


class ExampleWideLayer(Layer):
    """Base of the layers that use statistics of a whole example: every output depends on all its positions."""

    def window(self, rank: int) -> tuple[AnyWindow, ...]:
        return (Unbounded(),) * rank


class WindowedLayer(Layer):
    """Base of the layers that slide a window over the positions.

    Args:
        windows: one window per spatial axis.
    """

    def __init__(self, windows: Sequence[AnyWindow]):
        self._windows: tuple[Any, ...] = tuple(windows)  # all of one class

    def window(self, rank: int) -> tuple[AnyWindow, ...]:
        own = len(self._windows)
        if rank != own:
            raise ValueError(
                f"rank={own} of {type(self).__name__}: must be {rank}, the number of spatial axes of the input; build "
                f"it with rank={rank}."
            )
        return self._windows

    def out_sizes(self, batch: Padded) -> jax.Array:
        """Returns int32 [B, D], the sizes after this layer.

        The barrier turns the sizes into an array: without it, XLA recomputes them for every element that a mask clears.

        Raises:
            ValueError: if the batch and the layer differ in the number of spatial axes.
            TypeError: if the values are not floating.
        """
        check_floating(batch)
        windows = self.window(batch.rank)
        sizes = [window.out_size(batch.sizes[:, axis]) for axis, window in enumerate(windows)]
        return jax.lax.optimization_barrier(jnp.stack(sizes, axis=1))


def check_floating(batch: Padded):
    """Raises TypeError unless `batch` is a `Padded` of floating values; integer values would round the weights."""
    check_padded(batch, "layers take")
    if not jnp.issubdtype(batch.dtype, jnp.floating):
        raise TypeError(
            f"values of dtype {batch.dtype}: layers take floating values; convert them with "
            "batch.replace(batch.values.astype(jnp.float32)), as a model does."
        )


def require_positive(owner: str, **counts: int):
    """Raises ValueError if one of the named counts, such as `channels=0` of a layer, is not an int or is below 1."""
    for name, count in counts.items():
        if not is_whole(count):
            raise ValueError(f"{name}={shown(count)} of {owner}: must be a whole number, at least 1.")
        if count < 1:
            raise ValueError(f"{name}={count} of {owner}: must be at least 1.")


def checked_keys(keys: jax.Array | None, batch: Padded, who_needs: str) -> jax.Array:
    """Returns `keys`, one PRNG key for each row of a batch.

    Args:
        keys: keys as of `jax.random.key`, [B], or as of `jax.random.PRNGKey`, [B, 2].
        batch: its rows need the keys.
        who_needs: begins the message, as in "dropout needs".

    Raises:
        ValueError: if there are no keys, or another number of them.
    """
    needed = f"{who_needs} one PRNG key per example in training; pass keys=[B]."
    if keys is None:
        raise ValueError(f"keys=None: {needed}")
    typed = hasattr(keys, "dtype") and jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)
    shape, rows = jnp.shape(keys), batch.batch_size
    if len(shape) != (1 if typed else 2) or shape[0] != rows:
        raise ValueError(
            f"keys of shape {shape}: {who_needs} one PRNG key for each of the {rows} rows of the batch; make them with "
            f"jax.random.split(key, {rows})."
        )
    return keys


def mode(train: bool, keys: jax.Array | None) -> dict[str, Any]:
    """Returns the arguments `train` and `keys` of a layer's call that differ from their defaults.

    Under `nnx.tabulate` every argument is traced, even a bool, which no layer could read.
    """
    return ({"train": train} if train else {}) | ({} if keys is None else {"keys": keys})


def per_channel(vector: jax.Array, values: jax.Array) -> jax.Array:
    """Returns `vector` [C] with the rank and dtype of `values` [.., C], to broadcast along the channels."""
    return vector.astype(values.dtype).reshape((1,) * (values.ndim - 1) + (-1,))


def per_example(vector: jax.Array, values: jax.Array) -> jax.Array:
    """Returns `vector` [B] with the rank and dtype of `values` [B, ..], to broadcast along the batch."""
    return vector.astype(values.dtype).reshape((-1,) + (1,) * (values.ndim - 1))


def at_least_float32(values: jax.Array) -> jax.Array:
    """Returns `values` in a dtype fit for statistics and logarithms: float64 for float64 values, else float32."""
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def parameter_count(module: Any) -> int:
    """Returns the number of trainable scalars in a module."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))
