"""Window arithmetic against windows slid by hand, for ints, arrays and symbolic dimensions."""

import hypothesis
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from fcnjax import geometry
from fcnjax.geometry import Expansion, FullWindow, Window
from fcnjax.layers import Upsample
from fcnjax.padded import Padded


@st.composite
def draw_windows(draw):
    padding = st.tuples(st.integers(0, 3), st.integers(0, 3))
    numbers = draw(st.integers(1, 5)), draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(padding)
    return Window(*numbers, ceil=draw(st.booleans()), smallest=draw(st.integers(1, 4)))


def count_by_hand(window: Window, size: int) -> int:
    """Slides the window over the padded axis, one start after another."""
    if size < window.smallest:
        return 0
    end, starts = size + sum(window.padding), range(0, size + sum(window.padding), window.stride)
    if window.ceil:  # less than a stride beyond the end, and starting before the padding after the input
        inside = range(0, size + window.padding[0], window.stride)
        return sum(1 for start in inside if start + window.extent < end + window.stride)
    return sum(1 for start in starts if start + window.extent <= end)


@hypothesis.given(draw_windows(), st.integers(0, 30))
def test_out_size_counts_the_windows(window, size):
    expected = count_by_hand(window, size)
    assert window.out_size(size) == expected
    assert window.out_size(np.array([size]))[0] == expected
    assert int(window.out_size(jnp.array([size]))[0]) == expected


@hypothesis.given(st.lists(draw_windows(), min_size=1, max_size=4))
def test_min_size_is_the_smallest_that_gives_an_output(windows):
    smallest = geometry.min_size(windows)
    assert geometry.out_size(windows, smallest) >= 1
    assert smallest == 1 or geometry.out_size(windows, smallest - 1) == 0


@hypothesis.given(st.lists(draw_windows(), min_size=1, max_size=3))
def test_receptive_field_is_what_a_gradient_sees(windows):
    """Marks the inputs that one output depends on, by composing the sets of taps."""
    field = geometry.receptive_field(windows)
    index = 7
    seen = {index}
    for window in reversed(windows):
        taps = range(0, window.extent, window.dilation)
        seen = {i * window.stride - window.padding[0] + tap for i in seen for tap in taps}
    first = index * field.stride + field.start
    assert (min(seen), max(seen)) == (first, first + field.size - 1)


expansions = st.builds(Expansion, st.integers(1, 5), st.integers(1, 3), st.tuples(st.integers(0, 2), st.integers(0, 2)))


@hypothesis.given(expansions, st.integers(0, 12))
def test_expansions_count_the_outputs_that_are_reached(window, size):
    full = (size - 1) * window.stride + window.kernel if size else 0
    expected = len(range(window.padding[0], full - window.padding[1]))
    assert window.out_size(size) == expected
    assert window.out_size(np.array([size]))[0] == expected
    assert int(window.out_size(jnp.array([size]))[0]) == expected
    smallest = window.min_size
    assert window.out_size(smallest) >= 1
    assert smallest == 1 or window.out_size(smallest - 1) == 0


@hypothesis.given(st.lists(st.one_of(draw_windows(), expansions), min_size=1, max_size=3))
def test_receptive_field_with_expansions_holds_what_a_gradient_sees(windows):
    field = geometry.receptive_field(windows)
    for index in range(7, 13):
        seen = {index}
        for window in reversed(windows):
            if isinstance(window, Expansion):
                seen = {
                    i
                    for i in range(-60, 400)
                    for j in seen
                    if 0 <= j - (i * window.stride - window.padding[0]) < window.kernel
                }
            else:
                taps = range(0, window.extent, window.dilation)
                seen = {i * window.stride - window.padding[0] + tap for i in seen for tap in taps}
        if seen:
            first = index * field.stride + field.start
            assert first <= min(seen)
            assert max(seen) - min(seen) <= field.size - 1


def test_a_window_over_everything_sees_everything():
    windows = [Window(3, padding=(1, 1)), FullWindow(), Window(1)]
    assert geometry.receptive_field(windows).size == np.inf
    assert [geometry.out_size(windows, n) for n in (0, 1, 9)] == [0, 1, 1]
    assert geometry.min_size(windows) == 1
    with pytest.raises(ValueError, match="outputs=3 of a window over all positions"):
        geometry.min_size([FullWindow(), Window(3)])


