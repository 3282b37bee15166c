"""The files that a split selects: a name, a folder or a pattern, sliced, joined with "+", or without others ("-")."""

import re
from collections.abc import Iterable
from pathlib import Path

from fcnjax.data.files.folder_layout import Layout, refusal
from fcnjax.data.files.folder_splits import split_kind
from fcnjax.data.files.listing import tops_of
from fcnjax.data.sources.splits import ALL, FixedOrder, SplitTerm, parse_split, parse_term
from fcnjax.naming import some, unknown_name


def split_names(root: Path, split: str) -> list[str]:
    """Returns the names of which a split consists, without slices: "train" and "extra" of "train[:90%] + extra".

    Args:
        root: folder of the data set: the name of a folder that contains a "+" or " - " is one name.
        split: the split.
    """
    return [term.name for pair in _terms(root, split) for term in pair]


def select(root: Path, layout: Layout, split: str) -> list[int]:
    """Returns the positions in `layout.names` of the files of a split, ascending.

    Args:
        root: folder of the data set.
        layout: its files.
        split: as in `fcnjax.data.FolderSource`.

    Returns:
        The positions; those of `x[:p%]` and `x[p%:]` are disjoint and together are those of `x`. With groups, bounds
        move to the nearest end of a group, and the same holds.

    Raises:
        ValueError: if the split is unknown, malformed, out of range or empty.
    """
    chosen: set[int] = set()
    for term, *without in _terms(root, split):
        members = _sliced(root, layout, term)
        lost = {index for other in without for index in _sliced(root, layout, other)}
        chosen.update(index for index in members if index not in lost)
    if not chosen:
        raise refusal(f"split={split!r} of {root}: holds no file; name a split that does, such as 'all'.")
    return sorted(chosen)


def joined_folders(root: Path, layout: Layout, split: str) -> str | None:
    """Returns a note if "all" joins folders such as train/ and test/; None if it does not."""
    folders = [f"{folder}/" for folder in layout.folders if split_kind(folder)]
    if len(folders) < 2 or ALL not in split_names(root, split):
        return None
    return (
        f"{ALL!r} joins the folders {some(folders)}; name one for each split, as in "
        "config.data.train_split='train[:90%]', validation_split='train[90%:]', test_split=test"
    )


def kept_groups(root: Path, layout: Layout, splits: Iterable[str]) -> str | None:
    """Returns a note if groups stay whole because some split is sliced; None if none is, or there are no groups."""
    groups = {group for group in layout.groups or () if not group.startswith("\0")}
    sliced = any(term.sliced for split in splits for pair in _terms(root, split) for term in pair)
    return f"slices keep each of {len(groups):,} groups whole" if groups and sliced else None


def _terms(root: Path, split: str) -> list[list[SplitTerm]]:
    """Returns the terms that "+" joins, each followed by those that "-" takes away.

    A "-" between blanks takes away what follows it, unless a folder or a pattern contains it.
    """
    whole = parse_term(split)
    if (root / whole.name).is_dir():
        return [[whole]]
    terms = []
    for term in parse_split(split):
        pieces = re.split(r"\s-\s", term.text)
        plain = not any(sign in parse_term(piece).name for piece in pieces for sign in "*?[")
        terms.append([parse_term(piece) for piece in pieces] if plain else [term])
    return terms


def _sliced(root: Path, layout: Layout, term: SplitTerm) -> list[int]:
    members = _members(root, layout, term.name)
    if not term.sliced:
        return members
    classes = [layout.class_names[layout.labels[member]] for member in members]
    groups = None if layout.groups is None else [layout.groups[member] for member in members]
    order = FixedOrder(classes, [layout.names[member] for member in members], groups)
    try:
        return [members[place] for place in order.part(term.span(len(members), strict=False))]
    except ValueError as error:
        raise refusal(f"split={term.text!r} of {root}: {error} labels.group=none ignores them.") from None


def _members(root: Path, layout: Layout, base: str) -> list[int]:
    """Returns the positions of the files of a split before slicing."""
    if base == ALL:
        return list(range(len(layout.names)))
    if layout.splits is not None and base in layout.splits:
        return [position for position, name in enumerate(layout.splits) if name == base]
    folders = tops_of(layout.names, layout.prefix)
    for prefix in dict.fromkeys((layout.prefix, "")):
        members = [position for position, name in enumerate(layout.names) if name.startswith(f"{prefix}{base}/")]
        if base and members:
            return members
    if base and "/" not in base and (root / layout.prefix / base).is_dir():
        raise refusal(f"split={base!r} of {root}: its folder holds no file; fill it or name another split.")
    plain, named = not any(sign in base for sign in "*?["), set(layout.splits or ()) - {""}
    if plain and not named and folders and not layout.folders:
        raise refusal(
            f"split={base!r} of {root}: must be a folder of a split, and there are only classes; slice them all, as in "
            "'all[:80%]', 'all[80%:90%]' and 'all[90%:]' for config.data.train_split, validation_split and test_split."
        )
    if plain:
        known = (named or set(layout.folders) or folders) | {ALL}
        raise refusal(unknown_name(f"split of {root}:", base, known) + " Or give a pattern: '*_[0-4].wav'.")
    matches = re.compile(_expression(base), re.DOTALL).fullmatch
    return [position for position, name in enumerate(layout.names) if matches(name)]


def _expression(glob: str) -> str:
    """Returns a regular expression for a glob: `*`, `?` and `[...]` match within a folder, `**` across folders."""
    meanings = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    expression = ""
    for sign in re.findall(r"\*\*/|\*\*|\*|\?|\[!?[^]]+]|.", glob, re.DOTALL):
        if sign in meanings:
            expression += meanings[sign]
        elif len(sign) > 1:
            inner = sign[1:-1].replace("\\", r"\\").replace("[", r"\[")
            expression += f"(?!/)[{'^' + inner[1:] if inner[0] == '!' else inner}]"
        else:
            expression += re.escape(sign)
    return expression
