"""Which form of a convolution a program for a CPU holds, and that other platforms get the library's."""

import contract
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from fcnjax import geometry
from fcnjax.layers.convolution import dispatch
from fcnjax.layers.convolution.dispatch import convolve
from fcnjax.xla import compiling_for


def program(platform: str, shape, kernel, stride=1, dilation=1, groups=1, padding="same") -> str:
    """Returns the operations that compute a convolution, as text."""
    rank = len(shape) - 2
    windows = geometry.windows(rank, kernel[0], stride, dilation, kernel[0] // 2 if padding == "same" else padding)
    weights = jnp.zeros((*(window.kernel for window in windows), *kernel[1:]))
    with compiling_for(platform):
        return str(jax.make_jaxpr(lambda x, w: convolve(x, w, windows, groups))(jnp.zeros(shape), weights))


def primitives(*args, **options) -> set[str]:
    """Returns the names of the operations that compute a convolution."""
    text, names = program(*args, **options), ("conv_general_dilated", "dot_general", "gather", "mul")
    return {name for name in names if f" {name}[" in text or f" {name} " in text}


@pytest.mark.parametrize(
    ("shape", "kernel", "options", "found"),
    [
        ((2, 9, 9, 4), (1, 4, 8), {}, {"dot_general"}),
        ((2, 9, 9, 4), (1, 4, 8), {"stride": 2}, {"dot_general", "gather", "mul"}),
        ((2, 9, 9, 4), (3, 4, 8), {"stride": 2}, {"dot_general", "gather", "mul"}),
        ((2, 9, 9, 4), (3, 4, 8), {}, {"conv_general_dilated"}),
        ((2, 9, 9, 4), (3, 4, 8), {"dilation": 2, "padding": 2}, {"conv_general_dilated"}),
        ((1, 2, 2, 4), (3, 4, 8), {}, {"dot_general", "gather", "mul"}),  # more channels than windows
        ((2, 9, 9, 4), (3, 1, 4), {"groups": 4}, {"mul"}),
        ((2, 9, 9, 4), (3, 1, 4), {"groups": 4, "stride": 2}, {"mul"}),
        ((2, 9, 9, 4), (3, 2, 4), {"groups": 2}, {"conv_general_dilated"}),
    ],
)
def test_a_cpu_computes_products_slices_or_the_librarys_convolution(shape, kernel, options, found):
    assert primitives("cpu", shape, kernel, **options) == found


def test_few_narrow_groups_on_a_cpu_are_one_dense_convolution():
    def is_grouped(channels: int, outputs: int, groups: int, taps: int) -> bool:
        text = program("cpu", (2, 9, 9, channels), (taps, channels // groups, outputs), groups=groups)
        return f"feature_group_count={groups}" in text

    groups, width = dispatch.MAX_GROUPS, dispatch.MAX_WIDTH
    assert not is_grouped(groups * width, groups, groups, 3)
    assert is_grouped(groups * (width + 1), groups, groups, 3)
    assert is_grouped((groups + 1) * width, groups + 1, groups + 1, 3)
    assert not is_grouped(groups * 2, groups, groups, 7)  # however many taps


def test_other_platforms_get_the_librarys_convolution_but_for_products_of_channels():
    assert primitives("gpu", (2, 9, 9, 4), (3, 4, 8), stride=2) == {"conv_general_dilated"}
    assert primitives("gpu", (2, 9, 9, 4), (3, 1, 4), groups=4) == {"conv_general_dilated"}
    assert primitives("gpu", (2, 9, 9, 4), (1, 4, 8)) == {"dot_general"}


@pytest.mark.usefixtures("on_a_cpu")
@pytest.mark.parametrize(
    ("channels", "outputs", "groups", "taps", "stride"),
    [(6, 9, 3, 3, 1), (6, 9, 3, 1, 1), (8, 4, 2, 4, 2), (4, 8, 4, 3, 1)],  # the last: two outputs per channel
)
def test_groups_are_those_of_the_library(channels, outputs, groups, taps, stride):
    rng = np.random.default_rng(0)
    windows = geometry.windows(2, taps, stride, 1, taps // 2)
    x = jnp.asarray(rng.normal(size=(2, 7, 8, channels)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(taps, taps, channels // groups, outputs)), jnp.float32)
    sizes = jnp.asarray([[7, 8], [5, 3]], jnp.int32)

    def output_and_gradients(platform):
        def total(x, w):
            out = convolve(x, w, windows, groups, sizes)
            return jnp.sum(jnp.sin(out)), out

        with compiling_for(platform):
            return jax.jit(jax.grad(total, (0, 1), has_aux=True))(x, w)

    contract.assert_close(output_and_gradients("cpu"), output_and_gradients("gpu"), "gradients, output")


def test_a_grouped_convolution_whose_dense_kernel_is_large_stays_the_librarys(monkeypatch):
    monkeypatch.setattr(dispatch, "MAX_DENSE", 2 * 9 * 2 * 4)
    assert "feature_group_count=1" in program("cpu", (2, 9, 9, 4), (3, 2, 4), groups=2)
    monkeypatch.setattr(dispatch, "MAX_DENSE", 2 * 9 * 2 * 4 - 1)
    assert "feature_group_count=2" in program("cpu", (2, 9, 9, 4), (3, 2, 4), groups=2)


@pytest.mark.usefixtures("on_a_cpu")
def test_a_gradient_of_a_product_may_have_symbolic_sizes():
    (size,) = jax.export.symbolic_shape("b")
    values, matrix = jax.ShapeDtypeStruct((size, 64), jnp.float32), jax.ShapeDtypeStruct((64, 8), jnp.float32)
    gradient = jax.grad(lambda x, w: jnp.sum(jnp.sin(dispatch.channel_product(x, w))), (0, 1))
    exported = jax.export.export(jax.jit(gradient), platforms=["cpu"])(values, matrix)
    assert exported.call(jnp.ones((3, 64)), jnp.ones((64, 8)))[0].shape == (3, 64)
