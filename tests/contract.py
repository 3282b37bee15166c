"""The padding-invariance contract, which every layer, pool, head and network goes through.

An example alone at its own size has the same output, gradients and statistics as in any larger padded shape, in any
row of the batch, with any batch mates and filler rows, and its output is again zero outside the example. Outside the
examples, `values` are zero and `raw_values` are other numbers, which must not affect a layer. Whole networks, in
addition, never read values outside the sizes: NaN or 1e4 there changes nothing, bit for bit.

Weights, biases and running statistics are randomized: with initial values, most errors would be exactly 0. What an
output depends on is part of the contract of a layer: if its weights hide the rest of the example from an output, as a
ReLU without a positive input does, then the comparisons above prove nothing.
"""

import dataclasses
import functools
from collections.abc import Sequence

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from hypothesis import strategies as st

from fcnjax.geometry import AnyWindow, Expansion, Window
from fcnjax.padded import Padded

# Relative to the largest value, or to SMALLEST_SCALE if that is larger: inputs and weights are of order 1, so smaller
# values are remainders of terms that canceled.
TOLERANCE, DOUBLE_TOLERANCE, SMALLEST_SCALE = 1e-5, 1e-11, 0.1
RAW_PADDING = 7.0  # raw values outside the examples
NUDGE = 10.0  # added to one value, which becomes the largest of its example
EXTENTS = {1: (1, 2, 5, 8, 13), 2: (1, 4, 9), 3: (2, 5)}  # odd, even, 1, and an edge of the padded shape
PADDED_SHAPE = {1: (16,), 2: (9, 12), 3: (6, 5, 7)}  # of a batch of several examples, unless one is larger


def sizes(rank: int, minimum: int = 1, count: int = 2) -> st.SearchStrategy[list[tuple[int, ...]]]:
    """Draws the sizes of `count` examples from few extents, so that compiled programs are reused."""
    extents = [n for n in EXTENTS[rank] if n >= minimum]
    return st.lists(st.tuples(*[st.sampled_from(extents)] * rank), min_size=count, max_size=count)


def draw_examples(sizes: Sequence[tuple[int, ...]], channels: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(*size, channels)).astype(np.float32) for size in sizes]


def randomize(module: nnx.Module, seed: int = 0) -> nnx.Module:
    """Replaces every weight, bias and statistic by random numbers; variances stay positive.

    The module may consist of shapes only (`nnx.eval_shape`), so that no initial values are drawn or compiled.
    """
    rng = np.random.default_rng(seed)
    for path, variable in nnx.to_flat_state(nnx.state(module, (nnx.Param, nnx.BatchStat))):
        drawn = rng.normal(size=variable.shape).astype(np.float32)
        positive = path[-1] == "variance"
        variable.set_value(jnp.asarray(np.abs(drawn) + 0.5 if positive else drawn * (0.3 if drawn.ndim > 1 else 1.0)))
    return module


