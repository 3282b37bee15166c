"""Scenes: each example small, somewhere on a larger canvas, among fragments of training examples.

Axes: N examples, H height, W width, C channels, F fragments. The one idea: side, canvas, place and clutter are drawn
with the id of the example, so every arm of a draw sees the same scenes, and the box of the object is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from fcnjax.data import ChangedSource, Example, Source
from fcnjax.data.sources.contents import sample_positions
from fcnjax.data.sources.resized import resample
from fcnjax.data.tfds.any_size_digits import draw_size
from fcnjax.lab.experiment import ChangeSources

SIDE, CANVAS, PLACE, FRAGMENT = range(4)  # streams of draws of one id
BANK = 256  # training examples of which fragments are kept


class Fragments(NamedTuple):
    """Parts of training examples.

    Attributes:
        ids: int [F], of the examples.
        values: [F, side, side, C], in the dtype of the examples.
    """

    ids: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Scenes:
    """Places each example of all splits on a canvas of zeros, among fragments of training examples.

    The example is scaled to a square, anywhere on the canvas, which nothing covers. Fragments are parts of other
    training examples of the draw, at places of their own, at most half as wide as the smallest example: never a whole
    one. They come without labels. Their number grows with the area of the canvas, so that their density stays the same.

    Attributes:
        canvas: shortest and longest side of canvases in pixels; drawn log-uniformly, heights and widths apart.
        digit: shortest and longest side of the square that an example is scaled to, in pixels.
        aspect: largest ratio of the sides of a canvas.
        fragment: side of the fragments in pixels.
        sparsity: pixels of a canvas for each fragment, at least 1.
        before: what is changed before that, such as `lab.shuffled_labels()`.

    Raises:
        ValueError: if an example may be larger than a canvas, or a fragment than half an example.

    Source: cluttered MNIST of Mnih et al., "Recurrent Models of Visual Attention", 2014, with a free object.
    """

    canvas: tuple[int, int] = (32, 48)
    digit: tuple[int, int] = (16, 24)
    aspect: float = 1.5
    fragment: int = 8
    sparsity: int = 400
    before: ChangeSources | None = None

    def __post_init__(self):
        if not 1 <= self.digit[0] <= self.digit[1] <= self.canvas[0] <= self.canvas[1]:
            raise ValueError(
                f"digit={self.digit}, canvas={self.canvas}: must be increasing, so that every example fits; enlarge "
                "the canvas."
            )
        if not 1 <= self.fragment <= self.digit[0] // 2:
            raise ValueError(f"fragment={self.fragment}: must be 1 to half of digit={self.digit}; cut smaller parts.")
        if self.sparsity < 1:
            raise ValueError(f"sparsity={self.sparsity}: must be at least 1 pixel.")

    def __call__(self, sources: Mapping[str, Source], seed: int) -> dict[str, Source]:
        """Returns the splits as scenes; only `before` and the training examples that give fragments depend on a draw.

        Raises:
            ValueError: if there are fewer than two training examples.
        """
        given = sources if self.before is None else self.before(sources, seed)
        fragments = self.fragments_of(given["train"])
        return {name: SceneSource(source, self, fragments) for name, source in given.items()}

    def side_of(self, number: int) -> int:
        """Returns the side in pixels of the example with this id."""
        return int(_rng(number, SIDE).integers(self.digit[0], self.digit[1] + 1))

    def canvas_of(self, number: int) -> tuple[int, int]:
        """Returns the height and width of the canvas of the example with this id."""
        return draw_size(_rng(number, CANVAS), *self.canvas, self.aspect)

    def fragments_of(self, train: Source) -> Fragments:
        """Returns a part of each of up to `BANK` training examples, evenly spaced."""
        if len(train) < 2:
            raise ValueError(f"{len(train)} training examples: must be at least 2, so that one has parts of others.")
        examples = [train[index] for index in sample_positions(len(train), BANK)]
        return Fragments(
            np.array([example.id for example in examples]), np.stack([self._part(example) for example in examples])
        )

    def _part(self, example: Example) -> np.ndarray:
        side = self.side_of(example.id)
        top, left = _rng(example.id, FRAGMENT).integers(0, side - self.fragment + 1, 2)
        return resample(example.values, (side, side))[top : top + self.fragment, left : left + self.fragment]


class SceneSource(ChangedSource):
    """Examples as scenes (see `Scenes`); each is composed once and kept.

    Args:
        source: the examples.
        scenes: how they are placed.
        fragments: what the clutter consists of.
        canvas: height and width of all canvases; None: each its own.
        placement: number of the placement; each has other places and other clutter.

    Raises:
        ValueError: if the canvas is smaller than an example may be.
    """

    def __init__(
        self,
        source: Source,
        scenes: Scenes,
        fragments: Fragments,
        canvas: tuple[int, int] | None = None,
        placement: int = 0,
    ) -> None:
        if canvas is not None and min(canvas) < scenes.digit[1]:
            raise ValueError(f"canvas={canvas}: must be at least {scenes.digit[1]} pixels high and wide; enlarge it.")
        sizes = [scenes.canvas_of(number) for number in source.ids.tolist()] if canvas is None else canvas
        what = f"{scenes}, placement {placement}, fragments of {fragments.ids.tolist()}"
        super().__init__(source, np.array(sizes), self._composed, what)
        self._scenes, self._fragments, self._placement = scenes, fragments, placement
        self._kept: dict[int, Example] = {}

    def __getitem__(self, index: int, /) -> Example:
        if index not in self._kept:
            self._kept[index] = super().__getitem__(index)
        return self._kept[index]

    def on_canvas(self, canvas: tuple[int, int], placement: int = 0) -> "SceneSource":
        """Returns the same examples, at the same sides, on canvases of one size."""
        return SceneSource(self._source, self._scenes, self._fragments, canvas, placement)

    @cached_property
    def boxes(self) -> np.ndarray:
        """Box around the bright pixels of each example: first row and column, last row and column plus 1; int [N, 4].

        Bright is at least half as bright as the brightest pixel; clutter is left out.
        """
        found = []
        for index, (number, size) in enumerate(zip(self.ids.tolist(), self.sizes.tolist(), strict=True)):
            top, left = self._corner(number, size, self._place(number, size))
            bright = self._object(self._source[index].values, number).max(axis=2)
            rows, columns = np.nonzero(bright >= bright.max() / 2)
            found.append((top + rows.min(), left + columns.min(), top + rows.max() + 1, left + columns.max() + 1))
        return np.array(found)

    def _composed(self, values: np.ndarray, number: int, size: tuple[int, ...]) -> np.ndarray:
        rng, shown = self._place(number, size), self._object(values, number)
        top, left = self._corner(number, size, rng)
        canvas = np.zeros((*size, values.shape[-1]), values.dtype)
        width, count = self._scenes.fragment, round(size[0] * size[1] / self._scenes.sparsity)
        for chosen, *start in rng.integers(0, [len(self._fragments.ids), *(n - width + 1 for n in size)], (count, 3)):
            own = self._fragments.ids[chosen] == number
            part = self._fragments.values[(chosen + own) % len(self._fragments.ids)]
            place = tuple(slice(at, at + width) for at in start)
            canvas[place] = np.maximum(canvas[place], part)
        canvas[top : top + len(shown), left : left + len(shown)] = shown
        return canvas

    def _object(self, values: np.ndarray, number: int) -> np.ndarray:
        return resample(values, (self._scenes.side_of(number),) * 2)

    def _place(self, number: int, size: tuple[int, ...]) -> np.random.Generator:
        return _rng(number, PLACE, self._placement, *size)

    def _corner(self, number: int, size: tuple[int, ...], rng: np.random.Generator) -> tuple[int, int]:
        """Returns the first row and column of the example: the first numbers that its generator draws."""
        top, left = rng.integers(0, [extent - self._scenes.side_of(number) + 1 for extent in size])
        return int(top), int(left)


def _rng(*key: int) -> np.random.Generator:
    return np.random.default_rng(key)
