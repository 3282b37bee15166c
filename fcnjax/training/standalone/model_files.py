"""Models that stand alone: a folder that describes a trained network and needs neither fcnjax to be read nor any data.

The folder has the layout of model hubs: `model.safetensors` holds weights and running statistics by name, `config.json`
the network, its classes, what happens to an image or a signal before it, and where it comes from, and `README.md` is
the model card.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import numpy as safetensors

from fcnjax import models
from fcnjax.atomic import read_json, write_bytes, write_json, write_text
from fcnjax.data import Source, UnreadableExample
from fcnjax.installation import installed_version
from fcnjax.models.weights.state_dict_files import read_state_dict
from fcnjax.models.weights.torch_names import HEAD, classifier_names
from fcnjax.naming import shortened
from fcnjax.training.build import make_model_for
from fcnjax.training.compile.mesh import is_first_host, whole_array
from fcnjax.training.data_digest import Digest
from fcnjax.training.evaluation.evaluation_result import EvaluationResult
from fcnjax.training.evaluation.metrics import measure
from fcnjax.training.settings.recipe import Recipe
from fcnjax.training.standalone.model_card import model_card
from fcnjax.training.step.average import Arrays
from fcnjax.training.step.step import TrainState, merge, split

MODEL, TENSORS, CONFIG, CARD = "model", "model.safetensors", "config.json", "README.md"
EARLIER = "model.json"  # of imported weights in an earlier layout
LIBRARY, FORMAT = "fcnjax", 1  # value of the key `library_name`, and the version of the layout that this package writes
NETWORK = ("model", "head", "frontend", "size", "precision")  # parts of the recipe that determine the logits
SAMPLED = 16  # training examples of which the range of values is noted


@dataclasses.dataclass(frozen=True, eq=False)
class Standalone:
    """A network that was read from a model folder.

    Attributes:
        path: the folder.
        recipe: the recipe of training, as far as it determines logits; other fields have their defaults.
        classes: names of the classes, in the order of the logits; none for weights without a head.
        channels: channels of the inputs.
        axes: number of spatial axes: 1 for signals, 2 for images.
        values: lowest and highest value that training examples had before mean and deviation were taken out.
        graphdef: structure of the network.
        weights: trained arrays by name; without those of a classifier, and perhaps of all the head, if there are no
            classes.
        statistics: running statistics by name.
        about: everything in `config.json`.
    """

    path: Path
    recipe: Recipe
    classes: tuple[str, ...]
    channels: int
    axes: int
    values: tuple[float, float]
    graphdef: nnx.GraphDef[models.Classifier]
    weights: Arrays
    statistics: Arrays
    about: Mapping[str, Any]

    @property
    def network(self) -> models.Classifier:
        """The network with its weights; raises ValueError if it has no head."""
        self.check_head()
        return merge(self.graphdef, self.weights, self.statistics)

    def check_head(self) -> None:
        """Raises ValueError if the model has no head."""
        if not self.classes:
            raise ValueError(f"model={self.path}: has no head; fine-tune it with config.init_from.")


def write_model(
    folder: Path,
    recipe: Recipe,
    sources: Mapping[str, Source],
    state: TrainState,
    digest: Digest,
    test: EvaluationResult | None = None,
) -> None:
    """Writes the network of a trained state into a model folder; all hosts must call it.

    Args:
        folder: the folder; files that it holds under the names of the layout are replaced.
        recipe: what was trained.
        sources: the splits by name.
        state: the trained state; averaged weights are written if it has them.
        digest: hashes of the data (see `fcnjax.training.data_digest`).
        test: evaluation of the test split, for the model card; None leaves it out.
    """
    weights, statistics = state.evaluated
    arrays = {name: whole_array(array) for name, array in {**weights, **statistics}.items()}
    assert len(arrays) == len(weights) + len(statistics)
    if not is_first_host():
        return
    about = _description(recipe, sources, digest, test)
    metrics = None if test is None else measure(test.logits, test.labels, test.sizes)  # leaves logits of NaN out
    write_files(folder, arrays, about, model_card(about, metrics))


def write_files(folder: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any], card: str) -> None:
    """Writes the files of a model folder.

    Args:
        folder: the folder.
        arrays: weights and running statistics by name.
        about: the content of `config.json`, from `described`.
        card: the model card.
    """
    write_bytes(folder / TENSORS, safetensors.save(dict(arrays), {LIBRARY: installed_version()}))
    write_text(folder / CARD, card)
    write_json(folder / CONFIG, about)  # last: it makes the folder a model


def read_model(path: Path | str) -> Standalone:
    """Returns the network in a model folder, or in the model folder of a finished run.

    A model may have no head (see `Standalone.classes`), as imported weights may.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if a file is damaged, a newer version wrote it, or the arrays are not those of the network.
    """
    path = model_folder(path)
    about = read_json(path / CONFIG)
    _check_written(path / CONFIG, about)
    try:
        before, data = about["preprocessing"], about["provenance"]["data"]
        fields = {name: before[name] for name in ("channels", "mean", "std", "sample_rate")}
        channels, axes, classes = before["channels"], before["axes"], tuple(about["classes"])
        fields["channels"] = channels if channels in (1, 3) else None  # arrays may have any; the field is that of files
        recipe = Recipe.from_config({"data": {"name": data, **fields}, **{name: about[name] for name in NETWORK}})
        low, high = before["values"]
        expected = nnx.eval_shape(lambda: make_model_for(recipe, max(1, len(classes)), channels, axes, 0))
    except (KeyError, TypeError, ValueError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path / CONFIG}: does not describe a network ({reason}); restore the file.") from None
    graphdef, weights, statistics = split(expected)
    arrays = read_state_dict(path / TENSORS)
    if not classes:
        weights = without_head(weights, arrays)
    _check_arrays(path, {**weights, **statistics}, arrays, recipe.model.name, len(classes))
    weights, statistics = ({name: jnp.asarray(arrays[name]) for name in names} for names in (weights, statistics))
    return Standalone(path, recipe, classes, channels, axes, (low, high), graphdef, weights, statistics, about)


def is_model(path: Path) -> bool:
    """Returns whether a folder is a model folder."""
    return (path / TENSORS).is_file() and (path / CONFIG).is_file()


def model_folder(path: Path | str) -> Path:
    """Returns the model folder at a path, which is one, or a finished run that holds one.

    Raises:
        FileNotFoundError: if there is none.
    """
    path = Path(path)
    if path.is_file():
        advice = "turn a file of weights into one with 'fcnjax import-weights'"
        raise FileNotFoundError(f"model={path}: must be a run or a model folder; {advice}.")
    for folder in (path / MODEL, path):
        if is_model(folder):
            return folder
    halves = [folder / name for folder in (path / MODEL, path) for name in (TENSORS, CONFIG)]
    if (path / TENSORS).is_file() or (path / MODEL / TENSORS).is_file():
        lacking = next(file for file in halves if not file.is_file() and (file.parent / TENSORS).is_file())
        problem = f"lacks {lacking.name} beside {TENSORS}; restore the file."
    elif (path / "environment.json").is_file():
        problem = f"must be a finished run (no {MODEL}/{CONFIG} found); repeat its 'fcnjax train' command to finish it."
    elif (path / EARLIER).is_file():
        problem = f"has the layout of an earlier version ({EARLIER}); repeat 'fcnjax import-weights'."
    else:
        problem = f"must be a run or a model folder (no {TENSORS} and {CONFIG} found); train one with 'fcnjax train'."
    raise FileNotFoundError(f"model={path}: {problem}")


def without_head(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arrays that a network without classes has: no classifier, and of the head only what was found."""
    classifier = classifier_names(wanted)
    return {
        name: array
        for name, array in wanted.items()
        if name not in classifier and (name in found or not name.startswith(HEAD))
    }


