"""Networks with random weights and statistics, as state dicts of PyTorch and as finished models."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors.numpy import save_file

from fcnjax import models
from fcnjax.models.weights.torch_weights import to_state_dict, variables_of
from fcnjax.training.build import make_model_for
from fcnjax.training.settings.recipe import Recipe
from fcnjax.training.standalone.model_files import described, write_files


def randomize(model: models.Classifier) -> dict[str, np.ndarray]:
    """Draws the biases, scales and statistics of a network, and returns all its arrays by name."""
    rng, arrays = np.random.default_rng(0), {}
    for name, variable in variables_of(model).items():
        if not name.endswith("kernel"):
            drawn = rng.random(variable.shape) + (0.5 if name.endswith(("scale", "variance", "gamma")) else -0.5)
            variable.set_value(jnp.asarray(drawn, variable.dtype))
        arrays[name] = np.asarray(variable[...])
    return arrays


def drawn_state_dict(arch: str, *, classes: int = 5, channels: int = 3, library: str = "timm") -> dict[str, np.ndarray]:
    """Returns the arrays of a drawn network by the names of a library."""
    model = models.create(arch, classes=classes, in_channels=channels, rngs=nnx.Rngs(3))
    return to_state_dict(arch, library, randomize(model))


def write_state_dict(path: Path, arch: str, **options: Any) -> dict[str, np.ndarray]:
    """Writes `drawn_state_dict` into a file, and returns it."""
    state = drawn_state_dict(arch, **options)
    save_file(state, path)
    return state


def write_drawn_model(
    folder: Path, config: dict[str, Any], *, classes: int = 5, channels: int = 3, axes: int = 2
) -> None:
    """Writes a model folder of a config with drawn weights, as training leaves it."""
    recipe = Recipe.from_config({"data": {"name": "drawn"}, **config})
    arrays = randomize(make_model_for(recipe, classes, channels, axes, 0))
    before = {"channels": channels, "axes": axes, "mean": 0.5, "std": 0.25, "sample_rate": None, "values": [0.0, 1.0]}
    names = [f"class {index}" for index in range(classes)]
    write_files(folder, arrays, described(recipe, names, before, {"data": "drawn", "test": None}), "# Drawn\n")
