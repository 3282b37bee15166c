"""What a user's data are: a folder of images or of recordings, an `.npz` file, or sources of one's own; and its splits.

Axes: N examples. The one idea: the files decide, not their names; and every split that is missing is cut from one that
is there, in proportion to the classes.
"""

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from fcnjax.data import PartialSource, RelabeledSource, Source, UnreadableExample, as_source
from fcnjax.data.by_name import ARRAYS
from fcnjax.data.decoding.audio_files import read_rate
from fcnjax.data.files.file_scan import AudioKind, ImageKind
from fcnjax.data.files.folder_splits import split_kind
from fcnjax.data.files.label_settings import LabelSettings
from fcnjax.data.files.split_files import select
from fcnjax.data.sources.contents import sample_positions
from fcnjax.data.sources.npz import npz_splits
from fcnjax.data.sources.splits import ALL, FixedOrder, split_parts
from fcnjax.naming import printable
from fcnjax.training.from_data.found_labels import found_labels
from fcnjax.training.settings.config_fields import from_mapping

LOOKED_AT = 64  # files of a folder that are opened to see what they are
MAX_RATE = 16_000  # Hz: speech and most sounds lie below half of it
TRAIN, VALIDATION, TEST = ("train", "training"), ("validation", "valid", "val", "dev"), ("test", "testing")
TEST += ("eval", "evaluation")
FEWEST = 10  # examples of which splits can be cut
_SPLITS = ("train_split", "validation_split", "test_split")
_FOLD = re.compile(r"\D*?(\d+)")  # "fold3", "3"
SHARES = ("[:80%]", "[80%:90%]", "[90%:]")  # of data without splits: training, validation, test


@dataclasses.dataclass(frozen=True)
class FoundData:
    """What data are.

    Attributes:
        kind: "images", "recordings" (files that have a rate) or "arrays".
        fields: fields of `config.data` that name the data and its splits.
        reasons: why, by the name of the field.
        sources: the splits by name, if they are in memory; None if the fields name them.
        notes: what else should be known.
    """

    kind: str
    fields: Mapping[str, Any]
    reasons: Mapping[str, str]
    sources: Mapping[str, Source] | None = None
    notes: tuple[str, ...] = ()


def find_data(data: Any, asked: Mapping[str, Any] | None = None) -> FoundData:
    """Returns what data are.

    Args:
        data: the path of a folder or of an `.npz` file; one source, or a dictionary of sources with "train", "test"
            and optionally "validation", each a `Source` or an object that `fcnjax.data.as_source` accepts.
        asked: fields of `config.data` that somebody asks for, such as a table of labels; they decide how a folder is
            read, and are in the result.

    Raises:
        FileNotFoundError: if a path, or a table of labels, names nothing.
        ValueError: if a folder holds neither images nor recordings, or splits are missing.
        TypeError: if the data are of no such kind.
    """
    if not isinstance(data, str | os.PathLike):
        return FoundData("arrays", {"name": ARRAYS}, {}, _split_sources(data))
    path = Path(data).expanduser()
    if path.is_dir():
        return _find_folder(path, asked or {})
    if path.suffix == ".npz" and path.is_file():
        fields, reasons = _chosen_splits(npz_splits(path), path)
        return FoundData("arrays", {"name": str(path), **fields}, reasons)
    raise FileNotFoundError(
        f"data={printable(path)}: must be a folder with a folder for each class, or an .npz file; a data set by name "
        "needs a config, such as --config=fcnjax:mnist."
    )


def _find_folder(root: Path, asked: Mapping[str, Any]) -> FoundData:
    given = from_mapping(LabelSettings, asked.get("labels") or {}, "data.labels.")
    labels, layout, why, notes = found_labels(root, given, [asked[name] for name in _SPLITS if name in asked])
    names = sorted({*(layout.splits or layout.folders)} - {""}) or [ALL]
    fields, reasons = _chosen_splits(names, root, {name: asked[name] for name in _SPLITS if name in asked})
    looked_at = [layout.names[index] for index in sample_positions(len(layout.names), LOOKED_AT)]
    images = sum(_reads(ImageKind(), root / name) for name in looked_at)
    rates = [rate for rate in (_rate(root / name) for name in looked_at) if rate] if images < len(looked_at) else []
    if not images and not rates:
        raise ValueError(
            f"data={printable(root)}: must hold images or recordings, and none of {len(looked_at)} files that were "
            f"opened is one, such as {printable(looked_at[0])}."
        )
    within, cut, _ = fields["train_split"].partition("[")
    if cut and "train_split" not in asked:
        _check_enough(f"data={printable(root)}", len(select(root, layout, within)))
    if min(images, len(rates)) > len(looked_at) / 10:
        raise ValueError(
            f"data={printable(root)}: must hold files of one kind, and of {len(looked_at)} that were opened {images} "
            f"are images and {len(rates)} recordings; name a folder of one kind."
        )
    fields |= {"labels": labels} if labels else {}
    reasons |= {f"labels.{name}": why for name in labels if why}
    if images >= len(rates):
        return FoundData("images", {"name": "image_folder", "data_dir": str(root), **fields}, reasons, notes=notes)
    rate = min(min(rates), MAX_RATE)
    common = Counter(rates).most_common(1)[0][0]
    reasons["sample_rate"] = f"the lowest rate of the files, at most {MAX_RATE:,} Hz; most have {common:,}"
    audio = {"name": "audio_folder", "data_dir": str(root), "sample_rate": rate}
    return FoundData("recordings", {**audio, **fields}, reasons, notes=notes)


