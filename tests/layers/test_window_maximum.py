"""The maximum of windows has the gradient of JAX's own, ties included, and scatters nothing."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcnjax.layers.pointwise import relu_of_sum
from fcnjax.layers.window_maximum import MAX_TAPS, _reduce, window_maximum
from fcnjax.xla import compiling_for

WINDOWS = [
    ((7, 8), (3, 3), (2, 2), ((1, 1), (1, 1))),
    ((6, 7), (2, 3), (2, 3), ((0, 0), (0, 2))),
    ((9,), (4,), (1,), ((2, 1),)),
    ((8, 9), (2, 2), (3, 3), ((0, 0), (0, 0))),  # positions between the windows
    ((5, 4), (3, 3), (2, 2), ((1, 2), (2, 2))),  # a last window in the pads
    ((4, 5, 6), (2, 2, 2), (2, 1, 2), ((0, 0), (1, 0), (0, 1))),
]


def with_ties(shape: tuple[int, ...]) -> jax.Array:
    """Returns values of which many are equal, as after a ReLU."""
    return jnp.asarray(np.maximum(np.random.default_rng(0).integers(-3, 3, (2, *shape, 3)), 0), jnp.float32)


def gradient(function, values):
    pattern = jnp.cos(jnp.arange(function(values).size, dtype=jnp.float32)).reshape(function(values).shape)
    return jax.grad(lambda values: jnp.sum(pattern * jnp.square(function(values))))(values)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])  # each has its own form of the gradient; both run anywhere
@pytest.mark.parametrize(("shape", "kernel", "strides", "pads"), WINDOWS)
def test_values_and_gradients_are_those_of_jax(shape, kernel, strides, pads, platform):
    with compiling_for(platform):
        check_values_and_gradients(shape, kernel, strides, pads)


def check_values_and_gradients(shape, kernel, strides, pads):
    values = with_ties(shape)
    ours = jax.jit(lambda values: window_maximum(values, kernel, strides, pads))
    np.testing.assert_array_equal(ours(values), _reduce(values, kernel, strides, pads))
    wanted = gradient(lambda values: _reduce(values, kernel, strides, pads), values)
    np.testing.assert_allclose(gradient(ours, values), wanted, rtol=1e-5)  # sums in another order
    assert np.abs(wanted).max() > 0
    tangent = jnp.sin(jnp.arange(values.size, dtype=jnp.float32)).reshape(values.shape)
    _, forward = jax.jvp(ours, (values,), (tangent,))
    back = jax.vjp(ours, values)[1](jnp.ones_like(forward))[0]
    assert float(jnp.sum(forward)) == pytest.approx(float(jnp.sum(back * tangent)), rel=1e-5)


def test_the_gradient_scatters_nothing_up_to_the_largest_kernel():
    def primitives(kernel):
        values = jnp.zeros((1, 40, 1))
        text = str(jax.make_jaxpr(jax.grad(lambda v: jnp.sum(window_maximum(v, (kernel,), (1,), ((0, 0),)))))(values))
        return "scatter" in text

    assert [primitives(kernel) for kernel in (2, MAX_TAPS, MAX_TAPS + 1)] == [False, False, True]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_relu_of_a_sum_is_a_relu(dtype):
    values = jnp.asarray(list(itertools.chain(range(-3, 4), [0.5, -0.5])), dtype)
    ours, theirs = (jax.jit(jax.value_and_grad(lambda v, f=f: jnp.sum(f(v) ** 2))) for f in (relu_of_sum, jax.nn.relu))
    for found, wanted in zip(ours(values), theirs(values), strict=True):
        assert found.dtype == wanted.dtype == dtype
        np.testing.assert_array_equal(found, wanted)
    second = jax.grad(lambda v: jax.grad(lambda v: relu_of_sum(v) ** 3)(v))
    assert float(second(jnp.float32(2.0))) == 12
