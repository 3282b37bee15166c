"""Imported weights against what PyTorch computed with them.

Axes: B images, H height, W width, C channels, K classes, F features.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fcnjax import models
from fcnjax.layers.layer import at_least_float32
from fcnjax.models.weights.torch_names import HEAD, classifier_names
from fcnjax.models.weights.torch_weights import variables_of
from fcnjax.padded import Padded
from fcnjax.training.compile.compilation import jit
from fcnjax.training.step.step import merge, split

# Largest difference over the largest value. On CPUs, networks with the same arithmetic differ by up to 1.5e-6 from
# PyTorch; the nearest other one (EfficientNet-B0 with the epsilon of TensorFlow alone) by 1.2e-2.
TOLERANCE = 1e-4
MAX_POSITIONS = 2**22  # of all images


def check_against_reference(
    path: Path, arch: str, channels: int, arrays: Mapping[str, np.ndarray], classes: int
) -> str:
    """Compares a network with the outputs of PyTorch's network for the same images.

    Args:
        path: an .npz file of `images` [B, C, H, W] or [B, H, W, C], from which mean and deviation are taken out, and
            `logits` [B, K], or `features` [B, F] for weights without a head: what the network without its classifier
            returns.
        arch: name of the network.
        channels: channels of its inputs.
        arrays: its weights and running statistics by name.
        classes: number of classes; 0 for weights without a head.

    Returns:
        A sentence on how far the two agree.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if the file holds something else, or the outputs differ by more than `TOLERANCE`.
    """
    what = "logits" if classes else "features"
    images, expected = _read(path, channels, what)
    found = _outputs(arch, channels, arrays, classes, images)
    if found.shape != expected.shape:
        raise ValueError(
            f"check={path}: {what} of shape {expected.shape}, and these weights give {found.shape} for its images; "
            "give the outputs of the network whose weights these are."
        )
    scale = np.abs(expected).max()
    difference = np.abs(found - expected).max() / scale if scale else np.abs(found).max()
    if not difference <= TOLERANCE:  # NaN too
        raise ValueError(
            f"check={path}: the {what} differ by {difference:.1e} of the largest one, and only {TOLERANCE:.0e} is "
            f"allowed; these weights are not of {arch} as it is here, or the reference was computed in training mode, "
            "with TF32 or in half precision."
        )
    return f"checked: {what} of {len(images)} images agree within {difference:.1e} of the largest one"


def _read(path: Path, channels: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns images [B, H, W, C] and the expected outputs."""
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {name: np.asarray(file[name]) for name in file.files if name in ("images", what)}
    except (zipfile.BadZipFile, ValueError, AttributeError, EOFError) as error:  # AttributeError: an .npy file
        raise ValueError(f"check={path}: must be an .npz file ({error}); write one with numpy.savez.") from None
    missing = [name for name in ("images", what) if name not in held]
    if missing:
        raise ValueError(f"check={path}: must hold images and {what}, and lacks {' and '.join(missing)}; add them.")
    images, expected = (held[name] for name in ("images", what))
    for name, array in held.items():
        if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all() or not array.size:
            raise ValueError(f"check={path}: {name} must be finite floating numbers, images normalized; write those.")
    first, last = images.ndim == 4 and images.shape[1] == channels, images.ndim == 4 and images.shape[3] == channels
    if first == last:
        raise ValueError(
            f"check={path}: images of shape {images.shape} must be [B, {channels}, H, W] or [B, H, W, {channels}], and "
            "not both; give images of another size or layout."
        )
    if images.size // channels > MAX_POSITIONS:
        raise ValueError(
            f"check={path}: images of {images.size // channels:,} positions, at most {MAX_POSITIONS:,} are allowed; a "
            "few small images suffice."
        )
    images = np.moveaxis(images, 1, -1) if first else images
    return images.astype(np.float32), expected.reshape(len(expected), -1).astype(np.float32)


def _outputs(
    arch: str, channels: int, arrays: Mapping[str, np.ndarray], classes: int, images: np.ndarray
) -> np.ndarray:
    """Returns logits [B, K] or, without classes, features [B, F]: the logits of a classifier that is the identity."""
    arrays, head = dict(arrays), None
    if not classes and not any(name.startswith(HEAD) for name in arrays):
        head = {"norm": "none"}

    def shapes(outputs: int) -> models.Classifier:
        return nnx.eval_shape(
            lambda: models.create(arch, classes=outputs, in_channels=channels, head=head, rngs=nnx.Rngs(0))
        )

    model = shapes(classes or 1)
    if not classes:
        model = shapes(model.feature_channels)
        for name in classifier_names(variables_of(model)):
            count = model.feature_channels
            arrays[name] = np.eye(count, dtype=np.float32) if name.endswith("kernel") else np.zeros(count, np.float32)
    model.check_sizes(np.asarray([images.shape[1:3]]))
    graphdef, weights, statistics = split(model)
    held = [{name: jnp.asarray(arrays[name]) for name in names} for names in (weights, statistics)]

    def logits(weights: dict[str, jax.Array], statistics: dict[str, jax.Array], batch: Padded) -> jax.Array:
        return at_least_float32(merge(graphdef, weights, statistics)(batch))

    return np.asarray(jit(logits)(*held, Padded.stack(list(images))))
