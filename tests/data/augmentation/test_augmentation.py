"""All augmentations: what each does, and that an example's changes depend on its key alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcnjax import random_streams
from fcnjax.data import Affine, Augmentation
from fcnjax.data.augmentation.image_augmentation import change_contrast
from fcnjax.padded import Padded

SIZES = {2: ((9, 7), (12, 14), (5, 11)), 1: ((300,), (77,), (513,))}
SETTINGS = {
    "rotation": 25.0,
    "flip": 0.5,
    "flip_vertical": 0.5,
    "brightness": 0.8,
    "contrast": 0.9,
    "saturation": 0.9,
    "hue": 90.0,
    "erase": 1.0,
    "gain": 12.0,
    "noise": 0.5,
    "time_shift": 0.5,
}
SIGNAL = ("gain", "noise", "time_shift")
EVERYTHING = {
    2: {name: value for name, value in SETTINGS.items() if name not in (*SIGNAL, "rotation")},
    1: {name: SETTINGS[name] for name in SIGNAL},
}
CASES = [
    *[(1 if name in SIGNAL else 2, {name: value}) for name, value in SETTINGS.items() if name != "rotation"],
    *EVERYTHING.items(),
]
NAMES = [next(iter(fields)) if len(fields) == 1 else f"all of rank {rank}" for rank, fields in CASES]


def draw(sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [(1.0 + rng.normal(size=(*size, 3))).astype(np.float32) for size in sizes]


def keys_of(count, seed=3):
    return jax.random.split(jax.random.key(seed), count)


def apply(fields, examples, keys, shape=None, rows=None) -> Padded:
    return jax.jit(Augmentation(**fields).__call__)(Padded.stack(examples, shape, rows), keys)


def changed(fields, example, count=1, seed=3) -> np.ndarray:
    """One example changed under many keys, [count, *S, C]."""
    return np.stack(apply(fields, [example] * count, keys_of(count, seed)).unstack())


def uniform(name, count, seed=3, shape=(), **bounds):
    """The draws of a field, written out: its own stream of each example's key."""
    streams = ["flip", "flip_vertical", "brightness", "contrast", "saturation", "hue", "erase", "time_shift"]
    own = jax.vmap(lambda key: jax.random.fold_in(key, random_streams.AUGMENTATION + 1 + streams.index(name)))
    return np.asarray(jax.vmap(lambda key: jax.random.uniform(key, shape, **bounds))(own(keys_of(count, seed))))


def test_every_field_is_tested():
    fields = {field.name for field in dataclasses.fields(Augmentation)}
    assert fields - {"scale", "shear", "shift", "erase_area"} == set(SETTINGS)


def test_no_change_leaves_everything_as_it_is():
    for rank, sizes in SIZES.items():
        batch = Padded.stack(draw(sizes))
        assert Augmentation()(batch, keys_of(3)) is batch, rank


@pytest.mark.parametrize(("rank", "fields"), CASES, ids=NAMES)
def test_changes_depend_on_the_key_alone(rank, fields):
    """Alone, or in a larger padded shape with mates and fillers in another order: the same bits, and zero outside.

    The last digit of several changes together may differ: XLA fuses them differently for another padded shape.
    """
    rounding = 0.0 if len(fields) == 1 else 1e-6
    examples, keys = draw(SIZES[rank]), keys_of(5)
    together = apply(fields, examples, keys, (17, 19)[:rank] if rank == 2 else (700,), 5)
    assert not np.asarray(together.values)[~np.broadcast_to(together.mask, together.values.shape)].any()
    np.testing.assert_array_equal(together.sizes[:3], SIZES[rank])
    backwards = apply(fields, examples[::-1], keys[:3][::-1]).unstack()[::-1]
    for index, expected in enumerate(together.unstack()):
        [alone] = apply(fields, examples[index : index + 1], keys[index : index + 1]).unstack()
        np.testing.assert_allclose(alone, expected, rtol=0, atol=rounding)
        np.testing.assert_allclose(backwards[index], expected, rtol=0, atol=rounding)


@pytest.mark.parametrize(("rank", "fields"), CASES, ids=NAMES)
def test_every_field_changes_examples_and_other_keys_otherwise(rank, fields):
    example = draw(SIZES[rank][1:2])[0]
    results = changed(fields, example, count=16)
    assert sum(np.abs(result - example).max() > 0.05 for result in results) > 3
    assert len({result.tobytes() for result in results}) > 1


@pytest.mark.parametrize(("rank", "fields"), CASES, ids=NAMES)
def test_what_stands_outside_the_sizes_is_never_read(rank, fields):
    clean = Padded.stack(draw(SIZES[rank]))
    dirty = Padded(jnp.where(clean.mask, clean.values, jnp.nan), clean.sizes)
    augment = jax.jit(Augmentation(**fields).__call__)
    np.testing.assert_array_equal(augment(dirty, keys_of(3)).values, augment(clean, keys_of(3)).values)


