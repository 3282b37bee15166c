"""Files like photographs, for measurements of reading and decoding without a data set."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from fcnjax.bench.native_sizes import drawn_sizes
from fcnjax.progress import progress_bar
from fcnjax.training.compile.compilation import core_count

LONG_SIDE = 500  # of most files, as in ImageNet
CLASSES = 10
QUALITY = 90  # of the JPEG compression
OCTAVES = (
    (8, 60.0),
    (32, 30.0),
    (128, 20.0),
    (512, 12.0),
    (1024, 12.0),
    (2048, 12.0),
)  # extent of a noise, its amplitude
CANVAS = 2048  # extent of the picture from which all files are cut


def write_photographs(folder: Path, count: int) -> None:
    """Writes `count` JPEG files in color to `folder/CLASS/`, the same at every call.

    Sizes are those of `drawn_sizes` with long sides of about 500 pixels. The files are cuts of noise that is strongest
    at low frequencies, so that a pixel takes about as many bytes as in a photograph (0.5 to 0.7).

    Args:
        folder: where the folders of the classes are made.
        count: at least `CLASSES`.

    Raises:
        ValueError: if `count` is too small.
    """
    if count < CLASSES:
        raise ValueError(f"drawn={count}: must be at least {CLASSES}, one file of each class.")
    sizes = np.minimum(drawn_sizes(count) * LONG_SIDE // 300, CANVAS).tolist()
    rng, canvas = np.random.default_rng(0), _canvas()
    corners = [[int(rng.integers(CANVAS - extent + 1)) for extent in size] for size in sizes]
    for label in range(CLASSES):
        (folder / f"class{label}").mkdir(parents=True, exist_ok=True)

    def write(index: int) -> None:
        (height, width), (top, left) = sizes[index], corners[index]
        image = Image.fromarray(canvas[top : top + height, left : left + width])
        image.save(folder / f"class{index % CLASSES}" / f"{index}.jpg", quality=QUALITY)

    with ThreadPoolExecutor(core_count()) as pool:  # Pillow compresses outside Python's lock
        for _ in progress_bar(pool.map(write, range(count)), "writing photographs", count, unit=" files", leave=False):
            pass


def _canvas() -> np.ndarray:
    """Returns uint8 [CANVAS, CANVAS, 3]."""
    rng, total = np.random.default_rng(0), np.full((CANVAS, CANVAS, 3), 128, np.float32)
    for extent, amplitude in OCTAVES:
        for channel in range(3):
            noise = Image.fromarray(rng.standard_normal((extent, extent), np.float32))
            total[..., channel] += amplitude * np.asarray(noise.resize((CANVAS, CANVAS), Image.Resampling.BICUBIC))
    return np.clip(total, 0, 255).astype(np.uint8)