def test_symbolic_dimensions_give_the_same_sizes():
    (size,) = jax.export.symbolic_shape("n", constraints=["n >= 8"])
    stack = [Window(4, 2, padding=(1, 1))] * 3

    def exported(x):
        return jnp.zeros(geometry.out_size(stack, x.shape[0]))

    program = jax.export.export(jax.jit(exported))(jax.ShapeDtypeStruct((size,), jnp.float32))
    for n in (8, 9, 28, 40):
        assert program.call(jnp.zeros(n)).shape == (geometry.out_size(stack, n),)


@pytest.mark.parametrize(
    ("padding", "kernel", "stride", "expected"),
    [
        ("same", 3, 2, ((1, 1), (1, 1))),
        ("valid", 3, 2, ((0, 0), (0, 0))),
        ("SAME", 4, 1, ((1, 2), (1, 2))),  # the padding of XLA at stride 1, whatever the size
        (2, 3, 1, ((2, 2), (2, 2))),
        ((1, 2), 3, 1, ((1, 1), (2, 2))),
        (((1, 2), (0, 3)), 3, 1, ((1, 2), (0, 3))),
    ],
)
def test_paddings(padding, kernel, stride, expected):
    assert tuple(w.padding for w in geometry.windows(2, kernel, stride, 1, padding)) == expected


def test_by_default_a_window_visits_every_position_once_and_adds_none():
    plain = geometry.Window(3, stride=1, dilation=1, padding=(0, 0), ceil=False)
    assert geometry.windows(2, 3) == (plain, plain)
    assert geometry.Window(3) == plain


@pytest.mark.parametrize("size", range(1, 12))
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_gives_ceil_of_size_over_stride(size, stride):
    assert geometry.windows(1, 3, stride, 1, "same")[0].out_size(size) == -(-size // stride)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2, 3, 2, 1, "SAME"), "padding='SAME' with stride 2.*use padding='same'"),
        ((2, 4, 1, 1, "same"), "no symmetric pads"),
        ((2, 3, 1, 1, "full"), "padding='full': must be 'same'"),
        ((2, (3, 3, 3)), "kernel=.*2 spatial axes"),
        ((2, 3, 1, 1, (1, 1, 1)), "padding=.*2 spatial axes"),
        ((2, 0), "kernel=0 of a window: must be at least 1"),
        ((2, 3, 0), "stride=0"),
        ((2, 3, 1, 1, -1), "must not be negative"),
    ],
)
def test_errors_name_argument_value_and_remedy(arguments, message):
    with pytest.raises(ValueError, match=message):
        geometry.windows(*arguments)


@hypothesis.given(st.lists(draw_windows(), max_size=4))
def test_centers_are_the_means_of_the_inputs_that_windows_see(stack):
    def seen(position: int, layers: list[Window]) -> float:
        """Returns the mean of the inputs, without an end, that an output sees through equal taps."""
        if not layers:
            return position + 0.5
        *before, last = layers
        first = position * last.stride - last.padding[0]
        return float(np.mean([seen(first + tap * last.dilation, before) for tap in range(last.kernel)]))

    np.testing.assert_allclose(geometry.centers(stack, 3), [seen(position, stack) for position in range(3)])


@pytest.mark.parametrize(("factor", "method"), [(2, "bilinear"), (3, "bilinear"), (2, "nearest"), (3, "nearest")])
def test_centers_of_finer_outputs_are_where_interpolation_puts_them(factor, method):
    layer = Upsample(factor, method, rank=1)
    [[window]] = layer.windows(1)
    expected = (np.arange(12) + 0.5) / factor
    np.testing.assert_allclose(geometry.centers([window], 12), expected)
    if method == "bilinear":  # interpolation of positions returns positions, away from the ends
        ramp = np.arange(8, dtype=np.float32)[:, None] + 0.5
        found = np.asarray(layer(Padded.stack([ramp])).values)[0, factor : 12 - factor, 0]
        np.testing.assert_allclose(found, expected[factor : 12 - factor], rtol=1e-6)


def test_windows_over_all_positions_have_no_center_of_their_own():
    stack = [Window(3, 2, padding=(1, 1)), geometry.Unbounded(), Window(2, 2)]
    np.testing.assert_array_equal(geometry.centers(stack, 2), geometry.centers([stack[0], stack[2]], 2))
