"""A CPU's form of a depthwise convolution, a sum of shifted slices, against the library's convolution."""

import contract
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcnjax import geometry
from fcnjax.layers.convolution.cpu import depthwise
from fcnjax.layers.convolution.library import library_convolution
from fcnjax.padded import zero_outside

pytestmark = pytest.mark.usefixtures("on_a_cpu")
CHANNELS = 5


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "padding"),
    [
        ((9, 7), 3, 1, 1, 1),
        ((9, 7), (3, 5), 1, 1, 0),
        ((9, 7), 3, 2, 1, 1),
        ((9, 8), 3, 1, 2, 2),
        ((12, 9), (3, 2), (2, 1), (2, 3), [(1, 2), (0, 3)]),
        ((13,), 7, 1, 1, 3),
        ((13,), 4, 3, 1, 0),
        ((5, 6, 4), 3, 1, 1, 1),
        ((5, 6, 4), 3, (2, 1, 2), 1, 1),
        ((1, 1), 3, 1, 1, 1),  # most taps see the border only
        ((9, 9), 1, 2, 1, 0),
        ((9, 8), 2, 3, 1, 0),  # a stride beyond the kernel: some inputs are never used
    ],
)
@pytest.mark.parametrize(
    "covered", [2**25, 2**15, 1]
)  # gradients of kernels: of the batch; by example, if small; by tap
def test_the_sum_of_slices_is_the_library_convolution(monkeypatch, size, kernel, stride, dilation, padding, covered):
    rng = np.random.default_rng(0)
    windows = geometry.windows(len(size), kernel, stride, dilation, padding)
    x = jnp.asarray(rng.normal(size=(3, *size, CHANNELS)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(*(window.kernel for window in windows), 1, CHANNELS)), jnp.float32)
    sizes = jnp.asarray([size, [1] * len(size), [max(1, extent - 2) for extent in size]], jnp.int32)

    def library(x, w):
        options = {"rhs_dilation": [window.dilation for window in windows], "feature_group_count": CHANNELS}
        strides, pads = [window.stride for window in windows], [window.padding for window in windows]
        return library_convolution(zero_outside(x, sizes), w, strides, pads, **options)

    def ours(x, w):
        return depthwise.correlate_depthwise(x, w, windows, sizes)

    def output_and_gradients(f):
        def total(x, w):
            return jnp.sum(jnp.sin(f(x, w))), f(x, w)

        return jax.jit(jax.grad(total, (0, 1), has_aux=True))(x, w)

    def derivatives(f):
        """Forward mode, alone and over reverse mode, as for Hessian-vector products."""
        gradient = jax.grad(lambda x, w: jnp.sum(jnp.sin(f(x, w))), (0, 1))
        tangents = jnp.cos(x), jnp.sin(w)
        return jax.jvp(f, (x, w), tangents)[1], jax.jvp(gradient, (x, w), tangents)[1]

    monkeypatch.setattr(depthwise, "MAX_COVERED", covered)
    assert float(jnp.abs(library(x, w)).max()) > 0
    contract.assert_close(*map(output_and_gradients, (ours, library)), "gradients, output")
    contract.assert_close(*map(jax.jit(derivatives, static_argnums=0), (ours, library)), "derivatives")


@pytest.mark.parametrize(("examples", "one_by_one"), [(3, False), (4, True)])
def test_the_gradient_of_a_kernel_takes_examples_one_by_one_beyond_32_mib(examples, one_by_one):
    windows = geometry.windows(2, 3, 1, 1, 0)
    shapes = (examples, 128, 128, 16), (3, 3, 1, 16), (examples, 2)  # 9 MiB of an example at the nine taps
    x, w, sizes = (jax.ShapeDtypeStruct(s, d) for s, d in zip(shapes, ("float32", "float32", "int32"), strict=True))

    def total(w, x, sizes):
        return jnp.sum(depthwise.correlate_depthwise(x, w, windows, sizes))

    assert ("scan[" in str(jax.make_jaxpr(jax.grad(total))(w, x, sizes))) == one_by_one


def test_half_precision_adds_in_float32():
    rng = np.random.default_rng(0)
    windows = geometry.windows(2, 7, 1, 1, 3)
    x, w = (jnp.asarray(rng.normal(size=shape), jnp.bfloat16) for shape in ((2, 12, 12, 4), (7, 7, 1, 4)))
    found = depthwise.correlate_depthwise(x, w, windows, None)
    assert found.dtype == jnp.bfloat16
    exact = depthwise.correlate_depthwise(x.astype(jnp.float32), w.astype(jnp.float32), windows, None)
    np.testing.assert_array_equal(found, exact.astype(jnp.bfloat16))


@pytest.mark.parametrize(
    ("shape", "groups", "suits"),
    [
        ((3, 3, 1, 8), 8, True),
        ((3, 3, 1, 16), 8, False),  # two outputs per channel
        ((3, 3, 2, 8), 4, False),
        ((3, 3, 1, 1), 1, False),  # an ordinary convolution
        ((31, 1, 8), 8, False),
        ((9, 9, 1, 8), 8, False),  # more taps than MAX_TAPS
    ],
)
def test_small_kernels_without_a_multiplier_suit_slices(shape, groups, suits):
    taps = shape if len(shape) > 3 else (3, *shape)
    assert depthwise.suits_slices(jnp.zeros(taps), groups) is suits
