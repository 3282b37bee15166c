"""Layers made of layers: values against the parts, shapes, and names in compiled programs."""

import contract
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fcnjax import Padded, geometry, layers


@pytest.fixture
def batch():
    return Padded.stack(contract.draw_examples([(5, 3), (2, 6)], channels=4, seed=1), batch_size=3)


def conv(kernel, **options):
    return contract.randomize(layers.Convolution(4, 6, kernel, rngs=nnx.Rngs(kernel), **options))


def test_values_are_those_of_the_parts(batch):
    branch, shortcut = conv(3, stride=2, padding=1), conv(1, stride=2)
    summed = layers.Residual([branch], [shortcut])(batch)
    np.testing.assert_array_equal(summed.values, branch(batch).values + shortcut(batch).values)
    joined = layers.Concatenate([[branch], [shortcut]])(batch)
    np.testing.assert_array_equal(joined.values[..., :6], branch(batch).values)
    np.testing.assert_array_equal(joined.values[..., 6:], shortcut(batch).values)
    assert joined.sizes.tolist() == summed.sizes.tolist() == [[3, 2], [1, 3], [0, 0]]


def test_shapes_follow_from_the_branches():
    wide, narrow = conv(5, stride=2, padding=2), conv(1, stride=2)
    block = layers.Concatenate([[narrow], [wide, layers.Pointwise(6, 2, rngs=nnx.Rngs(0))]])
    assert geometry.receptive_field(windows[0] for windows in block.windows(2)).size == 5
    assert block.out_channels(4) == 8
    assert block.out_extent((9, 4)) == (5, 2)
    assert block.multiply_adds((9, 4), 4) == 10 * (4 * 6 + 25 * 4 * 6 + 6 * 2)


def test_a_skip_connection_returns_the_size_of_its_input(batch):
    down, up = layers.MaxPool(2, ceil=True), layers.Upsample(2)
    skip = layers.SkipConnection([down, up])
    out = skip(batch)
    assert out.sizes.tolist() == batch.sizes.tolist()
    for example, actual in zip(batch.unstack(), out.unstack(), strict=True):
        for i, j in np.ndindex(*example.shape[:2]):
            block = example[i // 2 * 2 : i // 2 * 2 + 2, j // 2 * 2 : j // 2 * 2 + 2]
            np.testing.assert_allclose(actual[i, j], example[i, j] + block.max((0, 1)), rtol=1e-6)
    assert skip.out_extent((5, 3)) == (5, 3)
    assert geometry.receptive_field(windows[0] for windows in skip.windows(2)) == (2, 1, -1)


@pytest.mark.parametrize("inner", [layers.ChannelDropout(0.5), layers.BatchNorm(4)])
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda layer: layers.Sequential([layer]), lambda out, x: out),
        (lambda layer: layers.Residual([layer]), lambda out, x: out + x),
        (lambda layer: layers.Residual([], [layer]), lambda out, x: out + x),
        (lambda layer: layers.SkipConnection([layer]), lambda out, x: out + x),
        (lambda layer: layers.SkipConnection([], [layer]), lambda out, x: out + x),
        (lambda layer: layers.Concatenate([[], [layer]]), lambda out, x: jnp.concatenate([x, out], -1)),
    ],
)
def test_training_and_keys_reach_the_layers_inside(batch, inner, make, expected):
    keys = jax.random.split(jax.random.key(0), batch.batch_size)
    inside = inner(batch, train=True, keys=keys).values
    assert (inside != inner(batch).values).any()
    outer = make(layers.BatchNorm(4) if isinstance(inner, layers.BatchNorm) else inner)
    found = outer(batch, train=True, keys=keys).values
    np.testing.assert_allclose(found, expected(inside, batch.values), rtol=1e-6, atol=1e-6)


def test_the_compiled_program_names_the_layers(batch):
    graphdef, state = nnx.split(layers.Residual([layers.BatchNorm(4), layers.Activation(jax.nn.softplus)]))

    def loss(state, batch):
        return jnp.sum(nnx.merge(graphdef, state)(batch, train=True).values)

    lowered = jax.jit(jax.grad(loss)).lower(state, batch)
    for text in (lowered.as_text(debug_info=True), lowered.compile().as_text()):
        for scope in ("jvp(Residual)", "transpose(jvp(Residual))"):
            for layer in ("BatchNorm", "Activation"):
                assert f"{scope}/Sequential/{layer}/" in text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Residual([conv(3, stride=2, padding=1)]), r"Residual: its branches turn \(5, 6\) into"),
        (
            lambda: layers.Residual([conv(3, padding=1)]),
            "Residual: its branch returns 6 channels, its shortcut 4, which",
        ),
        (
            lambda: layers.SkipConnection([], [layers.Pointwise(4, 1, rngs=nnx.Rngs(0))]),
            "SkipConnection: its branch returns 4 channels, its shortcut 1, which must",
        ),
        (lambda: layers.SkipConnection([layers.MaxPool(2)]), r"SkipConnection: its branch returns \(2, 3\)"),
        (lambda: layers.Concatenate([]), "branches=.. of Concatenate: must hold at least one"),
    ],
)
def test_branches_that_do_not_fit_are_refused(make, message, batch):
    with pytest.raises(ValueError, match=message):
        make()(batch)


def test_extents_of_a_branch_that_does_not_fit_its_shortcut_are_refused_without_a_batch():
    with pytest.raises(ValueError, match=r"SkipConnection: its branch returns \(2, 3\)"):
        layers.SkipConnection([layers.MaxPool(2)]).out_extent((5, 6))
    assert layers.SkipConnection([conv(3, padding=1)]).out_extent((5, 6)) == (5, 6)
