"""Slices of splits: "train[:90%]", "train[-5000:]", "train+test"; one grammar and one rounding for every source.

The one idea: a percentage is a position, the same whichever side of the colon it is on. So `[:90%]` and `[90%:]` share
their boundary, and complementary slices neither overlap nor lose an example.

Percentages are rounded as TFDS rounds them: to the nearest example, halves to the even number (50% of 5 is 2). A
negative percentage is counted from the end, so `-10%` is `90%`. TFDS rounds negative percentages separately instead:
there `[:90%]` and `[-10%:]` of 15 examples overlap, and `[-1%:]` of 10 examples is all of them.
"""

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fcnjax.data.size_table import frozen_table
from fcnjax.naming import printable, unknown_name

ALL = "all"  # the name that selects all examples of a folder or of an undivided file

_BOUND = r"-?\d[\d_]*(?:(?:\.\d+)?%)?"
_SLICE = re.compile(rf"(.*?)\s*\[\s*({_BOUND})?\s*:\s*({_BOUND})?\s*\]", re.DOTALL)


class SplitTerm(NamedTuple):
    """One term of a split, such as "train" or "train[:90%]".

    Attributes:
        text: the term as it was written.
        name: the part before the slice.
        start: first bound, such as "5", "-5", "95%" or "12.5%"; None if it is left out.
        stop: second bound, in the same form.
        sliced: whether there is a slice.
    """

    text: str
    name: str
    start: str | None = None
    stop: str | None = None
    sliced: bool = False

    def span(self, count: int, *, strict: bool) -> range:
        """Returns the positions that this term selects among the `count` examples of its split.

        Args:
            count: number of examples.
            strict: whether a number beyond the examples, and a percentage beside a number, are errors, as for TFDS;
                else a number is clipped, as in a slice of a list.

        Raises:
            ValueError: if a bound is beyond the examples, or a percentage is mixed with a number.
        """
        bounds = [self.start or "0", self.stop or "100%"]
        if (
            strict
            and self.start
            and self.stop
            and "0" not in bounds
            and self.start.endswith("%") != self.stop.endswith("%")
        ):
            raise ValueError(f"split={self.text!r}: must have two percentages or two numbers; write both in one form.")
        start, stop = (self._position(bound, count, strict) for bound in bounds)
        return range(start, max(start, stop))

    def _position(self, bound: str, count: int, strict: bool) -> int:
        if bound.endswith("%"):
            percent = float(bound[:-1])
            if abs(percent) > 100:
                raise ValueError(f"split={self.text!r}: must have percentages of -100% to 100%; correct {bound}.")
            return round((percent + 100 * (percent < 0)) * count / 100)
        position = int(bound)
        if strict and abs(position) > count:
            raise ValueError(f"split={self.text!r}: must stay within the {count} examples of {self.name}.")
        return min(max(position + count * (position < 0), 0), count)


class SplitPart(NamedTuple):
    """Examples `start` to `stop` - 1 of the split called `split`."""

    split: str
    start: int
    stop: int


def parse_term(text: str) -> SplitTerm:
    """Returns the parsed term of a split; without a slice, the whole text is the name."""
    text = text.strip()
    found = _SLICE.fullmatch(text)
    return SplitTerm(text, text) if found is None else SplitTerm(text, *found.groups(), sliced=True)


def parse_split(split: str) -> list[SplitTerm]:
    """Returns the terms that "+" joins.

    >>> [(term.name, term.span(1000, strict=True)) for term in parse_split("train[:12.5%] + test[-20:]")]
    [('train', range(0, 125)), ('test', range(980, 1000))]
    """
    return [parse_term(text) for text in split.split("+")]


def split_parts(split: str, counts: Mapping[str, int], owner: str, *, strict: bool = False) -> list[SplitPart]:
    """Returns the parts of whole splits that a split consists of, in order; empty ones are left out.

    Args:
        split: names from `counts`, each with or without a slice, joined by "+".
        counts: number of examples in each split of the data set.
        owner: the name of the data set in messages.
        strict: as for `SplitTerm.span`.

    Raises:
        ValueError: if a name is unknown, a slice is malformed or out of range, or nothing is selected.
    """
    parts, owner = [], printable(owner)
    for term in parse_split(split):
        if "[" in term.name:
            raise ValueError(f"split={split!r} of {owner}: must be a name, or a slice such as 'train[:90%]'.")
        if term.name not in counts:
            raise ValueError(unknown_name(f"split of {owner}:", term.name, counts))
        span = term.span(counts[term.name], strict=strict)
        if span:
            parts.append(SplitPart(term.name, span.start, span.stop))
    if not parts:
        raise ValueError(
            f"split={split!r} of {owner}: holds no example; name a split or a slice that does, such as 'train[:100]'."
        )
    return parts


