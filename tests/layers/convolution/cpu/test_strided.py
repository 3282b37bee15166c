"""A CPU's forms of a strided convolution, one product and Winograd's pairs, against the library's convolution."""

import contract
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcnjax import Padded, geometry
from fcnjax.layers.convolution.cpu import strided
from fcnjax.layers.convolution.cpu.winograd import correlate_pairs
from fcnjax.layers.convolution.library import library_convolution

pytestmark = pytest.mark.usefixtures("on_a_cpu")


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        ((9, 7), 4, 2, 1),
        ((9, 7), 3, 2, 1),
        ((9, 7), 3, 1, 1),  # one product at stride 1 too
        ((11, 8), (3, 5), (3, 2), [(1, 0), (2, 2)]),
        ((13,), 7, 3, 0),
        ((13,), 6, 3, 2),
        ((11, 8), (4, 3), (2, 1), 1),
        ((5, 6, 7), 4, 2, 1),
        ((5, 6, 7), 3, 2, 1),
        ((9, 9), 1, 2, 0),
        ((9, 8), 2, 3, 0),  # a stride beyond the kernel: some inputs are never used
    ],
)
def test_the_product_is_the_library_convolution(size, kernel, stride, padding):
    check_product(size, kernel, stride, padding)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        ((9, 7), 4, 2, 1),  # 4 x 3 outputs: along the second axis, the last output has no partner
        ((8, 12), (4, 6), (2, 3), [(1, 1), (0, 2)]),
        ((13,), 6, 3, 2),
        ((9, 10), (4, 2), (2, 2), 0),  # one block along the last axis
        ((5, 6, 7), 4, 2, 1),
    ],
)
def test_winograd_is_the_library_convolution(monkeypatch, size, kernel, stride, padding):
    monkeypatch.setattr(strided, "MIN_SAVED", -np.inf)
    taken = []
    monkeypatch.setattr(strided, "correlate_pairs", lambda *args: taken.append(args) or correlate_pairs(*args))
    check_product(size, kernel, stride, padding)
    assert taken


def test_winograd_is_for_full_precision_and_many_multiplications():
    kernel = jnp.zeros((2, 2, 128, 64))
    assert strided._pays_in_pairs(64, (12, 12), kernel)
    assert not strided._pays_in_pairs(64, (12, 12), kernel.astype(jnp.bfloat16))
    assert not strided._pays_in_pairs(4, (12, 12), kernel), "saves few multiplications"
    assert not strided._pays_in_pairs(2**14, (1, 1), kernel), "saves none"
    assert not strided._pays_in_pairs(64, (12, 12), jnp.zeros((3, 2, 128, 64))), "windows of three blocks"


def check_product(size, kernel, stride, padding):
    rng = np.random.default_rng(0)
    windows = geometry.windows(len(size), kernel, stride, 1, padding)
    x = jnp.asarray(rng.normal(size=(2, *size, 3)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(*(window.kernel for window in windows), 3, 5)), jnp.float32)

    def library(x, w):
        return library_convolution(x, w, [window.stride for window in windows], [window.padding for window in windows])

    def ours(x, w):
        return strided.correlate_strided(x, w, windows, sizes=None)

    def output_and_gradients(f):
        def total(x, w):
            return jnp.sum(jnp.sin(f(x, w))), f(x, w)

        return jax.jit(jax.grad(total, (0, 1), has_aux=True))(x, w)

    def derivatives(f):
        """Returns forward derivatives, gradients by each argument, and derivatives of second order."""
        forward = jax.jvp(f, (x, w), (jnp.cos(x), jnp.cos(w)))[1]
        by_x, by_w = jax.grad(lambda x: jnp.sum(jnp.sin(f(x, w)))), jax.grad(lambda w: jnp.sum(jnp.sin(f(x, w))))
        return forward, by_x(x), by_w(w), jax.jvp(by_x, (x,), (jnp.cos(x),))[1]

    contract.assert_close(*map(output_and_gradients, (ours, library)), "gradients, output")
    contract.assert_close(*map(jax.jit(derivatives, static_argnums=0), (ours, library)), "derivatives")


@pytest.mark.parametrize("sizes", [None, [[3, 3], [3, 3], [0, 0]]])
def test_values_are_padded_to_the_windows_and_zero_outside_the_sizes(sizes):
    """The windows read one position before and after the first axis, but not the last two of the second axis."""
    examples = np.ones((3, 4, 6, 1), np.float32)
    inside = examples if sizes is None else Padded.stack(list(examples[:2, :3, :3]), (4, 6), 3).values
    windows = geometry.windows(2, 3, 2, 1, [(1, 2), (0, 0)])
    sizes = None if sizes is None else jnp.array(sizes)
    padded = strided.padded_for_windows(jnp.asarray(examples), windows, (6, 4), sizes)
    np.testing.assert_array_equal(padded, np.pad(inside, ((0, 0), (1, 1), (0, 0), (0, 0)))[:, :, :4])
