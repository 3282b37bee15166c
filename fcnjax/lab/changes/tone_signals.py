"""Signals without a file: `Tones` in noise in place of images, and signals among noise.

Axes: N examples, L samples. The one idea: a signal is drawn with the id of the image that lends it its label and split.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fcnjax.data import ChangedSource, Example, Source
from fcnjax.data.size_table import frozen_table
from fcnjax.lab.experiment import ChangeSources


@dataclass(frozen=True)
class Tones:
    """Replaces images by signals, each a tone in white noise; signals stay as they are.

    The class determines the pitch. Length, phase, noise, and how far the pitch is off, by up to a quarter of the
    distance to the next class, are drawn with the id. So images lend their ids, labels and splits to signals that need
    no file.

    Attributes:
        noise: standard deviation of the noise; that of a tone is 1.
        then: a further change of the splits, such as `lab.shuffled_labels()`; None for none.
        shortest: smallest number of samples.
        longest: largest number of samples; lengths are log-uniform.
        lowest: pitch of the first class, in cycles per sample.
        highest: pitch of the last class, below 0.5; pitches are evenly spaced on a logarithmic scale.
    """

    noise: float
    then: ChangeSources | None = None
    shortest: int = 96
    longest: int = 384
    lowest: float = 0.06
    highest: float = 0.36

    def __call__(self, sources: Mapping[str, Source], seed: int) -> Mapping[str, Source]:
        """Returns the splits as signals; the seed matters to the further change only."""
        signals = {n: each if each.sizes.shape[1] == 1 else _ToneSource(each, self) for n, each in sources.items()}
        return signals if self.then is None else self.then(signals, seed)

    def length(self, number: int) -> int:
        """Returns the number of samples of the example with this id."""
        bounds = math.log(self.shortest), math.log(self.longest)
        return round(math.exp(np.random.default_rng((number, 0)).uniform(*bounds)))

    def signal(self, number: int, label: int, classes: int) -> np.ndarray:
        """Returns the samples of an example, float32 [L, 1].

        Args:
            number: id of the example.
            label: its class.
            classes: number of classes, at least 2.
        """
        length, rng = self.length(number), np.random.default_rng((number, 1))
        step = math.log(self.highest / self.lowest) / (classes - 1)
        pitch = self.lowest * math.exp(step * (label + rng.uniform(-0.25, 0.25)))
        tone = math.sqrt(2) * np.sin(2 * math.pi * (pitch * np.arange(length) + rng.uniform()))
        return (tone + self.noise * rng.standard_normal(length)).astype(np.float32)[:, None]


class _ToneSource(Source):
    """The examples of a source as tones."""

    channels = 1

    def __init__(self, source: Source, tones: Tones) -> None:
        self._source, self._tones = source, tones
        self.sizes = frozen_table([(tones.length(number),) for number in source.ids.tolist()])
        self.ids, self.names, self.unreadable = source.ids, source.names, source.unreadable
        self.class_names = source.class_names

    @cached_property
    def labels(self) -> np.ndarray | None:
        return self._source.labels

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int, /) -> Example:
        number, labels = int(self.ids[index]), self.labels
        label = self._source[index].label if labels is None else int(labels[index])  # reads no image if it is known
        return Example(number, self._tones.signal(number, label, len(self.class_names)), label)


@dataclass(frozen=True)
class AmongNoise:
    """Puts each signal of all splits into a longer one of white noise as loud as itself, at a place drawn with its id.

    Attributes:
        share: smallest share of the new length that the signal takes, above 0 and at most 1; shares are uniform.
    """

    share: float

    def __call__(self, sources: Mapping[str, Source], seed: int) -> dict[str, Source]:
        """Returns the splits with noise around their signals; the seed does not matter."""
        del seed
        return {name: among_noise_of(source, self.share) for name, source in sources.items()}


def among_noise_of(source: Source, share: float) -> Source:
    """Returns signals among white noise of their own root mean square (see `AmongNoise`)."""
    shares = [np.random.default_rng((number, 2)).uniform(share, 1) for number in source.ids.tolist()]

    def surround(values: np.ndarray, number: int, size: tuple[int, ...]) -> np.ndarray:
        rng = np.random.default_rng((number, 3))
        start = rng.integers(size[0] - len(values) + 1)
        noise = rng.standard_normal((*size, values.shape[1])) * np.sqrt(np.mean(np.square(values)))
        noise[start : start + len(values)] = values
        return noise.astype(np.float32)

    return ChangedSource(source, np.ceil(source.sizes / np.array(shares)[:, None]), surround, f"among noise, {share}")


def tones(noise: float, then: ChangeSources | None = None) -> Tones:
    """Returns the change of an arm's sources that replaces images by tones in noise (see `Tones`)."""
    return Tones(noise, then)


def among_noise(share: float) -> AmongNoise:
    """Returns the change of an arm's sources that puts each signal among noise (see `AmongNoise`)."""
    return AmongNoise(share)
