"""What a network says of the positions of one example.

Axes: S the spatial axes of the example (H, W of an image, L of a signal), S' those of the maps, K classes. The one
idea: scores have places in the example, the middles of their receptive fields; a map is not stretched over its extent.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from PIL import Image

from fcnjax.data.sources.resized import resample
from fcnjax.figure_style import RED
from fcnjax.heads import MapKind
from fcnjax.inference.prediction import Prediction
from fcnjax.naming import joined

SMALLEST, LARGEST = 256, 1024  # longest side of an overlay, in pixels: smaller images are enlarged
OPACITY = 0.75  # of the color at the largest score


@dataclasses.dataclass(frozen=True, eq=False)
class ExampleMaps:
    """Class maps, or class activation maps, of one example.

    Attributes:
        maps: float32 [*S', K]: scores, or probabilities (see `unit`), of each class at each position.
        centers: where these lie along each axis, in positions of the example from its edge; the first pixel or sample
            is from 0 to 1.
        size: extents S of the example.
        prediction: of the whole example.
        kind: what the maps are.
        unit: "score" or "probability".
        read: returns the example's values [*S, C], possibly reduced in size as far as the given extents allow; it reads
            a file again.
        values: lowest and highest value of examples in training, before mean and deviation are taken out.
        rate: samples per second of a signal; None if it is unknown.
    """

    maps: np.ndarray
    centers: tuple[np.ndarray, ...]
    size: tuple[int, ...]
    prediction: Prediction
    kind: MapKind
    unit: str
    read: Callable[[Sequence[int]], np.ndarray] = dataclasses.field(repr=False)
    values: tuple[float, float] = (0.0, 1.0)
    rate: float | None = None

    @cached_property
    def times(self) -> np.ndarray:
        """Seconds from the beginning of a signal to the centers of its frames; in samples if the rate is unknown [T].

        Raises:
            ValueError: if the example is not a signal.
        """
        if len(self.size) != 1:
            raise ValueError(f"times of an example of size {joined(self.size)}: must be of a signal.")
        return self.centers[0] / (self.rate or 1.0)

    def of(self, label: int | None = None) -> np.ndarray:
        """Returns the map of a class, by default the predicted one [*S']."""
        return self.maps[..., self.prediction.label if label is None else label]

    def heat(self, label: int | None = None, size: tuple[int, int] | None = None) -> np.ndarray:
        """Returns a map up-sampled to an image and scaled to [0, 1] (see `heat_of`).

        Args:
            label: class; None for the predicted one.
            size: extents [H, W] that the image is scaled to; None for its own.

        Raises:
            ValueError: if the example is not an image.
        """
        if len(self.size) != 2:
            raise ValueError(f"heat of an example of size {joined(self.size)}: must be of an image.")
        size = size or (self.size[0], self.size[1])
        centers = [each * n / own for each, n, own in zip(self.centers, size, self.size, strict=True)]
        return heat_of(np.nan_to_num(self.of(label)), size, centers)

    def overlay(self, label: int | None = None, max_side: int = LARGEST) -> Image.Image:
        """Returns the image in gray, in its aspect, under the map of a class in color.

        There is no color at the lowest score of the map, and the strongest at the largest one.

        Args:
            label: class; None for the predicted one.
            max_side: longest side in pixels, at least 1; larger images are reduced, and small ones are enlarged by a
                whole number, up to 256 pixels at most.

        Raises:
            ValueError: if the example is not an image, or has changed since it was predicted.
            OSError: if its file cannot be read again.
        """
        if len(self.size) != 2:
            raise ValueError(f"overlay of an example of size {joined(self.size)}: must be of an image.")
        longest = max(self.size)
        if longest > max_side:
            size = tuple(max(1, round(extent * max_side / longest)) for extent in self.size)
        else:
            size = tuple(extent * max(1, min(SMALLEST, max_side) // longest) for extent in self.size)
        heat = self.heat(label, (size[0], size[1]))[..., None]
        color = np.array([int(RED[at : at + 2], 16) for at in (1, 3, 5)], np.float64)
        mixed = self._gray(size)[..., None] * (1 - OPACITY * heat) + color * OPACITY * heat
        return Image.fromarray(mixed.round().astype(np.uint8))

    def _gray(self, size: tuple[int, ...]) -> np.ndarray:
        """Returns the image at a size, as the mean of its channels, 0 to 255 [H, W]."""
        values, wanted = self.read([min(n, own) for n, own in zip(size, self.size, strict=True)]), size
        if max(size) > max(self.size):  # enlarged by a whole number, so that pixels stay visible
            by = size[0] // self.size[0]
            values, wanted = values.repeat(by, 0).repeat(by, 1), size
        low, high = (0, 255) if values.dtype == np.uint8 else self.values
        gray = np.clip((values.mean(axis=2, keepdims=True, dtype=np.float32) - low) / (high - low), 0, 1) * 255
        if gray.shape[:2] != tuple(wanted):
            gray = resample(gray, (wanted[0], wanted[1]))
        return np.clip(gray[..., 0], 0, 255)


def heat_of(scores: np.ndarray, size: Sequence[int], centers: Sequence[np.ndarray]) -> np.ndarray:
    """Returns a map [h, w] up-sampled bilinearly to an image [H, W] and scaled to [0, 1]; 0 if all scores are equal.

    Args:
        scores: the map.
        size: height and width of the image.
        centers: places of the scores along each axis, in pixels from the edge of the image; beyond the outermost ones,
            the score is theirs.
    """
    down, across = (_interpolation(*each) for each in zip(centers, size, strict=True))
    whole = down @ scores.astype(np.float64) @ across.T
    return (whole - whole.min()) / (np.ptp(whole) or 1.0)


def _interpolation(centers: np.ndarray, positions: int) -> np.ndarray:
    """Returns the weights of scores in each position [positions, scores]."""
    places = np.arange(positions) + 0.5
    return np.stack([np.interp(places, centers, one) for one in np.eye(len(centers))], axis=1)
