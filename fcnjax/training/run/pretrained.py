"""Networks with imported weights, kept in folders that hold the same arrays as a run folder.

A folder holds `weights/` and, written last, `model.json`: architecture, classes, input channels and options.
"""

from pathlib import Path
from typing import Any

from flax import nnx

from fcnjax import models
from fcnjax.models import Classifier
from fcnjax.models.weights.state_dict_files import read_state_dict
from fcnjax.models.weights.torch_weights import create_from_state_dict
from fcnjax.sealed import read_sealed, write_sealed
from fcnjax.training.run.checkpoints import load_arrays, save_arrays
from fcnjax.training.run.run_folder import FORMAT, WRITTEN, check_format
from fcnjax.training.step.step import merge, split

MODEL = "model.json"


def import_weights(source: Path | str, arch: str, to: Path | str, **options: Any) -> Classifier:
    """Turns a PyTorch state dict into a folder that `load_imported` reads, and returns the network.

    Args:
        source: file of the state dict (see `fcnjax.models.weights.state_dict_files.read_state_dict`).
        arch: a key of `fcnjax.models.weights.torch_weights.RULES`, such as "resnet50".
        to: the new folder.
        **options: further arguments of the network, of types that JSON has.

    Raises:
        FileExistsError: if `to` exists; nothing is read.
        FileNotFoundError: if the file `source` does not exist.
        ValueError: if the file cannot be read, or its arrays do not fit the network; no folder is made.
    """
    to = Path(to)
    if to.exists():
        raise FileExistsError(f"to={to}: must not exist; choose a new folder for the imported weights.")
    try:
        model = create_from_state_dict(arch, read_state_dict(source), **options)
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(str(source)) else f"{source}: {error}") from None
    _, weights, statistics = split(model)
    save_arrays(to / "weights", {"weights": weights, "statistics": statistics})
    classes = model.trace(model.min_size)[-1].channels
    described = {"arch": arch, "classes": classes, "in_channels": model.in_channels, "options": options}
    write_sealed(to / MODEL, {FORMAT: WRITTEN, **described})
    return model


def load_imported(path: Path | str) -> Classifier:
    """Returns the network that `import_weights` saved in a folder.

    Raises:
        FileNotFoundError: if the folder does not hold an imported network.
        ValueError: if the folder is damaged.
    """
    path = Path(path)
    if not (path / MODEL).is_file():
        raise FileNotFoundError(
            f"path={path}: must hold an imported network (no {MODEL} found); make one with 'fcnjax import-weights'."
        )
    described = read_sealed(path / MODEL)
    check_format(path / MODEL, described.pop(FORMAT, 1))
    try:
        shape = {"classes": described["classes"], "in_channels": described["in_channels"], **described["options"]}
        model = models.create(described["arch"], rngs=nnx.Rngs(0), **shape)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path / MODEL}: does not describe a network ({error}); import the weights again.") from None
    graphdef, weights, statistics = split(model)
    arrays = load_arrays(path / "weights", {"weights": weights, "statistics": statistics})
    return merge(graphdef, arrays["weights"], arrays["statistics"])
