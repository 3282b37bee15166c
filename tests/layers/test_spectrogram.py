"""Log-mel spectrograms against plain numpy, and masks that follow each example's own length."""

import math

import contract
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fcnjax import Padded, layers
from fcnjax.layers.spectrogram import mel_filters

SMALL = {"sample_rate": 1000, "window": 0.05, "hop": 0.02, "mels": 6, "f_min": 40.0, "f_max": 450.0}


def draw(*lengths, channels=1):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(length, channels)) for length in lengths]


def in_numpy(signal, rate, taps, hop, bins, mels, f_min, f_max, floor):
    """Returns the log-mel spectrogram of one channel [L], computed frame by frame, bin by bin and filter by filter."""
    mel = lambda f: 1127.01048 * math.log(1 + f / 700)  # noqa: E731
    points = [700 * (math.exp(m / 1127.01048) - 1) for m in np.linspace(mel(f_min), mel(f_max), mels + 2)]
    times = np.arange(taps)
    hann = np.sin(np.pi * times / taps) ** 2
    rows = []
    for start in range(0, len(signal) - taps + 1, hop):
        frame = signal[start : start + taps] * hann
        bands = np.zeros(mels)
        for k in range(bins // 2 + 1):
            power = abs(np.sum(frame * np.exp(-2j * np.pi * k * times / bins))) ** 2
            for m, (low, middle, high) in enumerate(zip(points, points[1:], points[2:], strict=False)):
                bands[m] += power * np.interp(k * rate / bins, [low, middle, high], [0.0, 1.0, 0.0])
        rows.append(np.log(np.maximum(bands, floor)))
    return np.array(rows)


@pytest.mark.parametrize(("precision", "tolerance"), [(np.float64, 1e-6), (np.float32, 1e-4)])
def test_log_mel_equals_plain_numpy(precision, tolerance):
    signals = draw(137, 50, 90, channels=2)
    with jax.enable_x64(True):
        layer = layers.LogMel(**SMALL)
        assert layer.bins == 64
        batch = Padded.stack([signal.astype(precision) for signal in signals], shape=(200,), batch_size=4)
        out = jax.jit(layer.__call__)(batch)
        assert out.dtype == precision
        assert out.sizes.tolist() == [[5], [1], [3], [0]]
        assert not np.asarray(out.values)[~np.broadcast_to(out.mask, out.values.shape)].any()
        for signal, result in zip(signals, out.unstack(), strict=True):
            wanted = [in_numpy(channel, 1000, 50, 20, 64, 6, 40.0, 450.0, 1e-6) for channel in signal.T]
            np.testing.assert_allclose(result, np.concatenate(wanted, axis=1), atol=tolerance)


def test_a_tone_is_loudest_in_the_band_of_its_frequency():
    layer = layers.LogMel(mels=40)
    seconds = np.arange(2000)[:, None] / 8000
    loudest = []
    for hertz in (300.0, 1000.0, 3000.0):
        [bands] = layer(Padded.stack([np.sin(2 * np.pi * hertz * seconds).astype(np.float32)])).unstack()
        loudest.append(int(bands.mean(0).argmax()))
    mels = 2595 * np.log10(1 + np.array([300.0, 1000.0, 3000.0, 4000.0]) / 700)
    np.testing.assert_allclose(loudest, mels[:3] / mels[3] * 41 - 1, atol=0.6)


def test_silence_is_the_floor():
    [bands] = layers.LogMel(**SMALL, floor=1e-3)(Padded.stack([np.zeros((90, 1), np.float32)])).unstack()
    np.testing.assert_allclose(bands, np.log(1e-3), rtol=1e-6)


def test_log_mel_is_exported_for_signals_of_any_length():
    layer = layers.LogMel(**SMALL)
    rows, length = jax.export.symbolic_shape("b, l", constraints=["l >= 50"])
    shapes = jax.ShapeDtypeStruct((rows, length, 1), jnp.float32), jax.ShapeDtypeStruct((rows, 1), jnp.int32)
    program = jax.export.export(jax.jit(lambda values, sizes: layer(Padded(values, sizes)).values))(*shapes)
    batch = Padded.stack([signal.astype(np.float32) for signal in draw(137, 50)])
    np.testing.assert_allclose(program.call(batch.values, batch.sizes), layer(batch).values, atol=1e-5)


def test_every_filter_covers_a_frequency():
    assert layers.LogMel().bins == 256
    assert layers.LogMel(mels=128).bins == 512  # with 256, some of 128 bands below 4 kHz cover no frequency
    assert mel_filters(512, 8000, 128, 0.0, 4000.0).any(0).all()
    with pytest.raises(ValueError, match="bins=256 of the spectrogram: must be larger, as 6 of 128 filters cover no"):
        layers.LogMel(mels=128, bins=256)


def test_geometry_is_that_of_a_window():
    layer = layers.LogMel()
    assert layer.window(1)[0].min_size == 200
    assert [layer.out_extent((n,)) for n in (199, 200, 279, 280, 8000)] == [(0,), (1,), (1,), (2,), (98,)]
    assert layer.out_channels(2) == 128
    assert layer.multiply_adds((280,), 1) == 2 * (256 * 8 + 129 * 64)
    assert not jax.tree.leaves(nnx.state(layer)), "something would be trained or saved"
    with pytest.raises(ValueError, match="rank=1 of LogMel: must be 2, the number of spatial axes"):
        layer(Padded.stack([np.ones((300, 9, 1), np.float32)]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_rate": 0}, "sample_rate=0 of the spectrogram: must be greater than 0"),
        ({"window": 0.0001}, "window=0.0001 of the spectrogram: must be at least 2 samples of 0.000125 s"),
        ({"hop": 0.0}, "hop=0.0 of the spectrogram: must be at least 1 sample"),
        ({"mels": 0}, "mels=0 of the spectrogram: must be at least 1"),
        ({"f_max": 5000.0}, "f_max=5000.0 of the spectrogram: must be at most half the sample rate, 4000"),
        ({"f_min": 4000.0}, "f_min=4000.0 of the spectrogram: must be at least 0 and less than f_max, 4000"),
        ({"floor": 0.0}, "floor=0.0 of the spectrogram: must be greater than 0"),
        ({"bins": 128}, "bins=128 of the spectrogram: must be at least 200, the samples of the window"),
    ],
)
def test_log_mel_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        layers.LogMel(**options)


def masks(layer, frames, channels, count):
    batch = Padded(jnp.ones((count, frames + 7, channels)), jnp.full((count, 1), frames)).with_zero_padding()
    out = layer(batch, train=True, keys=jax.random.split(jax.random.key(1), count)).values
    return np.asarray(out[:, :frames] == 0)


@pytest.mark.parametrize("axis", [0, 1])
def test_masks_are_intervals_within_the_examples_own_frames(axis):
    layer = layers.SpecAugment(1, 0.3, 0) if axis == 0 else layers.SpecAugment(0, 0.3, 1, 0.3)
    masked = masks(layer, *((50, 4) if axis == 0 else (4, 50)), count=1000)
    along = masked.all(2 - axis)
    np.testing.assert_array_equal(masked.any(2 - axis), along)
    assert (np.diff(along.astype(int), axis=1) == 1).sum(1).max() <= 1
    np.testing.assert_array_equal(np.bincount(along.sum(1)) > 0, [True] * 16)  # widths 0 to 15, each drawn
    assert abs(along.sum(1).mean() - 7.5) < 3 * 4.7 / 1000**0.5
    assert along.mean(0).min() > 0.01  # every position is masked in some draws
    np.testing.assert_allclose(along.mean(0)[:20], along.mean(0)[:-21:-1], atol=0.06)  # symmetric in time


def test_two_masks_hide_more_than_one_and_widths_follow_the_length():
    one, two, short = (
        masks(layers.SpecAugment(count, 0.2, 0), frames, 3, 400).mean()
        for count, frames in ((1, 100), (2, 100), (1, 20))
    )
    assert 1.7 * one < two < 2 * one
    np.testing.assert_allclose(short, one, atol=0.015)  # the same share of 20 frames as of 100


def test_masks_depend_only_on_the_key():
    examples = [np.ones((length, 5), np.float32) for length in (30, 11, 18)]
    keys, layer = jax.random.split(jax.random.key(2), 5), layers.SpecAugment(2, 0.5, 1, 0.5)
    together = layer(Padded.stack(examples, (40,), 5), train=True, keys=keys).unstack()
    for index, expected in enumerate(together):
        batch = Padded.stack(examples[index : index + 1])
        [alone] = layer(batch, train=True, keys=keys[index : index + 1]).unstack()
        np.testing.assert_array_equal(alone, expected)
    assert any((out == 0).any() for out in together)


def test_spec_augment_is_the_identity_in_evaluation_and_at_zero():
    batch = Padded.stack(contract.draw_examples([(9,), (4,)], 3, 0))
    assert layers.SpecAugment()(batch) is batch
    assert layers.SpecAugment(2, 0.0, 0, 0.5)(batch, train=True) is batch


def test_spec_augment_refuses():
    batch = Padded.stack([np.ones((9, 3), np.float32)])
    with pytest.raises(ValueError, match="keys=None: SpecAugment needs one PRNG key per example"):
        layers.SpecAugment()(batch, train=True)
    with pytest.raises(ValueError, match=r"shape \(1, 4, 4, 1\): SpecAugment takes spectrograms"):
        layers.SpecAugment()(Padded.stack([np.ones((4, 4, 1), np.float32)]))
    for name, value in {"time_masks": -1, "frequency_masks": -1, "time_width": 1.5, "frequency_width": -0.5}.items():
        with pytest.raises(ValueError, match=f"{name}={value} of the spectrogram: must be"):
            layers.SpecAugment(**{name: value})