def _reads(kind: ImageKind | AudioKind, file: Path) -> bool:
    try:
        kind.header(file)
    except (UnreadableExample, OSError):
        return False
    return True


def _rate(file: Path) -> int:
    try:
        return read_rate(file)
    except (UnreadableExample, OSError):
        return 0


def _chosen_splits(
    names: Iterable[str], owner: Path, asked: Mapping[str, str] = MappingProxyType({})
) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the splits for training, validation and test, as fields of `config.data`, and why.

    Args:
        names: names of the splits that there are.
        owner: the folder or file.
        asked: the fields that somebody asks for.

    Raises:
        ValueError: if there is no split to train on.
    """
    if len(asked) == len(_SPLITS):
        return dict(asked), {}
    known = {name.lower(): name for name in sorted(names)}
    if lost := sorted(set(names) - set(known.values())):
        twin = printable(known[lost[0].lower()])
        raise ValueError(
            f"data={printable(owner)}: has the splits {printable(lost[0])} and {twin}, which differ in case alone; "
            "join or rename them, or give config.data.train_split, validation_split and test_split."
        )
    chosen, why = _split_names_of(known, owner)
    reasons = {"train_split": why, "validation_split": "measured while training", "test_split": "measured at the end"}
    return dict(zip(_SPLITS, chosen, strict=True)) | dict(asked), reasons


def _split_names_of(known: Mapping[str, str], owner: Path) -> tuple[list[str], str]:
    """Returns the splits for training, validation and test, and why, for names of splits by their small letters."""
    alike = {split_kind(name): name for name in reversed(list(known.values()))}  # "training_set"
    train, validation, test = (
        next((known[n] for n in group if n in known), alike.get(group[0])) for group in (TRAIN, VALIDATION, TEST)
    )
    if train is None and len(known) == 1 and validation is test is None:
        train = next(iter(known.values()))
    if train is validation is test is None and len(known) > 2 and all(_FOLD.fullmatch(name) for name in known):
        folds = sorted(known.values(), key=lambda name: int(re.sub(r"\D", "", name)))
        *_, validation, test = folds
        return [f"all - {validation} - {test}", validation, test], f"all but the last two of {len(folds)} folds"
    if train is None:
        raise ValueError(
            f"data={printable(owner)}: has the splits {', '.join(map(printable, sorted(known.values())))}, and none to "
            "train on; name one 'train', move classes beside it into a folder 'train', or give "
            "config.data.train_split, validation_split and test_split."
        )
    if validation is None and test is None:
        return [train + share for share in SHARES], "80, 10 and 10 % of each class"
    if test is None:
        assert validation is not None
        return [f"{train}[:90%]", f"{train}[90%:]", validation], "there is no test split; a tenth of train validates"
    if validation is None:
        return [f"{train}[:90%]", f"{train}[90%:]", test], "a tenth of train validates"
    return [train, validation, test], "as they are named"


def _check_enough(what: str, count: int) -> None:
    """Raises ValueError if there are too few examples to cut splits from."""
    if count < FEWEST:
        raise ValueError(
            f"{what}: holds {count} example{'s' * (count != 1)} to cut splits from; add some, to at least {FEWEST}, or "
            "give the splits train, validation and test."
        )


def _split_sources(data: Any) -> dict[str, Source]:
    """Returns the three splits of sources in memory; missing ones are cut from the training examples."""
    if isinstance(data, Mapping):
        unknown = sorted(set(data) - {"train", "validation", "test"})
        if "train" not in data or unknown:
            advice = f"rename {unknown[0]!r}" if unknown else "it must hold 'train', so add it"
            raise ValueError(
                f"sources={list(data)}: must be a dictionary of train, test and, if you like, validation; {advice}."
            )
        given = _in_common_classes({name: as_source(source) for name, source in data.items()})
    elif hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        given = {"train": as_source(data)}
    else:
        raise TypeError(
            f"data={type(data).__name__}: must be a folder, an .npz file, a source of examples, or a dictionary of "
            "sources (train, validation, test); see fcnjax.data.ArraySource."
        )
    if set(given) == {"train", "validation"}:
        given["test"] = given.pop("validation")
    wanted = [name for name in ("train", "validation", "test") if name == "train" or name not in given]
    if wanted == ["train"]:
        return given
    _check_enough("sources", len(given["train"]))
    shares = SHARES if len(wanted) == 3 else ("[:90%]", "[90%:]")
    return given | {n: _part(given["train"], share) for n, share in zip(wanted, shares, strict=True)}


def _in_common_classes(sources: dict[str, Source]) -> dict[str, Source]:
    """Returns splits with one list of classes, matched by name: those of training, or sorted if others have more."""
    train, known = sources["train"].class_names, {name for each in sources.values() for name in each.class_names}
    if known != set(train):
        numbers = all(name.isdecimal() for name in known)
        train = tuple(sorted(known, key=int if numbers else None))
    return {
        name: source if tuple(source.class_names) == tuple(train) else RelabeledSource(source, train)
        for name, source in sources.items()
    }


def _part(source: Source, share: str) -> Source:
    """Returns a slice of a source in proportion to its classes."""
    labels = source.labels
    if labels is None:
        labels = [source[index].label for index in range(len(source))]
    order = FixedOrder([str(label) for label in labels], [str(index) for index in source.ids], source.groups)
    (part,) = split_parts(f"train{share}", {"train": len(source)}, "the examples")
    try:
        chosen = order.part(range(part.start, part.stop))
    except ValueError as error:
        raise ValueError(f"sources: the slice {share} {error}") from None
    return PartialSource(source, np.sort(chosen), {})