def call(module: nnx.Module, *arguments, method: str = "__call__", **options):
    """Calls a module as one compiled program; a direct call would compile a program per operation."""

    @nnx.jit
    def compiled(module, arguments):
        return getattr(module, method)(*arguments, **options)

    return compiled(module, arguments)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The results of one run of a module, which must not depend on padding."""

    outputs: list[np.ndarray]  # of each example, at its own size
    outside: np.ndarray  # values in the padding of the output
    input_gradient: Padded
    weight_gradients: dict
    statistics: dict


def run(
    module: nnx.Module,
    batch: Padded,
    *,
    train: bool = False,
    keys=None,
    only: int | None = None,
    outside: float | None = RAW_PADDING,
    double: bool = False,
) -> Outcome:
    """Runs a module and the gradients of a fixed random functional of its outputs.

    The functional weights an output by its row and its position, the same for every padded shape; with `only`, it uses
    only the example of that row. The module sees the batch with `outside` as the raw values of its padding; with None,
    it sees the batch as it is.
    """
    graphdef, weights, statistics = nnx.split(module, nnx.Param, nnx.BatchStat)
    row_weights = np.ones(batch.batch_size, np.float32)
    if only is not None:
        row_weights = np.eye(batch.batch_size, dtype=np.float32)[only]
    weights, statistics = nnx.to_pure_dict(weights), nnx.to_pure_dict(statistics)
    with jax.enable_x64(double):
        if double:
            weights, statistics, batch = jax.tree.map(_doubled, (weights, statistics, batch))
        out, gradients = _run(graphdef, train, weights, batch, statistics, keys, row_weights, outside)
    output, new_statistics = out
    if isinstance(output, Padded):
        outputs = output.unstack()
        outside = np.asarray(output.values)[~np.broadcast_to(np.asarray(output.mask), output.values.shape)]
    else:
        real = np.asarray(batch.real)
        outputs, outside = list(np.asarray(output)[real]), np.asarray(output)[~real]
    padded_gradient = Padded(gradients[1].values, batch.sizes)
    return Outcome(outputs, outside, padded_gradient, gradients[0], new_statistics)


def _doubled(array: jax.Array) -> jax.Array:
    return array.astype(np.float64) if array.dtype == np.float32 else array


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(graphdef, train, weights, batch, statistics, keys, row_weights, outside):
    def functional(weights, batch):
        if outside is not None:
            batch = batch.replace(jnp.where(batch.mask, batch.values, outside))
        module = nnx.merge(graphdef, weights, statistics)
        output = module(batch, train=train, keys=keys)
        values = output.values if isinstance(output, Padded) else output
        cotangent = row_weights.reshape((-1,) + (1,) * (values.ndim - 1)) * _pattern(values.shape[1:])[None]
        return jnp.sum(values * cotangent), (output, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat)))

    (_, out), gradients = jax.value_and_grad(functional, argnums=(0, 1), has_aux=True, allow_int=True)(weights, batch)
    return out, gradients


def _pattern(shape: tuple[int, ...]) -> jax.Array:
    """Returns a fixed number for each position and channel, the same for every padded shape."""
    total = jnp.zeros(shape)
    for axis, extent in enumerate(shape):
        along = [1] * len(shape)
        along[axis] = extent
        total = total + (axis + 1.3) * jnp.arange(extent, dtype=jnp.float32).reshape(along)
    return jnp.cos(total)


def assert_close(actual, expected, what: str, tolerance: float = TOLERANCE):
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape, f"{what}{jax.tree_util.keystr(path)}: shape {a.shape}, expected {b.shape}"
        scale = max(np.abs(b).max(initial=0.0), SMALLEST_SCALE)
        error = np.abs(a - b).max(initial=0.0) / scale
        assert error <= tolerance, f"{what}{jax.tree_util.keystr(path)}: relative difference {error:.2e}"


def check(module: nnx.Module, examples: Sequence[np.ndarray], *, train: bool = False, seed: int = 0):
    """Checks the contract for a module that treats examples independently (outside training, all modules do).

    The first example is compared with itself in a batch of one; the others are its batch mates.
    """
    randomize(module, seed)
    together = _with_filler(examples)
    keys = jax.random.split(jax.random.key(7), len(examples) + 1)
    alone = run(module, Padded.stack(examples[:1]), train=train, keys=keys[:1])
    of_all = run(module, together, train=train, keys=keys)
    assert not np.any(of_all.outside), "the output is not zero outside the examples"
    assert_close(of_all.outputs[0], alone.outputs[0], "output")
    assert_close(of_all.input_gradient.unstack()[0], alone.input_gradient.unstack()[0], "input gradient")
    of_first = run(module, together, train=train, keys=keys, only=0)
    assert_close(of_first.weight_gradients, alone.weight_gradients, "weight gradient")


def check_drawn(module: nnx.Module, rank: int, channels: int, *, minimum: int = 1, train: bool = False, seed: int = 0):
    """Checks the contract at the smallest sizes and at a few that Hypothesis draws, since each compiles a program."""

    @hypothesis.settings(max_examples=2)
    @hypothesis.given(sizes(rank, minimum))
    def drawn(sizes):
        check(module, draw_examples(sizes, channels, seed), train=train)

    drawn()


def check_batch(module: nnx.Module, examples: Sequence[np.ndarray], seed: int = 0, *, double: bool = False):
    """Checks the contract in training for a module with dependent examples: the padded shape must not matter.

    Networks need `double`: their deepest batch norms divide rounding by the standard deviation of a few positions,
    which amplifies it up to 1e4 times, and the rounding depends on the version of XLA.
    """
    randomize(module, seed)
    keys = jax.random.split(jax.random.key(7), len(examples) + 1)
    tight = run(module, Padded.stack(examples), train=True, keys=keys[:-1], double=double)
    filled = _with_filler(examples)
    wide = run(module, filled, train=True, keys=keys, double=double)
    tolerance = DOUBLE_TOLERANCE if double else TOLERANCE
    assert not np.any(wide.outside), "the output is not zero outside the examples"
    for what in ("outputs", "weight_gradients", "statistics"):
        assert_close(getattr(wide, what), getattr(tight, what), what, tolerance)
    assert_close(wide.input_gradient.unstack(), tight.input_gradient.unstack(), "input gradient", tolerance)


def check_poison(module: nnx.Module, examples: Sequence[np.ndarray], *, train: bool, seed: int = 0):
    """Checks that a network never reads values outside the sizes, and that no gradient reaches them."""
    randomize(module, seed)
    clean = _with_filler(examples)
    keys = jax.random.split(jax.random.key(7), clean.batch_size)
    expected = run(module, clean, train=train, keys=keys, outside=None)
    for poison in (np.nan, 1e4):
        dirty = Padded(jnp.where(clean.mask, clean.values, poison), clean.sizes)
        actual = run(module, dirty, train=train, keys=keys, outside=None)
        jax.tree.map(np.testing.assert_array_equal, dataclasses.asdict(actual), dataclasses.asdict(expected))
        padding = np.asarray(actual.input_gradient.values)[~np.asarray(clean.mask)[..., 0]]
        assert padding.size, "the batch has no padding: nothing was tested"
        np.testing.assert_array_equal(padding, 0.0)


def of_no_rows(module: nnx.Module, extent: Sequence[int], channels: int, *, train: bool = True):
    """Returns the shapes of the output for a batch without rows; traced only, with the gradient."""
    graphdef, state = nnx.split(module)
    sizes, keys = jnp.zeros((0, len(extent)), jnp.int32), jax.random.split(jax.random.key(7), 1)[:0]

    def apply(state, values):
        def output(values):
            return nnx.merge(graphdef, state)(Padded(values, sizes), train=train, keys=keys)

        return jax.vjp(output, values)[0]

    return jax.eval_shape(apply, nnx.to_pure_dict(state), jnp.zeros((0, *extent, channels)))


def _with_filler(examples: Sequence[np.ndarray]) -> Padded:
    largest = np.max([example.shape[:-1] for example in examples], axis=0)
    shape = PADDED_SHAPE[len(largest)]
    if any(largest > shape):
        shape = tuple((largest + 3).tolist())
    return Padded.stack(examples, shape=shape, batch_size=len(examples) + 1)


def check_dependence(
    module: nnx.Module, example: np.ndarray, expected: np.ndarray, *, train: bool = False, exactly: bool = True
):
    """Checks that each output changes with the values of the example that it should depend on, and with no others.

    Args:
        module: maps a `Padded` to a `Padded`; its weights are drawn as for the rest of the contract.
        example: [*S, C], a single example without padding.
        expected: bool [P', C', P, C], whether an output (one of P' positions, row-major, and a channel) depends on a
            value of the example.
        train: as for `check`.
        exactly: False allows further dependence.
    """
    randomize(module)
    graphdef, *states = nnx.split(module, nnx.Param, nnx.BatchStat)
    states = [nnx.to_pure_dict(state) for state in states]
    keys, sizes = jax.random.split(jax.random.key(7), 1), jnp.asarray([example.shape[:-1]])

    @jax.jit
    def outputs(examples):
        def alone(values):
            return nnx.merge(graphdef, *states)(Padded(values[None], sizes), train=train, keys=keys).values[0]

        return jax.vmap(alone)(examples)

    nudged = example.ravel() + NUDGE * np.eye(example.size, dtype=np.float32)
    examples = np.concatenate([example[None], nudged.reshape(-1, *example.shape)])
    first, *others = np.asarray(outputs(examples))
    actual = np.stack([other != first for other in others], -1).reshape(-1, first.shape[-1], example.size)
    wanted = expected.reshape(*expected.shape[:2], -1)
    assert actual.shape == wanted.shape, f"outputs [positions, channels]: {actual.shape[:2]}, not {wanted.shape[:2]}"
    for what, wrong in (("does not depend", wanted & ~actual), ("depends", actual & ~wanted & exactly)):
        cells = [tuple(map(int, cell)) for cell in np.argwhere(wrong)]
        assert not cells, f"output (position, channel) {cells[0][:2]} {what} on value {cells[0][2]}; {len(cells)} such"


def seen_positions(windows: Sequence[tuple[AnyWindow, ...]], size: Sequence[int], cut: Sequence[int]) -> np.ndarray:
    """Returns 0 or 1 [P', P], which positions of an example of `size` the windows see, applied one after another.

    Both are in row-major order; the outputs are cut to the extents `cut`.
    """
    whole = np.ones((1, 1), int)
    for axis, extent in enumerate(size):
        seen = np.eye(extent, dtype=int)
        for along in windows:
            seen = _seen(along[axis], along[axis].out_size(len(seen)), len(seen)) @ seen
        whole = np.kron(whole, seen[: cut[axis]])
    return np.minimum(whole, 1)


def _seen(window: AnyWindow, outputs: int, inputs: int) -> np.ndarray:
    """Returns 0 or 1 [outputs, inputs], whether an output of a window sees an input, tap by tap."""
    seen = np.zeros((outputs, inputs), int)
    for i, j in np.ndindex(outputs, inputs):
        if isinstance(window, Window):
            seen[i, j] = j in [
                i * window.stride - window.padding[0] + k * window.dilation for k in range(window.kernel)
            ]
        elif isinstance(window, Expansion):
            seen[i, j] = i in [j * window.stride - window.padding[0] + k for k in range(window.kernel)]
        else:  # a window over all positions
            seen[i, j] = 1
    return seen