def test_affine_fields_alone_are_affine_to_the_bit():
    fields = {"rotation": 25.0, "scale": 0.3, "shear": 0.2, "shift": 0.15}
    batch, keys = Padded.stack(draw(SIZES[2])), keys_of(3)
    compiled = (jax.jit(change.__call__).lower(batch, keys) for change in (Affine(**fields), Augmentation(**fields)))
    first, second = (program.as_text() for program in compiled)
    assert first == second


def test_a_change_does_not_alter_what_others_draw():
    image = draw(SIZES[2][:1])[0]
    alone, with_shift = (changed({"flip": 0.5, "brightness": b}, image, 8) for b in (0.0, 0.5))
    difference = (with_shift - alone).reshape(8, -1)
    np.testing.assert_allclose(difference, np.broadcast_to(difference[:, :1], difference.shape), atol=1e-5)


@pytest.mark.parametrize(("name", "axis"), [("flip", 1), ("flip_vertical", 0)])
def test_flips_mirror_about_the_examples_own_middle_as_often_as_they_say(name, axis):
    image = draw(SIZES[2][:1])[0]
    for result in apply({name: 1.0}, [image] * 2, keys_of(2), (17, 19)).unstack():
        np.testing.assert_array_equal(result, np.flip(image, axis))
    mirrored = (changed({name: 0.25}, image, 1600) != image).any((1, 2, 3))
    assert abs(mirrored.mean() - 0.25) < 0.033  # 3 standard deviations


def test_colors_are_what_their_formulas_say():
    image = draw(SIZES[2][1:2])[0].astype(np.float64)
    gray = np.array([[[1]]]) * (image @ [0.299, 0.587, 0.114])[..., None]

    def drawn(name):
        return uniform(name, 1, minval=-1.0)[0].astype(np.float64)

    wanted = {
        "brightness": image + 0.8 * drawn("brightness"),
        "contrast": image.mean() + (1 + 0.9 * drawn("contrast")) * (image - image.mean()),
        "saturation": gray + (1 + 0.9 * drawn("saturation")) * (image - gray),
    }
    for name, expected in wanted.items():
        np.testing.assert_allclose(changed({name: SETTINGS[name]}, image, 1)[0], expected, atol=1e-5, err_msg=name)


def test_hue_keeps_luma_and_chroma_and_turns_by_the_angle_drawn():
    image = draw(SIZES[2][1:2])[0].astype(np.float64)
    yiq = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    angles = np.deg2rad(90.0) * uniform("hue", 8, minval=-1.0)
    for result, angle in zip(changed({"hue": 90.0}, image, 8), angles, strict=True):
        before, after = image @ yiq.T, result @ yiq.T
        np.testing.assert_allclose(after[..., 0], before[..., 0], atol=1e-5)
        turned = (before[..., 1] + 1j * before[..., 2]) * np.exp(1j * angle)
        np.testing.assert_allclose(after[..., 1] + 1j * after[..., 2], turned, atol=1e-5)


@pytest.mark.parametrize("name", ["contrast", "saturation", "hue"])
def test_colors_commute_with_normalization(name):
    """A normalized image is changed as its pixels would have been."""
    pixels = draw(SIZES[2][:1])[0]
    on_pixels, on_normalized = (changed({name: SETTINGS[name]}, image, 4) for image in (pixels, (pixels - 0.4) / 0.25))
    np.testing.assert_allclose(on_normalized, (on_pixels - 0.4) / 0.25, atol=1e-4)


def test_draws_fill_their_range_evenly():
    gray = np.zeros((3, 4, 1), np.float32)
    added = changed({"brightness": 0.8}, gray, 400)[:, 0, 0, 0] / 0.8
    tone = np.ones((5, 1), np.float32)
    decibels = 20 * np.log10(changed({"gain": 12.0}, tone, 400)[:, 0, 0]) / 12
    for drawn in (added, decibels):
        assert (drawn.min() < -0.97, drawn.max() > 0.97, np.abs(drawn).max() <= 1.00001) == (True,) * 3
        assert abs(drawn.mean()) < 0.09  # 3 standard deviations
        assert abs(drawn.std() - 3**-0.5) < 0.03


