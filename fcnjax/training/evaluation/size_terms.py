"""The sizes at which a network is evaluated: terms such as "28x16", "64px" and "0.5", and examples at these sizes.

Axes: N examples, D spatial axes. The one idea: a term maps the table of native sizes to another one, so that what a
network cannot take is refused before anything is read.

| term | images | signals |
|---|---|---|
| `28x16` | height and width; the aspect ratio changes | |
| `64px` | the shorter side; the aspect ratio is kept | |
| `8000`, from 16 on | | the middle 8,000 samples; shorter signals stay whole |
| `0.5`, below 16 | both sides, as a share of the native size | the middle part, a share of the native length, up to 1 |

Images are resampled. Signals are cut: resampling would change every frequency in them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fcnjax.data import Source, cropped, scaled
from fcnjax.data.size_table import areas
from fcnjax.data.sources.size_policy import size_words
from fcnjax.naming import joined

MAX_SCALE = 16  # a number below it is a scale
FORMS = {
    1: "numbers of samples such as 8000, or shares of each signal's length such as 0.5",
    2: "HxW such as 28x16, shorter sides such as 64px, or scales of each image's own size such as 0.5",
}


@dataclass(frozen=True)
class SizeTerm:
    """One of the sizes; made by `parse_sizes`. Exactly one of `size`, `side` and `scale` is not None.

    Attributes:
        text: the term as it was written.
        size: extents [D].
        side: extent of the shorter side of an image.
        scale: extents as a share of the native ones.
    """

    text: str
    size: tuple[int, ...] | None = None
    side: int | None = None
    scale: float | None = None

    def sizes(self, native: np.ndarray) -> np.ndarray:
        """Returns the sizes int32 [N, D] of examples of native sizes int [N, D]; every extent is at least 1."""
        if self.size is not None:
            wanted = np.broadcast_to(np.array(self.size, np.int64), native.shape)
            return (wanted if native.shape[1] == 2 else np.minimum(wanted, native)).astype(np.int32)
        factors = self.scale if self.side is None else self.side / native.min(axis=1, keepdims=True)
        return np.maximum(np.rint(native * factors), 1).astype(np.int32)

    def changed(self, source: Source) -> Source:
        """Returns the examples of a source at this size: images resampled, signals cut to their middle."""
        sizes = self.sizes(source.sizes)
        if sizes.shape[1] == 2:
            return scaled(source, sizes)
        return cropped(source, sizes)


def parse_sizes(text: str, axes: int) -> list[SizeTerm]:
    """Returns the terms of a list such as "28x28,64px,0.5" (see above).

    Args:
        text: terms, separated by commas.
        axes: number of spatial axes of the examples: 1 for signals, 2 for images.

    Raises:
        ValueError: if a term has another form or occurs twice, or the examples are neither images nor signals.
    """
    if axes not in FORMS:
        raise ValueError(f"sizes={text}: must be left out, as only images and signals can be brought to other sizes.")
    words = [word.strip() for word in text.split(",")]
    terms = [_term(text, word, axes) for word in words]
    twice = next((word for word in words if words.count(word) > 1), None)
    if twice is not None:
        raise ValueError(f"sizes={text}: {twice!r} must occur once; leave the second out.")
    return terms


def _term(text: str, word: str, axes: int) -> SizeTerm:
    if axes == 2 and re.fullmatch(r"[1-9][0-9]{0,5}x[1-9][0-9]{0,5}", word):
        return SizeTerm(word, size=tuple(map(int, word.split("x"))))
    if axes == 2 and re.fullmatch(r"[1-9][0-9]{0,5}px", word):
        return SizeTerm(word, side=int(word.removesuffix("px")))
    number = float(word) if re.fullmatch(r"[0-9]{1,9}|[0-9]{0,2}[.][0-9]+", word) else 0.0
    if axes == 1 and number >= MAX_SCALE and word.isdigit():
        return SizeTerm(word, size=(int(word),))
    if axes == 1 and 1 < number < MAX_SCALE:
        raise ValueError(f"sizes={text}: scale {word} must be at most 1, as signals are cut; give smaller ones.")
    if 0 < number < MAX_SCALE:
        return SizeTerm(word, scale=number)
    raise ValueError(f"sizes={text}: term {word!r} must be one of {FORMS[axes]}; separate several by commas.")


def check_sizes(terms: Sequence[SizeTerm], source: Source, minimum: Sequence[int], max_area: int) -> None:
    """Checks that a network can take the examples of a source at all sizes; nothing is read.

    Args:
        terms: the sizes.
        source: examples at their native sizes.
        minimum: the network's minimum size [D].
        max_area: largest number of positions of an example.

    Raises:
        ValueError: if an example would be too small or too large; the message names the size and the first example.
    """
    for term in terms:
        sizes = term.sizes(source.sizes)
        small, large = (sizes < np.array(minimum)).any(axis=1), areas(sizes) > max_area
        for wrong, limit, other in (
            (small, f"below the minimum of this network, {joined(minimum)}", "larger"),
            (large, f"above {max_area:,} positions", "smaller"),
        ):
            if wrong.any():
                row, count = int(np.argmax(wrong)), int(wrong.sum())
                first = f"{source.name_of(row)}: {size_words(source.sizes[row], sizes[row])}"
                raise ValueError(
                    f"sizes={term.text}: brings {count:,} of {len(sizes):,} examples {limit} ({first}); give {other} "
                    "sizes, or leave this one out."
                )
