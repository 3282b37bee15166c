"""Changes of the examples of an arm, or of those that a measure tests: other sizes, parts, zeros around.

Axes: N examples, D spatial axes. The one idea: a change is a pure function of the example and its id, so every arm and
every run sees the same one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from fcnjax.data import ChangedSource, Source, scaled
from fcnjax.data.size_table import areas
from fcnjax.data.tfds.any_size_digits import draw_size


def with_zeros(source: Source, sizes: Sequence[int] | np.ndarray) -> Source:
    """Returns examples with zeros after their ends up to `sizes`, [D] or [N, D], as values of the example itself.

    It is what a batch of padded examples holds if nothing masks the padding.
    """

    def pad(values: np.ndarray, _: int, size: tuple[int, ...]) -> np.ndarray:
        return np.pad(values, [*((0, to - at) for to, at in zip(size, values.shape[:-1], strict=True)), (0, 0)])

    return ChangedSource(source, sizes, pad, "with zeros")


@dataclass(frozen=True)
class AnySize:
    """Scales each training image to a size of its own, drawn with its id: log-uniform sides, heights and widths apart.

    Attributes:
        smallest: shortest side in pixels.
        largest: longest side in pixels.
        aspect: largest ratio of the sides.
    """

    smallest: int = 16
    largest: int = 40
    aspect: float = 2.0

    def __call__(self, sources: Mapping[str, Source], seed: int) -> dict[str, Source]:
        """Returns the splits with scaled training images; the sizes do not depend on the seed."""
        del seed
        train = sources["train"]
        return {**sources, "train": scaled(train, np.array([self.size_of(number) for number in train.ids.tolist()]))}

    def size_of(self, number: int) -> tuple[int, int]:
        """Returns the height and width of the example with this id."""
        return draw_size(np.random.default_rng(number), self.smallest, self.largest, self.aspect)


@dataclass(frozen=True)
class AnySizeOfArea:
    """Scales each training image to a size of its own, as `AnySize`, so that all together have a mean area.

    All sizes are multiplied by one factor and rounded within the limits, so that an epoch has as many pixels as one of
    images of that area, up to rounding. The factor depends on the training split, and is about 1 if the limits suit.

    Attributes:
        area: mean area in pixels, from `smallest ** 2` to `largest ** 2`.
        smallest, largest, aspect: as for `AnySize`; rounding may raise a ratio of the sides above `aspect` a little.
    """

    area: float
    smallest: int = 16
    largest: int = 40
    aspect: float = 2.0

    def __post_init__(self):
        if not self.smallest**2 <= self.area <= self.largest**2:
            raise ValueError(
                f"area={self.area}: must be {self.smallest**2} to {self.largest**2}, the areas of the smallest and the "
                "largest image; change the limits."
            )

    def __call__(self, sources: Mapping[str, Source], seed: int) -> dict[str, Source]:
        """Returns the splits with scaled training images; the sizes do not depend on the seed."""
        del seed
        train, drawn = sources["train"], AnySize(self.smallest, self.largest, self.aspect)
        return {
            **sources,
            "train": scaled(train, self._with_area([drawn.size_of(number) for number in train.ids.tolist()])),
        }

    def _with_area(self, sizes: Sequence[tuple[int, int]]) -> np.ndarray:
        """Returns sizes int32 [N, 2], multiplied by the factor that gives them the mean area."""

        def at(factor: float) -> np.ndarray:
            return np.clip(np.rint(factor * np.array(sizes)), self.smallest, self.largest).astype(np.int32)

        ratio = self.largest / self.smallest  # where all sizes reach a limit
        found = optimize.bisect(lambda factor: areas(at(factor)).mean() - self.area, 1 / ratio, ratio)
        return at(float(np.asarray(found)))


@dataclass(frozen=True)
class OneSize:
    """Scales all training and validation images to one size; an arm is then tuned at the size that it is trained at.

    Attributes:
        size: height and width in pixels.
    """

    size: tuple[int, int]

    def __call__(self, sources: Mapping[str, Source], seed: int) -> dict[str, Source]:
        """Returns the splits; the test images keep their sizes, and the seed does not matter."""
        del seed
        return {**sources, **{name: scaled(sources[name], self.size) for name in ("train", "validation")}}


@dataclass(frozen=True)
class ZerosTo:
    """Appends zeros to all examples of all splits up to one size, as values: a network without masks.

    Attributes:
        size: height and width, at least those of the largest example.
    """

    size: tuple[int, int]

    def __call__(self, sources: Mapping[str, Source], seed: int) -> dict[str, Source]:
        """Returns the splits with zeros; the seed does not matter."""
        del seed
        return {name: with_zeros(source, self.size) for name, source in sources.items()}


def any_size(smallest: int = 16, largest: int = 40, aspect: float = 2.0) -> AnySize:
    """Returns the change of an arm's sources that scales each training image to its own size (see `AnySize`)."""
    return AnySize(smallest, largest, aspect)


def any_size_of_area(area: float, smallest: int = 16, largest: int = 40, aspect: float = 2.0) -> AnySizeOfArea:
    """Returns the change that scales each training image to its own size, of a mean area (see `AnySizeOfArea`)."""
    return AnySizeOfArea(area, smallest, largest, aspect)


def one_size(size: tuple[int, int]) -> OneSize:
    """Returns the change of an arm's sources that trains it at one size (see `OneSize`)."""
    return OneSize(size)


def zeros_to(size: tuple[int, int]) -> ZerosTo:
    """Returns the change of an arm's sources that pads all examples with zeros as values (see `ZerosTo`)."""
    return ZerosTo(size)
