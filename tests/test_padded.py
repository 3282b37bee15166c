"""Padded: stacking and unstacking, masks, zero padding, and JAX's transformations."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec

from fcnjax import Padded


@st.composite
def draw_batches(draw):
    rank = draw(st.integers(1, 3))
    sizes = draw(st.lists(st.tuples(*[st.integers(1, 4)] * rank), min_size=1, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    return [rng.normal(size=(*size, 2)).astype(np.float32) for size in sizes]


@hypothesis.settings(max_examples=10)
@hypothesis.given(draw_batches(), st.integers(0, 2), st.integers(0, 2), st.booleans())
def test_unstack_undoes_stack(examples, wider, fillers, as_jax):
    shape = np.max([x.shape[:-1] for x in examples], axis=0) + wider
    given = [jnp.asarray(x) for x in examples] if as_jax else examples
    batch = Padded.stack(given, shape=shape.tolist(), batch_size=len(examples) + fillers)
    assert batch.values.shape == (len(examples) + fillers, *shape, 2)
    for original, back in zip(examples, batch.unstack(), strict=True):
        np.testing.assert_array_equal(original, back)
    # Independent of Padded's own mask: nothing is left once the examples are taken out.
    rest = np.array(batch.values)
    for row, example in zip(rest, examples, strict=False):
        row[tuple(slice(n) for n in example.shape[:-1])] = 0
    assert not rest.any()
    assert int(batch.mask.sum()) == sum(x[..., 0].size for x in examples) == int(batch.counts.sum())
    assert batch.real.tolist() == [True] * len(examples) + [False] * fillers


def test_counts_may_exceed_an_int32():
    """Only the counts are real: the values take a position each."""
    sizes = jnp.array([[2**16, 2**15], [2**20, 2**20], [3, 5], [0, 2**20], [0, 0]])
    assert Padded(jnp.zeros((5, 1, 1, 1)), sizes).counts.tolist() == [2**31, 2**40, 15, 0, 0]
    assert Padded(jnp.zeros((1, 1, 1, 1, 1)), jnp.array([[2**11] * 3])).counts.tolist() == [2**33]


def test_zero_padding_replaces_whatever_is_outside():
    batch = Padded(jnp.full((2, 3, 1), jnp.nan), jnp.array([[2], [0]]))
    cleaned = batch.with_zero_padding().values
    assert np.isnan(cleaned[0, :2]).all()
    np.testing.assert_array_equal(cleaned[0, 2:], 0)
    np.testing.assert_array_equal(cleaned[1], 0)


def test_a_row_with_one_empty_extent_is_a_filler_row():
    """A window that fits along one axis only leaves such a size."""
    batch = Padded(jnp.ones((4, 3, 2, 1)), jnp.array([[3, 2], [0, 2], [2, 0], [0, 0]]))
    assert batch.real.tolist() == [True, False, False, False]
    assert batch.counts.tolist() == [6, 0, 0, 0]
    assert batch.mask.any((1, 2, 3)).tolist() == [True, False, False, False]
    (example,) = batch.unstack()
    assert example.shape == (3, 2, 1)


def raw_batch():
    return Padded(jnp.zeros((2, 3, 1)), jnp.array([[2], [0]])).replace(jnp.full((2, 3, 1), 7.0))


CLEARED = [[[7], [7], [0]], [[0], [0], [0]]]


def test_replaced_values_are_cleared_when_they_are_read():
    batch = raw_batch()
    np.testing.assert_array_equal(batch.raw_values, 7)
    np.testing.assert_array_equal(jax.tree.leaves(batch)[0], CLEARED)
    np.testing.assert_array_equal(batch.values, CLEARED)
    assert batch.values is batch.values  # computed once


def test_a_batch_read_inside_a_trace_can_be_read_outside_it_later():
    batch = raw_batch()
    np.testing.assert_array_equal(jax.jit(lambda x: batch.values + x)(0.0), CLEARED)
    np.testing.assert_array_equal(batch.values, CLEARED)


@pytest.mark.parametrize("name", ["values", "sizes", "raw_values"])
def test_attributes_cannot_be_set(name):
    with pytest.raises(AttributeError):
        setattr(batch_of_four(), name, jnp.zeros((4, 3, 1)))


def batch_of_four():
    return Padded.stack([jnp.arange(1.0, n + 1)[:, None] for n in (3, 1, 2, 3)])


def test_passes_through_jit_and_grad():
    batch = batch_of_four()
    doubled = jax.jit(lambda b: b.replace(2 * b.values))(batch)
    assert isinstance(doubled, Padded)
    np.testing.assert_array_equal(doubled.values, 2 * batch.values)
    gradient = jax.grad(lambda b: jnp.sum(b.with_zero_padding().values ** 2), allow_int=True)(batch)
    np.testing.assert_array_equal(gradient.values, 2 * batch.values)


def test_passes_through_vmap():
    batch = batch_of_four()
    twice = jax.tree.map(lambda x: jnp.stack([x, x]), batch)
    counts = jax.vmap(lambda b: b.counts)(twice)
    np.testing.assert_array_equal(counts, [[3, 1, 2, 3]] * 2)


def test_passes_through_sharding():
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    batch = jax.device_put(batch_of_four(), NamedSharding(mesh, PartitionSpec("data")))
    assert isinstance(batch, Padded)
    assert batch.values.sharding.spec == batch.sizes.sharding.spec == PartitionSpec("data")


@pytest.mark.parametrize(
    ("examples", "options", "message"),
    [
        ([], {}, "at least one example"),
        ([np.ones(3)], {}, r"example 0 of shape \(3,\).*add a missing channel axis"),
        ([np.ones((3, 1)), np.ones((3, 2))], {}, r"example 1 of shape \(3, 2\): .* as example 0 of shape \(3, 1\)"),
        ([np.ones((3, 1)), np.ones((3, 3, 1))], {}, "example 1 .*same number of axes"),
        ([np.ones((3, 1)), np.ones((0, 1))], {}, "example 1 of shape .*none of them empty"),
        ([np.ones((3, 1)), np.ones((5, 1))], {"shape": (4,)}, r"example 1 of size \(5,\): must fit"),
        ([np.ones((3, 1))], {"shape": (4, 4)}, r"shape=\(4, 4\): must have 1 entries"),
        ([np.ones((3, 1))] * 2, {"batch_size": 1}, "batch_size=1: must be at least 2"),
        (
            [np.ones((2, 2, 2, 2, 1))],
            {},
            r"example 0 of shape \(2, 2, 2, 2, 1\): must be \[\*spatial, channels\] with 1 to 3",
        ),
    ],
)
def test_stack_refuses(examples, options, message):
    with pytest.raises(ValueError, match=message):
        Padded.stack(examples, **options)


@pytest.mark.parametrize(
    ("values", "sizes", "message"),
    [
        ((2, 3), (2, 1), "1 to 3 spatial axes"),
        ((2, 3, 1), (2, 2), r"sizes of shape \(2, 2\): must be \(2, 1\)"),
        ((2, 3, 1), (3, 1), r"must be \(2, 1\)"),
    ],
)
def test_construction_refuses(values, sizes, message):
    with pytest.raises(ValueError, match=message):
        Padded(jnp.zeros(values), jnp.zeros(sizes, jnp.int32))


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int16])
def test_construction_refuses_sizes_of_another_dtype(dtype):
    with pytest.raises(ValueError, match=f"sizes of dtype {np.dtype(dtype)}: must be int32"):
        Padded(jnp.ones((2, 3, 1)), jnp.ones((2, 1), dtype))


@pytest.mark.parametrize("extent", [4, -1])
def test_construction_refuses_sizes_outside_the_padded_shape(extent):
    with pytest.raises(ValueError, match=rf"example 1 of size \({extent},\): must fit into the padded shape \(3,\)"):
        Padded(np.ones((2, 3, 1)), np.array([[3], [extent]]))  # type: ignore[arg-type]