def positions(parts: Sequence[SplitPart], counts: Mapping[str, int]) -> np.ndarray:
    """Returns the position of each example in its data set, with the splits end to end in the order of their names.

    Args:
        parts: from `split_parts`.
        counts: number of examples in each split of the data set.

    Returns:
        int32 [N], read-only.
    """
    names = sorted(counts)
    starts = dict(zip(names, np.cumsum([0] + [counts[name] for name in names]).tolist(), strict=False))
    spans = [np.arange(part.start, part.stop) + starts[part.split] for part in parts]
    return frozen_table(np.concatenate(spans))


class FixedOrder:
    """Examples in a fixed random order, every stretch of which holds the classes in proportion.

    The rank of an example within its class comes from a hash of its name. The classes are then merged evenly: the
    example of rank r among n is put at (r + u) / n of the whole, where u in 0 to 1 is a hash of the class's name.
    Without u, all small classes would be in the same place. With groups, whole groups are ranked and put like this,
    each as wide as its share of its most frequent class, and a slice begins and ends at the nearest end of a group.

    Args:
        classes: name of the class of each example.
        names: name of each example, all different.
        groups: group of each example, which no two slices share; None: each is one of its own.

    Attributes:
        positions: positions of the examples, in the order.

    >>> order = FixedOrder("aaaabb", "012345")
    >>> [sorted("aaaabb"[index] for index in order.part(range(*span))) for span in ((0, 3), (3, 6))]
    [['a', 'a', 'b'], ['a', 'a', 'b']]
    """

    def __init__(self, classes: Sequence[str], names: Sequence[str], groups: Sequence[str] | None = None) -> None:
        if groups is None:
            self.positions, self._ends = _merged(classes, names, [1] * len(names)), None
            return
        members: dict[str, list[int]] = defaultdict(list)
        for index, group in enumerate(groups):
            members[group].append(index)
        shown = list(members)
        common = [Counter(classes[index] for index in sorted(members[group])).most_common(1)[0][0] for group in shown]
        order = _merged(common, shown, [len(members[group]) for group in shown])
        ranked = [sorted(members[shown[place]], key=lambda index: _hash(names[index])) for place in order]
        self.positions = [index for group in ranked for index in group]
        self._ends = np.cumsum([0, *map(len, ranked)])

    def part(self, span: range) -> list[int]:
        """Returns the positions in a stretch of the order; bounds within a group move to its nearer end.

        Raises:
            ValueError: if no group is left between the bounds.
        """
        start, stop = span.start, max(span.start, span.stop)
        if self._ends is not None:
            start, stop = (int(self._ends[np.argmin(np.abs(self._ends - bound))]) for bound in (start, stop))
            if span and start == stop:
                raise ValueError(
                    f"holds no example, as groups stay whole, and the largest has {np.diff(self._ends).max():,} of "
                    f"{len(self.positions):,} examples; ask for a larger part, or give the splits."
                )
        return self.positions[start:stop]


def _merged(classes: Sequence[str], names: Sequence[str], widths: Sequence[int]) -> list[int]:
    """Returns positions of items of some widths, merged so that every stretch holds the classes in proportion."""
    by_class: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(classes):
        by_class[name].append(index)
    placed = []
    for name, members in by_class.items():
        start, before, total = _hash(name), 0, sum(widths[member] for member in members)
        for member in sorted(members, key=lambda member: _hash(names[member])):
            placed.append(((before + start * widths[member]) / total, member))
            before += widths[member]
    return [member for _, member in sorted(placed)]


def _hash(text: str) -> float:
    """Returns a number in [0, 1) that is the same on every machine."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(text), digest_size=6).digest(), "big") / 2**48
