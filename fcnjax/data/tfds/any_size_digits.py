"""Real scanned digits, each with its own height and width: the data set of every quick run and test.

Axes: H height, W width, C = 1 gray channel. The one idea: the size of a digit is a pure function of a seed and the
digit's index, so the size table, the splits and every epoch plan are the same on every machine.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

SIZE_SEED = 20_160_627
SPLIT_SEED = 0
SMALLEST, LARGEST = 16, 40  # pixels, both ends included
LARGEST_ASPECT = 2  # W/H lies between 1:2 and 2:1
SPLIT_SIZES = {"train": 1197, "validation": 200, "test": 400}


@dataclass
class AnySizeDigitsConfig(tfds.core.BuilderConfig):
    """One variant of the data set.

    Attributes:
        size: height and width of every digit in pixels; None gives each digit its own.
    """

    size: tuple[int, int] | None = None


def digit_size(index: int, seed: int = SIZE_SEED) -> tuple[int, int]:
    """Returns the size that a digit is resampled to.

    Both sides are log-uniform on 16 to 40; pairs with an aspect ratio outside 1:2 to 2:1 are drawn again.

    Args:
        index: position of the digit in `sklearn.datasets.load_digits`, 0 to 1796.
        seed: 0 or more; the published data set uses the default.

    Returns:
        `(height, width)` in pixels, a pure function of both arguments.

    >>> digit_size(0) == digit_size(0)
    True
    """
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, index])))
    return draw_size(rng, SMALLEST, LARGEST, LARGEST_ASPECT)


def draw_size(rng: np.random.Generator, smallest: int, largest: int, aspect: float) -> tuple[int, int]:
    """Returns a height and a width, log-uniform and apart; pairs whose ratio is above `aspect` are drawn again.

    Args:
        rng: where they are drawn from.
        smallest: shortest side in pixels.
        largest: longest side in pixels.
        aspect: largest ratio of the longer side to the shorter one.
    """
    while True:
        height, width = (round(math.exp(side)) for side in rng.uniform(math.log(smallest), math.log(largest), size=2))
        if max(height, width) <= aspect * min(height, width):
            return height, width


def render(digit: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns a scanned digit at another size, by bicubic interpolation.

    Args:
        digit: float [8, 8], ink from 0 to 16.
        size: `(height, width)` in pixels.

    Returns:
        uint8 [height, width, 1], 0 to 255; clipped, because the interpolation overshoots at edges.
    """
    height, width = size
    image = Image.fromarray((digit * (255 / 16)).astype(np.float32))  # mode F: no rounding before resampling
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)[:, :, None]


def split_indices(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the fixed partition of the digits: 1197 train, 200 validation, 400 test, stratified by class.

    Args:
        labels: int [1797], the class of each digit in the order of `load_digits`.

    Returns:
        Increasing int indices by split name; disjoint, together 0 to 1796.
    """
    from sklearn.model_selection import train_test_split  # here: it takes a second, and only preparing needs it

    rest, test = train_test_split(
        np.arange(len(labels)), test_size=SPLIT_SIZES["test"], random_state=SPLIT_SEED, stratify=labels
    )
    train, validation = train_test_split(
        rest, test_size=SPLIT_SIZES["validation"], random_state=SPLIT_SEED, stratify=labels[rest]
    )
    return {"train": np.sort(train), "validation": np.sort(validation), "test": np.sort(test)}


class AnySizeDigits(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of 1,797 scanned digits in 10 classes, prepared in seconds without TensorFlow or a download.

    The configs are `any_size` (default; sides of 16 to 40 pixels, aspect ratio 1:2 to 2:1) and `fixed_28x28` (the same
    digits and splits, all 28 x 28). Examples are in the order of their `id`.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI 1998, as scikit-learn bundles it.
    """

    name = "any_size_digits"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012 (name and type are TFDS's)
    BUILDER_CONFIGS = [  # noqa: RUF012
        AnySizeDigitsConfig(name="any_size", description="Sides of 16 to 40 pixels, aspect 1:2 to 2:1."),
        AnySizeDigitsConfig(name="fixed_28x28", description="Every digit 28 x 28 pixels.", size=(28, 28)),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Real scanned digits, resampled to sizes of their own.",
            features=tfds.features.FeaturesDict(
                {
                    # A zlib tensor: an Image feature needs TensorFlow to encode.
                    "image": tfds.features.Tensor(shape=(None, None, 1), dtype=np.uint8, encoding="zlib"),
                    "label": tfds.features.ClassLabel(num_classes=10),
                    "id": np.int64,
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://archive.ics.uci.edu/dataset/80",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # nothing to download
        from sklearn.datasets import load_digits

        digits: Any = load_digits()
        splits = split_indices(digits.target)
        return {
            split: self._generate_examples(digits.images, digits.target, indices) for split, indices in splits.items()
        }

    def _generate_examples(self, images: np.ndarray, labels: np.ndarray, indices: np.ndarray) -> Iterator:
        config = self.builder_config
        assert isinstance(config, AnySizeDigitsConfig)
        for index in indices.tolist():
            size = config.size or digit_size(index)
            yield index, {"image": render(images[index], size), "label": int(labels[index]), "id": index}
