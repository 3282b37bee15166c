"""The files below a folder: those that may be examples, and by reason those that are not.

The one idea: a file's name never makes it an example of a kind, it only excludes companions. So a damaged or misplaced
file is reported and not lost, and what is left out is counted.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fcnjax.data.sources.source import Ignored

TABLE_SUFFIXES = frozenset({".csv", ".jsonl", ".ndjson", ".parquet", ".tsv"})  # those that may hold labels
OTHER_SUFFIXES = frozenset(
    {".gz", ".html", ".ipynb", ".json", ".mat", ".md", ".pdf", ".py", ".sh", ".sha256", ".tar", ".tgz", ".txt"}
    | {".xls", ".xlsx", ".xml", ".yaml", ".yml", ".zip"}
)
IGNORED_NAMES = frozenset({"thumbs.db", "desktop.ini", "license", "licence", "copying", "readme", "__macosx"})
TABLES = "tables; config.data.labels.table=FILE reads labels from one"
TEXTS = "text files; config.data.labels.lists reads lists of the files of each split"
COMPANIONS = "files of a kind that is never an example, such as archives and documents"
HIDDEN = "hidden files and folders"
RUNS = "in folders of runs"
RUN_FILES = ("environment.json", "metrics.jsonl")  # what a folder of `fcnjax train` holds
BACKGROUND = "in folders whose names begin and end with _, which are no classes"


@dataclass(frozen=True)
class Listing:
    """The files below a root, as paths relative to it, with "/", sorted.

    Attributes:
        files: those that may be examples.
        folders: the folders that may hold examples.
        left_out: the others, by reason: companions of media files, hidden files, backgrounds.
    """

    files: tuple[str, ...]
    folders: tuple[str, ...]
    left_out: dict[str, list[str]]

    @property
    def tables(self) -> list[str]:
        """Tables that may hold labels, and text files."""
        found = [*self.left_out.get(TABLES, ()), *self.left_out.get(TEXTS, ())]
        return [name for name in found if _suffix(name) in TABLE_SUFFIXES | {".txt"}]


def list_folder(root: Path) -> Listing:
    """Returns the files below a root. Links to folders are followed, but never in a circle.

    Raises:
        OSError: if a folder cannot be read.
    """
    files: list[str] = []
    folders: list[str] = []
    left_out: dict[str, list[str]] = {}

    def visit(folder: str, prefix: str, above: frozenset[str], inherited: str | None) -> None:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = prefix + entry.name
                reason = inherited or _reason(entry)
                if entry.is_dir():
                    real = os.path.realpath(entry.path)
                    if reason in (None, BACKGROUND) and real not in above:
                        folders.extend([] if reason else [name])
                        visit(entry.path, f"{name}/", above | {real}, reason)
                    elif reason in (HIDDEN, RUNS):
                        left_out.setdefault(reason, []).append(name)
                # A broken link is kept, so that it is reported; a pipe is not, because reading it would wait.
                elif entry.is_file() or entry.is_symlink():
                    if reason is None:
                        files.append(name)
                    elif reason:
                        left_out.setdefault(reason, []).append(name)

    visit(str(root), "", frozenset({os.path.realpath(root)}), None)
    return Listing(tuple(sorted(files)), tuple(sorted(folders)), {why: sorted(left_out[why]) for why in left_out})


def counted(left_out: dict[str, list[str]]) -> tuple[Ignored, ...]:
    """Returns files that are left out as one entry a reason."""
    return tuple(Ignored(reason, len(names), names[0]) for reason, names in left_out.items() if names)


def tops_of(names: Iterable[str], prefix: str = "") -> set[str]:
    """Returns the folders directly below a prefix ("" or one that ends in "/") that hold some of the files."""
    return {top_of(name, prefix) for name in names} - {""}


def top_of(name: str, prefix: str = "") -> str:
    """Returns the folder below a prefix in which a file is, or "" for a file directly below it."""
    top, slash, _ = name[len(prefix) :].partition("/")
    return top if slash else ""


def only_folder(names: Sequence[str], prefix: str = "") -> str:
    """Returns the folder below a prefix that holds all of the files, with a final "/"; "" if there is none."""
    tops = {top_of(name, prefix) for name in names}
    return f"{prefix}{tops.pop()}/" if len(tops) == 1 and "" not in tops else ""


def _reason(entry: os.DirEntry[str]) -> str | None:
    """Returns why an entry is left out; "" without a word, None if it is not."""
    name, suffix = entry.name, _suffix(entry.name)
    plain = name[: -len(suffix)] if suffix in OTHER_SUFFIXES else name  # README.md as README
    if plain.lower() in IGNORED_NAMES or name == ".DS_Store" or name.startswith("._"):  # of operating systems
        return ""
    if name.startswith("."):
        return HIDDEN
    if entry.is_dir():
        if all(os.path.exists(f"{entry.path}/{file}") for file in RUN_FILES):
            return RUNS
        return BACKGROUND if len(name) > 2 and name[0] == name[-1] == "_" else None
    if suffix == ".txt":
        return TEXTS
    return TABLES if suffix in TABLE_SUFFIXES else COMPANIONS if suffix in OTHER_SUFFIXES else None


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
