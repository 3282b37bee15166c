"""Log-mel spectrograms of signals as a layer, and the masks that hide parts of them in training.

Axes: B batch, L length in samples, T frames, F bins of the Fourier transform, M mel filters, C channels. The one idea:
a frame is a window that lies entirely within the signal, so its geometry is that of any other windowed layer.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from fcnjax import random_streams
from fcnjax.geometry import Window
from fcnjax.layers.layer import Layer, WindowedLayer, at_least_float32, checked_keys
from fcnjax.padded import Padded


class LogMel(WindowedLayer):
    """Natural logarithm of the power in mel-spaced bands over time: signals [B, L, C] become [B, T, C M].

    A frame is a periodic Hann window over samples of the example ("valid": no pads; a tail shorter than a hop is
    dropped). Its power is the squared magnitude of its Fourier transform. The filters are triangles of height 1 between
    points evenly spaced on the HTK mel scale. All this is torchaudio's `MelSpectrogram` with `center=False` and its
    other defaults. The M outputs of one input channel are adjacent. The layer has no parameters.

    Args:
        sample_rate: in Hz, greater than 0.
        window: in seconds, rounded to samples, at least 2 samples.
        hop: seconds between frames, rounded to samples, at least 1 sample.
        mels: number of filters M, at least 1.
        f_min: lower edge of the lowest filter in Hz, at least 0 and less than `f_max`.
        f_max: upper edge of the highest filter in Hz, at most `sample_rate / 2` (the default).
        floor: minimum power before the logarithm, greater than 0.
        bins: number of samples of the Fourier transform, at least the window's, which is padded with zeros; default:
            the smallest power of two with which every filter covers a frequency.

    Raises:
        ValueError: if a number is outside its range, or `bins` leaves a filter without a frequency.

    Source: Stevens, Volkmann and Newman, 1937, for the scale, `2595 log10(1 + f / 700)` as in HTK; Davis and
    Mermelstein, 1980, for the filters.

    >>> LogMel(sample_rate=8000)(Padded.stack([jnp.ones((8000, 1))])).values.shape
    (1, 98, 64)
    """

    def __init__(
        self,
        sample_rate: float = 8000,
        *,
        window: float = 0.025,
        hop: float = 0.010,
        mels: int = 64,
        f_min: float = 0.0,
        f_max: float | None = None,
        floor: float = 1e-6,
        bins: int | None = None,
    ):
        _require(sample_rate > 0, "sample_rate", sample_rate, "greater than 0")
        taps, stride = round(window * sample_rate), round(hop * sample_rate)
        _require(taps >= 2, "window", window, f"at least 2 samples of {1 / sample_rate:g} s")
        _require(stride >= 1, "hop", hop, f"at least 1 sample of {1 / sample_rate:g} s")
        _require(mels >= 1, "mels", mels, "at least 1")
        f_max = sample_rate / 2 if f_max is None else f_max
        _require(f_max <= sample_rate / 2, "f_max", f_max, f"at most half the sample rate, {sample_rate / 2:g}")
        _require(0 <= f_min < f_max, "f_min", f_min, f"at least 0 and less than f_max, {f_max:g}")
        _require(floor > 0, "floor", floor, "greater than 0")
        _require(bins is None or bins >= taps, "bins", bins, f"at least {taps}, the samples of the window")
        super().__init__([Window(taps, stride)])
        self.floor, self.mels = floor, mels
        self.bins = bins or _enough_bins(taps, sample_rate, mels, f_min, f_max)
        self._filters = (self.bins, sample_rate, mels, f_min, f_max)
        empty = int((~mel_filters(*self._filters).any(0)).sum())
        _require(not empty, "bins", bins, f"larger, as {empty} of {mels} filters cover no frequency")

    def out_channels(self, channels: int) -> int:
        return channels * self.mels

    def multiply_adds(self, size: Sequence[int], channels: int) -> int:
        """Returns the multiply-adds of the filters, and n log2 n for a transform of n samples."""
        per_frame = round(self.bins * math.log2(self.bins)) + (self.bins // 2 + 1) * self.mels
        return self.out_extent(size)[0] * channels * per_frame

    def transform(self, batch: Padded) -> Padded:
        sizes = self.out_sizes(batch)
        signals = jnp.swapaxes(at_least_float32(batch.values), 1, 2)  # [B, C, L]
        transform = jnp.fft.rfft(self._frames(signals), self.bins)  # [B, C, T, F]
        # Not the square of `abs`: it takes a root, and the gradient of a root is infinite at 0.
        power = jnp.square(transform.real) + jnp.square(transform.imag)
        filters = jnp.asarray(mel_filters(*self._filters), power.dtype)
        bands = jnp.einsum("bctf,fm->btcm", power, filters, precision=jax.lax.Precision.HIGHEST)
        logarithm = jnp.log(jnp.maximum(bands, self.floor))
        logarithm = logarithm.reshape(*bands.shape[:2], self.out_channels(batch.channels))
        return batch.replace(logarithm.astype(batch.dtype), sizes)

    def _frames(self, signals: jax.Array) -> jax.Array:
        """Returns the frames [B, C, T, window] of signals [B, C, L], multiplied by the Hann window."""
        [window] = self._windows
        starts = window.stride * jnp.arange(window.out_size(signals.shape[-1]))
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window.kernel) / window.kernel)
        frames = signals[..., starts[:, None] + jnp.arange(window.kernel)[None, :]]
        return frames * jnp.asarray(hann, signals.dtype).reshape(1, 1, 1, -1)


class SpecAugment(Layer):
    """Zeroes random intervals of time and bands of channels of each spectrogram [B, T, C] in training.

    The width of a mask is uniform from 0 to its maximum; its position is uniform within the example's own frames. Both
    depend only on the example's key. Put the layer after a norm, where 0 is the mean.

    Args:
        time_masks: number of intervals of time, at least 0.
        time_width: maximum width of an interval, as a share of the example's own frames, 0 to 1.
        frequency_masks: number of bands of channels, at least 0.
        frequency_width: maximum width of a band, as a share of the channels, 0 to 1.
        stream: distinguishes this layer from the other random layers of a network.

    Raises:
        ValueError: if a number is outside its range; when called, if the batch does not have 1 spatial axis; in
            training, if `keys` is None.

    Source: Park et al., "SpecAugment", 2019, without time warping; the widths as shares of the extent.
    """

    def __init__(
        self,
        time_masks: int = 2,
        time_width: float = 0.2,
        frequency_masks: int = 2,
        frequency_width: float = 0.2,
        *,
        stream: int = random_streams.SPECTROGRAM_MASKS,
    ):
        for name, count in (("time_masks", time_masks), ("frequency_masks", frequency_masks)):
            _require(count >= 0, name, count, "at least 0")
        for name, share in (("time_width", time_width), ("frequency_width", frequency_width)):
            _require(0 <= share <= 1, name, share, "0 to 1")
        self.time_masks, self.time_width = time_masks, time_width
        self.frequency_masks, self.frequency_width, self.stream = frequency_masks, frequency_width, stream

    def apply(self, batch: Padded, *, train: bool, keys: jax.Array | None) -> Padded:
        if batch.rank != 1:
            raise ValueError(
                f"values of shape {tuple(batch.raw_values.shape)}: SpecAugment takes spectrograms [batch, frames, "
                "channels] with 1 spatial axis; leave it out for other inputs."
            )
        if not train or not (self.time_masks * self.time_width or self.frequency_masks * self.frequency_width):
            return batch
        keys = checked_keys(keys, batch, "SpecAugment needs")
        shape = (*batch.spatial_shape, batch.channels)
        keep = jax.vmap(functools.partial(self._keep, shape=shape))(keys, batch.sizes[:, 0])
        return batch.replace(jnp.where(keep, batch.raw_values, 0))

    def _keep(self, key: jax.Array, frames: jax.Array, *, shape: tuple[int, ...]) -> jax.Array:
        """Returns bool [T, C], False under the masks of one example."""
        time, frequency = (jax.random.fold_in(jax.random.fold_in(key, self.stream), axis) for axis in range(2))
        channels = jnp.int32(shape[1])
        outside_time = _outside_masks(time, self.time_masks, self.time_width, frames, shape[0])
        outside_bands = _outside_masks(frequency, self.frequency_masks, self.frequency_width, channels, shape[1])
        return outside_time[:, None] & outside_bands[None, :]


def _outside_masks(key: jax.Array, masks: int, share: float, size: jax.Array, extent: int) -> jax.Array:
    """Returns bool [extent], False in random intervals within `size`, each of at most a share of `size`."""
    drawn = jax.random.uniform(key, (2, masks))
    max_width = jnp.floor(share * size.astype(jnp.float32))
    width = jnp.floor(drawn[0] * (max_width + 1))
    start = jnp.floor(drawn[1] * (size - width + 1))
    positions = jnp.arange(extent, dtype=jnp.float32)[:, None]
    return jnp.all((positions < start[None]) | (positions >= (start + width)[None]), axis=1)


@functools.lru_cache(maxsize=16)
def mel_filters(bins: int, sample_rate: float, mels: int, f_min: float, f_max: float) -> np.ndarray:
    """Returns the filters [F, M], float64: triangles of height 1 between evenly spaced points of the HTK mel scale."""
    frequencies = np.arange(bins // 2 + 1) * sample_rate / bins
    lowest, highest = (2595 * math.log10(1 + f / 700) for f in (f_min, f_max))
    points = 700 * (10 ** (np.linspace(lowest, highest, mels + 2) / 2595) - 1)
    widths = np.diff(points)
    rising = (frequencies[:, None] - points[:-2]) / widths[:-1]
    falling = (points[2:] - frequencies[:, None]) / widths[1:]
    return np.maximum(0, np.minimum(rising, falling))


def _enough_bins(taps: int, sample_rate: float, mels: int, f_min: float, f_max: float) -> int:
    bins = 2 ** math.ceil(math.log2(taps))
    while not mel_filters(bins, sample_rate, mels, f_min, f_max).any(0).all():
        bins *= 2
    return bins


def _require(holds: bool, name: str, value: object, allowed: str):
    if not holds:
        raise ValueError(f"{name}={value} of the spectrogram: must be {allowed}.")
