"""The affine map of images against scipy and numpy, and its independence of padding and row."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from fcnjax.data import Affine
from fcnjax.padded import Padded

SIZES = ((9, 7), (12, 14), (5, 11))
MAP = Affine(rotation=25.0, scale=0.3, shear=0.2, shift=0.15)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(*size, 2)).astype(np.float32) for size in SIZES]


def apply(affine: Affine, images, keys, shape=None, rows=None) -> Padded:
    return jax.jit(affine.__call__)(Padded.stack(images, shape, rows), keys)


def fix_draws(monkeypatch: pytest.MonkeyPatch, *drawn: float):
    """Makes every example draw these six numbers: angle, zoom of H and W, shear, shift of H and W, each -1 to 1."""

    def uniform(key, shape, *, minval):
        assert (shape, minval) == ((6,), -1.0)
        return jnp.array(drawn, jnp.float32)

    monkeypatch.setattr(jax.random, "uniform", uniform)


def test_all_zeros_leave_everything_as_it_is(images):
    batch = Padded.stack(images)
    assert Affine()(batch, jax.random.split(jax.random.key(0), 3)) is batch


def test_no_change_drawn_leaves_the_images_as_they_are(images, monkeypatch):
    fix_draws(monkeypatch, *[0.0] * 6)
    for image, changed in zip(
        images, apply(MAP, images, jax.random.split(jax.random.key(0), 3)).unstack(), strict=True
    ):
        np.testing.assert_allclose(changed, image, atol=1e-5)


def test_an_example_alone_is_the_same_as_in_a_larger_padded_shape_with_mates(images):
    keys = jax.random.split(jax.random.key(3), 5)
    batch = apply(MAP, images, keys, (17, 19), 5)
    outside = ~np.broadcast_to(np.asarray(batch.mask), batch.values.shape)
    assert not np.asarray(batch.values)[outside].any()
    np.testing.assert_array_equal(batch.sizes, [*SIZES, (0, 0), (0, 0)])
    for index, together in enumerate(batch.unstack()):
        [alone] = apply(MAP, images[index : index + 1], keys[index : index + 1]).unstack()
        assert np.abs(alone - images[index]).max() > 0.1
        np.testing.assert_allclose(together, alone, atol=1e-5)


def test_what_stands_outside_the_sizes_is_never_read(images):
    keys = jax.random.split(jax.random.key(3), 3)
    clean = Padded.stack(images, (17, 19))
    dirty = Padded(jnp.where(clean.mask, clean.values, jnp.nan), clean.sizes)
    np.testing.assert_array_equal(MAP(dirty, keys).values, MAP(clean, keys).values)


def test_the_draw_depends_on_the_key_and_not_on_the_row(images):
    keys = jax.random.split(jax.random.key(3), 3)
    same = images[1]
    first, second, third = apply(MAP, [same] * 3, keys[np.array([0, 1, 0])]).unstack()
    np.testing.assert_array_equal(first, third)
    assert np.abs(first - second).max() > 0.1


DRAWS = {
    "angle": (0.8, 0, 0, 0, 0, 0),
    "zoom of H": (0, -0.9, 0, 0, 0, 0),
    "zoom of W": (0, 0, 0.7, 0, 0, 0),
    "shear": (0, 0, 0, 0.8, 0, 0),
    "shift of H": (0, 0, 0, 0, -0.6, 0),
    "shift of W": (0, 0, 0, 0, 0, 0.5),
    "all": (-0.7, 0.6, -0.5, 0.9, 0.4, -0.3),
}


@pytest.mark.parametrize("drawn", DRAWS.values(), ids=DRAWS)
def test_each_draw_does_what_its_name_says(images, monkeypatch, drawn):
    """Against scipy.ndimage on one unpadded image, with the matrices written out."""
    fix_draws(monkeypatch, *drawn)
    angle = math.radians(25.0 * drawn[0])
    shear = np.array([[1, 0], [0.2 * drawn[3], 1]])
    rotation = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    zoom = np.diag(np.exp([-0.3 * drawn[1], -0.3 * drawn[2]]))
    matrix = zoom @ rotation @ shear  # from positions of the output to positions of the input, about the center
    batch = apply(MAP, images, jax.random.split(jax.random.key(0), 3), (15, 16))
    for image, changed in zip(images, batch.unstack(), strict=True):
        extent = np.array(image.shape[:2])
        center = (extent - 1) / 2
        offset = center + 0.15 * np.array(drawn[4:]) * extent - matrix @ center
        for channel in range(2):
            wanted = scipy.ndimage.affine_transform(
                image[..., channel].astype(np.float64), matrix, offset, order=1, mode="grid-constant"
            )
            np.testing.assert_allclose(changed[..., channel], wanted, atol=1e-4)


def test_a_quarter_turn_and_a_shift_by_whole_pixels_are_exact(monkeypatch):
    square = np.random.default_rng(1).normal(size=(7, 7, 1)).astype(np.float32)
    key = jax.random.split(jax.random.key(0), 1)
    fix_draws(monkeypatch, 1.0, 0, 0, 0, 0, 0)
    [turned] = apply(Affine(rotation=90.0), [square], key, (9, 12)).unstack()
    np.testing.assert_allclose(turned, np.rot90(square), atol=1e-5)
    wide = np.random.default_rng(1).normal(size=(8, 12, 1)).astype(np.float32)
    fix_draws(monkeypatch, 0, 0, 0, 0, 1.0, -0.5)
    [shifted] = apply(Affine(shift=0.25), [wide], key, (9, 15)).unstack()  # reads 2 further down, 1.5 further left
    wanted = np.zeros_like(wide)
    wanted[:6, 2:] = (wide[2:, 1:11] + wide[2:, :10]) / 2
    wanted[:6, 1] = wide[2:, 0] / 2
    np.testing.assert_allclose(shifted, wanted, atol=1e-5)


def test_draws_fill_their_range_and_do_not_leave_it():
    """The center of mass of a blob, over many keys: a shift of at most 2 of 20 rows and 3 of 30 columns."""
    y, x = np.mgrid[:20, :30]
    blob = np.exp(-((y - 9.5) ** 2 + (x - 14.5) ** 2) / 4)[..., None].astype(np.float32)
    batch = apply(Affine(shift=0.1), [blob] * 200, jax.random.split(jax.random.key(0), 200))
    values = np.asarray(batch.values, np.float64)[..., 0]
    total = values.sum((1, 2))
    moved = np.stack([(values * y).sum((1, 2)) / total - 9.5, (values * x).sum((1, 2)) / total - 14.5], 1) / (2.0, 3.0)
    assert np.abs(moved).max() <= 1.001
    assert (moved.min(0) < -0.9).all()
    assert (moved.max(0) > 0.9).all()
    assert np.abs(moved.mean(0)).max() < 0.15  # equally often in both directions
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.2  # height and width are independent


def test_the_draws_are_those_of_published_results():
    """The stream, the order and the range of the six draws: results in `experiments` depend on them."""
    rows = np.arange(64, dtype=np.float32)[:, None, None] * np.ones((64, 5, 1), np.float32)
    keys = jax.random.split(jax.random.key(11), 3)
    for key, changed in zip(keys, apply(Affine(shift=0.1), [rows] * 3, keys).unstack(), strict=True):
        drawn = jax.random.uniform(jax.random.fold_in(key, 2_000_000), (6,), minval=-1.0)
        np.testing.assert_allclose(changed[32, 2, 0], 32 + 0.1 * drawn[4] * 64, atol=1e-4)


def test_signals_are_refused_in_one_sentence():
    signals = Padded.stack([np.ones((9, 1), np.float32)])
    with pytest.raises(ValueError, match=r"config.augment.rotation=25.0: is for images \[B, H, W, C\], but") as caught:
        MAP(signals, jax.random.split(jax.random.key(0), 1))
    assert "shape (1, 9, 1); set it to 0" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert Affine()(signals, jax.random.split(jax.random.key(0), 1)) is signals
