"""Window arithmetic: which input positions an output position sees, and how large outputs are.

All arithmetic is for one axis. The same functions serve Python ints (shape tables), integer arrays (sizes of the
examples in a batch) and symbolic dimensions (export), so that shapes, masks and exported programs always agree.

Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016; receptive fields as in
Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fcnjax.arguments import check_arguments, fits, is_whole, shown

MAX_RANK = 3

Padding = str | int | Sequence[int] | Sequence[tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class Window:
    """A sliding window along one axis.

    Attributes:
        kernel: number of taps, at least 1.
        stride: distance between windows in input positions, at least 1.
        dilation: distance between taps in input positions, at least 1.
        padding: numbers of positions added (before, after) the input, each at least 0.
        ceil: whether a last window that reaches beyond the input counts. It must start within the input or the
            positions added before it (PyTorch's `ceil_mode`).
        smallest: smallest input that has an output, at least 1. A "reflect" border needs positions to mirror.

    Raises:
        ValueError: if a field is below its minimum.
    """

    kernel: int
    stride: int = 1
    dilation: int = 1
    padding: tuple[int, int] = (0, 0)
    ceil: bool = False
    smallest: int = 1

    def __post_init__(self):
        check_arguments("a window", type(self).__init__, vars(self))
        for name in ("kernel", "stride", "dilation", "smallest"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} of a window: must be at least 1.")
        if min(self.padding) < 0:
            raise ValueError(f"padding={self.padding} of a window: must not be negative; crop the input instead.")

    @property
    def extent(self) -> int:
        """Number of input positions that one window spans, including the gaps between its taps."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def reach(self) -> tuple[int, int]:
        """Numbers of positions (before, after) the input that windows may see: `padding`, and with `ceil` more after.

        With this padding, the windows that lie entirely within it are those that count.
        """
        before, after = self.padding
        return before, min(after + self.stride, self.extent) - 1 if self.ceil else after

    @property
    def min_size(self) -> int:
        """The smallest input size with at least one output."""
        return self.input_for(1)

    def input_for(self, outputs: int) -> int:
        """Returns the smallest input size with at least `outputs` outputs."""
        return max(self.smallest, (outputs - 1) * self.stride + self.extent - sum(self.reach))

    def out_size(self, size: Any) -> Any:
        """Returns the number of outputs for inputs of `size`: 0 below `min_size`, also for a filler row's size 0.

        Args:
            size: int, int32 array of any shape, or symbolic dimension (assumed to be at least `min_size`).

        Returns:
            The same type and shape as `size`.

        Raises:
            ValueError: if `size` is an array with a dtype other than int32 or int64.

        >>> Window(kernel=4, stride=2, padding=(1, 1)).out_size(28)
        14
        """
        if isinstance(size, (np.ndarray, jax.Array)) and size.dtype not in (np.int32, np.int64):
            raise ValueError(f"sizes of dtype {size.dtype}: must be int32; narrower integers would overflow.")
        outputs = (size + (sum(self.reach) - self.extent)) // self.stride + 1
        if not isinstance(size, (int, np.integer, np.ndarray, jax.Array)):
            return outputs
        xp = jnp if isinstance(size, jax.Array) else np
        outputs = xp.where(size >= self.smallest, xp.maximum(outputs, 0), 0)
        return int(outputs) if isinstance(size, (int, np.integer)) else outputs.astype(size.dtype)


@dataclasses.dataclass(frozen=True)
class Expansion:
    """The transpose of a sliding window along one axis: every input contributes to `kernel` outputs (up-sampling).

    Attributes:
        kernel: number of outputs that one input reaches, at least 1.
        stride: distance in outputs between neighboring inputs, at least 1.
        padding: number of outputs cut off (before, after), each at least 0.

    Raises:
        ValueError: if a field is below its minimum.
    """

    kernel: int
    stride: int = 1
    padding: tuple[int, int] = (0, 0)

    def __post_init__(self):
        check_arguments("an expansion", type(self).__init__, vars(self))
        for name in ("kernel", "stride"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} of an expansion: must be at least 1.")
        if min(self.padding) < 0:
            raise ValueError(f"padding={self.padding} of an expansion: must not be negative.")

    @property
    def min_size(self) -> int:
        """The smallest input size with at least one output."""
        return self.input_for(1)

    def input_for(self, outputs: int) -> int:
        """Returns the smallest input size with at least `outputs` outputs."""
        return max(1, -((self.kernel - sum(self.padding) - outputs) // self.stride) + 1)

    def out_size(self, size: Any) -> Any:
        """Returns the number of outputs for inputs of `size`, as `Window.out_size` does.

        >>> Expansion(kernel=4, stride=2, padding=(1, 1)).out_size(7)
        14
        """
        outputs = (size - 1) * self.stride + (self.kernel - sum(self.padding))
        if not isinstance(size, (int, np.integer, np.ndarray, jax.Array)):
            return outputs
        xp = jnp if isinstance(size, jax.Array) else np
        outputs = xp.where(size >= 1, xp.maximum(outputs, 0), 0)
        return int(outputs) if isinstance(size, (int, np.integer)) else outputs.astype(size.dtype)


@dataclasses.dataclass(frozen=True)
class FullWindow:
    """One window over all positions, as in a global pool: any size becomes 1."""

    min_size: ClassVar[int] = 1

    def input_for(self, outputs: int) -> int:
        """Returns 1.

        Raises:
            ValueError: if `outputs` is greater than 1.
        """
        if outputs > 1:
            raise ValueError(f"outputs={outputs} of a window over all positions: must be 1; give the next layer pads.")
        return 1

    def out_size(self, size: Any) -> Any:
        """Returns 1, or 0 for a filler row's size 0, as `Window.out_size` does."""
        if isinstance(size, (int, np.integer)):
            return min(int(size), 1)
        if isinstance(size, np.ndarray):
            return np.minimum(size, 1)
        return jnp.minimum(size, 1) if isinstance(size, jax.Array) else 1


@dataclasses.dataclass(frozen=True)
class Unbounded:
    """As many outputs as inputs; every output depends on all inputs, for example through statistics of the example."""

    min_size: ClassVar[int] = 1

    def input_for(self, outputs: int) -> int:
        """Returns `outputs`."""
        return outputs

    def out_size(self, size: Any) -> Any:
        """Returns `size`."""
        return size


AnyWindow = Window | Expansion | FullWindow | Unbounded


class ReceptiveField(NamedTuple):
    """The inputs that one output of a stack of windows sees along one axis.

    Output `i` sees the inputs from `i * stride + start` up to, but not including, `i * stride + start + size`. After an
    `Expansion`, stride and start may be fractions; the output then sees at most `size` inputs, starting no earlier
    than `i * stride + start`. After a `FullWindow` or an `Unbounded`, the size is infinite.
    """

    size: int | float
    stride: int | Fraction
    start: int | Fraction


def receptive_field(windows: Iterable[AnyWindow]) -> ReceptiveField:
    """Returns the receptive field, cumulative stride and offset of windows applied one after another.

    >>> receptive_field([Window(4, 2, padding=(1, 1))] * 3)
    ReceptiveField(size=22, stride=8, start=-7)
    """
    stack = list(windows)
    size, stride, start = 1, Fraction(1), Fraction(0)
    for window in reversed(stack):  # from a number of neighboring outputs to the most inputs that they see
        if isinstance(window, FullWindow | Unbounded):
            size = math.inf
        elif isinstance(window, Expansion):
            size = size if size == math.inf else (int(size) + window.kernel - 2) // window.stride + 1
        else:
            size = (size - 1) * window.stride + window.extent
    for window in stack:
        if isinstance(window, Expansion):
            stride /= window.stride
            start += (window.padding[0] - window.kernel + 1) * stride
        elif isinstance(window, Window):
            start -= window.padding[0] * stride
            stride *= window.stride
    stride, start = (int(n) if n.denominator == 1 else n for n in (stride, start))
    return ReceptiveField(size, stride, start)


def centers(windows: Iterable[AnyWindow], outputs: int) -> np.ndarray:
    """Returns the middles of the windows of the first outputs of a stack, from the edge of the input [outputs].

    Input `i` is from `i` to `i + 1`. Windows over all positions do not count: they have no place of their own.

    >>> centers([Window(4, 2, padding=(1, 1))] * 3, 2).tolist()
    [4.0, 12.0]
    """
    stride, first = 1.0, 0.5
    for window in windows:
        if isinstance(window, Expansion):
            stride /= window.stride
            first += (window.padding[0] - (window.kernel - 1) / 2) * stride
        elif isinstance(window, Window):
            first += ((window.extent - 1) / 2 - window.padding[0]) * stride
            stride *= window.stride
    return first + stride * np.arange(outputs)


def out_size(windows: Iterable[AnyWindow], size: Any) -> Any:
    """Returns the number of outputs of windows applied one after another (see `Window.out_size`)."""
    for window in windows:
        size = window.out_size(size)
    return size


def min_size(windows: Iterable[AnyWindow]) -> int:
    """Returns the smallest input size for which windows applied one after another have an output.

    >>> min_size([Window(4, 2, padding=(1, 1))] * 3)
    8
    """
    size = 1
    for window in reversed(list(windows)):
        size = window.input_for(size)
    return size


def per_axis(name: str, value: Any, rank: int) -> tuple[int, ...]:
    """Returns `value` as one int per spatial axis.

    Raises:
        ValueError: if `value` is neither an int nor a sequence of `rank` ints.
    """
    if is_whole(value):
        return (int(value),) * rank
    if not fits(value, Sequence[int]) or len(value) != rank:
        raise ValueError(f"{name}={shown(value)}: must be one int, or {rank} ints for {rank} spatial axes.")
    return tuple(int(v) for v in value)


def windows(
    rank: int,
    kernel: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    padding: Padding = 0,
    ceil: bool = False,
) -> tuple[Window, ...]:
    """Returns one `Window` per spatial axis from the usual arguments of a convolution or a pool.

    Args:
        rank: number of spatial axes, 1 to 3.
        kernel: taps, one int or one per axis.
        stride: one int or one per axis.
        dilation: one int or one per axis.
        padding: `'valid'` (no pads), `'same'` (symmetric, for odd extents; the output has `ceil(size / stride)`
            positions), one int, one int per axis, or one (before, after) pair per axis.
        ceil: whether a last window that reaches beyond the input counts (see `Window`).

    Raises:
        ValueError: if `padding` is `'SAME'` with a stride, or `'same'` with an even extent; if an argument does not
            have one entry per axis; or if `rank` is not 1 to 3.
    """
    if not is_whole(rank) or not 1 <= rank <= MAX_RANK:
        raise ValueError(f"rank={shown(rank)}: must be 1 to {MAX_RANK} spatial axes.")
    kernels = per_axis("kernel", kernel, rank)
    strides = per_axis("stride", stride, rank)
    dilations = per_axis("dilation", dilation, rank)
    bare = [Window(k, s, d, ceil=ceil) for k, s, d in zip(kernels, strides, dilations, strict=True)]
    return tuple(dataclasses.replace(each, padding=pad) for each, pad in zip(bare, _pads(padding, bare), strict=True))


def _pads(padding: Any, bare: Sequence[Window]) -> list[tuple[int, int]]:
    rank = len(bare)
    if isinstance(padding, str):
        return [_named_pad(padding, window) for window in bare]
    if is_whole(padding):
        return [(int(padding), int(padding))] * rank
    if not fits(padding, Sequence[int | tuple[int, int]]) or len(padding) != rank:
        raise ValueError(f"padding={shown(padding)}: must be an int, or {rank} ints or pairs for {rank} spatial axes.")
    return [(int(p), int(p)) if is_whole(p) else (int(p[0]), int(p[1])) for p in padding]


def _named_pad(padding: str, window: Window) -> tuple[int, int]:
    if padding in ("valid", "VALID"):
        return 0, 0
    total = window.extent - 1
    if padding == "SAME":
        if window.stride > 1:
            raise ValueError(
                f"padding='SAME' with stride {window.stride}: must not depend on the batch, but XLA chooses these pads "
                "from the padded shape: the grid of an example would shift with its batch mates; use padding='same' "
                "(symmetric, the same for every padded shape) or give the pads as numbers."
            )
        return total // 2, total - total // 2
    if padding == "same":
        if total % 2:
            raise ValueError(
                f"padding='same' with kernel {window.kernel} and dilation {window.dilation}: the extent must be odd, "
                f"as {window.extent} has no symmetric pads; use an odd kernel or give the pads as numbers."
            )
        return total // 2, total // 2
    raise ValueError(f"padding={padding!r}: must be 'same', 'valid', an int, or ints or pairs per axis.")
