"""The front end of a network for signals: log-mel spectrograms, normalized, and masked in training."""

import inspect
from collections.abc import Mapping
from typing import Any

from fcnjax.layers import BatchNorm, Layer, LogMel, SpecAugment
from fcnjax.models.classifier import Block
from fcnjax.naming import unknown_name

MASKS = ("time_masks", "time_width", "frequency_masks", "frequency_width")  # options of SpecAugment
OPTIONS = (*list(inspect.signature(LogMel.__init__).parameters)[1:], *MASKS)  # without self


def log_mel(in_channels: int, options: Mapping[str, Any]) -> Block:
    """Returns a block that turns signals [L, C] into log-mel spectrograms [T, C M], normalized per band over the batch.

    L is the length, T the number of frames, M the number of mel filters.

    Args:
        in_channels: number of channels of the signals C.
        options: arguments of `fcnjax.layers.LogMel` and, for masks in training, of `fcnjax.layers.SpecAugment`; both
            numbers of masks are 0 by default.

    Raises:
        ValueError: if an option is unknown (the message names the nearest one) or out of its range.
    """
    for name in options:
        if name not in OPTIONS:
            raise ValueError(unknown_name("option of the front end", name, OPTIONS))
    spectrogram = LogMel(**{name: value for name, value in options.items() if name not in MASKS})
    layers: list[Layer] = [spectrogram, BatchNorm(spectrogram.out_channels(in_channels))]
    masks = {"time_masks": 0, "frequency_masks": 0} | {name: options[name] for name in MASKS if name in options}
    masking = SpecAugment(**masks)
    return Block("log_mel", [*layers, masking] if masking.time_masks or masking.frequency_masks else layers)
