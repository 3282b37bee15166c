"""Measures which pixels a feature depends on: `ReceptiveFields`.

Axes: S spatial extents, C channels.
"""

from dataclasses import dataclass

import numpy as np

from fcnjax.lab.measures.maps.features import exact_features, fields_of
from fcnjax.lab.measures.scores import max_relative_difference
from fcnjax.lab.measures.trained_run import Measured, TrainedRun


@dataclass(frozen=True)
class ReceptiveFields:
    """Measures how far features change with pixels beyond the receptive field that the network states.

    The feature is one that the head receives, of an image of noise, whose window lies inside of the image. The number
    "features change, outside of the receptive field" is the largest change of its channels if all pixels outside of the
    window that the network states become other noise, over the largest channel, in evaluation and in float64: rounding
    (about 1e-15) if the network states it right. "features change, outside of N px" is the same of a window of N pixels
    with the same middle.

    Attributes:
        within: extents N of further windows, in pixels.
        arms: the arms that are measured; empty for all.

    Source: derived here; the window is that of Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional
    Neural Networks", Distill 2019.
    """

    within: tuple[int, ...] = ()
    arms: tuple[str, ...] = ()

    def __call__(self, run: TrainedRun) -> Measured | None:
        """Returns the numbers; None for an arm that is not measured."""
        if self.arms and run.arm not in self.arms:
            return None
        size, stride, start = np.array(fields_of(run.model.blocks, run.model.rank), np.int64).T
        middle = 1 - start // stride  # the first position whose window begins after the first pixel
        first = middle * stride + start
        windows = {"the receptive field": (first, size)}
        for extent in self.within:
            windows[f"{extent} px"] = first + (size - extent) // 2, np.full_like(size, extent)
        shape = 2, *(first + size + stride).tolist(), run.sources["test"].channels
        image, other = np.random.default_rng(0).normal(size=shape)
        images = [image, *(_replaced(image, other, *window) for window in windows.values())]
        own, *others = (features[tuple(middle)] for features in exact_features(run, images))
        changes = {name: max_relative_difference(other, own) for name, other in zip(windows, others, strict=True)}
        return Measured({}, {f"features change, outside of {name}": change for name, change in changes.items()})


def _replaced(image: np.ndarray, other: np.ndarray, first: np.ndarray, extents: np.ndarray) -> np.ndarray:
    """Returns an image [*S, C] with the values of another one outside of a window."""
    window = tuple(slice(*ends) for ends in zip(first, first + extents, strict=True))
    replaced = other.copy()
    replaced[window] = image[window]
    return replaced