def test_erasing_zeroes_one_rectangle_within_the_image():
    image, max_share = np.ones((24, 36, 2), np.float32), 0.3
    results = changed({"erase": 0.5, "erase_area": max_share}, image, 800)
    np.testing.assert_array_equal(results[..., 0], results[..., 1])
    erased = results[..., 0] == 0
    happened = erased.any((1, 2))
    assert abs(happened.mean() - 0.5) < 0.054  # 3 standard deviations
    rows, columns = erased.any(2)[happened], erased.any(1)[happened]
    np.testing.assert_array_equal(erased[happened], rows[:, :, None] & columns[:, None, :])  # a rectangle
    for along in (rows, columns):
        assert (np.diff(along.astype(int), axis=1) == 1).sum(1).max() <= 1  # and a connected one
        assert along.any(0).all()  # each position of the image is erased in some draw
    share = erased[happened].mean((1, 2))
    assert share.min() > 0.01
    assert share.max() < max_share * 1.1  # rounding to whole pixels
    assert share.max() > 0.9 * max_share
    assert abs(share.mean() - (0.02 + max_share) / 2) < 0.02


def test_noise_is_white_gaussian_and_relative_to_the_signal():
    signal = draw([(2000,)])[0] * 5
    noise = (changed({"noise": 0.5}, signal, 4) - signal).astype(np.float64) / np.sqrt(
        (signal.astype(float) ** 2).mean()
    )
    assert np.abs(noise.std((1, 2)) - 0.5).max() < 0.014  # 3 standard deviations
    assert np.abs(noise.mean((1, 2))).max() < 0.02
    for lag in (1, 2, 255, 256, 257):
        assert np.abs((noise[:, lag:] * noise[:, :-lag]).mean((1, 2))).max() < 0.013  # 4 standard deviations
    flat = np.sort(noise.ravel()) / 0.5
    quantiles = flat[(np.array([0.0228, 0.1587, 0.5, 0.8413, 0.9772]) * flat.size).astype(int)]
    np.testing.assert_allclose(quantiles, [-2, -1, 0, 1, 2], atol=0.06)


def test_time_shifts_move_whole_signals_both_ways():
    ramp = np.arange(1, 41, dtype=np.float32)[:, None]
    shifts = np.round(0.5 * 40 * uniform("time_shift", 50, minval=-1.0)).astype(int)
    assert (shifts.min() < -15, shifts.max() > 15) == (True, True)
    for result, shift in zip(changed({"time_shift": 0.5}, ramp, 50), shifts, strict=True):
        wanted = np.zeros_like(ramp)
        wanted[max(shift, 0) : 40 + min(shift, 0)] = ramp[max(-shift, 0) : 40 - max(shift, 0)]
        np.testing.assert_array_equal(result, wanted)


@pytest.mark.parametrize("name", SETTINGS)
def test_fields_that_do_not_fit_the_data_are_named_in_one_sentence(name):
    rank = 2 if name in SIGNAL else 1
    batch = Padded.stack(draw(SIZES[rank]))
    kind = r"images \[B, H, W, C\]" if rank == 1 else r"signals \[B, L, C\]"
    message = f"^config.augment.{name}={SETTINGS[name]}: is for {kind}, but the values have the shape .*; set it to 0"
    with pytest.raises(ValueError, match=message) as caught:
        Augmentation(**{name: SETTINGS[name]})(batch, keys_of(3))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["saturation", "hue"])
def test_colors_need_three_channels(name):
    with pytest.raises(ValueError, match=f"config.augment.{name}=0.5: is for 3 channels .*, but the values have 1;"):
        Augmentation(**{name: 0.5})(Padded.stack([np.ones((4, 5, 1), np.float32)]), keys_of(1))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        *[({name: -0.1}, f"^{name}=-0.1: must be ") for name in SETTINGS],
        *[
            ({name: 1.5}, f"^{name}=1.5: must be 0 to 1.0")
            for name in ("flip", "contrast", "erase", "time_shift", "shift")
        ],
        ({"hue": 181.0}, "^hue=181.0: must be 0 to 180.0"),
        ({"noise": float("nan")}, "^noise=nan: must be at least 0"),
        ({"scale": float("inf")}, "^scale=inf: must be at least 0, and finite"),
        ({"erase_area": 0.0}, "^erase_area=0.0: must be greater than 0, and at most 1"),
    ],
)
def test_numbers_out_of_range_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**fields)


def test_contrast_of_an_image_of_more_values_than_an_int32_counts():
    """Only one of 2**31 pixels is here: the mean over all of them is 0."""
    changed = change_contrast(jnp.ones((1, 1, 3)), jnp.array([2**16, 2**15]), jax.random.key(0), bound=0.5)
    small = change_contrast(jnp.ones((1, 1, 3)), jnp.array([1, 1]), jax.random.key(0), bound=0.5)
    np.testing.assert_allclose(small, 1.0, rtol=1e-6)
    assert abs(float(changed[0, 0, 0]) - 1) > 0.01