def described(
    recipe: Recipe, classes: Sequence[str], preprocessing: Mapping[str, Any], provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the content of `config.json`.

    Args:
        recipe: the network, and the sizes of its inputs.
        classes: names of the classes; none for weights without a head.
        preprocessing: channels, axes, mean, std, sample_rate and values (see `Standalone`).
        provenance: where the model comes from, with `data` and `test`.
    """
    fields = recipe.to_dict()
    return {
        "library_name": LIBRARY,
        "format": FORMAT,
        **{name: fields[name] for name in NETWORK},
        "classes": list(classes),
        "preprocessing": dict(preprocessing),
        "provenance": {**provenance, "versions": {LIBRARY: installed_version(), "jax": jax.__version__}},
    }


def _description(
    recipe: Recipe, sources: Mapping[str, Source], digest: Digest, test: EvaluationResult | None
) -> dict[str, Any]:
    """Returns the content of `config.json` for a trained network."""
    fields, train, data = recipe.to_dict(), sources["train"], recipe.data
    training = {name: value for name, value in fields.items() if name not in (*NETWORK, "loader", "log", "profile")}
    training["data"] = {name: value for name, value in fields["data"].items() if name != "data_dir"}
    result = None
    if test is not None:
        result = {"accuracy": test.accuracy, "correct": test.correct, "count": test.count, "loss": test.loss}
    preprocessing = {
        "channels": train.channels,
        "axes": train.sizes.shape[1],
        "mean": data.mean,
        "std": data.std,
        "sample_rate": data.sample_rate,
        "values": list(_value_range(train)),
    }
    provenance = {
        "data": data.name,
        "examples": {name: len(source) for name, source in sources.items()},
        "digest": digest,
        "test": result,
        "training": training,
    }
    return described(recipe, train.class_names, preprocessing, provenance)


def _value_range(source: Source) -> tuple[float, float]:
    """Returns the range of values, before mean and deviation are taken out, of some examples; 0 to 1 for uint8."""
    low, high = 0.0, 1.0
    for index in np.unique(np.linspace(0, len(source) - 1, SAMPLED).astype(int)).tolist():
        try:
            values = source[index].values
        except UnreadableExample:
            continue
        if values.dtype != np.uint8:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    return low, high


def _check_written(path: Path, about: Mapping[str, Any]) -> None:
    library, written = about.get("library_name"), about.get("format")
    if library != LIBRARY:
        raise ValueError(f"{path}: must describe a model of {LIBRARY}, not of {library!r}; give another folder.")
    if not isinstance(written, int) or not 1 <= written <= FORMAT:
        raise ValueError(
            f"{path}: has format {written!r}, and fcnjax {installed_version()} reads 1 to {FORMAT}; install a newer "
            "version."
        )


def _check_arrays(
    path: Path, wanted: Mapping[str, Any], found: Mapping[str, np.ndarray], network: str, classes: int
) -> None:
    """Raises ValueError unless arrays are those of a network, by name, shape and dtype."""
    problems = [f"lacks {name!r}" for name in wanted if name not in found]
    problems += [f"also holds {name!r}" for name in found if name not in wanted]
    for name in wanted.keys() & found.keys():
        here, there = (tuple(each[name].shape) for each in (found, wanted))
        if here != there:
            problems.append(f"holds {name!r} of shape {here} instead of {there}")
        elif found[name].dtype != wanted[name].dtype:
            problems.append(f"holds {name!r} as {found[name].dtype} instead of {wanted[name].dtype}")
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise ValueError(
            f"{path / TENSORS}: {sorted(problems)[0]}{more}; {CONFIG} describes {shortened(network)} with {classes} "
            "classes. Restore the two files of one model."
        )
