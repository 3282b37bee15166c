"""What stands before a network of signals: log-mel spectrograms, normalized, and masked in training."""

from fcnjax.layers import BatchNorm, Layer, LogMel, SpecAugment
from fcnjax.models.classifier import Block


def log_mel(
    *,
    in_channels: int,
    sample_rate: float = 8000,
    window: float = 0.025,
    hop: float = 0.010,
    mels: int = 64,
    f_min: float = 0.0,
    f_max: float | None = None,
    floor: float = 1e-6,
    time_masks: int = 0,
    time_width: float = 0.2,
    frequency_masks: int = 0,
    frequency_width: float = 0.2,
) -> Block:
    """Returns a block from signals [L, C] to log-mel spectrograms [T, C M], normalized per band over the batch.

    Args:
        in_channels: channels of the signals C.
        sample_rate: Hz, greater than 0.
        window: seconds, of at least 2 samples.
        hop: seconds between frames, of at least 1 sample.
        mels: number of bands M, at least 1.
        f_min: Hz, lower edge of the lowest band, at least 0.
        f_max: Hz, upper edge of the highest band, at most `sample_rate / 2`, which None stands for.
        floor: least power that the logarithm is taken of, greater than 0.
        time_masks: stretches of time that are hidden in training (see `fcnjax.layers.SpecAugment`).
        time_width: largest width of one, as a share of the example's own frames, 0 to 1.
        frequency_masks: stretches of bands that are hidden in training.
        frequency_width: largest width of one, as a share of the bands, 0 to 1.

    Raises:
        ValueError: a number is outside its range.
    """
    spectrogram = LogMel(sample_rate, window=window, hop=hop, mels=mels, f_min=f_min, f_max=f_max, floor=floor)
    masks = SpecAugment(time_masks, time_width, frequency_masks, frequency_width)
    layers: list[Layer] = [spectrogram, BatchNorm(spectrogram.out_channels(in_channels))]
    return Block("log_mel", [*layers, masks] if time_masks or frequency_masks else layers)
