"""Random changes of training examples that keep their sizes, drawn for each example by itself, on the device.

What is drawn depends on the example's key alone, hence on (seed, epoch, example id): not on the rectangle, the place in
a batch, or the order of the epoch; and each kind of change has its own stream of numbers, so that to switch one on does
not change what another draws. Axes: B batch, H height, W width, L length, C channels.
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
    require_rank,
    require_rgb,
    saturate,
    turn_hue,
)
from fcnjax.data.augmentation.signal_augmentation import add_noise, amplify, shift_in_time
from fcnjax.padded import Padded

MOST = {"hue": 180.0, "brightness": math.inf, "gain": math.inf, "noise": math.inf}  # of the others 1


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """All random changes of an example, in this order; a number that is 0 changes nothing and draws nothing.

    Of images [B, H, W, C]: the affine map, flips, changes of brightness, contrast, saturation and hue, erasing. Of
    signals [B, L, C]: a shift in time, noise, gain. Values are normalized ones, `(pixel / 255 - mean) / std`; what
    comes in from outside or is erased is 0, hence the mean.

    Attributes:
        rotation, scale, shear, shift: of images (see `Affine`).
        flip: of images, probability of a reflection that swaps left and right, 0 to 1.
        flip_vertical: of images, probability of a reflection that swaps top and bottom, 0 to 1.
        brightness: of images, bound of what is added, in units of the normalization's std, at least 0.
        contrast: of images, bound of the change of the factor on the deviation from the image's own mean, 0 to 1.
        saturation: of RGB images, bound of the change of the factor on the deviation from gray, 0 to 1.
        hue: of RGB images, degrees, 0 to 180.
        erase: of images, probability that a rectangle is set to 0, 0 to 1.
        erase_area: largest share of the area that is erased, greater than 0, to 1.
        gain: of signals, decibels, at least 0.
        noise: of signals, standard deviation of added white noise, in units of the signal's own root mean square, at
            least 0.
        time_shift: of signals, share of the length, 0 to 1.

    A bound is that of a uniform draw to both sides of no change, one for all channels.

    Raises:
        ValueError: a number is outside its range.

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
            value, most = getattr(self, name), MOST.get(name, 1.0)
            if not 0 <= value <= most or value == math.inf:
                allowed = f"0 to {most}" if most < math.inf else "at least 0, and finite"
                raise ValueError(f"{name}={value}: must be {allowed}.")
        if not 0 < self.erase_area <= 1:
            raise ValueError(f"erase_area={self.erase_area}: must be greater than 0, and at most 1.")

    def __call__(self, batch: Padded, keys: jax.Array) -> Padded:
        """Returns the batch, changed; sizes stay.

        Args:
            batch: floating values [B, H, W, C] or [B, L, C].
            keys: one PRNG key per example [B].

        Raises:
            ValueError: for a change that does not fit the number of spatial axes or channels.
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
        """Returns fields and their changes in order; the order fixes the streams, new ones go to the end."""
        return [
            ("flip", partial(flip, probability=self.flip, axis=1)),
            ("flip_vertical", partial(flip, probability=self.flip_vertical, axis=0)),
            ("brightness", partial(brighten, bound=self.brightness)),
            ("contrast", partial(change_contrast, bound=self.contrast)),
            ("saturation", partial(saturate, bound=self.saturation)),
            ("hue", partial(turn_hue, bound=self.hue)),
            ("erase", partial(erase_rectangle, probability=self.erase, most=self.erase_area)),
            ("time_shift", partial(shift_in_time, share=self.time_shift)),
            ("noise", partial(add_noise, level=self.noise)),
            ("gain", partial(amplify, bound=self.gain)),
        ]


def _changed(batch: Padded, keys: jax.Array, change: Callable[..., jax.Array]) -> Padded:
    """Returns the batch, cleared, with each example changed by a key of its own."""
    return batch.replace(jax.vmap(change)(batch.with_zero_padding().values, batch.sizes, keys).astype(batch.dtype))
