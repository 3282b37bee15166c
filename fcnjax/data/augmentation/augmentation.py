"""Random changes of training examples that keep their sizes, drawn on the device for each example separately.

Axes: B batch, H height, W width, L length, C channels. The one idea: a draw depends on the example's key alone, and so
on (seed, epoch, example id), not on the padded shape, the place in a batch, or the order of the epoch. Each kind of
change has its own random stream, so that enabling one does not change what another draws.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial

import jax

from fcnjax import random_streams
from fcnjax.data.augmentation.image_augmentation import (
    Affine,
    brighten,
    change_contrast,
    erase_rectangle,
    flip,
    require_range,
    require_rank,
    require_rgb,
    saturate,
    turn_hue,
)
from fcnjax.data.augmentation.signal_augmentation import add_noise, amplify, shift_in_time
from fcnjax.padded import Padded

MAX_VALUES = {"hue": 180.0, "brightness": math.inf, "gain": math.inf, "noise": math.inf}  # 1 for all other fields


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """All random changes of an example, in the order named here; a field that is 0 changes nothing and draws nothing.

    Images [B, H, W, C]: the affine map, flips, changes of brightness, contrast, saturation and hue, erasing. Signals
    [B, L, C]: a shift in time, noise, gain. Values are normalized, `(pixel / 255 - mean) / std`; values that enter from
    outside and erased values are 0, the mean.

    Attributes:
        rotation: images; bound of the angle in degrees, 0 to 180 (see `Affine`, here and below).
        scale: images; bound of the logarithm of the zoom, drawn separately for height and width, at least 0.
        shear: images; bound of the horizontal offset per unit of height, at least 0.
        shift: images; bound as a share of the extent, drawn separately for height and width, 0 to 1.
        flip: images; probability of a reflection that swaps left and right, 0 to 1.
        flip_vertical: images; probability of a reflection that swaps top and bottom, 0 to 1.
        brightness: images; bound of the number that is added, in units of the normalization's std, at least 0.
        contrast: images; bound `b` of a factor from 1 - b to 1 + b on the deviation from the image's own mean, 0 to 1.
        saturation: RGB images; bound `b` of a factor from 1 - b to 1 + b on the deviation from gray, 0 to 1.
        hue: RGB images; bound of the angle in degrees, 0 to 180.
        erase: images; probability that a rectangle is set to 0, 0 to 1.
        erase_area: largest share of the area that is erased, above 0 and at most 1.
        gain: signals; bound in decibels, at least 0.
        noise: signals; standard deviation of added white noise, in units of the signal's own root mean square, at least
            0.
        time_shift: signals; bound as a share of the length, 0 to 1.

    Bounded amounts are drawn uniformly, up to the bound on either side of no change; a draw is the same for all
    channels.

    Raises:
        ValueError: if a number is outside its range.

    Source: erasing is Zhong et al., "Random Erasing Data Augmentation", 2020.
    """

    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    flip: float = 0.0
    flip_vertical: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    erase: float = 0.0
    erase_area: float = 0.25
    gain: float = 0.0
    noise: float = 0.0
    time_shift: float = 0.0

    def __post_init__(self):
        _ = self._affine  # checks its own fields
        for name, _ in self._changes():
            require_range(name, getattr(self, name), MAX_VALUES.get(name, 1.0))
        if not 0 < self.erase_area <= 1:
            raise ValueError(f"erase_area={self.erase_area}: must be greater than 0, and at most 1.")

    def __call__(self, batch: Padded, keys: jax.Array) -> Padded:
        """Returns the changed batch; sizes stay.

        Args:
            batch: floating values [B, H, W, C] or [B, L, C].
            keys: one PRNG key per example [B].

        Raises:
            ValueError: if a change does not fit the number of spatial axes or channels.
        """
        batch = self._affine(batch, keys)
        for stream, (name, change) in enumerate(self._changes(), random_streams.AUGMENTATION + 1):
            value = getattr(self, name)
            if not value:
                continue
            require_rank(batch, 1 if name in ("gain", "noise", "time_shift") else 2, name, value)
            if name in ("saturation", "hue"):
                require_rgb(batch, name, value)
            batch = _changed(batch, jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, stream), change)
        return batch

    @property
    def _affine(self) -> Affine:
        return Affine(self.rotation, self.scale, self.shear, self.shift)

    def _changes(self) -> list[tuple[str, Callable[..., jax.Array]]]:
        """Returns fields and their changes in order; the order fixes the random streams, so append new changes."""
        return [
            ("flip", partial(flip, probability=self.flip, axis=1)),
            ("flip_vertical", partial(flip, probability=self.flip_vertical, axis=0)),
            ("brightness", partial(brighten, bound=self.brightness)),
            ("contrast", partial(change_contrast, bound=self.contrast)),
            ("saturation", partial(saturate, bound=self.saturation)),
            ("hue", partial(turn_hue, bound=self.hue)),
            ("erase", partial(erase_rectangle, probability=self.erase, max_share=self.erase_area)),
            ("time_shift", partial(shift_in_time, share=self.time_shift)),
            ("noise", partial(add_noise, level=self.noise)),
            ("gain", partial(amplify, bound=self.gain)),
        ]


def _changed(batch: Padded, keys: jax.Array, change: Callable[..., jax.Array]) -> Padded:
    """Returns the batch with each example changed under its own key, and zero outside the examples."""
    return batch.replace(jax.vmap(change)(batch.with_zero_padding().values, batch.sizes, keys).astype(batch.dtype))
