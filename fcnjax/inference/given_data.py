"""Evaluation of networks that stand alone, on data that training never saw: classes are matched by name.

Axes: N examples, K classes, D spatial axes.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fcnjax.data import (
    FolderSource,
    LabelSettings,
    RelabeledSource,
    Source,
    UnreadableExample,
    UnreadableFiles,
    as_source,
    load_npz,
    without_small,
)
from fcnjax.data.files.file_scan import AudioKind, ImageKind
from fcnjax.data.files.labeling import table_files
from fcnjax.data.sources.contents import sample_positions
from fcnjax.data.sources.npz import npz_splits
from fcnjax.data.sources.source import ON_ERROR
from fcnjax.data.sources.splits import ALL
from fcnjax.inference.inputs import check_array
from fcnjax.inference.predictor import Predictor, load
from fcnjax.naming import printable, unknown_name
from fcnjax.training.build import SPLITS
from fcnjax.training.evaluation import EvaluationResult, measure
from fcnjax.training.from_data.found_labels import found_labels
from fcnjax.training.run import finished
from fcnjax.training.run.run_data import holds_split
from fcnjax.training.run.run_folder import is_run
from fcnjax.training.standalone import Standalone, is_model, model_folder

TEST = "test"
SAMPLED = 16  # examples that are compared with those of training, besides their sizes


def evaluate(
    model: Predictor | Path | str,
    data: Any = TEST,
    checkpoint: str | None = None,
    *,
    split: str | None = None,
    on_error: str = "mask",
    unknown_classes: str = "refuse",
) -> EvaluationResult:
    """Evaluates a run on one of its splits, or a model on data that training never saw.

    A split of a run is read again, where it was or where it moved to: `evaluate(run, "test")`, or `evaluate(run,
    "elsewhere", split="test")` for a folder or a file that holds the splits of the run's config. A line on stderr says
    if its examples are not those of training.

    Other data of your own are evaluated with the final weights, without the data of training, and at the sizes that the
    size policy of training gives them. Their classes are matched by name: they may be some of the model's, in any
    order.

    Args:
        model: a run or a model folder; for data of your own also a `Predictor`, which keeps its compiled programs.
        data: "train", "validation" or "test" of a run; or the path of a folder or an `.npz` file (see `open_data`); or
            a `Source` or anything that `fcnjax.data.as_source` accepts, or a dictionary of them by split. Labels of
            items without names of classes, such as pairs in a list, count in the model's classes.
        checkpoint: for a split of a run, as for `fcnjax.training.load_run`; None: the final weights.
        split: of a folder or a file, as for `open_data`; of data of a run that moved: a split of the run.
        on_error: "mask" leaves out files that cannot be read, and examples that the model cannot take; "refuse" raises.
            A split of a run that did not move is treated as its config says.
        unknown_classes: "refuse" raises if examples have a class that the model lacks; "skip" leaves them out.

    Returns:
        Loss, exact counts, and logits in the order of the data; `reasons` says what was left out and why. Examples of
        unknown classes are in none of them.

    Raises:
        FileNotFoundError: if there is no such model, run, checkpoint or data.
        ValueError: if the data do not fit the model, or a file of the model is damaged.
    """
    path = None if isinstance(model, Predictor) else Path(model)
    if isinstance(data, str) and data in SPLITS:
        if path is None:
            raise ValueError(f"data={data!r}: needs a run that has such a split; give its folder, or data of your own.")
        check_run(path, f"data={data!r}")
        return finished.evaluate(path, data, checkpoint, unknown_classes=unknown_classes)
    if path is not None and isinstance(data, str | os.PathLike) and split and holds_split(path, data, split):
        options = {"data": data, "on_error": on_error, "unknown_classes": unknown_classes}
        return finished.evaluate(path, split, checkpoint, **options)
    if checkpoint is not None:
        raise ValueError(f"checkpoint={checkpoint}: needs a split of the run; leave it out with data of your own.")
    predictor = model if isinstance(model, Predictor) else load(model)
    return evaluate_source(predictor, matched(predictor, data, split, on_error, unknown_classes), on_error)


def check_run(path: Path, wanted: str) -> None:
    """Raises unless a path is that of a run.

    Args:
        path: the folder.
        wanted: what needs a run, as an argument and its value; it begins the message.

    Raises:
        FileNotFoundError: if there is neither a run nor a model.
        ValueError: if there is a model alone.
    """
    if is_run(path) and not is_model(path):
        return
    model_folder(path)  # raises if there is no model either
    raise ValueError(f"{wanted}: needs a run, and {printable(path)} is a model alone; give its run.")


def matched(
    predictor: Predictor,
    data: Any,
    split: str | None = None,
    on_error: str = "mask",
    unknown_classes: str = "refuse",
) -> RelabeledSource:
    """Returns data as a source of the model's classes, without examples that are too small for it.

    Args: as for `evaluate`.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if the data do not fit the model.
    """
    if on_error not in ON_ERROR:
        raise ValueError(unknown_name("on_error", on_error, ON_ERROR))
    model = predictor.model
    if isinstance(data, Mapping):  # of sources, as `fcnjax.train` takes them
        if (split or TEST) not in data:
            raise ValueError(f"data={list(data)}: must hold the split {split or TEST!r}; name one that it holds.")
        data, split = data[split or TEST], None
    if isinstance(data, str | os.PathLike):
        name, source = f"data={printable(data)}", open_data(data, model, split, verify=on_error == "refuse")
    else:
        if split is not None:
            raise ValueError(f"split={split!r}: needs the path of a folder or a file; leave it out with other data.")
        name, source = "data", as_source(data, model.classes, channels=model.channels)
    _check_values(name, source, model)
    policy, minimum = model.recipe.size, predictor.network.min_size
    try:
        source = source if policy.below == "pad" else without_small(source, policy, minimum)
        source = RelabeledSource(source, model.classes, unknown_classes)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if on_error == "refuse":
        _refuse(source.unreadable)
    return source


def open_data(data: str | os.PathLike[str], model: Standalone, split: str | None = None, *, verify: bool) -> Source:
    """Returns a folder, or an `.npz` file, as a source of examples such as those of a model.

    Args:
        data: a folder of class folders, or of a split that holds these (see `fcnjax.data.FolderSource`), with images or
            recordings, or whose labels come from a table, lists or a pattern as in training, or from a table beside
            files; or an `.npz` file (see `fcnjax.data.save_npz`).
        model: the model; it decides how files are read.
        split: a split, as for `FolderSource` or `fcnjax.data.load_npz`; None: "test" if there is one, else everything
            in a folder, or the only split of a file.
        verify: whether to decode all files first; else damage behind an intact header is found in the evaluation.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if it holds no such split, no file can be read, or the model takes no files.
    """
    path = Path(data).expanduser()
    if path.suffix == ".npz" and path.is_file():
        return load_npz(path, _split_of(path) if split is None else split)
    if not path.is_dir():
        near = f", and {unknown_name('split', data, SPLITS)}" if isinstance(data, str) else "."
        raise FileNotFoundError(f"data={printable(data)}: no such folder or .npz file{near}")
    if model.axes > 2:
        what = f"{model.axes} spatial axes"
        raise ValueError(f"data={printable(data)}: must be an .npz file: other files have no values of {what}.")
    if split is None:
        split = TEST if (path / TEST).is_dir() and TEST not in model.classes else ALL
    kind = ImageKind() if model.axes == 2 else AudioKind(model.recipe.data.sample_rate)
    labels = _labels_of(path, split, model)
    try:
        return FolderSource(path, split, kind, labels=labels, channels=model.channels, on_error="mask", verify=verify)
    except UnreadableFiles as error:
        kinds, (name, reason) = "images" if model.axes == 2 else "recordings", next(iter(error.reasons.items()))
        why = printable(f"none of its {len(error.reasons):,} files can be read ({name}: {reason})")
        raise ValueError(f"data={printable(data)}: must hold {kinds} as in training, and {why}.") from None


def _labels_of(path: Path, split: str, model: Standalone) -> LabelSettings:
    """Returns where the labels of a folder come from: as in training if it has such a table, else as it is found."""
    trained = model.recipe.data.labels
    if trained.table is not None and not table_files(path, trained.table):
        trained = LabelSettings()
    try:
        fields = found_labels(path, trained, (split,)).fields
    except ValueError:
        if trained.table is None or not Path(trained.table).is_absolute():
            raise
        fields = found_labels(path, LabelSettings(), (split,)).fields  # that table is of other files
    return LabelSettings(**fields)


def evaluate_source(
    predictor: Predictor, source: Source, on_error: str = "mask", *, progress: bool = False
) -> EvaluationResult:
    """Returns the evaluation of a source of the model's classes, whose labels are known.

    Args:
        predictor: the model.
        source: from `matched`, possibly at other sizes.
        on_error: as for `evaluate`.
        progress: whether to show a bar.

    Raises:
        ValueError: if no example can be evaluated, or one cannot and `on_error` is "refuse".
    """
    assert source.labels is not None
    logits, refused = predictor.scores(source, progress=progress)
    if on_error == "refuse":
        _refuse(refused)
    labels, missing = np.array(source.labels), np.isnan(logits).any(axis=1)
    missing &= [source.name_of(index) in refused for index in range(len(source))]  # NaN of a broken network stays
    if missing.all():
        name, reason = next(iter(refused.items()))
        raise ValueError(printable(f"none of the {len(source):,} examples can be evaluated ({name}: {reason})."))
    labels[missing] = -1
    sizes = predictor.model.recipe.size.sizes(source.sizes, predictor.network.min_size, source.names)
    metrics = measure(logits, labels, sizes)
    return EvaluationResult(
        metrics.loss,
        metrics.correct(),
        int((~missing).sum()),
        logits,
        labels,
        sizes,
        int(missing.sum()),
        {**source.unreadable, **refused},
    )


def _split_of(path: Path) -> str:
    """Returns the split of an `.npz` file that is evaluated unless one is named."""
    names = npz_splits(path)
    if len(names) == 1:
        return names[0]
    if names and TEST not in names:
        raise ValueError(f"data={printable(path)}: holds splits {', '.join(names)}; choose one with split={names[0]}.")
    return TEST  # refused by `load_npz` if there is none


def _check_values(name: str, source: Source, model: Standalone) -> None:
    """Raises ValueError unless examples have the channels and axes of training, and some of them its values."""
    axes = source.sizes.shape[1]
    if (source.channels, axes) != (model.channels, model.axes):
        raise ValueError(
            f"{name}: must have {model.channels} channels and {model.axes} spatial axes as in training, not "
            f"{source.channels} and {axes}."
        )
    if isinstance(source, FolderSource):
        return
    for index in sample_positions(len(source), SAMPLED):
        try:
            check_array(source[index].values, model)
        except UnreadableExample:
            continue
        except ValueError as error:
            raise ValueError(f"{name}: {source.name_of(index)}, {error}") from None


def _refuse(reasons: Mapping[str, str]) -> None:
    """Raises ValueError, which names the first, if there are examples that cannot be evaluated."""
    if reasons:
        name, reason = next(iter(reasons.items()))
        what = printable(f"{len(reasons):,} examples cannot be evaluated ({name}: {reason})")
        raise ValueError(f"{what}; repair or remove them, or leave them out with on_error=mask.")
