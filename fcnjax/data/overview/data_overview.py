"""What a data set is, before anything is trained on it: counts, sizes, values, what was ignored, what is suspicious.

Axes: N examples, K classes, D spatial axes. The one idea: all of it is known, but for a few examples that are decoded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import compress
from typing import NamedTuple

import numpy as np

from fcnjax.data.decoding.audio_files import AUDIBLE
from fcnjax.data.decoding.unreadable import names_by_reason
from fcnjax.data.files.listing import TABLES
from fcnjax.data.overview.class_checks import AbsentClass, absent_classes, check_classes, class_notes
from fcnjax.data.overview.leakage import MAX_OPENED, Leak, check_leaks, find_leaks
from fcnjax.data.overview.origin import known_labels, native_sizes
from fcnjax.data.overview.pixel_moments import scaled_values
from fcnjax.data.size_table import areas
from fcnjax.data.sources.contents import sample_positions
from fcnjax.data.sources.example_checks import unusual_range
from fcnjax.data.sources.source import Ignored, Source, UnreadableExample
from fcnjax.naming import printable, some

SAMPLED = 8  # training examples that are decoded
ENOUGH = 128  # extent at which a large image may be decoded for it


class SizeRange(NamedTuple):
    """Sizes [D] of examples: those of the smallest, the median and the largest number of positions."""

    smallest: tuple[int, ...]
    median: tuple[int, ...]
    largest: tuple[int, ...]


@dataclass(frozen=True)
class ValueSample:
    """The values of a few training examples.

    Attributes:
        dtype: their type, "uint8", "float32" or both ("float32 and uint8").
        mean: mean of all values, those of uint8 divided by 255.
        peak: the largest absolute value, scaled in the same way.
        examples: number of examples.
        constant: names of examples whose values are all the same.
        quiet: names of examples whose values are all below 0.001.
    """

    dtype: str
    mean: float
    peak: float
    examples: int
    constant: tuple[str, ...]
    quiet: tuple[str, ...]


@dataclass(frozen=True)
class DataOverview:
    """What a data set is.

    Attributes:
        class_names: names of the K classes.
        examples: N of each split, by name.
        class_counts: int [K], examples of each class, by split; None where labels are unknown.
        sizes: sizes after the size policy.
        native: sizes before it.
        channels: C.
        values: what a few training examples hold; None if none of them could be decoded.
        sample_rate: rate of recordings in Hz; None if unknown.
        ignored: files that are no examples, by reason.
        unreadable: examples that were left out, by reason.
        notes: what else should be known, one sentence each.
        absent: classes without training examples.
        leaks: what splits share.
        warnings: what is probably wrong, one sentence each; absent classes and leaks among them.
    """

    class_names: tuple[str, ...]
    examples: Mapping[str, int]
    class_counts: Mapping[str, np.ndarray | None]
    sizes: SizeRange
    native: SizeRange
    channels: int
    values: ValueSample | None
    sample_rate: int | None
    ignored: tuple[Ignored, ...]
    unreadable: tuple[Ignored, ...]
    notes: tuple[str, ...]
    absent: tuple[AbsentClass, ...]
    leaks: tuple[Leak, ...]
    warnings: tuple[str, ...]

    def at_sizes_of(self, sources: Mapping[str, Source]) -> "DataOverview":
        """Returns the overview with the sizes of the same data after a size policy."""
        return replace(self, sizes=_range(np.concatenate([source.sizes for source in sources.values()])))

    def refuse(self, absent: str, leakage: str) -> None:
        """Raises ValueError if the data must not be trained on.

        Args:
            absent: "refuse" raises for classes without training examples, and for a single class; "allow" does not.
            leakage: "refuse" raises for what splits share; "warn" and "ignore" do not.
        """
        if absent == "refuse":
            tables = [each.example for each in self.ignored if each.reason == TABLES]
            refused = [note.rstrip(".") for note in self.notes if ": not used, as " in note]
            beside = [f", or give labels from a table with config.data.labels.table={table}" for table in tables]
            check_classes(
                self.class_names, self.absent, printable("".join([*(f"; {n}" for n in refused), *beside][:1]))
            )
        if leakage == "refuse":
            check_leaks(self.leaks)


def data_overview(
    sources: Mapping[str, Source],
    *,
    one_data_set: bool = False,
    leakage: str = "warn",
    sample_rate: int | None = None,
    thorough: bool = False,
) -> DataOverview:
    """Returns what a data set is. A few training examples are decoded, and what may be equal in two splits is compared.

    Args:
        sources: the splits by name, "train" among them and first.
        one_data_set: whether the splits are parts of one data set, in which equal ids are the same example.
        leakage: "ignore" does not look for what splits share; "refuse" compares everything; "warn" compares no files if
            more than `fcnjax.data.overview.leakage.MAX_OPENED` would have to be opened.
        sample_rate: rate of recordings in Hz, for the text.
        thorough: whether to read labels and compare files whatever it takes.
    """
    train, class_names = sources["train"], sources["train"].class_names
    counts = {name: _counts(source, thorough) for name, source in sources.items()}
    limit = None if thorough or leakage == "refuse" else MAX_OPENED
    leaks, skipped = (
        find_leaks(sources, one_data_set=one_data_set, max_opened=limit) if leakage != "ignore" else ((), ())
    )
    absent = absent_classes(class_names, counts)
    notes, warnings = class_notes(class_names, counts)
    values = _sample(train)
    warnings += _value_warnings(values, recordings=sample_rate is not None)
    if thorough and (unusual := unusual_range(train)):  # otherwise training itself says it
        warnings.append(unusual.rstrip("."))
    unreadable = {name: why for source in sources.values() for name, why in source.unreadable.items()}
    told = dict.fromkeys(note for source in sources.values() for note in source.notes)
    if any(each is None for each in counts.values()):
        unread = " and ".join(name for name, each in counts.items() if each is None)
        notes.append(f"the labels of {unread} are not known before training, and its classes are not checked")
    return DataOverview(
        class_names=tuple(class_names),
        examples={name: len(source) for name, source in sources.items()},
        class_counts=counts,
        sizes=_range(np.concatenate([source.sizes for source in sources.values()])),
        native=_range(np.concatenate([native_sizes(source) for source in sources.values()])),
        channels=train.channels,
        values=values,
        sample_rate=sample_rate,
        ignored=tuple(dict.fromkeys(each for source in sources.values() for each in source.ignored)),
        unreadable=tuple(
            Ignored(reason, len(names), names[0]) for reason, names in names_by_reason(unreadable).items()
        ),
        notes=(*told, *notes, *skipped),
        absent=absent,
        leaks=leaks,
        warnings=(*_class_warnings(class_names, absent), *(leak.text for leak in leaks), *warnings),
    )


def _class_warnings(class_names: tuple[str, ...], absent: tuple[AbsentClass, ...]) -> list[str]:
    warnings = ["there is one class alone: nothing can be learned"] if len(class_names) < 2 else []
    if absent:
        have = "class has" if len(absent) == 1 else "classes have"
        named = ", ".join(each.text for each in absent[:3])
        more = f" and {len(absent) - 3:,} more" if len(absent) > 3 else ""
        warnings.append(f"{len(absent):,} {have} no training example: {named}{more}")
    return warnings


def _value_warnings(values: ValueSample | None, *, recordings: bool) -> list[str]:
    if values is None:
        return []
    names = values.quiet if recordings and values.quiet else values.constant
    if not names:
        return []
    verb = "is" if len(names) == 1 else "are"
    what = f"silent, with all amplitudes below {AUDIBLE}" if recordings and values.quiet else "blank, of one value"
    return [f"{len(names)} of {values.examples} decoded examples {verb} {what}: {some(names)}"]


def _counts(source: Source, thorough: bool) -> np.ndarray | None:
    labels = known_labels(source, read=thorough)
    return None if labels is None else np.bincount(labels, minlength=len(source.class_names))


def _range(sizes: np.ndarray) -> SizeRange:
    order = np.argsort(areas(sizes), kind="stable")
    return SizeRange(*(tuple(sizes[order[place]].tolist()) for place in (0, len(order) // 2, -1)))


def _sample(source: Source) -> ValueSample | None:
    """Returns what a few examples of a source hold; large images may be decoded at a fraction of their size."""
    kept = []
    for index in sample_positions(len(source), SAMPLED):
        try:
            values = source.read(index, np.minimum(source.sizes[index], ENOUGH).tolist()).values
        except UnreadableExample:
            continue
        kept.append((source.name_of(index), values.dtype.name, scaled_values(values)))
    if not kept:
        return None
    names, dtypes, scaled = zip(*kept, strict=True)
    mean = sum(float(each.sum(dtype=np.float64)) for each in scaled) / sum(each.size for each in scaled)
    peaks = [float(np.abs(each).max()) for each in scaled]
    constant = [each.size > 1 and bool((each == each.reshape(-1)[0]).all()) for each in scaled]
    quiet = [peak < AUDIBLE for peak in peaks]
    named = (tuple(compress(names, chosen)) for chosen in (constant, quiet))
    return ValueSample(" and ".join(sorted(set(dtypes))), mean, max(peaks), len(kept), *named)
